//! Performs operations: takes an instance's lease, performs the recorded steps in order, and records each as done by
//! compare-and-swap. Whatever cuts it off, the next one goes on from the record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, select_biased};
use log::{debug, error, info, warn};
use storage::StoreError;

use super::Outcome;
use super::core::{CONFLICTS, Core};
use super::crash;
use super::orphans::left_behind;
use super::parking::Parking;
use super::perform::Task;
use super::remake_node::remade;
use super::step_error::StepError;
use super::sweep::left_down;
use crate::model::{InstanceId, NodeId, OperationId};
use crate::scheduler::Step;
use crate::state::{InstanceRecord, Lease, OperationKind, OperationState, OwedRemoval, Stored};

/// The threads that perform operations.
pub(super) struct Workers {
    core: Arc<Core>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Closed when the last of them has ended.
    ended: Receiver<()>,
}

impl Workers {
    pub(super) fn start(
        core: &Arc<Core>,
        queue: &Receiver<InstanceId>,
        parking: &Arc<Parking>,
    ) -> std::io::Result<Self> {
        let (end, ended) = bounded(0);
        let mut workers = Self { core: Arc::clone(core), threads: Vec::new(), ended };
        for number in 0..core.settings.workers {
            let worker =
                Worker { core: Arc::clone(core), queue: queue.clone(), parking: Arc::clone(parking) };
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            let end = end.clone();
            workers.threads.push(thread.spawn(move || {
                worker.work();
                drop(end);
            })?);
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    /// A worker may be inside a call to a cell that takes minutes, for an image, say: it is not waited for. Whatever it
    /// does is resumed as after any other death.
    fn drop(&mut self) {
        self.core.stop();
        if self.ended.recv_timeout(self.core.settings.pace.farewell) == Err(RecvTimeoutError::Timeout) {
            return warn!(
                "a worker does not leave its step; its operation is resumed when a broker starts again"
            );
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a worker panicked");
            }
        }
    }
}

struct Worker {
    core: Arc<Core>,
    queue: Receiver<InstanceId>,
    parking: Arc<Parking>,
}

impl Worker {
    fn work(&self) {
        while let Some(instance) = next(&self.queue, &self.core.stopped) {
            self.core.dequeued(&instance);
            self.perform_operation(&instance);
        }
    }

    fn perform_operation(&self, instance: &InstanceId) {
        let lease = match self.core.take_to_perform(instance) {
            Ok(Some(lease)) => lease,
            Ok(None) => return debug!("the operation of {instance} is somebody's already"),
            Err(error) => return warn!("the operation of {instance} waits: {error}"),
        };
        // One operation that trips over a mistake must not take the worker from the others. What is shared with them
        // is written in single steps, so that it holds after a panic too.
        let ran = catch_unwind(AssertUnwindSafe(|| self.run(instance, &lease)));
        let ran = ran.unwrap_or_else(|_| self.fail_after_panic(instance));
        // Before it is put aside: whoever takes it up at its time must find it free.
        drop(lease);
        match ran {
            Ok(()) | Err(StepError::Later(_)) => {}
            Err(StepError::NotBefore(due_ms)) => self.core.put_aside.until(due_ms, instance),
            Err(StepError::Abandoned) => info!("the operation of {instance} is left to be resumed"),
            Err(StepError::Store(StoreError::Conflict)) => {
                warn!("the operation of {instance} was changed by another")
            }
            Err(error) => warn!("the operation of {instance} waits to be resumed: {error}"),
        }
    }

