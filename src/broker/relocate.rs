//! Moves an instance's nodes off a cell, for an operator who drains it: an update to what the instance is already.

use std::collections::BTreeSet;

use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::reshape::Target;
use super::update::rehearsed;
use super::{Accepted, BrokerError};
use crate::model::{CellGuid, InstanceId};
use crate::scheduler::Step;
use crate::services::Change;
use crate::state::{InstanceRecord, OperationRecord, Stored, UpdateRecord};

impl Core {
    /// Begins to move the instance's nodes off a cell; with `rehearse` it only says which steps that would take.
    /// [`Accepted::Already`] when none of its nodes is there.
    pub(super) fn relocate(
        &self,
        instance: &InstanceId,
        away_from: &CellGuid,
        rehearse: bool,
    ) -> Result<Accepted, BrokerError> {
        for _ in 0..CONFLICTS {
            let record = self.instances.load(instance)?.ok_or(BrokerError::InstanceUnknown)?;
            match self.relocate_record(record, away_from, rehearse) {
                Err(BrokerError::Store(StoreError::Conflict)) => {}
                answer => return answer,
            }
        }
        Err(BrokerError::Concurrency)
    }

    fn relocate_record(
        &self,
        record: Stored<InstanceRecord>,
        away_from: &CellGuid,
        rehearse: bool,
    ) -> Result<Accepted, BrokerError> {
        if record.value.under_way().is_some() {
            return Err(BrokerError::Concurrency);
        }
        if record.value.nodes.iter().all(|node| node.backend_id != *away_from) {
            return Ok(Accepted::Already);
        }
        if let Some(reason) = self.unusable(&record.value) {
            return Err(BrokerError::InstanceFailed { reason: reason.to_owned() });
        }
        let update = as_it_is(&record.value);
        let plan = self.plan_of(&record.value)?;
        let change = self.driver_of(&record.value).update(plan, Some(plan), &record.value, &update)?;
        let Change::Reshape(wish) = change else { return Ok(Accepted::Already) };
        let left = BTreeSet::from([away_from.clone()]);
        let target = Target { plan, update: &update, wish: &wish, left: &left };
        let work = self.plan_reshape(&record.value, &target, rehearse)?;
        if rehearse {
            return Ok(rehearsed(&work.procedure.steps));
        }
        if work.procedure.steps.is_empty() {
            return Ok(Accepted::Already);
        }
        self.record_update(record, update, work, true)
    }
}

/// What changes nothing when it is done.
fn as_it_is(record: &InstanceRecord) -> UpdateRecord {
    UpdateRecord {
        previous_plan_id: record.plan_id.clone(),
        plan_id: record.plan_id.clone(),
        parameters: record.parameters.clone(),
        context: record.context.clone(),
        maintenance_version: record.maintenance_version.clone(),
    }
}

/// What is under way to move the instance's nodes off a cell, as [`Core::relocate`] began it, unless it is being undone.
pub(super) fn relocation<'a>(
    record: &'a InstanceRecord,
    away_from: &CellGuid,
) -> Option<&'a OperationRecord> {
    let leaves = |step: &Step| matches!(step, Step::RetireNode { cell, .. } if cell == away_from);
    record.under_way().filter(|operation| {
        operation.failure.is_none()
            && operation.update.as_ref() == Some(&as_it_is(record))
            && operation.steps.iter().any(leaves)
    })
}
