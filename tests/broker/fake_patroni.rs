//! A Patroni that is only state: it writes what the members of every running container would write, follows its own
//! REST API, and has troubles on demand. Data are on volumes: who has none copies them from its leader. A cluster whose
//! data are gone begins anew, and that is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use patroni_broker::cells::fake::FakeEngine;
use patroni_broker::cells::{ContainerSpec, ContainerState, ContainerView, label};
use patroni_broker::model::NodeId;
use patroni_broker::patroni::{Door, RestApi, RestError, Status};
use serde_json::{Value, json};
use storage::{Expect, Key, Store};

use crate::fake_config::{first_config, merge};
use crate::fake_guests::FakeGuests;
use crate::lab::until;

/// How long a member takes from its container's start until it runs.
const STARTING: Duration = Duration::from_millis(40);
/// How far the write-ahead log is, of every cluster.
const POSITION: u64 = 100_000_000;
/// How far who is held back lags: too far to take over.
const LAG: u64 = 50_000_000;

pub struct FakePatroni {
    stop: Arc<AtomicBool>,
    /// Instances whose members say nothing.
    pub silent: Arc<Mutex<BTreeSet<String>>>,
    world: Arc<World>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What tests may let happen.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// The cells whose members do not catch up.
    pub held_back: BTreeSet<String>,
    /// Nobody answers requests.
    pub silent: bool,
    /// Who is asked for a switchover says no.
    pub refuses: bool,
    /// Who asks for a switchover panics.
    pub panics: bool,
    /// How long a switchover takes.
    pub takes: Duration,
    /// The settings that take effect at a restart only.
    pub needs_restart: BTreeSet<String>,
}

struct World {
    store: Arc<dyn Store>,
    engine: Arc<FakeEngine>,
    guests: Arc<FakeGuests>,
    silent: Arc<Mutex<BTreeSet<String>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clusters: BTreeMap<String, Cluster>,
    /// What was written of each member.
    written: BTreeMap<Key, Vec<u8>>,
    troubles: Troubles,
    events: Vec<String>,
    looked: u64,
}

#[derive(Default)]
struct Cluster {
    members: BTreeMap<String, Member>,
    leader: Option<String>,
    timeline: u64,
    /// The volumes that hold its data.
    volumes: BTreeSet<u64>,
    config: Value,
    /// The fewest members that ran at a time since the cluster was complete, and how many it has had since.
    fewest: Option<usize>,
}

#[derive(Clone)]
struct Member {
    spec: ContainerSpec,
    /// Its container as it is now: made anew it is another one.
    made_as: String,
    volume: u64,
    cell: String,
    since: Instant,
    pending_restart: bool,
}

impl Member {
    fn has_started(&self) -> bool {
        self.since.elapsed() >= STARTING
    }

    fn address(&self, container_port: u16) -> String {
        let published = self.spec.ports.iter().find(|port| port.container == container_port).unwrap();
        format!("10.0.0.1:{}", published.host)
    }
}

impl FakePatroni {
    pub fn start(store: Arc<dyn Store>, engine: Arc<FakeEngine>, guests: Arc<FakeGuests>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let silent: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let state = Mutex::default();
        let world = Arc::new(World { store, engine, guests, silent: Arc::clone(&silent), state });
        let thread = thread::spawn({
            let (stop, world) = (Arc::clone(&stop), Arc::clone(&world));
            move || {
                while !stop.load(Ordering::SeqCst) {
                    world.look();
                    thread::sleep(Duration::from_millis(10));
                }
            }
        });
        Self { stop, silent, world, thread: Some(thread) }
    }

    /// Its members' REST APIs.
    pub fn members(&self) -> Arc<dyn RestApi> {
        Arc::clone(&self.world) as Arc<dyn RestApi>
    }

    pub fn trouble(&self, change: impl FnOnce(&mut Troubles)) {
        change(&mut self.world.state().troubles);
    }

    /// Lets the members of an instance say nothing from now on: what they are writing stands there by then.
    pub fn silence(&self, scope: &str) {
        self.silent.lock().unwrap().insert(scope.to_owned());
        drop(self.world.state());
    }

    /// What happened that is worth telling, in order: `b1: n1 > n2` is a switchover, `b1: n1 lost` a leader that went
    /// without handing over, `b1: restart n1`, `b1: configure`, and `b1: all data lost`.
    pub fn events(&self, scope: &str) -> Vec<String> {
        let about = format!("{scope}: ");
        let state = self.world.state();
        state.events.iter().filter_map(|event| event.strip_prefix(&about)).map(str::to_owned).collect()
    }

    /// Who leads.
    pub fn leader(&self, scope: &str) -> Option<String> {
        self.world.state().clusters.get(scope)?.leader.clone()
    }

