//! A cell over dockworker. Owns what the calls mean: which outcome is success, and whose fault a failure is.
//!
//! dockworker keeps an error's message and drops its HTTP status, and a message is for people. So outcomes are decided
//! by looking: what is absent is absent from a listing, and a change that was refused may be there all the same.

mod address;
mod archive;
mod deadlines;
mod exec;
mod fault;
mod image;
mod key;
mod log;
mod options;
mod remake;
mod remove;
mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dockworker::Docker;
use dockworker::container::ContainerFilters;
use dockworker::errors::Error as DockworkerError;

use super::runtime::{Runtime, Unanswered};
use super::{Cell, CellError, CellEvent, Cells, ContainerSpec, ContainerView, EngineInfo, ExecOutput};
use crate::model::{CellSite, ContainerName};

pub use deadlines::Deadlines;
use fault::Fault;
use view::{Found, SET_ASIDE};

/// What every container of ours is called first. The engine leaves other names out of its listings, and with them
/// containers that have what dockworker cannot read, such as an SCTP port, which would make the whole listing an error.
const OUR_NAMES: &str = "^/?pb-";

/// What the engine is asked for of one container, and of the one that is set aside for it.
fn pattern(name: &ContainerName) -> String {
    // It is a regular expression in which dots match more than dots: the exact match is ours.
    format!("^/?{name}({SET_ASIDE})?$")
}

/// A cell whose engine is spoken to over a Unix socket or TCP.
pub struct DockerCell {
    site: CellSite,
    runtime: Arc<Runtime>,
    deadlines: Deadlines,
    /// Made at the first call, so that a certificate that is renewed or arrives late is no reason to restart.
    client: Mutex<Option<Docker>>,
}

/// Makes cells, all on one runtime.
pub struct Connector {
    runtime: Arc<Runtime>,
}

impl Connector {
    /// Starts the runtime.
    ///
    /// # Errors
    /// Where the operating system has no thread left.
    pub fn start() -> std::io::Result<Self> {
        Ok(Self { runtime: Runtime::start()? })
    }

    /// A cell at `site`. Nothing is sent yet: one whose engine is down now may come later.
    #[must_use]
    pub fn connect(&self, site: &CellSite) -> Arc<dyn Cell> {
        Arc::new(DockerCell::connect(site.clone(), Arc::clone(&self.runtime), Deadlines::default()))
    }

    /// A cell at each of them.
    #[must_use]
    pub fn connect_all(&self, sites: &[CellSite]) -> Cells {
        sites.iter().map(|site| (site.guid.clone(), self.connect(site))).collect()
    }
}

/// Every cell of `sites`, for whoever keeps them as they are; see [`Connector`].
///
/// # Errors
/// As [`Connector::start`].
pub fn connect_all(sites: &[CellSite]) -> std::io::Result<Cells> {
    Ok(Connector::start()?.connect_all(sites))
}

impl DockerCell {
    /// A cell at `site`. Nothing is sent yet.
    #[must_use]
    pub fn connect(site: CellSite, runtime: Arc<Runtime>, deadlines: Deadlines) -> Self {
        Self { site, runtime, deadlines, client: Mutex::new(None) }
    }

    /// The client, made if there is none yet.
    fn client(&self) -> Result<Docker, Fault> {
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client = address::client(&self.site.docker).map_err(Fault::Silent)?;
        *slot = Some(client.clone());
        Ok(client)
    }

    /// Makes one call to the engine.
    fn call<T, F, M>(&self, limit: Duration, make: M) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DockworkerError>> + Send + 'static,
        M: FnOnce(Docker) -> F,
    {
        let outcome = self.runtime.run(limit, make(self.client()?))?;
        outcome.map_err(Fault::from)
    }

    /// The containers of this cell whose name the engine finds to match `name_pattern`, those set aside among them.
    fn everything(&self, name_pattern: &str) -> Result<Vec<Found>, Fault> {
        let mut filters = ContainerFilters::new();
        filters.name(name_pattern);
        let all = self.call(self.deadlines.look, move |docker| async move {
            docker.list_containers(Some(true), None, None, filters).await
        })?;
        Ok(all.into_iter().filter_map(|one| Found::read(one, &self.site)).collect())
    }

