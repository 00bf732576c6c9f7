//! Makes a node's container anew on its volume.

use log::warn;

use super::core::Core;
use super::perform::Task;
use super::step_error::StepError;
use crate::cells::{CellError, ContainerState, ContainerView, label};
use crate::model::{Build, CellGuid, ContainerName, NodeId, PlanId};
use crate::state::InstanceRecord;

impl Task<'_> {
    pub(super) fn remake_node(&self, node: &NodeId, guid: &CellGuid, to: &Build) -> Result<(), StepError> {
        self.on(&remade(self.record, node, to)).remake_as_recorded(node, guid)
    }

    /// Makes a node run that was left while nobody knew how it was. One that runs, and cannot be made what it is recorded
    /// as, is left as it is: trying again and again would stop it again and again.
    pub(super) fn put_right(&self, node: &NodeId, guid: &CellGuid) -> Result<(), StepError> {
        let later = |error: CellError| StepError::Later(error.to_string());
        if let Some(found) = self.core.running(node, guid).map_err(later)? {
            let spec = self.spec(node).ok();
            if spec.is_none_or(|spec| found.labels.get(label::FINGERPRINT) == Some(&spec.fingerprint())) {
                return Ok(());
            }
        }
        match self.remake_as_recorded(node, guid) {
            Err(StepError::Failed(reason)) if matches!(self.core.running(node, guid), Ok(Some(_))) => {
                warn!("node {node} of instance {} stays as it is: {reason}", self.record.instance_id);
                Ok(())
            }
            made => made,
        }
    }

    /// One that is down already takes nobody down.
    fn remake_as_recorded(&self, node: &NodeId, guid: &CellGuid) -> Result<(), StepError> {
        let spec = self.spec(node)?;
        let is_only_one = self.record.nodes.iter().all(|other| other.node_id == *node);
        let cell = self.core.cell(guid);
        let found = cell.as_ref().map_err(Clone::clone).and_then(|cell| cell.inspect(&spec.name));
        let is_down = match found.map(|found| found.map(|view| view.state)) {
            Ok(state) => {
                matches!(state, None | Some(ContainerState::Created | ContainerState::Exited { .. }))
            }
            Err(_) => false,
        };
        if !is_only_one && !is_down {
            self.let_only_this_be_down(node)?;
            self.let_another_lead(node)?;
        }
        self.admit()?;
        let grace = spec.stop_timeout;
        match cell.and_then(|cell| cell.remake(&spec, grace)) {
            // What it said of itself before says nothing of how it is now: nobody must take it for running yet.
            Ok(()) => Ok(self.core.containers_of(self.record)?.forget_member(self.record, node)?),
            Err(error @ CellError::NoAnswer { .. }) => Err(StepError::Later(error.to_string())),
            Err(error) => Err(StepError::Failed(error.to_string())),
        }
    }
}

impl Core {
    /// A node's container, if it runs.
    pub(super) fn running(&self, node: &NodeId, guid: &CellGuid) -> Result<Option<ContainerView>, CellError> {
        let found = self.cell(guid)?.inspect(&ContainerName::of(node))?;
        Ok(found.filter(|view| view.state == ContainerState::Running))
    }
}

/// The record with this node made as `build`, as it is noted down when that is done.
pub(super) fn remade(record: &InstanceRecord, node: &NodeId, build: &Build) -> InstanceRecord {
    let mut remade = record.clone();
    let plan = plan_to_be(record).clone();
    for known in remade.nodes.iter_mut().filter(|known| known.node_id == *node) {
        (known.build, known.plan_id) = (Some(build.clone()), plan.clone());
    }
    remade
}

/// The plan that the instance is on its way to.
fn plan_to_be(record: &InstanceRecord) -> &PlanId {
    let going_on = record.under_way().filter(|operation| operation.failure.is_none());
    let update = going_on.and_then(|operation| operation.update.as_ref());
    update.map_or(&record.plan_id, |update| &update.plan_id)
}