    /// Lets another one lead, as a failover does, as soon as it runs: who took the lead before it was seen would be
    /// taken for a leader that was lost.
    pub fn fail_over(&self, scope: &str, to: &str) {
        until("the next leader to run", || {
            self.world.look();
            let mut state = self.world.state();
            let cluster = state.clusters.get_mut(scope)?;
            cluster.members.get(to).filter(|member| member.has_started())?;
            (cluster.leader, cluster.timeline) = (Some(to.to_owned()), cluster.timeline + 1);
            self.world.write(&mut state, scope);
            Some(())
        });
    }

    /// Counts from now on how few members run at a time.
    pub fn count(&self, scope: &str) {
        self.world.state().clusters.get_mut(scope).unwrap().fewest = Some(usize::MAX);
    }

    /// The fewest that ran at a time since then.
    pub fn fewest(&self, scope: &str) -> usize {
        self.world.state().clusters[scope].fewest.unwrap()
    }

    pub fn config(&self, scope: &str) -> Value {
        self.world.state().clusters[scope].config.clone()
    }
}

impl Drop for FakePatroni {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Compares the containers with what was there, and lets members come, go and lead.
    fn look(&self) {
        let mut state = self.state();
        let mut now: BTreeMap<String, BTreeMap<String, Member>> = BTreeMap::new();
        for view in self.engine.containers() {
            let running = view.state == ContainerState::Running;
            let (Some(spec), Some(volume)) = (self.engine.spec(&view.name), self.engine.volume(&view.name))
            else {
                continue;
            };
            if running {
                let (scope, name) = (spec.env["PATRONI_SCOPE"].clone(), spec.env["PATRONI_NAME"].clone());
                let made_as = view.labels[label::FINGERPRINT].clone();
                let cell = view.labels[label::CELL].clone();
                let since = Instant::now();
                let member = Member { spec, made_as, volume, cell, since, pending_restart: false };
                now.entry(scope).or_default().insert(name, member);
            }
        }
        let known = state.clusters.keys().cloned();
        let scopes: BTreeSet<String> = known.chain(now.keys().cloned()).collect();
        for scope in scopes {
            let members = now.remove(&scope).unwrap_or_default();
            let cluster = state.clusters.entry(scope.clone()).or_default();
            let lost = follow(cluster, members);
            state.events.extend(lost.map(|leader| format!("{scope}: {leader} lost")));
            if !self.silent.lock().unwrap().contains(&scope) {
                self.elect(&mut state, &scope);
                self.write(&mut state, &scope);
            }
            self.expire(&mut state, &scope);
            let cluster = state.clusters.get_mut(&scope).unwrap();
            let running = cluster.members.values().filter(|member| member.has_started()).count();
            cluster.fewest = cluster.fewest.map(|fewest| fewest.min(running));
        }
        state.clusters.retain(|_, cluster| !cluster.members.is_empty() || cluster.timeline > 0);
    }

    /// Who has data leads; where nobody has any, whoever is first makes some.
    fn elect(&self, state: &mut State, scope: &str) {
        let State { clusters, events, .. } = state;
        let cluster = clusters.get_mut(scope).unwrap();
        let Ok(initialize) = self.store.get(&key(scope, "initialize")) else { return };
        if initialize.is_none() {
            // What an earlier instance of that id has left is not this one's.
            cluster.volumes.clear();
            cluster.leader = None;
            let first = cluster.members.iter().find(|(name, member)| self.lets(scope, name, &member.spec));
            let Some((name, member)) = first else { return };
            let at = key(scope, "initialize");
            let config = first_config(&member.spec);
            let text = config.to_string();
            if self.store.put(&key(scope, "config"), text.as_bytes(), None, Expect::Anything).is_err() {
                return;
            }
            cluster.config = config;
            if let Ok(revision) = self.store.put(&at, b"7", None, Expect::Absent) {
                // One whose container went since the look began has written nothing.
                if self.engine.spec(&member.spec.name).is_none() {
                    drop(self.store.delete(&at, Expect::Unchanged(revision)));
                    drop(self.store.delete(&key(scope, "config"), Expect::Anything));
                    return;
                }
                (cluster.leader, cluster.timeline) = (Some(name.clone()), 1);
                cluster.volumes.insert(member.volume);
            }
        }
        if cluster.leader.is_none() {
            let has_data = |(_, member): &(&String, &Member)| cluster.volumes.contains(&member.volume);
            let kept = self.engine.containers();
            let kept = kept.iter().filter_map(|view| self.engine.volume(&view.name));
            let is_lost = !kept.into_iter().any(|volume| cluster.volumes.contains(&volume));
            let next = cluster.members.iter().find(|member| is_lost || has_data(member));
            if let Some((name, member)) = next.map(|(name, member)| (name.clone(), member.volume)) {
                cluster.timeline += 1;
                cluster.leader = Some(name);
                cluster.volumes.insert(member);
                events.extend(is_lost.then(|| format!("{scope}: all data lost")));
            }
        }
        if cluster.leader.is_some() {
            let started = cluster.members.values().filter(|member| member.has_started());
            cluster.volumes.extend(started.map(|member| member.volume));
        }
    }

