//! A Docker engine that is only state, for tests: it passes the same contract as the real one (`tests/cells`), and has
//! troubles on demand.

mod half_way;
mod holds;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::holds::Holds;
use super::{Cell, CellError, CellEvent, ContainerSpec, ContainerState, ContainerView};
use super::{EngineInfo, ExecOutput, PlacedFile, label};
use crate::model::{CellSite, ContainerName};

/// How often a watch looks at its `stop`.
const STOP_GLANCE: Duration = Duration::from_millis(50);

/// What a call does instead of succeeding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The engine says no, and nothing happens.
    Refuse(String),
    /// No answer comes, and nothing happened.
    SilentWithoutEffect,
    /// No answer comes, and it happened all the same.
    SilentWithEffect,
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the method of `Cell` that it is called like")]
pub enum Call {
    Ping,
    EnsureImage,
    Create,
    Remake,
    ImageEnvironment,
    Start,
    Stop,
    Remove,
    Inspect,
    List,
    LogTail,
    Exec,
    Watch,
}

/// What the engine does when a command is run in a container.
pub type OnExec = dyn Fn(&ContainerSpec, &[&str]) -> ExecOutput + Send + Sync;

/// An engine, on which several cells may live.
#[derive(Default)]
pub struct FakeEngine {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    images: BTreeMap<String, Image>,
    /// Host ports that somebody else holds.
    occupied: BTreeSet<u16>,
    containers: BTreeMap<ContainerName, Held>,
    /// What others came in the place of, which were never started.
    aside: BTreeMap<ContainerName, Held>,
    /// Everything that ever changed, in order.
    changes: Vec<(String, ContainerName)>,
    on_exec: Option<Arc<OnExec>>,
    /// How many volumes there ever were.
    volumes: u64,
}

#[derive(Clone, Default)]
struct Image {
    /// What its containers write when they start.
    log: Vec<String>,
    environment: BTreeMap<String, String>,
}

struct Held {
    cell: String,
    spec: ContainerSpec,
    view: ContainerView,
    log: Vec<String>,
    /// Which volume its data are on.
    volume: u64,
}

/// What a container's cell is told by: two brokers may call theirs alike.
fn owner(site: &CellSite) -> String {
    format!("{}/{}", site.broker, site.guid)
}

impl Held {
    fn is_up(&self) -> bool {
        matches!(self.view.state, ContainerState::Running | ContainerState::Restarting)
    }

    fn end(&mut self, code: i64) {
        self.view.state = ContainerState::Exited { code: Some(code) };
        self.view.ports.clear();
    }
}

impl State {
    fn change(&mut self, name: &ContainerName) {
        if let Some(held) = self.containers.get(name) {
            self.changes.push((held.cell.clone(), name.clone()));
        }
    }

    fn held(&mut self, cell: &CellSite, name: &ContainerName) -> Option<&mut Held> {
        self.containers.get_mut(name).filter(|held| held.cell == owner(cell))
    }

    /// Makes a container on that volume, or on one of its own, in place of any that has its name.
    fn make(&mut self, site: &CellSite, spec: &ContainerSpec, volume: Option<u64>) {
        let mut labels = spec.labels.clone();
        labels.insert(label::BROKER.to_owned(), site.broker.clone());
        labels.insert(label::CELL.to_owned(), site.guid.to_string());
        labels.insert(label::FINGERPRINT.to_owned(), spec.fingerprint());
        labels.insert(label::IMAGE.to_owned(), spec.image.clone());
        let view = ContainerView {
            name: spec.name.clone(),
            image: spec.image.clone(),
            state: ContainerState::Created,
            labels,
            ports: Vec::new(),
        };
        let volume = volume.unwrap_or_else(|| {
            self.volumes += 1;
            self.volumes
        });
        let held = Held { cell: owner(site), spec: spec.clone(), view, log: Vec::new(), volume };
        self.containers.insert(spec.name.clone(), held);
        self.change(&spec.name);
    }

