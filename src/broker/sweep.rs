//! What an instance's operations have left to be done when cells answer: containers of nodes that were given up are
//! removed, and nodes that an undoing could not make what they were are made that.

use std::collections::BTreeSet;

use log::{info, warn};
use storage::StoreError;

use super::core::Core;
use super::perform::Task;
use super::retire_node::is_given_back;
use super::step_error::StepError;
use crate::cells::CellError;
use crate::model::{CellGuid, ContainerName, InstanceId};
use crate::state::{InstanceRecord, Lease, NodeRecord, Stored, keys};

impl Core {
    /// Those cells that were `silent` are not asked again in this round: each silence takes as long as a call may.
    pub(super) fn sweep_owed(&self, silent: &mut BTreeSet<CellGuid>) -> Result<(), StoreError> {
        self.each_pending(|instance, _| self.sweep_instance(instance, silent))
    }

    /// One that is worked at is left alone.
    fn sweep_instance(
        &self,
        instance: &InstanceId,
        silent: &mut BTreeSet<CellGuid>,
    ) -> Result<(), StoreError> {
        let load =
            || Ok::<_, StoreError>(self.instances.load(instance)?.filter(|stored| is_swept(&stored.value)));
        if self.store.get(&keys::lease(instance))?.is_some() || load()?.is_none() {
            return Ok(());
        }
        let Some(lease) = self.take(instance)? else { return Ok(()) };
        // Read with the lease: from now on no worker begins anything.
        if let Some(record) = load()?
            && let Err(error) = self.sweep(instance, record, silent)
        {
            warn!("containers of instance {instance} stay owed for removal: {error}");
        }
        if let Some(record) = load()?
            && !is_given_back(&record.value)
            && let Err(error) = self.put_right(record, &lease, silent)
        {
            warn!("nodes of instance {instance} may be down yet: {error}");
        }
        Ok(())
    }

    /// Makes nodes what they are recorded as, as far as their cells answer. Those that have left the record need not be.
    fn put_right(
        &self,
        mut stored: Stored<InstanceRecord>,
        lease: &Lease,
        silent: &mut BTreeSet<CellGuid>,
    ) -> Result<(), StepError> {
        let mut unfinished = stored.value.unfinished.clone();
        unfinished.retain(|id| {
            let known = stored.value.nodes.iter().find(|node| node.node_id == *id);
            known.is_some_and(|node| {
                self.is_stopping()
                    || silent.contains(&node.backend_id)
                    || !self.is_put_right(&stored.value, node, lease, silent)
            })
        });
        if unfinished != stored.value.unfinished {
            stored.value.unfinished = unfinished;
            self.instances.save(stored)?;
        }
        Ok(())
    }

    fn is_put_right(
        &self,
        record: &InstanceRecord,
        node: &NodeRecord,
        lease: &Lease,
        silent: &mut BTreeSet<CellGuid>,
    ) -> bool {
        let (instance, id, cell) = (&record.instance_id, &node.node_id, &node.backend_id);
        let made = match self.cell(cell).and_then(|cell| cell.ping()) {
            Ok(_) => Task::new(self, record, lease).put_right(id, cell),
            Err(error) => {
                silent.insert(cell.clone());
                Err(StepError::Later(error.to_string()))
            }
        };
        match &made {
            Ok(()) => info!("instance {instance}: node {id} on cell {cell} runs again"),
            Err(error) => warn!("node {id} of instance {instance} may be down yet: {error}"),
        }
        made.is_ok()
    }

    /// Removes the containers that an instance owes, as far as their cells answer: never the one that leads.
    fn sweep(
        &self,
        instance: &InstanceId,
        mut stored: Stored<InstanceRecord>,
        silent: &mut BTreeSet<CellGuid>,
    ) -> Result<(), StepError> {
        let (mut changed, mut done) = (false, Vec::new());
        for at in 0..stored.value.owed.len() {
            let owed = &stored.value.owed[at];
            let (node, cell) = (owed.node.node_id.clone(), owed.node.backend_id.clone());
            if self.is_stopping() || silent.contains(&cell) {
                continue;
            }
            if let Err(error) = self.remove_owed(&stored.value, &owed.node, silent) {
                warn!("node {node} of instance {instance} stays owed for removal: {error}");
            } else if self.is_past_late_effects(owed.removed_ms) {
                info!("instance {instance}: swept node {node} from cell {cell}");
                done.push(node);
            } else if owed.removed_ms.is_none() {
                stored.value.owed[at].removed_ms = Some(self.now_ms());
                changed = true;
            }
        }
        if !changed && done.is_empty() {
            return Ok(());
        }
        // Given back before it is recorded: forgetting twice does no harm, forgetting never would.
        for owed in stored.value.owed.iter().filter(|owed| done.contains(&owed.node.node_id)) {
            self.forget_node(&stored.value, &owed.node)?;
            self.containers_of(&stored.value)?.forget_member(&stored.value, &owed.node.node_id)?;
        }
        stored.value.owed.retain(|owed| !done.contains(&owed.node.node_id));
        self.instances.save(stored)?;
        Ok(())
    }

    fn remove_owed(
        &self,
        record: &InstanceRecord,
        owed: &NodeRecord,
        silent: &mut BTreeSet<CellGuid>,
    ) -> Result<(), StepError> {
        let (name, guid) = (ContainerName::of(&owed.node_id), &owed.backend_id);
        let mut keeps_silent = |error: CellError| {
            silent.insert(guid.clone());
            StepError::Later(error.to_string())
        };
        let cell = self.cell(guid).map_err(&mut keeps_silent)?;
        let is_there = cell.inspect(&name).map_err(&mut keeps_silent)?.is_some();
        if is_there && !self.may_sweep(record, owed)? {
            return Err(StepError::Later("it may lead".to_owned()));
        }
        cell.remove(&name).map_err(keeps_silent)
    }
}

/// Whether something is left to be done, and nothing is under way that comes first.
fn is_swept(record: &InstanceRecord) -> bool {
    record.under_way().is_none() && record.waits_for_cells()
}

/// Whose nodes an update was to make what they were, and which may be down since it could not, for the words of its failure; empty where there is none.
pub(super) fn left_down(record: &InstanceRecord) -> String {
    let nodes = record.nodes.iter().filter(|node| record.unfinished.contains(&node.node_id));
    let down = |node: &NodeRecord| {
        format!("; node {} on cell {} may be down until its cell answers", node.node_id, node.backend_id)
    };
    nodes.map(down).collect()
}
