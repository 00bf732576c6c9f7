//! Keeps HAProxy doing what the store says: one thread that takes in what changed, renders, applies, and looks after
//! the processes.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use log::{debug, error, info, warn};
use storage::Revision;

use super::error::ApplyError;
use super::follow::{Batch, Update};
use super::haproxy::Haproxy;
use super::master::{Processes, ServerName, ServerStates};
use super::render::{Rendered, backend_name, render, render_states, server_name};
use super::report::Applied;
use super::table::{LeaderChange, OwnAddress, Problem, Route, RouteTable};
use crate::model::{InstanceId, NodeId};
use crate::routing::RouterReport;

/// How often HAProxy is looked at, and while workers of past configurations live: they check nothing themselves.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_AT_OLD: Duration = Duration::from_millis(250);
/// How often the first checks are looked for after a reload, and for how long at most.
const LOOK_AT_CHECKS: Duration = Duration::from_millis(25);
const SETTLE: Duration = Duration::from_secs(3);
/// How far apart reloads are: a burst of orders becomes a few of them.
const BETWEEN_RELOADS: Duration = Duration::from_millis(200);
/// When a refused configuration, a taken port or a dead HAProxy is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The state of that thread.
pub struct Driver {
    haproxy: Arc<Haproxy>,
    own: OwnAddress,
    table: RouteTable,
    /// Up to where the store has been read; nothing is applied before.
    seen: Option<Revision>,
    /// The fingerprint of what the worker runs.
    live: Option<String>,
    /// The ports that HAProxy holds; unknown after adopting one with a strange configuration.
    bound: Option<BTreeSet<u16>>,
    /// Whether the routes may differ from what is live.
    stale: bool,
    /// When the last attempt was made, and when the next may be.
    attempted: Instant,
    not_before: Instant,
    /// When ports that somebody else held are tried again.
    retry_taken: Option<Instant>,
    /// Until when the first checks of new servers, and those that find new leaders up, are waited for.
    settling: Option<Instant>,
    /// The leaders that the store has named and that no check has found up yet: a route is applied when it leads there.
    awaited: BTreeSet<ServerName>,
    /// Whether routes changed that were not reported yet.
    urgent: bool,
    /// What was said already.
    problems: BTreeSet<Problem>,
    /// Whose ports are allocated and lead nowhere.
    unrouted: BTreeSet<InstanceId>,
    complaint: Option<String>,
}

impl Driver {
    /// Drives this HAProxy.
    pub fn new(haproxy: Arc<Haproxy>, own: OwnAddress) -> Self {
        Self {
            haproxy,
            own,
            table: RouteTable::default(),
            seen: None,
            live: None,
            bound: None,
            stale: true,
            attempted: Instant::now(),
            not_before: Instant::now(),
            retry_taken: None,
            settling: None,
            awaited: BTreeSet::new(),
            urgent: true,
            problems: BTreeSet::new(),
            unrouted: BTreeSet::new(),
            complaint: None,
        }
    }

    /// Until `quit` is closed.
    pub fn run(mut self, batches: &Receiver<Batch>, applied: &Sender<Applied>, quit: &Receiver<()>) {
        let mut processes = self.haproxy.processes();
        self.adopt(processes.as_ref());
        let mut look_at = Instant::now();
        loop {
            let wait = self.wake_at(look_at).saturating_duration_since(Instant::now());
            let mut changes = Vec::new();
            select! {
                recv(batches) -> batch => {
                    let Ok(batch) = batch else { return };
                    changes.extend(self.take(batch));
                    while let Ok(batch) = batches.try_recv() {
                        changes.extend(self.take(batch));
                    }
                }
                recv(quit) -> _ => return,
                default(wait) => {}
            }
            let now = Instant::now();
            if now >= look_at || !changes.is_empty() || self.wants_to_apply(now) {
                processes = self.haproxy.processes();
                self.demote(processes.as_ref(), &changes);
                self.apply(&mut processes, now);
                self.settle(processes.as_ref());
                let old = processes.as_ref().is_some_and(|processes| !processes.old.is_empty());
                look_at = now + if old { LOOK_AT_OLD } else { LOOK };
            } else if self.settling.is_some() {
                self.settle(processes.as_ref());
            }
            self.report(applied);
        }
    }

    fn wake_at(&self, look_at: Instant) -> Instant {
        let mut at = look_at;
        if self.settling.is_some() {
            at = at.min(Instant::now() + LOOK_AT_CHECKS);
        }
        if self.stale && self.seen.is_some() { at.min(self.not_before) } else { at }
    }