    /// A host port that the container wants and another one, or somebody else, has.
    fn taken_port(&self, spec: &ContainerSpec) -> Option<u16> {
        let others = self.containers.values().filter(|held| held.view.name != spec.name);
        let others = others.flat_map(|held| &held.view.ports).map(|port| port.host);
        let taken: BTreeSet<_> = others.chain(self.occupied.iter().copied()).collect();
        spec.ports.iter().map(|port| port.host).find(|port| taken.contains(port))
    }

    /// Lets a container run that is there and whose ports are free.
    fn run(&mut self, name: &ContainerName) {
        let Some(held) = self.containers.get_mut(name).filter(|held| !held.is_up()) else { return };
        held.view.ports.clone_from(&held.spec.ports);
        held.view.ports.sort_unstable_by_key(|port| (port.container, port.host));
        held.view.state = ContainerState::Running;
        let image = self.images.get(&held.spec.image);
        held.log.extend(image.map(|image| image.log.clone()).unwrap_or_default());
        self.change(name);
    }
}

impl FakeEngine {
    /// An engine without images or containers.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an image there, whose containers write `log` when they start.
    pub fn add_image(&self, image: &str, log: &[&str]) {
        self.add_image_with(image, log, &[]);
    }

    /// As [`Self::add_image`], with what it puts into its containers' environment.
    pub fn add_image_with(&self, image: &str, log: &[&str], environment: &[(&str, &str)]) {
        let log = log.iter().map(|line| (*line).to_owned()).collect();
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.state().images.insert(image.to_owned(), Image { log, environment });
    }

    /// Lets somebody else hold a host port.
    pub fn occupy(&self, port: u16) {
        self.state().occupied.insert(port);
    }

    /// Says what commands do; without, they succeed without output.
    pub fn on_exec(&self, act: impl Fn(&ContainerSpec, &[&str]) -> ExecOutput + Send + Sync + 'static) {
        self.state().on_exec = Some(Arc::new(act));
    }

    /// Removes a container behind everyone's back.
    pub fn lose(&self, name: &ContainerName) {
        let mut state = self.state();
        state.change(name);
        state.containers.remove(name);
        self.changed.notify_all();
    }

    /// Lets a container end by itself.
    pub fn crash(&self, name: &ContainerName, code: i64) {
        let mut state = self.state();
        if let Some(held) = state.containers.get_mut(name) {
            held.end(code);
        }
        state.change(name);
        self.changed.notify_all();
    }

    /// Everything on the engine, of whatever cell.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerView> {
        self.state().containers.values().map(|held| held.view.clone()).collect()
    }

    /// What was asked for when that container was created.
    #[must_use]
    pub fn spec(&self, name: &ContainerName) -> Option<ContainerSpec> {
        self.state().containers.get(name).map(|held| held.spec.clone())
    }

    /// Which volume a container's data are on; another container has it only when it was made on it.
    #[must_use]
    pub fn volume(&self, name: &ContainerName) -> Option<u64> {
        self.state().containers.get(name).map(|held| held.volume)
    }

    /// A file that was placed into a container.
    #[must_use]
    pub fn file(&self, name: &ContainerName, path: &str) -> Option<PlacedFile> {
        self.spec(name)?.files.into_iter().find(|file| file.path == path)
    }
}

/// A cell on a [`FakeEngine`].
pub struct FakeCell {
    site: CellSite,
    engine: Arc<FakeEngine>,
    troubles: Mutex<BTreeMap<Call, VecDeque<Trouble>>>,
    away: AtomicBool,
    /// What is to wait.
    pub holds: Holds,
}

impl FakeCell {
    /// A cell at `site`.
    #[must_use]
    pub fn new(site: CellSite, engine: Arc<FakeEngine>) -> Arc<Self> {
        let (troubles, away) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { site, engine, troubles, away, holds: Holds::default() })
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<FakeEngine> {
        &self.engine
    }

