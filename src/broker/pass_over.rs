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
use crate::state::{InstanceRecord, NodeRecord, PassedOver, Stored, keys};

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
            operation.passed_over.push(PassedOver { cell, reason: reason.to_string() });
        }
        let replacement = self.replacement(&stored.value, &given_up)?;
        match &replacement {
            Some(new) => replace(&mut stored.value, node, new),
            None => self.give_up(&mut stored.value),
        }
        if may_exist {
            owe(&mut stored.value, node, &reason.to_string());
        } else if replacement.is_some() {
            stored.value.nodes.retain(|known| known.node_id != *node);
        }
        let record = stored.value.clone();
        match self.instances.save(stored) {
            Ok(_) => {}
            Err(error @ StoreError::OutcomeUnknown { .. }) => return Err(error.into()),
            Err(error) => {
                // The new node was not recorded, as it seems: its ports go back.
                let unrecorded: Vec<NodeRecord> = replacement.into_iter().collect();
                self.release_unspoken(&InstanceRecord { nodes: unrecorded, allocated_port: None, ..record });
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
        let (driver, plan) = (self.driver_of(record), self.plan_of(record)?);
        let containers = self.containers_of(record)?;
        let order =
            driver.order(plan, &record.parameters).map_err(|error| StepError::Failed(error.reason))?;
        let tried = record.operation.iter().flat_map(|operation| &operation.passed_over);
        let mut excluded: Vec<CellGuid> = tried.map(|passed| passed.cell.clone()).collect();
        let others = record.nodes.iter().filter(|node| node.node_id != given_up.node_id);
        let occupied: Vec<CellGuid> = others.map(|node| node.backend_id.clone()).collect();
        loop {
            let wish = Wish {
                new_nodes: 1,
                occupied: &occupied,
                among: order.cells.as_deref(),
                excluded: &excluded,
            };
            let Ok(chosen) = scheduler::place(&self.loads(), &wish) else { return Ok(None) };
            let Some(guid) = chosen.into_iter().next() else { return Ok(None) };
            match self.claim_node(record, self.mint.node(), &guid, containers.container_ports()) {
                Ok(node) => return Ok(Some(node)),
                Err(super::BrokerError::Store(error)) => return Err(error.into()),
                // Out of ports: the next one may have some.
                Err(error) => warn!("passed over too: {error}"),
            }
            excluded.push(guid);
        }
    }

    /// No cell is left: the operation is undone.
    fn give_up(&self, record: &mut InstanceRecord) {
        let steps = self.driver_of(record).roll_back(record);
        let Some(operation) = &mut record.operation else { return };
        let reasons: Vec<&str> = operation.passed_over.iter().map(|passed| passed.reason.as_str()).collect();
        operation.failure = Some(format!("no cell is left for a node: {}", reasons.join("; ")));
        (operation.steps, operation.done) = (steps, 0);
    }

    /// Gives back what a node without a container has: its ports and its place in the index.
    pub(super) fn forget_node(&self, record: &InstanceRecord, node: &NodeRecord) -> Result<(), StepError> {
        self.store.delete(&keys::backend(&record.instance_id, &node.node_id), Expect::Anything)?;
        for port in &node.ports {
            self.ports.release_on_cell(&node.backend_id, &record.instance_id, port.host)?;
        }
        Ok(())
    }
}

/// Puts the new node beside the old one, and makes it in the old one's step.
fn replace(record: &mut InstanceRecord, old: &NodeId, new: &NodeRecord) {
    record.nodes.push(new.clone());
    let Some(operation) = &mut record.operation else { return };
    let making = |step: &&mut Step| matches!(step, Step::AddNode { node, .. } if node == old);
    if let Some(step) = operation.steps.iter_mut().find(making) {
        *step = Step::AddNode { node: new.node_id.clone(), cell: new.backend_id.clone() };
    }
}