    fn wants_to_apply(&self, now: Instant) -> bool {
        let retry = self.retry_taken.is_some_and(|at| now >= at);
        self.seen.is_some() && (retry || (self.stale && now >= self.not_before))
    }

    /// Takes over a HAProxy that runs already.
    fn adopt(&mut self, processes: Option<&Processes>) {
        let Some(processes) = processes else { return };
        info!("the router adopts HAProxy, process {}", processes.master);
        let worker = processes.worker;
        self.live = worker.and_then(|worker| self.haproxy.master().description(worker).ok().flatten());
        let config = self.haproxy.config_in_force().unwrap_or_default();
        let is_live = self.live.as_ref().is_some_and(|live| config.contains(&live.replace(' ', "\\ ")));
        self.bound = is_live.then(|| bound_ports(&config));
    }

    fn take(&mut self, batch: Batch) -> Vec<LeaderChange> {
        let now = Instant::now();
        let mut changes = Vec::new();
        for update in batch.updates {
            match update {
                Update::One(key, entry) => changes.extend(self.table.apply(&key, entry.as_ref(), now)),
                Update::All(prefix, entries) => changes.extend(self.table.replace(&prefix, &entries, now)),
            }
        }
        if self.table.take_changed() {
            self.stale = true;
            // Whatever went wrong before may be right now.
            self.not_before = self.attempted + BETWEEN_RELOADS;
        }
        self.seen = Some(batch.revision);
        for LeaderChange { instance, from, to } in &changes {
            if let Some(from) = from {
                self.awaited.remove(&named(instance, from));
            }
            self.awaited.insert(named(instance, to));
            self.settling = Some(now + SETTLE);
        }
        changes
    }

    /// A leader that the store no longer names is down at once, not only when its checks have failed: never are two
    /// servers of one instance up for longer than it takes to say so.
    fn demote(&self, processes: Option<&Processes>, changes: &[LeaderChange]) {
        let Some(worker) = processes.and_then(|processes| processes.worker) else { return };
        for LeaderChange { instance, from, .. } in changes {
            let Some(from) = from else { continue };
            let ServerName { backend, server } = named(instance, from);
            info!("{instance} has a new leader; sessions to {from} end");
            let command = format!("set server {backend}/{server} health down");
            if let Err(error) = self.haproxy.master().ask_worker(worker, &command) {
                debug!("HAProxy did not hear of it: {error}");
            }
        }
    }

    fn apply(&mut self, processes: &mut Option<Processes>, now: Instant) {
        self.table.forget_gone(now);
        self.stale |= self.table.take_changed();
        if processes.is_none() && self.live.take().is_some() {
            warn!("HAProxy has ended; it is started again");
            self.not_before = now;
        }
        if processes.is_none() {
            self.bound = Some(BTreeSet::new());
            self.stale = true;
        }
        if !self.wants_to_apply(now) {
            return;
        }
        self.stale = false;
        self.attempted = now;
        self.not_before = now + BETWEEN_RELOADS;
        let (mut routes, mut problems) = self.table.routes(&self.own, now);
        self.retry_taken = self.withhold_taken(&mut routes, &mut problems).then_some(now + RETRY);
        self.say(problems);
        let unrouted = self.table.without_route(&routes);
        self.urgent |= unrouted != self.unrouted;
        self.unrouted = unrouted;
        let wanted = render(self.haproxy.directory(), self.own.listen, &routes);
        if self.live.as_ref() == Some(&wanted.fingerprint) {
            self.complaint = None;
            return;
        }
        match self.bring_about(processes.as_ref(), &wanted, &routes) {
            Ok(running) => {
                *processes = Some(running);
                self.took_over(&wanted, &routes);
            }
            Err(error) => self.complain(&error),
        }
    }

    /// HAProxy refuses a whole configuration for one port that somebody else holds: such a port is left out.
    fn withhold_taken(&self, routes: &mut Vec<Route>, problems: &mut BTreeSet<Problem>) -> bool {
        let Some(bound) = &self.bound else { return false };
        let before = routes.len();
        routes.retain(|route| {
            let address = SocketAddr::new(self.own.listen, route.port);
            if bound.contains(&route.port) {
                return true;
            }
            let Err(error) = TcpListener::bind(address) else { return true };
            problems.insert(Problem {
                key: format!("/routing/allocation/{}", route.instance),
                reason: format!("names port {}, which this router cannot have: {error}", route.port),
            });
            false
        });
        routes.len() < before
    }

