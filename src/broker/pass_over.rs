//! A cell that will not take a node is passed over: another cell is chosen, and the record changes in one
//! compare-and-swap, so that no container is forgotten.

use log::warn;
use storage::{Expect, StoreError};

use super::core::Core;
use super::step_error::StepError;
use super::worker::owe;
use crate::cells::CellError;
use crate::model::{CellGuid, NodeId};
use crate::scheduler::{self, Step, Wish};
use crate::state::{InstanceRecord, NodeRecord, OperationKind, PassedOver, Stored, keys};

impl Core {
    /// Plans a new node on another cell in place of `node`. Where its container `may_exist`, it is owed for removal.
    pub(super) fn pass_over(
        &self,
        mut stored: Stored<InstanceRecord>,
        node: &NodeId,
        may_exist: bool,
        reason: &CellError,
    ) -> Result<(), StepError> {
        warn!("instance {}: node {node} is passed over: {reason}", stored.value.instance_id);
        let Some(given_up) = stored.value.node(node).cloned() else { return Ok(()) };
        if let Some(operation) = &mut stored.value.operation {
            let cell = given_up.backend_id.clone();
            operation.passed_over.push(PassedOver { cell, may_exist, reason: reason.to_string() });
        }
        let replacement = match self.replacement(&stored.value, &given_up) {
            Err(StepError::Failed(reason)) => {
                warn!("instance {}: no other cell can be chosen: {reason}", stored.value.instance_id);
                None
            }
            replacement => replacement?,
        };
        match &replacement {
            Some(new) => replace(&mut stored.value, node, new),
            None => self.give_up(&mut stored.value)?,
        }
        // What an update undoes retires the node, whether its container exists or not.
        let is_undone = replacement.is_none() && is_update(&stored.value);
        if may_exist && !is_undone {
            owe(&mut stored.value, node, &reason.to_string());
        } else if replacement.is_some() {
            stored.value.nodes.retain(|known| known.node_id != *node);
        }
        if !may_exist && replacement.is_some() {
            // Before the record forgets the node: nobody looks for its place in the index afterwards.
            self.store.delete(&keys::backend(&stored.value.instance_id, node), Expect::Anything)?;
        }
        let record = stored.value.clone();
        match self.instances.save(stored) {
            Ok(_) => {}
            Err(error @ StoreError::OutcomeUnknown { .. }) => return Err(error.into()),
            Err(error) => {
                // The new node was not recorded, as it seems: its ports go back.
                self.release_nodes(&record, replacement.into_iter().collect());
                return Err(error.into());
            }
        }
        if !may_exist && replacement.is_some() {
            self.forget_node(&record, &given_up)?;
        }
        Ok(())
    }

    /// A node on a cell that has not been tried; `None` when there is none left.
    fn replacement(
        &self,
        record: &InstanceRecord,
        given_up: &NodeRecord,
    ) -> Result<Option<NodeRecord>, StepError> {
        let containers = self.containers_of(record)?;
        // An update places by what it makes of the instance.
        let update = record.operation.as_ref().and_then(|operation| operation.update.as_ref());
        let (plan, parameters) = match update {
            Some(update) => (self.offering_to(record, &update.plan_id)?.1, &update.parameters),
            None => (self.plan_of(record)?, &record.parameters),
        };
        let order = self
            .driver_of(record)
            .order(plan, parameters)
            .map_err(|error| StepError::Failed(error.reason))?;
        let loads = self.loads()?;
        let tried = record.operation.iter().flat_map(|operation| &operation.passed_over);
        let cordoned = loads.iter().filter(|load| load.cordoned).map(|load| &load.guid);
        let owed = record.owed.iter().map(|owed| &owed.node.backend_id);
        let mut excluded: Vec<CellGuid> =
            tried.map(|passed| &passed.cell).chain(cordoned).chain(owed).cloned().collect();
        // A cell that has left the configuration since it was named takes no node.
        let is_there = |guid: &CellGuid| loads.iter().any(|load| load.guid == *guid);
        let among: Option<Vec<CellGuid>> =
            order.cells.map(|cells| cells.into_iter().filter(is_there).collect());
        let others = record.nodes.iter().filter(|node| node.node_id != given_up.node_id);
        let occupied: Vec<CellGuid> = others.map(|node| node.backend_id.clone()).collect();
        loop {
            let wish =
                Wish { new_nodes: 1, occupied: &occupied, among: among.as_deref(), excluded: &excluded };
            let Ok(chosen) = scheduler::place(&loads, &wish) else { return Ok(None) };
            let Some(guid) = chosen.into_iter().next() else { return Ok(None) };
            match self.claim_node(record, self.mint.node(), &guid, containers.container_ports()) {
                Ok(node) => {
                    let (plan_id, build) = (given_up.plan_id.clone(), given_up.build.clone());
                    return Ok(Some(NodeRecord { plan_id, build, ..node }));
                }
                Err(super::BrokerError::Store(error)) => return Err(error.into()),
                // Out of ports: the next one may have some.
                Err(error) => warn!("passed over too: {error}"),
            }
            excluded.push(guid);
        }
    }

    /// No cell is left: the operation is undone.
    fn give_up(&self, record: &mut InstanceRecord) -> Result<(), StepError> {
        let passed_over = record.operation.iter().flat_map(|operation| &operation.passed_over);
        let reasons: Vec<&str> = passed_over.map(|passed| passed.reason.as_str()).collect();
        let reason = format!("no cell is left for a node: {}", reasons.join("; "));
        self.begin_undo(record, reason)
    }
}

fn is_update(record: &InstanceRecord) -> bool {
    record.operation.as_ref().is_some_and(|operation| operation.kind == OperationKind::Update)
}

/// Puts the new node beside the old one, and lets it be in every step what the old one was.
fn replace(record: &mut InstanceRecord, old: &NodeId, new: &NodeRecord) {
    record.nodes.push(new.clone());
    let Some(operation) = &mut record.operation else { return };
    for step in &mut operation.steps {
        match step {
            Step::AddNode { node, cell } if node == old => {
                (*node, *cell) = (new.node_id.clone(), new.backend_id.clone());
            }
            Step::AwaitNodes { nodes } | Step::HandOver { to: nodes } => {
                nodes.iter_mut().filter(|node| *node == old).for_each(|node| *node = new.node_id.clone());
            }
            _ => {}
        }
    }
}