    /// Lets the next call of that kind have a trouble; several are had one after the other.
    pub fn trouble(&self, call: Call, trouble: Trouble) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.entry(call).or_default().push_back(trouble);
    }

    /// Cuts the cell off, or brings it back: while it is away nothing answers and nothing happens.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
        self.engine.changed.notify_all();
    }

    fn no_answer(&self) -> CellError {
        CellError::NoAnswer { cell: self.site.guid.clone(), reason: "the fake is silent".to_owned() }
    }

    fn refused(&self, reason: impl Into<String>) -> CellError {
        CellError::Refused { cell: self.site.guid.clone(), reason: reason.into() }
    }

    fn missing(&self, name: &ContainerName) -> CellError {
        self.refused(format!("there is no container {name} on this cell"))
    }

    fn no_image(&self, image: &str) -> CellError {
        CellError::NoSuchImage {
            cell: self.site.guid.clone(),
            image: image.to_owned(),
            reason: "there is none".to_owned(),
        }
    }

    /// Has the next trouble of that kind, or none.
    fn perform<T>(
        &self,
        call: Call,
        effect: impl FnOnce(&mut State) -> Result<T, CellError>,
    ) -> Result<T, CellError> {
        self.holds.wait(call);
        if self.away.load(Ordering::SeqCst) {
            return Err(self.no_answer());
        }
        let trouble = {
            let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
            troubles.get_mut(&call).and_then(VecDeque::pop_front)
        };
        match trouble {
            Some(Trouble::Refuse(reason)) => return Err(self.refused(reason)),
            Some(Trouble::SilentWithoutEffect) => return Err(self.no_answer()),
            Some(Trouble::SilentWithEffect) | None => {}
        }
        let outcome = effect(&mut self.engine.state());
        self.engine.changed.notify_all();
        if trouble.is_some() { Err(self.no_answer()) } else { outcome }
    }
}

impl Cell for FakeCell {
    fn site(&self) -> &CellSite {
        &self.site
    }

    fn ping(&self) -> Result<EngineInfo, CellError> {
        self.perform(Call::Ping, |_| Ok(EngineInfo { version: "0.0.0-fake".to_owned() }))
    }

    fn ensure_image(&self, image: &str, progress: &mut dyn FnMut(&str)) -> Result<(), CellError> {
        self.perform(Call::EnsureImage, |state| {
            if state.images.contains_key(image) {
                return Ok(());
            }
            progress("looking for it");
            Err(self.no_image(image))
        })
    }

    fn create(&self, spec: &ContainerSpec) -> Result<(), CellError> {
        self.perform(Call::Create, |state| {
            if !state.images.contains_key(&spec.image) {
                return Err(self.no_image(&spec.image));
            }
            if state.containers.contains_key(&spec.name) {
                return Err(self.refused(format!("the name {} is in use", spec.name)));
            }
            state.make(&self.site, spec, None);
            Ok(())
        })
    }

    fn remake(&self, spec: &ContainerSpec, _grace: Duration) -> Result<(), CellError> {
        self.perform(Call::Remake, |state| {
            if !state.images.contains_key(&spec.image) {
                return Err(self.no_image(&spec.image));
            }
            if state.containers.get(&spec.name).is_some_and(|held| held.cell != owner(&self.site)) {
                return Err(self.refused(format!("the name {} is in use", spec.name)));
            }
            state.take_back(&spec.name);
            let fingerprint = spec.fingerprint();
            let there = state.held(&self.site, &spec.name).map(|held| {
                let is_it = held.view.labels.get(label::FINGERPRINT) == Some(&fingerprint);
                (held.volume, is_it && held.is_up(), held.spec.clone())
            });
            if matches!(there, Some((_, true, _))) {
                return Ok(());
            }
            let Some(port) = state.taken_port(spec) else {
                state.make(&self.site, spec, there.map(|(volume, ..)| volume));
                state.run(&spec.name);
                return Ok(());
            };
            match there {
                // The one that was there runs again.
                Some((.., old)) if state.taken_port(&old).is_none() => state.run(&spec.name),
                Some(_) => {}
                None => state.make(&self.site, spec, None),
            }
            Err(self.refused(format!("port {port} is already allocated")))
        })
    }

