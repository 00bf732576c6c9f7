//! An operation that failed becomes its own undoing: the plan in the record is replaced by the way back.

use log::warn;

use super::core::Core;
use super::step_error::StepError;
use crate::model::Plan;
use crate::scheduler::{self, Step};
use crate::state::{InstanceRecord, OperationKind};

impl Core {
    /// Replaces the steps by those that undo what was begun of them; none where there is nothing to undo. A provision
    /// has for that what is left of its time, and everything that it made goes; an update has its time anew, and leaves
    /// what it can.
    pub(super) fn begin_undo(&self, record: &mut InstanceRecord, reason: String) -> Result<(), StepError> {
        let driver = self.driver_of(record);
        let undoing = match record.operation.as_ref().map(|operation| operation.kind) {
            Some(OperationKind::Provision) => driver.roll_back(record),
            Some(OperationKind::Update) if self.containers_of(record).is_ok() => self.way_back(record)?,
            _ => Vec::new(),
        };
        let deadline_ms = self.now_ms().saturating_add(self.limit_s(record).saturating_mul(1000));
        let Some(operation) = &mut record.operation else { return Ok(()) };
        if operation.kind == OperationKind::Update {
            let mut begun = operation.steps.iter().take(operation.done + 1);
            let as_before = begun.all(Step::changes_nothing);
            operation.instance_usable = as_before.then_some(true);
            operation.deadline_ms = deadline_ms;
        }
        operation.failure = Some(reason);
        operation.description.clear();
        (operation.steps, operation.done) = (undoing, 0);
        Ok(())
    }

    fn way_back(&self, record: &InstanceRecord) -> Result<Vec<Step>, StepError> {
        let Some(operation) = &record.operation else { return Ok(Vec::new()) };
        match self.standings(record, None) {
            Ok(nodes) => {
                let begun = operation.done + usize::from(!self.is_untouched(record));
                Ok(scheduler::undo_reshape(&nodes, &operation.steps, begun))
            }
            Err(error @ StepError::Store(_)) => Err(error),
            Err(error) => {
                warn!("instance {}: what failed cannot be undone: {error}", record.instance_id);
                Ok(Vec::new())
            }
        }
    }

    /// Whether the next step would take away a node that runs: it has waited for the others, and nothing has come of it.
    fn is_untouched(&self, record: &InstanceRecord) -> bool {
        let next = record.operation.as_ref().and_then(|operation| operation.steps.get(operation.done));
        let Some(Step::RetireNode { node, cell }) = next else { return false };
        matches!(self.running(node, cell), Ok(Some(_)))
    }

    /// How long an operation on it may take, in seconds. What is not offered any more must be able to go all the same.
    pub(super) fn limit_s(&self, record: &InstanceRecord) -> u64 {
        let default = Plan::MAXIMUM_POLLING_DURATION_S.into();
        self.plan_of(record).map_or(default, |plan| plan.maximum_polling_duration_s)
    }

    /// Why it cannot be used now. A cluster whose update failed may have found a leader since.
    pub(super) fn unusable<'a>(&self, record: &'a InstanceRecord) -> Option<&'a str> {
        let is_update =
            record.operation.as_ref().is_some_and(|operation| operation.kind == OperationKind::Update);
        record.unusable().filter(|_| !is_update || !matches!(self.is_usable(record), Ok(true)))
    }

    /// Whether an instance whose update has failed can be used: what was begun of it changes nothing, or its cluster has
    /// a leader that runs.
    pub(super) fn is_usable(&self, record: &InstanceRecord) -> Result<bool, StepError> {
        let noted = record.operation.as_ref().and_then(|operation| operation.instance_usable);
        if noted == Some(true) {
            return Ok(true);
        }
        let Ok(containers) = self.containers_of(record) else { return Ok(false) };
        let progress = containers.progress(record)?;
        Ok(progress.leader.is_some_and(|leader| progress.caught_up.contains(&leader)))
    }
}
