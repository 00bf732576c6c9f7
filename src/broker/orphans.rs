//! Nodes that outlive their instances: what a forced deprovision left on cells that do not answer, and what a call whose
//! answer was lost may make yet. They are removed when their cells answer.

use std::collections::BTreeSet;

use log::{info, warn};
use storage::{Expect, StoreError};

use super::core::{Core, millis};
use super::step_error::StepError;
use super::worker::owe;
use crate::model::{CellGuid, ContainerName, InstanceId, NodeId};
use crate::scheduler::Step;
use crate::state::{
    InstanceRecord, OperationKind, OperationRecord, OrphanRecord, OwedRemoval, PassedOver, Stored, keys,
};

impl Core {
    /// What a record that is about to go owes outlives it.
    pub(super) fn remember_orphans(&self, record: &InstanceRecord) -> Result<(), StoreError> {
        for owed in &record.owed {
            if owed.removed_ms.is_none() {
                let (node, cell) = (&owed.node.node_id, &owed.node.backend_id);
                warn!("instance {}: node {node} is left on cell {cell}: {}", record.instance_id, owed.reason);
            }
            self.orphans.remember(OrphanRecord {
                write_id: String::new(),
                instance_id: record.instance_id.clone(),
                driver: record.driver,
                node: owed.node.clone(),
                reason: owed.reason.clone(),
                since_ms: self.now_ms(),
                removed_ms: owed.removed_ms,
            })?;
        }
        Ok(())
    }

    /// A step has removed a node and given back what it had. One that somebody may be making yet stays owed, for one more
    /// look.
    pub(super) fn note_removed(&self, record: &mut InstanceRecord, node: &NodeId) {
        let cell = record.node(node).map(|node| node.backend_id.clone());
        let may_come_late = |operation: &OperationRecord| {
            let may_exist = |passed: &PassedOver| passed.may_exist && Some(&passed.cell) == cell.as_ref();
            let passed_over = operation.passed_over.iter().any(may_exist);
            operation.replaces.is_some() || passed_over
        };
        if record.operation.as_ref().is_some_and(may_come_late) {
            owe(record, node, "somebody may have been making it");
        }
        if let Some(owed) = record.owed.iter_mut().find(|owed| owed.node.node_id == *node) {
            owed.removed_ms = Some(self.now_ms());
            // Somebody else may have them by the time of that look.
            owed.node.ports.clear();
        }
    }

    /// Whether this was removed long enough ago for a late effect of another call to have shown itself by now.
    pub(super) fn is_past_late_effects(&self, removed_ms: Option<u64>) -> bool {
        removed_ms
            .is_some_and(|at| self.now_ms().saturating_sub(at) >= millis(self.settings.pace.sweep_every))
    }

    /// Removes orphans as far as their cells answer. Those that were `silent` are not asked again in this round.
    pub(super) fn sweep_orphans(&self, silent: &mut BTreeSet<CellGuid>) -> Result<(), StoreError> {
        for orphan in self.orphans.list()? {
            if self.is_stopping() {
                return Ok(());
            }
            let (node, cell) = (orphan.value.node.node_id.clone(), orphan.value.node.backend_id.clone());
            if silent.contains(&cell) {
                continue;
            }
            match self.sweep_orphan(orphan, silent) {
                Ok(()) => {}
                // What is in the way of this one need not be in the others'.
                Err(StepError::Store(error @ StoreError::Unavailable { .. })) => return Err(error),
                Err(error) => warn!("the orphan {node} stays on cell {cell}: {error}"),
            }
        }
        Ok(())
    }