    /// Performs steps until the operation has ended, reading the record anew before each.
    fn run(&self, instance: &InstanceId, lease: &Lease) -> Result<(), StepError> {
        let mut conflicts = 0;
        let mut performed: Option<OperationId> = None;
        loop {
            let Some(stored) = self.core.instances.load(instance)? else {
                // Of an instance that was not there from the beginning a note may stand whose record comes yet.
                performed.iter().for_each(|operation| self.core.clear_pending(instance, operation));
                return Ok(());
            };
            let task = Task::new(&self.core, &stored.value, lease);
            task.check_going_on()?;
            let Some(operation) = stored.value.under_way() else {
                if let (false, Some(ended)) = (stored.value.waits_for_cells(), &stored.value.operation) {
                    self.core.clear_pending(instance, &ended.id);
                }
                return Ok(());
            };
            performed = Some(operation.id.clone());
            let Some(step) = operation.steps.get(operation.done).cloned() else {
                self.finish(stored)?;
                continue;
            };
            let (kind, number) = (operation.kind.as_str(), operation.done);
            crash::point(kind, number, "before");
            let result = task.perform(&step);
            crash::point(kind, number, "performed");
            let recorded = match result {
                Ok(()) => self.record_done(stored),
                Err(StepError::Later(reason)) => self.try_later(stored, &step, &reason),
                Err(StepError::Owe(reason)) => self.owe_and_go_on(stored, &step, &reason),
                Err(StepError::PassOver { node, may_exist, reason }) => {
                    self.core.pass_over(stored, &node, may_exist, &reason)
                }
                Err(StepError::Failed(reason)) => self.fail(stored, reason, true),
                Err(StepError::Refused(reason)) => self.fail(stored, reason, false),
                // The record says what now.
                Err(StepError::Superseded) => Ok(()),
                Err(error) => Err(error),
            };
            match recorded {
                // Only brokers write the record, and this one has the lease: a late write of the last holder.
                Err(StepError::Store(StoreError::Conflict)) if conflicts < CONFLICTS => conflicts += 1,
                Err(error) => return Err(error),
                Ok(()) => crash::point(kind, number, "recorded"),
            }
        }
    }

    /// Performing the same step again would end the same way.
    fn fail_after_panic(&self, instance: &InstanceId) -> Result<(), StepError> {
        error!("a mistake in the broker ended the operation of {instance}");
        let Some(stored) = self.core.instances.load(instance)? else { return Ok(()) };
        if stored.value.under_way().is_none() {
            return Ok(());
        }
        self.fail(stored, "a mistake in the broker; see its log".to_owned(), true)
    }

    fn record_done(&self, mut stored: Stored<InstanceRecord>) -> Result<(), StepError> {
        let Some(operation) = &stored.value.operation else { return Ok(()) };
        let step = operation.steps.get(operation.done).cloned();
        if let Some(step) = &step {
            debug!("instance {}: done: {step}", stored.value.instance_id);
        }
        match step {
            Some(Step::RemoveNode { node, .. }) => self.core.note_removed(&mut stored.value, &node),
            Some(Step::RetireNode { node, .. }) => {
                self.core.note_removed(&mut stored.value, &node);
                stored.value.nodes.retain(|known| known.node_id != node);
            }
            Some(Step::RemakeNode { node, to, .. }) => {
                stored.value = remade(&stored.value, &node, &to);
                stored.value.unfinished.retain(|known| *known != node);
            }
            Some(Step::ReviveNode { node, .. }) => stored.value.unfinished.retain(|known| *known != node),
            _ => {}
        }
        self.go_on(stored)
    }

    /// The next step's turn.
    fn go_on(&self, mut stored: Stored<InstanceRecord>) -> Result<(), StepError> {
        if let Some(operation) = &mut stored.value.operation {
            operation.done += 1;
            // What held it up is over.
            operation.description.clear();
        }
        self.core.instances.save(stored)?;
        Ok(())
    }