    /// The same, each container once: one that is set aside counts only as long as there is none in its place.
    fn found(&self, name_pattern: &str) -> Result<Vec<Found>, Fault> {
        let (aside, mut found): (Vec<_>, Vec<_>) =
            self.everything(name_pattern)?.into_iter().partition(|found| found.is_set_aside);
        let replaced: BTreeSet<_> = found.iter().map(|found| found.view.name.clone()).collect();
        found.extend(aside.into_iter().filter(|found| !replaced.contains(&found.view.name)));
        Ok(found)
    }

    /// This cell's container of that name.
    fn find(&self, name: &ContainerName) -> Result<Option<Found>, Fault> {
        Ok(self.found(&pattern(name))?.into_iter().find(|found| found.view.name == *name))
    }

    /// This cell's container of that name, for calls that make no sense without.
    fn find_existing(&self, name: &ContainerName) -> Result<Found, Fault> {
        self.find(name)?.ok_or_else(|| Fault::Said(format!("there is no container {name} on this cell")))
    }

    fn error(&self, fault: Fault) -> CellError {
        fault.on(&self.site.guid)
    }

    /// Its container is made where none is set aside for it: who makes it anew takes that one's volumes.
    fn create_first(&self, spec: &ContainerSpec) -> Result<(), Fault> {
        match self.find(&spec.name)? {
            Some(found) if found.is_set_aside => {
                Err(Fault::Said(format!("container {} is set aside on this cell", spec.name)))
            }
            _ => self.try_create(spec, None),
        }
    }

    /// On the volumes of the container with that id, if any.
    fn try_create(&self, spec: &ContainerSpec, volumes_from: Option<&str>) -> Result<(), Fault> {
        let options = options::create(spec, &self.site, volumes_from);
        let name = spec.name.to_string();
        let made = self.call(self.deadlines.change, move |docker| async move {
            docker.create_container(Some(&name), &options).await
        })?;
        if spec.files.is_empty() {
            return Ok(());
        }
        match self.place_files(&made.id, spec) {
            Ok(()) => Ok(()),
            Err(Fault::Silent(reason)) => Err(Fault::Silent(reason)),
            // A refusal promises that nothing is left behind.
            Err(Fault::Said(reason)) => {
                self.remove_one(&made.id, &spec.name)?;
                Err(Fault::Said(reason))
            }
        }
    }

    /// What a failure to make a container means.
    fn creation_error(&self, fault: Fault, spec: &ContainerSpec) -> CellError {
        match fault {
            Fault::Said(reason) if matches!(self.has_image(&spec.image), Ok(false)) => {
                CellError::NoSuchImage { cell: self.site.guid.clone(), image: spec.image.clone(), reason }
            }
            fault => self.error(fault),
        }
    }

    fn place_files(&self, id: &str, spec: &ContainerSpec) -> Result<(), Fault> {
        let tar = archive::tar(&spec.files).map_err(|error| Fault::Silent(archive::failed(&error)))?;
        let id = id.to_owned();
        self.call(self.deadlines.change, move |docker| async move {
            // The archive lives as long as this call, however it ends.
            docker.put_file(&id, tar.path(), std::path::Path::new("/"), false).await
        })
    }

    fn try_start(&self, name: &ContainerName) -> Result<(), Fault> {
        let found = self.find_existing(name)?;
        if found.is_up() {
            return Ok(());
        }
        let started =
            self.call(
                self.deadlines.change,
                move |docker| async move { docker.start_container(&found.id).await },
            );
        // "Already started" is an answer that dockworker cannot read, and somebody else may have been faster.
        self.unless(started, |found| found.is_some_and(Found::is_up), name)
    }