    /// Writes every member's entry, where it is not what it was.
    fn write(&self, state: &mut State, scope: &str) {
        let State { clusters, written, troubles, .. } = state;
        let cluster = clusters.get_mut(scope).unwrap();
        for (name, member) in &cluster.members {
            let leads = cluster.leader.as_deref() == Some(name);
            let runs = member.has_started() && cluster.leader.is_some();
            let lag = if troubles.held_back.contains(&member.cell) && !leads { LAG } else { 0 };
            let mut entry = json!({
                "role": if leads { "primary" } else { "replica" },
                "state": if runs { "running" } else { "starting" },
                "conn_url": format!("postgres://{}/postgres", member.address(5432)),
                "api_url": format!("http://{}/patroni", member.address(8008)),
                "timeline": cluster.timeline,
                "xlog_location": POSITION - lag,
            });
            if !leads && runs {
                entry["replication_state"] = json!("streaming");
            }
            if member.pending_restart {
                entry["pending_restart"] = json!(true);
            }
            let entry = entry.to_string().into_bytes();
            let at = key(scope, &format!("members/{name}"));
            let Ok(there) = self.store.get(&at) else { continue };
            let is_so_already = there.as_ref().is_some_and(|there| there.value == entry);
            if is_so_already || !self.runs_yet(member) || !self.lets(scope, name, &member.spec) {
                continue;
            }
            // As it was read: who makes a container anew forgets what the one before it said.
            let expect = there.map_or(Expect::Absent, |there| Expect::Unchanged(there.revision));
            let Ok(revision) = self.store.put(&at, &entry, None, expect) else { continue };
            if self.runs_yet(member) {
                written.insert(at, entry);
            } else {
                drop(self.store.delete(&at, Expect::Unchanged(revision)));
            }
        }
    }

    /// Whether a member's container is there that the look has seen, and no other one in its place: a member whose
    /// container went since then has written nothing.
    fn runs_yet(&self, member: &Member) -> bool {
        let is_it = |view: &ContainerView| {
            view.name == member.spec.name
                && view.state == ContainerState::Running
                && view.labels[label::FINGERPRINT] == member.made_as
        };
        self.engine.containers().iter().any(is_it)
            && self.engine.volume(&member.spec.name) == Some(member.volume)
    }

    /// Members whose containers do not run are not heard of any more.
    fn expire(&self, state: &mut State, scope: &str) {
        let State { clusters, written, .. } = state;
        let members = &clusters[scope].members;
        let prefix = key(scope, "members");
        let gone = |at: &Key| at.is_under(&prefix) && !members.contains_key(at.name());
        let gone: Vec<Key> = written.keys().filter(|at| gone(at)).cloned().collect();
        for at in gone {
            if self.store.delete(&at, Expect::Anything).is_ok() {
                written.remove(&at);
            }
        }
    }

    /// Whether the store lets this member in, as whom it was told to be.
    fn lets(&self, scope: &str, name: &str, spec: &ContainerSpec) -> bool {
        let told = secrets(spec)["store"].clone();
        let (Some(username), Some(password)) = (told["username"].as_str(), told["password"].as_str()) else {
            return true;
        };
        let mine = format!("members/{name}");
        let wanted = ["initialize", mine.as_str()].map(|at| key(scope, at));
        let refused = wanted.iter().find(|at| !self.guests.lets_write(username, password, at));
        // Whose container went since the look began was refused nothing: it does not ask any more.
        if let (Some(refused), Some(_)) = (refused, self.engine.spec(&spec.name)) {
            self.guests.breach(username, refused);
        }
        refused.is_none()
    }

    /// Whose door it is, if he lets this user in.
    fn behind(&self, state: &State, door: &Door) -> Result<(String, String), RestError> {
        if state.troubles.silent {
            return Err(RestError::NoAnswer { reason: "the fake is silent".to_owned() });
        }
        let found = state.clusters.iter().find_map(|(scope, cluster)| {
            let here = |(_, member): &(&String, &Member)| member.address(8008) == door.address;
            let (name, member) = cluster.members.iter().find(here)?;
            Some((scope.clone(), name.clone(), secrets(&member.spec)["rest_api"].clone()))
        });
        let Some((scope, name, user)) = found else {
            return Err(RestError::NoAnswer { reason: format!("nobody listens at {}", door.address) });
        };
        let told = door.user.as_ref().map(|(user, password)| (user.as_str(), password.expose()));
        if told != user["username"].as_str().zip(user["password"].as_str()) {
            return Err(RestError::Refused { reason: "who is that?".to_owned() });
        }
        Ok((scope, name))
    }
}

