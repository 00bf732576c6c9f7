//! What every operation works with.

use std::collections::{BTreeSet, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;
use storage::{Clock, Expect, Store, StoreError};

use super::leaving::Marks;
use super::members::Members;
use super::offerings::Offerings;
use super::put_aside::PutAside;
use super::step_error::StepError;
use super::{BrokerError, Parts, Settings, StartError};
use crate::cells::{Cell, CellError, Cells};
use crate::metrics::Metrics;
use crate::model::{CellGuid, InstanceId, Mint, OperationId, Plan, PlanId, Service, ServiceId};
use crate::routing::{Allocations, PortPool};
use crate::scheduler::CellLoad;
use crate::services::{Containers, Driver, Drivers};
use crate::state::{Bindings, Cordons, InstanceRecord, Instances, Lease, Leases, NodeIndex, Orphans, keys};

/// How many instances may wait for a worker; what does not fit is found again by the scan for pending operations.
const QUEUE: usize = 1024;
/// How often a write is tried again after somebody else changed the record first.
pub(super) const CONFLICTS: usize = 8;

pub(super) struct Core {
    pub(super) store: Arc<dyn Store>,
    pub(super) instances: Instances,
    pub(super) bindings: Bindings,
    pub(super) orphans: Orphans,
    pub(super) cordons: Cordons,
    pub(super) allocations: Allocations,
    pub(super) ports: PortPool,
    leases: Leases,
    pub(super) members: Members,
    pub(super) cells: Cells,
    pub(super) offerings: Offerings,
    pub(super) drivers: Drivers,
    pub(super) mint: Arc<dyn Mint>,
    pub(super) settings: Settings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) put_aside: PutAside,
    pub(super) leaving: Marks,
    /// How many wait in the threads of their callers.
    pub(super) waiting: AtomicUsize,
    /// Says to the thread that drains cells that there is something new to do.
    pub(super) drain_asked: (Sender<()>, Receiver<()>),
    /// Held by what keeps a caller's thread for long.
    one_at_a_time: Mutex<()>,
    index: NodeIndex,
    clock: Arc<dyn Clock>,
    queue: Sender<InstanceId>,
    /// What is in the queue.
    queued: Mutex<HashSet<InstanceId>>,
    /// Whose operation a worker found to be somebody's already.
    turned_away: Mutex<HashSet<InstanceId>>,
    stopping: AtomicBool,
    /// Taken when it stops, which closes the next.
    stop: Mutex<Option<Sender<()>>>,
    pub(super) stopped: Receiver<()>,
}

impl Core {
    pub(super) fn start(parts: Parts, members: Members) -> Result<(Self, Receiver<InstanceId>), StartError> {
        let Parts { store, cells, catalog, drivers, clock, mint, metrics, settings } = parts;
        let (queue, queued) = bounded(QUEUE);
        let (stop, stopped) = bounded(0);
        let leases = Leases::start(Arc::clone(&store), settings.holder.clone()).map_err(super::no_thread)?;
        let core = Self {
            instances: Instances::new(Arc::clone(&store)),
            bindings: Bindings::new(Arc::clone(&store)),
            orphans: Orphans::new(Arc::clone(&store)),
            cordons: Cordons::new(Arc::clone(&store)),
            allocations: Allocations::new(Arc::clone(&store)),
            ports: PortPool::new(Arc::clone(&store), Arc::clone(&clock), settings.public_ports),
            index: NodeIndex::start(Arc::clone(&store), settings.pace.watch_for)?,
            offerings: Offerings::new(catalog, &drivers)?,
            waiting: AtomicUsize::new(0),
            drain_asked: bounded(1),
            one_at_a_time: Mutex::default(),
            put_aside: PutAside::default(),
            leaving: Marks::default(),
            queued: Mutex::default(),
            turned_away: Mutex::default(),
            stopping: AtomicBool::new(false),
            stop: Mutex::new(Some(stop)),
            stopped,
            leases,
            members,
            cells,
            drivers,
            mint,
            settings,
            metrics,
            clock,
            queue,
            store,
        };
        core.ports.adopt_allocations()?;
        Ok((core, queued))
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.put_aside.wake();
        self.index.begin_stop();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// For what keeps a caller's thread for long, one at a time. One that panicked has left nothing half-done behind it.
    ///
    /// # Errors
    /// [`BrokerError::Busy`] while there is another.
    pub(super) fn alone(&self) -> Result<MutexGuard<'_, ()>, BrokerError> {
        match self.one_at_a_time.try_lock() {
            Ok(alone) => Ok(alone),
            Err(TryLockError::Poisoned(after_panic)) => Ok(after_panic.into_inner()),
            Err(TryLockError::WouldBlock) => Err(BrokerError::Busy),
        }
    }

