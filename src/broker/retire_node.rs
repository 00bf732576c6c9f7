//! Takes a node out of a cluster that lives on: never its leader.

use std::time::Duration;

use log::warn;
use storage::{Expect, StoreError};

use super::core::Core;
use super::perform::Task;
use super::step_error::StepError;
use crate::cells::{Cell, CellError};
use crate::model::{CellGuid, ContainerName, NodeId};
use crate::services::MemberError;
use crate::state::{InstanceRecord, NodeRecord, OperationKind, keys};

/// How long a container may take to end where no plan says it any more.
const GRACE: Duration = Duration::from_secs(60);

impl Task<'_> {
    pub(super) fn retire_node(&self, node: &NodeId, guid: &CellGuid) -> Result<(), StepError> {
        let name = ContainerName::of(node);
        if self.record.nodes.iter().all(|other| other.node_id == *node) {
            return Err(StepError::Failed(format!("node {node} is the cluster's only one")));
        }
        let cell = self.core.cell(guid);
        let found = cell.as_ref().map_err(Clone::clone).and_then(|cell| cell.inspect(&name));
        // What was never made, or is gone, leads nothing.
        if !matches!(found, Ok(None)) {
            self.let_only_this_be_down(node)?;
            self.let_another_lead(node)?;
        }
        let grace = self.spec(node).map_or(GRACE, |spec| spec.stop_timeout);
        let removed = cell.and_then(|cell| found.and_then(|_| stop_and_remove(&*cell, &name, grace)));
        self.forget_member(node)?;
        if let Err(error) = removed {
            return Err(StepError::Owe(error.to_string()));
        }
        match self.record.node(node) {
            Some(node) => self.core.forget_node(self.record, node),
            None => Ok(()),
        }
    }

    /// Takes the rights to its entry among the members from it, and the entry: it may run yet where its cell does not
    /// answer.
    fn forget_member(&self, node: &NodeId) -> Result<(), StepError> {
        let mut without = self.record.clone();
        without.nodes.retain(|known| known.node_id != *node);
        self.on(&without).admit()?;
        Ok(self.core.containers_of(self.record)?.forget_member(self.record, node)?)
    }
}

fn stop_and_remove(cell: &dyn Cell, name: &ContainerName, grace: Duration) -> Result<(), CellError> {
    cell.stop(name, grace)?;
    cell.remove(name)
}

/// Whether the last that was asked for is its end.
pub(super) fn is_given_back(record: &InstanceRecord) -> bool {
    record.operation.as_ref().is_some_and(|last| last.kind == OperationKind::Deprovision)
}

impl Core {
    /// Whether the container of a node that is owed for removal may go now: never while it leads a cluster that lives
    /// on. Where it does, another one takes over first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) fn may_sweep(&self, record: &InstanceRecord, owed: &NodeRecord) -> Result<bool, StoreError> {
        if record.nodes.is_empty() || is_given_back(record) {
            return Ok(true);
        }
        let Ok(containers) = self.containers_of(record) else { return Ok(true) };
        let lasting: Vec<NodeId> = record.nodes.iter().map(|node| node.node_id.clone()).collect();
        let mut with_it = record.clone();
        with_it.nodes.push(owed.clone());
        match containers.hand_over(&with_it, &lasting) {
            Ok(()) => Ok(true),
            Err(MemberError::Store(error)) => Err(error),
            Err(MemberError::NotNow { reason } | MemberError::Refused { reason }) => {
                warn!("node {} is not removed yet, since it may lead: {reason}", owed.node_id);
                Ok(false)
            }
        }
    }

    /// Gives back what a node without a container has: its place in the index, and its ports, unless another node has
    /// got one of them since.
    pub(super) fn forget_node(&self, record: &InstanceRecord, node: &NodeRecord) -> Result<(), StepError> {
        self.store.delete(&keys::backend(&record.instance_id, &node.node_id), Expect::Anything)?;
        let owed = record.owed.iter().map(|owed| &owed.node);
        let others = record
            .nodes
            .iter()
            .chain(owed)
            .filter(|other| other.node_id != node.node_id && other.backend_id == node.backend_id);
        let kept: Vec<u16> = others.flat_map(|other| &other.ports).map(|port| port.host).collect();
        for port in node.ports.iter().filter(|port| !kept.contains(&port.host)) {
            self.ports.release_on_cell(&node.backend_id, &record.instance_id, port.host)?;
        }
        Ok(())
    }
}