/// Takes the members as they are now; tells which leader was lost.
fn follow(cluster: &mut Cluster, mut now: BTreeMap<String, Member>) -> Option<String> {
    for (name, member) in &mut now {
        let same = cluster
            .members
            .get(name)
            .filter(|known| known.made_as == member.made_as && known.volume == member.volume);
        if let Some(known) = same {
            member.clone_from(known);
        }
    }
    let restarted = |name: &String| {
        now.get(name).is_none_or(|member| {
            !cluster.members.contains_key(name) || member.since > cluster.members[name].since
        })
    };
    let lost = cluster.leader.take_if(|leader| restarted(leader));
    cluster.members = now;
    lost
}

impl RestApi for World {
    fn status(&self, door: &Door) -> Result<Status, RestError> {
        let mut state = self.state();
        let (scope, name) = self.behind(&state, door)?;
        // Time goes by between two looks.
        state.looked += 1;
        let looked = state.looked;
        let member = &state.clusters[&scope].members[&name];
        Ok(Status {
            pending_restart: member.pending_restart,
            server_version: member.has_started().then_some(170_000),
            streaming: state.clusters[&scope]
                .members
                .keys()
                .filter(|other| **other != name)
                .cloned()
                .collect(),
            store_seen_s: Some(looked),
        })
    }

    fn switch_over(&self, door: &Door, leader: &NodeId, candidate: &NodeId) -> Result<(), RestError> {
        let Troubles { panics, takes, .. } = self.state().troubles.clone();
        assert!(!panics, "as told");
        thread::sleep(takes);
        // As things stand now.
        self.look();
        let mut state = self.state();
        let (scope, _) = self.behind(&state, door)?;
        let refused = |reason: &str| Err(RestError::Refused { reason: reason.to_owned() });
        if state.troubles.refuses {
            return refused("the fake says no");
        }
        let held_back = state.troubles.held_back.clone();
        let cluster = state.clusters.get_mut(&scope).unwrap();
        if cluster.leader.as_deref() != Some(leader.as_str()) {
            return refused("leader name does not match");
        }
        let able = |member: &&Member| {
            member.has_started()
                && cluster.volumes.contains(&member.volume)
                && !held_back.contains(&member.cell)
        };
        if cluster.members.get(candidate.as_str()).filter(able).is_none() {
            return refused("candidate is not able to take over");
        }
        (cluster.leader, cluster.timeline) = (Some(candidate.to_string()), cluster.timeline + 1);
        state.events.push(format!("{scope}: {leader} > {candidate}"));
        self.write(&mut state, &scope);
        Ok(())
    }

    fn patch_config(&self, door: &Door, patch: &Value) -> Result<(), RestError> {
        let mut state = self.state();
        let (scope, _) = self.behind(&state, door)?;
        let needs_restart = state.troubles.needs_restart.clone();
        let cluster = state.clusters.get_mut(&scope).unwrap();
        merge(&mut cluster.config, patch);
        let parameters = patch["postgresql"]["parameters"].as_object().cloned().unwrap_or_default();
        if parameters.keys().any(|name| needs_restart.contains(name)) {
            cluster.members.values_mut().for_each(|member| member.pending_restart = true);
        }
        let config = cluster.config.to_string();
        if self.store.put(&key(&scope, "config"), config.as_bytes(), None, Expect::Anything).is_err() {
            return Err(RestError::Refused { reason: "the store does not answer".to_owned() });
        }
        state.events.push(format!("{scope}: configure"));
        self.write(&mut state, &scope);
        Ok(())
    }

    fn restart(&self, door: &Door) -> Result<(), RestError> {
        let mut state = self.state();
        let (scope, name) = self.behind(&state, door)?;
        let member = state.clusters.get_mut(&scope).unwrap().members.get_mut(&name).unwrap();
        member.pending_restart = false;
        state.events.push(format!("{scope}: restart {name}"));
        self.write(&mut state, &scope);
        Ok(())
    }
}

fn key(scope: &str, rest: &str) -> Key {
    Key::parse(&format!("/service/{scope}/{rest}")).unwrap()
}

/// The secrets that a container was given.
pub fn secrets(spec: &ContainerSpec) -> Value {
    serde_json::from_str(spec.files[0].content.expose()).unwrap()
}