    fn bring_about(
        &self,
        processes: Option<&Processes>,
        wanted: &Rendered,
        routes: &[Route],
    ) -> Result<Processes, ApplyError> {
        self.haproxy.check(wanted)?;
        let Some(processes) = processes else {
            return self.haproxy.start(wanted, &render_states(routes, &ServerStates::new()));
        };
        let known = match processes.worker {
            Some(worker) => self.haproxy.master().server_states(worker)?,
            None => ServerStates::new(),
        };
        self.haproxy.reload(processes, wanted, &render_states(routes, &known))
    }

    fn took_over(&mut self, wanted: &Rendered, routes: &[Route]) {
        info!("HAProxy has {} routes", routes.len());
        self.live = Some(wanted.fingerprint.clone());
        self.bound = Some(routes.iter().map(|route| route.port).collect());
        self.attempted = Instant::now();
        self.not_before = self.attempted + BETWEEN_RELOADS;
        self.settling = Some(self.attempted + SETTLE);
        self.urgent = true;
        self.complaint = None;
    }

    fn complain(&mut self, error: &ApplyError) {
        let complaint = error.to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            error!("the routes stay as they were: {complaint}");
        }
        self.complaint = Some(complaint);
        self.stale = true;
        self.not_before = Instant::now() + RETRY;
    }

    fn say(&mut self, problems: BTreeSet<Problem>) {
        for Problem { key, reason } in problems.difference(&self.problems) {
            warn!("{key} {reason}; it is passed over");
        }
        self.problems = problems;
    }

    /// Sees whether every server has been checked, and ends the sessions that older workers hold to servers that are
    /// not up: those workers neither check nor have a command that ends a server's sessions.
    fn settle(&mut self, processes: Option<&Processes>) {
        let Some((processes, worker)) = processes.and_then(|all| all.worker.map(|worker| (all, worker)))
        else {
            return;
        };
        if self.settling.is_none() && processes.old.is_empty() {
            return;
        }
        let states = match self.haproxy.master().server_states(worker) {
            Ok(states) => states,
            Err(error) => return debug!("HAProxy's servers cannot be read: {error}"),
        };
        let late = self.settling.is_some_and(|until| Instant::now() >= until);
        // One that is not there yet comes with a reload, which settles anew.
        let up = |awaited: &ServerName| states.get(awaited).map(super::master::ServerState::is_up);
        let all_up = self.awaited.iter().all(|awaited| up(awaited) != Some(false));
        if late || (all_up && states.values().all(super::master::ServerState::is_checked)) {
            self.settling = None;
            self.awaited.retain(|awaited| !late && up(awaited).is_none());
        }
        let alive =
            |to: &ServerName| states.get(to).is_some_and(|state| state.is_up() || !state.is_checked());
        for old in &processes.old {
            if let Err(error) = self.cut(*old, &alive) {
                debug!("sessions of worker {old} cannot be read: {error}");
            }
        }
    }

    fn cut(&self, old: u32, alive: &dyn Fn(&ServerName) -> bool) -> io::Result<()> {
        let master = self.haproxy.master();
        for session in master.sessions(old)?.into_iter().filter(|session| !alive(&session.to)) {
            info!("worker {old}: a session to {}/{} ends", session.to.backend, session.to.server);
            master.ask_worker(old, &format!("shutdown session {}", session.id))?;
        }
        Ok(())
    }

    fn report(&mut self, applied: &Sender<Applied>) {
        let (Some(revision), None, None) = (self.seen, self.settling, &self.complaint) else { return };
        if self.live.is_none() || self.stale {
            return;
        }
        let report = RouterReport { revision, unrouted: self.unrouted.clone() };
        // A full queue is looked at again with the next revision, at the latest after `LOOK`.
        if applied.try_send(Applied { report, urgent: self.urgent }).is_ok() {
            self.urgent = false;
        }
    }
}

fn named(instance: &InstanceId, node: &NodeId) -> ServerName {
    ServerName { backend: backend_name(instance.as_str()), server: server_name(node.as_str()) }
}

fn bound_ports(config: &str) -> BTreeSet<u16> {
    let binds = config.lines().filter_map(|line| line.strip_prefix("    bind "));
    binds.filter_map(|address| address.parse::<SocketAddr>().ok()).map(|address| address.port()).collect()
}