    fn try_stop(&self, name: &ContainerName, grace: Duration) -> Result<(), Fault> {
        let Some(found) = self.find(name)? else { return Ok(()) };
        let stopped = self.call(grace + self.deadlines.stop_margin, move |docker| async move {
            docker.stop_container(&found.id, grace).await
        });
        self.unless(stopped, |found| found.is_none_or(Found::is_down), name)
    }

    /// The outcome of a change, unless a look says that what was wanted is there anyway.
    fn unless(
        &self,
        outcome: Result<(), Fault>,
        wanted: impl FnOnce(Option<&Found>) -> bool,
        name: &ContainerName,
    ) -> Result<(), Fault> {
        let Err(fault) = outcome else { return Ok(()) };
        match self.find(name) {
            Ok(found) if wanted(found.as_ref()) => Ok(()),
            _ => Err(fault),
        }
    }
}

impl Cell for DockerCell {
    fn site(&self) -> &CellSite {
        &self.site
    }

    fn ping(&self) -> Result<EngineInfo, CellError> {
        // Not dockworker's `ping`, which asserts what the engine's words are.
        self.call(self.deadlines.look, |docker| async move { docker.version().await })
            .map(|version| EngineInfo { version: version.Version })
            .map_err(|fault| self.error(fault.into_silence()))
    }

    fn ensure_image(&self, image: &str, progress: &mut dyn FnMut(&str)) -> Result<(), CellError> {
        self.image_or_pull(image, progress)
    }

    fn create(&self, spec: &ContainerSpec) -> Result<(), CellError> {
        self.create_first(spec).map_err(|fault| self.creation_error(fault, spec))
    }

    fn remake(&self, spec: &ContainerSpec, grace: Duration) -> Result<(), CellError> {
        self.make_anew(spec, grace).map_err(|fault| self.creation_error(fault, spec))
    }

    fn image_environment(&self, image: &str) -> Result<Option<BTreeMap<String, String>>, CellError> {
        self.environment_of(image).map_err(|fault| self.error(fault))
    }

    fn start(&self, name: &ContainerName) -> Result<(), CellError> {
        self.try_start(name).map_err(|fault| self.error(fault))
    }

    fn stop(&self, name: &ContainerName, grace: Duration) -> Result<(), CellError> {
        self.try_stop(name, grace).map_err(|fault| self.error(fault))
    }

    fn remove(&self, name: &ContainerName) -> Result<(), CellError> {
        self.try_remove(name).map_err(|fault| self.error(fault))
    }

    fn inspect(&self, name: &ContainerName) -> Result<Option<ContainerView>, CellError> {
        self.find(name).map(|found| found.map(|found| found.view)).map_err(|fault| self.error(fault))
    }

    fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<ContainerView>, CellError> {
        let all = self.found(OUR_NAMES).map_err(|fault| self.error(fault))?;
        let carries = |view: &ContainerView| {
            labels.iter().all(|(label, value)| view.labels.get(*label).is_some_and(|found| found == value))
        };
        let mut views: Vec<_> = all.into_iter().map(|found| found.view).filter(carries).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    fn log_tail(&self, name: &ContainerName, lines: u32) -> Result<Vec<String>, CellError> {
        self.read_log(name, lines).map_err(|fault| self.error(fault))
    }

    fn exec(&self, name: &ContainerName, command: &[&str]) -> Result<ExecOutput, CellError> {
        self.run_inside(name, command).map_err(|fault| self.error(fault))
    }

    fn watch(&self, stop: &AtomicBool, sink: &mut dyn FnMut(CellEvent)) -> Result<(), CellError> {
        self.follow_events(stop, sink).map_err(|fault| self.error(fault.into_silence()))
    }
}

impl From<Unanswered> for Fault {
    fn from(unanswered: Unanswered) -> Self {
        Self::Silent(match unanswered {
            Unanswered::TimedOut(limit) => format!("no answer within {} s", limit.as_secs_f32()),
            Unanswered::Broke => "the call broke off inside the Docker client".to_owned(),
        })
    }
}