    /// Says to the workers that this instance has an operation under way. Saying it twice does no harm: while all of
    /// them are busy, the scan says it again and again.
    pub(super) fn enqueue(&self, instance: &InstanceId) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        if !queued.insert(instance.clone()) {
            return;
        }
        if self.queue.try_send(instance.clone()).is_err() {
            queued.remove(instance);
            warn!("the operation of instance {instance} waits for the next scan");
        }
    }

    /// Takes an instance's lease; `None` when another has it.
    pub(super) fn take(&self, instance: &InstanceId) -> Result<Option<HeldLease<'_>>, StoreError> {
        let lease = self.leases.take(instance)?;
        let then = || CallBack { core: self, instance: instance.clone() };
        Ok(lease.map(|lease| HeldLease { lease, _then: then() }))
    }

    /// The same for a worker. Where this broker has it already, and may have nothing to do any more with what is to be
    /// performed, the worker is called back.
    pub(super) fn take_to_perform(&self, instance: &InstanceId) -> Result<Option<HeldLease<'_>>, StoreError> {
        if let Some(lease) = self.take(instance)? {
            return Ok(Some(lease));
        }
        self.turned_away().insert(instance.clone());
        // Once more, since it may have been let go before that could be known.
        let lease = self.take(instance)?;
        if lease.is_some() {
            self.turned_away().remove(instance);
        }
        Ok(lease)
    }

    fn turned_away(&self) -> MutexGuard<'_, HashSet<InstanceId>> {
        self.turned_away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has taken this instance from the queue: from now on it may be queued again.
    pub(super) fn dequeued(&self, instance: &InstanceId) {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
    }

    /// Notes, before an operation is recorded, that it may be: what the scan for pending operations lists. The note
    /// names the operation, so that who ends an earlier one leaves it.
    pub(super) fn note_pending(
        &self,
        instance: &InstanceId,
        operation: &OperationId,
    ) -> Result<(), StoreError> {
        let note = format!("{} {operation}", self.now_ms());
        self.store.put(&keys::pending(instance), note.as_bytes(), None, Expect::Anything).map(|_| ())
    }

    /// Takes the note of an operation that has ended back; what fails is mended by the scan.
    pub(super) fn clear_pending(&self, instance: &InstanceId, operation: &OperationId) {
        let key = keys::pending(instance);
        let cleared = self.store.get(&key).and_then(|note| match note {
            Some(note) if note.value.ends_with(format!(" {operation}").as_bytes()) => {
                self.store.delete(&key, Expect::Unchanged(note.revision))
            }
            _ => Ok(()),
        });
        if let Err(error) = cleared {
            warn!("the note of a pending operation of {instance} is left for the scan: {error}");
        }
    }

    /// The wall clock in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        millis(since)
    }

    /// The service and plan with these ids.
    pub(super) fn offering(
        &self,
        service: &ServiceId,
        plan: &PlanId,
    ) -> Result<(&Service, &Plan), BrokerError> {
        self.offerings.find(service, plan)
    }

    /// The driver of a record, also when its plan has left the catalog.
    pub(super) fn driver_of(&self, record: &InstanceRecord) -> Arc<dyn Driver> {
        self.drivers.of(record.driver)
    }

    /// The same as far as containers go.
    pub(super) fn containers_of(&self, record: &InstanceRecord) -> Result<Arc<dyn Containers>, StepError> {
        let kind = record.driver;
        self.drivers
            .containers(kind)
            .ok_or_else(|| StepError::Failed(format!("instances of {} have no containers", kind.as_str())))
    }

    /// The plan of a record. Without it no container can be made; everything else goes on.
    pub(super) fn plan_of(&self, record: &InstanceRecord) -> Result<&Plan, BrokerError> {
        self.offering_to(record, &record.plan_id).map(|(_, plan)| plan)
    }

    /// A plan that an instance has or may get. The catalog may have given its service to another driver since, which
    /// knows nothing of it.
    pub(super) fn offering_to(
        &self,
        record: &InstanceRecord,
        plan: &PlanId,
    ) -> Result<(&Service, &Plan), BrokerError> {
        let (service, plan) = self.offering(&record.service_id, plan)?;
        if service.driver == record.driver {
            return Ok((service, plan));
        }
        let (now, then) = (service.driver.as_str(), record.driver.as_str());
        let reason =
            format!("the service {} is one of {now} by now, and the instance one of {then}", service.id);
        Err(BrokerError::WrongPlan { reason })
    }

    /// The cell with this guid.
    pub(super) fn cell(&self, guid: &CellGuid) -> Result<Arc<dyn Cell>, CellError> {
        let missing = || CellError::NoAnswer {
            cell: guid.clone(),
            reason: "it is not in the configuration any more".to_owned(),
        };
        self.cells.get(guid).ok_or_else(missing)
    }

    /// How many nodes stand on a cell.
    pub(super) fn nodes_on(&self, cell: &CellGuid) -> usize {
        self.index.nodes_on(cell)
    }

    /// The instances with nodes on a cell.
    pub(super) fn instances_on(&self, cell: &CellGuid) -> BTreeSet<InstanceId> {
        self.index.instances_on(cell)
    }

    /// What placement knows of the cells. Which of them take no new nodes is read from the store.
    pub(super) fn loads(&self) -> Result<Vec<CellLoad>, StoreError> {
        let cordons = self.cordons.list()?;
        let load = |cell: &Arc<dyn Cell>| CellLoad {
            guid: cell.site().guid.clone(),
            availability_zone: cell.site().availability_zone.clone(),
            nodes: self.index.nodes_on(&cell.site().guid),
            cordoned: cordons.contains_key(&cell.site().guid),
        };
        Ok(self.cells.all().iter().map(load).collect())
    }

    /// Whether the store and at least one cell answer.
    pub(super) fn ready(&self) -> Result<(), String> {
        if self.is_stopping() {
            return Err("the broker is stopping".to_owned());
        }
        self.store.get(&keys::next_port()).map_err(|error| error.to_string())?;
        if self.cells.is_empty() {
            // Nothing that is offered needs one.
            return Ok(());
        }
        let mut silent = Vec::new();
        for cell in self.cells.all() {
            match cell.ping() {
                Ok(_) => return Ok(()),
                Err(error) => silent.push(error.to_string()),
            }
        }
        Err(format!("no cell answers: {}", silent.join("; ")))
    }
}

/// An instance's lease. When it is let go, the instance is queued for whoever found it taken.
pub(super) struct HeldLease<'a> {
    // In the order in which they go.
    lease: Lease,
    _then: CallBack<'a>,
}

impl Deref for HeldLease<'_> {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

struct CallBack<'a> {
    core: &'a Core,
    instance: InstanceId,
}

impl Drop for CallBack<'_> {
    fn drop(&mut self) {
        if self.core.turned_away().remove(&self.instance) {
            self.core.enqueue(&self.instance);
        }
    }
}

/// A duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