    /// A step that cannot be done now: the worker turns to other instances, and the scan finds this one again. While a
    /// provision is undone nobody waits for a silent cell: what is left on it is owed, and swept later.
    fn try_later(
        &self,
        mut stored: Stored<InstanceRecord>,
        step: &Step,
        reason: &str,
    ) -> Result<(), StepError> {
        warn!("instance {}: cannot {step} now: {reason}", stored.value.instance_id);
        let Some(operation) = &mut stored.value.operation else { return Ok(()) };
        if (operation.failure.is_some() || operation.forced) && matches!(step, Step::RemoveNode { .. }) {
            return self.owe_and_go_on(stored, step, reason);
        }
        // A provision is undone however long that takes.
        let may_end = operation.failure.is_none() || operation.kind == OperationKind::Update;
        if may_end && self.core.now_ms() > operation.deadline_ms {
            return self.fail(stored, reason.to_owned(), true);
        }
        if operation.description != reason {
            reason.clone_into(&mut operation.description);
            self.core.instances.save(stored)?;
        }
        Err(StepError::Later(reason.to_owned()))
    }

    /// The node's container is removed when its cell answers again.
    fn owe_and_go_on(
        &self,
        mut stored: Stored<InstanceRecord>,
        step: &Step,
        reason: &str,
    ) -> Result<(), StepError> {
        if let Step::RemoveNode { node, .. } | Step::RetireNode { node, .. } = step {
            warn!("instance {}: {node} is owed for removal: {reason}", stored.value.instance_id);
            owe(&mut stored.value, node, reason);
        }
        self.go_on(stored)
    }

    /// A provision or an update that failed is undone; a deprovision stays as it is, to be asked for again. A step of an
    /// update's undoing that fails is left out: the others make the best of it.
    fn fail(
        &self,
        mut stored: Stored<InstanceRecord>,
        reason: String,
        is_repeatable: bool,
    ) -> Result<(), StepError> {
        warn!("instance {}: {reason}", stored.value.instance_id);
        let Some(operation) = &mut stored.value.operation else { return Ok(()) };
        let is_undone = operation.failure.is_some();
        match operation.kind {
            OperationKind::Update if is_undone => {
                let left_out = operation.steps.get(operation.done).cloned();
                if let Some(Step::RemakeNode { node, cell, .. }) = left_out
                    && !stored.value.unfinished.contains(&node)
                    && !matches!(self.core.running(&node, &cell), Ok(Some(_)))
                {
                    stored.value.unfinished.push(node);
                }
                self.go_on(stored)
            }
            OperationKind::Provision | OperationKind::Update if !is_undone => {
                operation.update_repeatable = (!is_repeatable).then_some(false);
                self.core.begin_undo(&mut stored.value, reason)?;
                self.core.instances.save(stored)?;
                Ok(())
            }
            kind => {
                operation.state = OperationState::Failed;
                operation.description = reason;
                if kind == OperationKind::Deprovision {
                    let mut begun = operation.steps.iter().take(operation.done + 1);
                    operation.instance_usable =
                        Some(begun.all(Step::changes_nothing) && !operation.replaces_provision());
                }
                self.end(stored)
            }
        }
    }

    /// Every step is done.
    fn finish(&self, mut stored: Stored<InstanceRecord>) -> Result<(), StepError> {
        let (standing, left) = (self.core.describe(&stored.value), left_behind(&stored.value));
        let down = left_down(&stored.value);
        let driver = self.core.driver_of(&stored.value);
        let is_undone = stored.value.operation.as_ref().is_some_and(|operation| operation.failure.is_some());
        let usable = if is_undone { self.core.is_usable(&stored.value)? } else { true };
        let Some(operation) = &mut stored.value.operation else { return Ok(()) };
        match (operation.kind, operation.failure.take()) {
            (OperationKind::Provision, None) => {
                operation.state = OperationState::Succeeded;
                operation.description = standing?;
                self.end(stored)
            }
            (OperationKind::Provision, Some(failure)) => {
                operation.state = OperationState::Failed;
                operation.description = failure;
                let answered = operation.answer_by_ms.is_some_and(|by| self.core.now_ms() < by);
                stored.value.nodes.clear();
                stored.value.allocated_port = None;
                if answered && stored.value.owed.iter().all(|owed| owed.removed_ms.is_some()) {
                    self.end_without_record(stored)
                } else {
                    self.end(stored)
                }
            }
            (OperationKind::Update, None) => {
                operation.state = OperationState::Succeeded;
                operation.description = standing?;
                let update = operation.update.clone();
                update.into_iter().for_each(|update| stored.value.apply(update));
                self.end(stored)
            }
            (OperationKind::Update, Some(failure)) => {
                operation.state = OperationState::Failed;
                operation.description = failure + &down;
                operation.instance_usable = Some(usable);
                let asked_for = operation.update.as_ref();
                let may_go_well = || asked_for.map(|update| driver.is_update_repeatable(update));
                operation.update_repeatable = operation.update_repeatable.or_else(may_go_well);
                self.end(stored)
            }
            (OperationKind::Deprovision, _) => {
                operation.state = OperationState::Succeeded;
                operation.description = left;
                self.end_without_record(stored)
            }
        }
    }