    fn sweep_orphan(
        &self,
        orphan: Stored<OrphanRecord>,
        silent: &mut BTreeSet<CellGuid>,
    ) -> Result<(), StepError> {
        let (node, cell) = (&orphan.value.node.node_id, &orphan.value.node.backend_id);
        let instance = &orphan.value.instance_id;
        if self.names(instance, node)? {
            return Ok(());
        }
        // Before the lease is taken: another instance of that id need not wait for a silent cell.
        if let Err(error) = self.cell(cell).and_then(|known| known.remove(&ContainerName::of(node))) {
            silent.insert(cell.clone());
            return Err(StepError::Later(error.to_string()));
        }
        let Some(_lease) = self.take(instance)? else { return Ok(()) };
        self.store.delete(&keys::backend(instance, node), Expect::Anything)?;
        let is_its_own = match self.instances.load(instance)? {
            None => true,
            Some(next) => orphan.value.removed_ms.is_none() && waits_for_orphans(&next.value),
        };
        if is_its_own {
            self.forget_scope(&orphan.value)?;
        }
        if orphan.value.removed_ms.is_none() {
            info!("removed the orphan {node} of instance {instance} from cell {cell}");
            self.orphans.note_removed(orphan, self.now_ms())?;
            return Ok(());
        }
        if !self.is_past_late_effects(orphan.value.removed_ms) {
            return Ok(());
        }
        // First, and by one alone: what is given back twice may be another's by then.
        self.orphans.forget(&orphan)?;
        for port in &orphan.value.node.ports {
            if let Err(error) = self.ports.release_on_cell(cell, instance, port.host) {
                warn!("a claim of instance {instance} is left to be reaped: {error}");
            }
        }
        Ok(())
    }

    /// Whether the instance's record still names the node: the orphan was written by one who died before he removed the
    /// record, and whoever resumes that goes on from there.
    fn names(&self, instance: &InstanceId, node: &NodeId) -> Result<bool, StoreError> {
        let record = self.instances.load(instance)?;
        Ok(record.is_some_and(|record| record.value.node(node).is_some()))
    }

    /// A member of an earlier instance of that id that has the broker's own access to the store writes where this
    /// instance's members are to: none of them is made before it is gone, and what it wrote.
    ///
    /// # Errors
    /// [`StepError::Later`] while there is one.
    pub(super) fn check_scope_is_free(&self, record: &InstanceRecord) -> Result<(), StepError> {
        if !waits_for_orphans(record) {
            return Ok(());
        }
        let writes =
            |orphan: &OrphanRecord| orphan.instance_id == record.instance_id && orphan.removed_ms.is_none();
        match self.orphans.list()?.into_iter().map(|orphan| orphan.value).find(writes) {
            Some(OrphanRecord { node, .. }) => Err(StepError::Later(format!(
                "node {} of an earlier instance of that id is still to be removed from cell {}",
                node.node_id, node.backend_id
            ))),
            None => Ok(()),
        }
    }

    /// Removes what the orphan's member wrote while nobody could stop it. There is no instance of that id, or none that
    /// has made anything that writes: whoever does has its lease.
    fn forget_scope(&self, orphan: &OrphanRecord) -> Result<(), StepError> {
        let Some(containers) = self.drivers.containers(orphan.driver) else { return Ok(()) };
        let instance: &InstanceId = &orphan.instance_id;
        containers.dismiss(instance)?;
        containers.forget(instance)?;
        Ok(())
    }
}

/// Whether an instance is one whose first node is still to be made, with the store's access shared.
fn waits_for_orphans(record: &InstanceRecord) -> bool {
    let Some(operation) = record.under_way() else { return false };
    let mut done = operation.steps.iter().take(operation.done);
    record.store_credentials.is_none()
        && operation.kind == OperationKind::Provision
        && operation.failure.is_none()
        && !done.any(|step| matches!(step, Step::AddNode { .. }))
}

/// What an operation did not wait to be removed, for whoever asks how it stands or ended; empty where there is none.
pub(super) fn left_behind(record: &InstanceRecord) -> String {
    let Some(operation) = &record.operation else { return String::new() };
    let was_passed = |owed: &&OwedRemoval| {
        let removes =
            |step: &Step| matches!(step, Step::RemoveNode { node, .. } if *node == owed.node.node_id);
        owed.removed_ms.is_none() && operation.steps.iter().take(operation.done).any(removes)
    };
    let left = record.owed.iter().filter(was_passed);
    let left: Vec<String> =
        left.map(|owed| format!("node {} on cell {}", owed.node.node_id, owed.node.backend_id)).collect();
    if left.is_empty() { String::new() } else { format!("left until its cell answers: {}", left.join(", ")) }
}
