//! Looks at what metrics show of the store and the cells, so that a scrape waits for neither: it shows what was last
//! seen, and when that was. Looks only while somebody scrapes, since it reads every instance.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::warn;
use storage::StoreError;

use super::core::Core;
use crate::cells::Cell;
use crate::metrics::{CellLook, InstanceLook, StoreLook};
use crate::model::CellGuid;
use crate::state::{InstanceRecord, OperationRecord, OperationState};

/// Without a scrape for so long nobody is taken to be interested.
const INTEREST: Duration = Duration::from_secs(300);
/// How often is looked whether a look is due.
const GLANCE: Duration = Duration::from_secs(1);
/// The store is not read again before so many times as long as it took: whatever there is to read, it takes less than
/// a twentieth of one thread and of the store's patience.
const REST: u32 = 20;

/// One kind of look.
type Look = fn(&Core);

/// The threads that look: one at the cells and one at the store, so that neither's silence, which has its deadline,
/// keeps the other's numbers old.
pub(super) struct Observer {
    stop: Option<Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Closed when the last of them has ended.
    ended: Receiver<()>,
    core: Arc<Core>,
}

impl Observer {
    pub(super) fn start(core: Arc<Core>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let (end, ended) = bounded::<()>(0);
        let mut observer = Self { stop: Some(stop), threads: Vec::new(), ended, core };
        // Cells that are waited for cost nothing.
        let looks: [(&str, Look, u32); 2] =
            [("look-cells", Core::observe_cells, 0), ("look-store", Core::observe_store, REST)];
        for (name, look, rest) in looks {
            let (core, stopped, end) = (Arc::clone(&observer.core), stopped.clone(), end.clone());
            let thread = thread::Builder::new().name(name.to_owned());
            observer.threads.push(thread.spawn(move || {
                run(&core, look, rest, &stopped);
                drop(end);
            })?);
        }
        Ok(observer)
    }
}

impl Drop for Observer {
    /// One may be asking a cell that does not answer: that is not waited for.
    fn drop(&mut self) {
        self.stop.take();
        if self.ended.recv_timeout(self.core.settings.pace.farewell) == Err(RecvTimeoutError::Timeout) {
            return warn!("a look at the cells or the store does not end");
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a look at the cells or the store panicked");
            }
        }
    }
}

fn run(core: &Core, look: Look, rest: u32, stopped: &Receiver<()>) {
    // Once at the start, so that the first scrape has something to show.
    let mut due = Instant::now();
    let mut wanted = true;
    loop {
        if wanted && Instant::now() >= due {
            let begun = Instant::now();
            look(core);
            due = Instant::now() + core.settings.pace.observe_every.max(begun.elapsed() * rest);
        }
        if stopped.recv_timeout(GLANCE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        wanted = core.metrics.scraped_within(INTEREST);
    }
}

impl Core {
    /// An operation has ended, and its record says so.
    pub(super) fn count_end(&self, operation: &OperationRecord) {
        let took = Duration::from_millis(self.now_ms().saturating_sub(operation.started_ms));
        self.metrics.operation_ended(operation.kind.as_str(), operation.state.as_str(), took);
    }

    fn observe_cells(&self) {
        self.metrics.cells_seen(&self.look_at_cells());
    }

    fn observe_store(&self) {
        match self.look_at_store() {
            Ok(look) => self.metrics.store_seen(&look),
            Err(error) => warn!("instances and ports cannot be counted: {error}"),
        }
    }

    fn look_at_cells(&self) -> Vec<CellLook> {
        thread::scope(|scope| {
            let ask = |cell: Arc<dyn Cell>| {
                let guid = cell.site().guid.clone();
                (guid, scope.spawn(move || cell.ping().is_ok()))
            };
            // All are asked before the first is waited for.
            let asked: Vec<_> = self.cells.all().into_iter().map(ask).collect();
            let seen = |(guid, asked): (CellGuid, thread::ScopedJoinHandle<'_, bool>)| {
                let up = asked.join().unwrap_or(false);
                CellLook { cell: guid.to_string(), up, nodes: self.nodes_on(&guid) }
            };
            asked.into_iter().map(seen).collect()
        })
    }

    fn look_at_store(&self) -> Result<StoreLook, StoreError> {
        let mut look = StoreLook::default();
        let survey = self.instances.survey()?;
        for record in &survey.records {
            *look.instances.entry(self.look_at(record)).or_default() += 1;
            if let Some(operation) = record.under_way() {
                *look.operations.entry(operation.kind.as_str()).or_default() += 1;
            }
        }
        if survey.unreadable > 0 {
            let unknown = || "unknown".to_owned();
            let unreadable = InstanceLook { service: unknown(), plan: unknown(), state: "unreadable" };
            look.instances.insert(unreadable, survey.unreadable);
        }
        (look.public_ports_free, look.public_ports_total) = self.ports.count_public()?;
        Ok(look)
    }

    fn look_at(&self, record: &InstanceRecord) -> InstanceLook {
        let service = self.offerings.catalog().service(&record.service_id);
        let plan = service.and_then(|service| service.plan(&record.plan_id));
        let state = match record.operation.as_ref().map(|operation| operation.state) {
            Some(OperationState::InProgress) => "in_progress",
            Some(OperationState::Failed) => "failed",
            // An ancestor's record tells of no operation: it was there.
            Some(OperationState::Succeeded) | None => "succeeded",
        };
        InstanceLook {
            service: service.map_or_else(|| record.service_id.to_string(), |service| service.name.clone()),
            plan: plan.map_or_else(|| record.plan_id.to_string(), |plan| plan.name.clone()),
            state,
        }
    }
}