    fn end(&self, stored: Stored<InstanceRecord>) -> Result<(), StepError> {
        let stored = self.core.instances.save(stored)?;
        self.tell(&stored.value);
        Ok(())
    }

    fn end_without_record(&self, stored: Stored<InstanceRecord>) -> Result<(), StepError> {
        self.core.remember_orphans(&stored.value)?;
        self.core.instances.remove(&stored)?;
        self.tell(&stored.value);
        Ok(())
    }

    fn tell(&self, record: &InstanceRecord) {
        let Some(operation) = &record.operation else { return };
        let Some(outcome) = Outcome::of(operation.clone().into()) else { return };
        info!(
            "instance {}: {} {}: {}",
            record.instance_id, operation.id, operation.state, operation.description
        );
        self.core.count_end(operation);
        self.parking.ended(&operation.id, &outcome);
    }
}

/// Waits for an instance with something to do; `None` once `stopped` is closed, whatever is in the queue.
fn next(queue: &Receiver<InstanceId>, stopped: &Receiver<()>) -> Option<InstanceId> {
    select_biased! {
        recv(stopped) -> _ => None,
        recv(queue) -> instance => instance.ok(),
    }
}

/// Takes a node out of the placement and notes that its container may exist all the same.
pub(super) fn owe(record: &mut InstanceRecord, node: &NodeId, reason: &str) {
    if let Some(at) = record.nodes.iter().position(|known| known.node_id == *node) {
        let node = record.nodes.remove(at);
        record.owed.push(OwedRemoval { node, reason: reason.to_owned(), removed_ms: None });
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::{RecvTimeoutError, bounded};

    use super::next;
    use crate::model::InstanceId;

    /// It once looked twice a second whether it was to stop, which every stop of an idle broker waited for.
    #[test]
    fn an_idle_worker_ends_when_it_is_told() {
        let (queue, queued) = bounded(1);
        let (stop, stopped) = bounded::<()>(0);
        let (end, ended) = bounded(0);
        let instance = InstanceId::parse("b1").unwrap();
        thread::scope(|scope| {
            let (queued, stopped) = (&queued, &stopped);
            scope.spawn(move || end.send(next(queued, stopped)));
            assert_eq!(ended.recv_timeout(Duration::from_millis(20)), Err(RecvTimeoutError::Timeout));
            drop(stop);
            assert_eq!(ended.recv_timeout(Duration::from_secs(30)), Ok(None));
        });
        // What was queued is resumed by the next broker.
        queue.send(instance).unwrap();
        assert_eq!(next(&queued, &stopped), None);
    }

    #[test]
    fn what_is_queued_is_performed() {
        let (queue, queued) = bounded(1);
        let (_stop, stopped) = bounded::<()>(0);
        let instance = InstanceId::parse("b1").unwrap();
        queue.send(instance.clone()).unwrap();
        assert_eq!(next(&queued, &stopped), Some(instance));
    }
}