    fn image_environment(&self, image: &str) -> Result<Option<BTreeMap<String, String>>, CellError> {
        self.perform(Call::ImageEnvironment, |state| {
            Ok(state.images.get(image).map(|image| image.environment.clone()))
        })
    }

    fn start(&self, name: &ContainerName) -> Result<(), CellError> {
        self.perform(Call::Start, |state| {
            let held = state.held(&self.site, name).ok_or_else(|| self.missing(name))?;
            if held.is_up() {
                return Ok(());
            }
            let spec = held.spec.clone();
            if let Some(port) = state.taken_port(&spec) {
                return Err(self.refused(format!("port {port} is already allocated")));
            }
            state.run(name);
            Ok(())
        })
    }

    fn stop(&self, name: &ContainerName, _grace: Duration) -> Result<(), CellError> {
        self.perform(Call::Stop, |state| {
            if let Some(held) = state.held(&self.site, name).filter(|held| held.is_up()) {
                held.end(0);
                state.change(name);
            }
            Ok(())
        })
    }

    fn remove(&self, name: &ContainerName) -> Result<(), CellError> {
        self.perform(Call::Remove, |state| {
            if state.held(&self.site, name).is_some() {
                state.change(name);
                state.containers.remove(name);
                state.aside.remove(name);
            }
            Ok(())
        })
    }

    fn inspect(&self, name: &ContainerName) -> Result<Option<ContainerView>, CellError> {
        self.perform(Call::Inspect, |state| Ok(state.held(&self.site, name).map(|held| held.view.clone())))
    }

    fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<ContainerView>, CellError> {
        self.perform(Call::List, |state| {
            let ours = state.containers.values().filter(|held| held.cell == owner(&self.site));
            let carries = |view: &ContainerView| {
                labels
                    .iter()
                    .all(|(label, value)| view.labels.get(*label).is_some_and(|found| found == value))
            };
            Ok(ours.map(|held| held.view.clone()).filter(carries).collect())
        })
    }

    fn log_tail(&self, name: &ContainerName, lines: u32) -> Result<Vec<String>, CellError> {
        self.perform(Call::LogTail, |state| {
            let log = &state.held(&self.site, name).ok_or_else(|| self.missing(name))?.log;
            Ok(log[log.len().saturating_sub(lines as usize)..].to_vec())
        })
    }

    fn exec(&self, name: &ContainerName, command: &[&str]) -> Result<ExecOutput, CellError> {
        self.perform(Call::Exec, |state| {
            let act = state.on_exec.clone();
            let held = state.held(&self.site, name).ok_or_else(|| self.missing(name))?;
            if held.view.state != ContainerState::Running {
                return Err(self.refused(format!("container {name} is not running")));
            }
            let nothing = ExecOutput { exit_code: 0, output: String::new() };
            Ok(act.map_or(nothing, |act| act(&held.spec, command)))
        })
    }

    fn watch(&self, stop: &AtomicBool, sink: &mut dyn FnMut(CellEvent)) -> Result<(), CellError> {
        let mut next = self.perform(Call::Watch, |state| Ok(state.changes.len()))?;
        sink(CellEvent::Connected);
        let mut state = self.engine.state();
        while !stop.load(Ordering::Relaxed) {
            if self.away.load(Ordering::SeqCst) {
                return Err(self.no_answer());
            }
            let ours = |(cell, name): &(String, ContainerName)| {
                (*cell == owner(&self.site)).then(|| CellEvent::Changed(name.clone()))
            };
            let news: Vec<_> = state.changes[next..].iter().filter_map(ours).collect();
            next = state.changes.len();
            if news.is_empty() {
                let waited = self.engine.changed.wait_timeout(state, STOP_GLANCE);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                // The one who hears it may look at once.
                drop(state);
                news.into_iter().for_each(&mut *sink);
                state = self.engine.state();
            }
        }
        Ok(())
    }
}
