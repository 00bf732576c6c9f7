//! How the last operation of an instance or of a binding stands.

use std::time::Duration;

use super::binding_record::check_binding_hints;
use super::core::Core;
use super::deprovision::check_hints;
use super::orphans::left_behind;
use super::{BrokerError, LastOperation, PollRequest};
use crate::model::BindingId;
use crate::state::{
    BindingKind, BindingOperation, EndedOperation, InstanceRecord, OperationKind, OperationRecord,
    OperationState,
};

/// When it is worth to ask again, at the latest, for what nobody knows the end of.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

impl Core {
    pub(super) fn last_operation(&self, request: &PollRequest) -> Result<LastOperation, BrokerError> {
        let instance = self.instances.load(&request.instance)?.map(|stored| stored.value);
        match (&request.binding, instance) {
            (Some(binding), Some(instance)) => self.poll_binding(request, binding, &instance),
            (Some(_), None) => Err(binding_is_not_there(request)),
            (None, Some(instance)) => self.poll_instance(request, &instance),
            (None, None) => Err(instance_is_not_there(request)),
        }
    }

    fn poll_instance(
        &self,
        request: &PollRequest,
        record: &InstanceRecord,
    ) -> Result<LastOperation, BrokerError> {
        check_polled_plan(request, record)?;
        let Some(last) = &record.operation else {
            // An ancestor's record: its operations have ended.
            return Ok(LastOperation::Succeeded { description: self.describe(record)? });
        };
        let named = match &request.operation {
            Some(id) => record.operation(id).ok_or_else(no_such_operation)?,
            None => last.clone().into(),
        };
        let EndedOperation { state, description, instance_usable, update_repeatable, .. } = named;
        Ok(match state {
            OperationState::InProgress => LastOperation::InProgress {
                description: self.describe_operation(record, last)?,
                retry_after: Some(self.pause(last)),
            },
            OperationState::Succeeded => LastOperation::Succeeded { description },
            OperationState::Failed => {
                LastOperation::Failed { description, instance_usable, update_repeatable }
            }
        })
    }

    /// The time that is left, where it is known; else longer pauses the longer it takes.
    fn pause(&self, operation: &OperationRecord) -> Duration {
        let now_ms = self.now_ms();
        match operation.waits_until_ms() {
            Some(until_ms) => Duration::from_millis(until_ms.saturating_sub(now_ms)).max(SHORTEST_PAUSE),
            None => {
                let elapsed = Duration::from_millis(now_ms.saturating_sub(operation.started_ms));
                (elapsed / 5).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
            }
        }
    }

    fn poll_binding(
        &self,
        request: &PollRequest,
        binding: &BindingId,
        instance: &InstanceRecord,
    ) -> Result<LastOperation, BrokerError> {
        let Some(stored) = self.settled_binding(&request.instance, binding)? else {
            return Err(binding_is_not_there(request));
        };
        let plan = request.plan.as_ref();
        check_binding_hints(instance, &stored.value, request.service.as_ref(), plan)?;
        let Some(last) = &stored.value.operation else {
            return match request.operation {
                Some(_) => Err(no_such_operation()),
                None => Ok(LastOperation::Succeeded { description: "bound".to_owned() }),
            };
        };
        let halted = last.halted.as_ref().map(|halted| halted.as_str());
        match request.operation.as_deref() {
            Some(named) if halted == Some(named) => {
                Ok(failed("the binding was ended before it was made".to_owned()))
            }
            Some(named) if named != last.id.as_str() => Err(no_such_operation()),
            _ => Ok(self.standing(last)),
        }
    }

    fn standing(&self, operation: &BindingOperation) -> LastOperation {
        let (doing, done) = match operation.kind {
            BindingKind::Bind => ("binding", "bound"),
            BindingKind::Unbind => ("unbinding", "unbound"),
        };
        match operation.state {
            OperationState::InProgress => {
                let left = Duration::from_millis(operation.due_ms.saturating_sub(self.now_ms()));
                let retry_after = Some(left.max(SHORTEST_PAUSE));
                LastOperation::InProgress { description: doing.to_owned(), retry_after }
            }
            OperationState::Succeeded => LastOperation::Succeeded { description: done.to_owned() },
            OperationState::Failed => failed(operation.failure.clone().unwrap_or_default()),
        }
    }

    fn describe_operation(
        &self,
        record: &InstanceRecord,
        operation: &OperationRecord,
    ) -> Result<String, BrokerError> {
        let (done, all) = (operation.done, operation.steps.len());
        let begun = match (&operation.failure, operation.kind) {
            (Some(failure), _) => {
                return Ok(format!("cleaning up ({done} of {all} steps) after: {failure}"));
            }
            (None, OperationKind::Provision | OperationKind::Update) => self.describe(record)?,
            (None, OperationKind::Deprovision) => format!("removing ({done} of {all} steps)"),
        };
        let left = left_behind(record);
        let begun = if left.is_empty() { begun } else { format!("{begun}; {left}") };
        // What a step waits for.
        let waits_for = &operation.description;
        Ok(if waits_for.is_empty() { begun } else { format!("{begun}: {waits_for}") })
    }

    /// How the instance stands now, in the driver's words; of a cluster, in the ancestors'.
    pub(super) fn describe(&self, record: &InstanceRecord) -> Result<String, BrokerError> {
        Ok(self.driver_of(record).describe(record)?)
    }
}

fn failed(description: String) -> LastOperation {
    LastOperation::Failed { description, instance_usable: None, update_repeatable: None }
}

/// Who polls an update goes on to call the plan that was there before it (OSB 2.17, "Polling Last Operation").
fn check_polled_plan(request: &PollRequest, record: &InstanceRecord) -> Result<(), BrokerError> {
    let update = record.operation.as_ref().and_then(|operation| operation.update.as_ref());
    let before = update.map(|update| &update.previous_plan_id);
    let plan = request.plan.as_ref().filter(|plan| Some(*plan) != before);
    check_hints(record, request.service.as_ref(), plan)
}

fn no_such_operation() -> BrokerError {
    BrokerError::InvalidParameters { reason: "no operation with this id is known (any more)".to_owned() }
}

fn names(request: &PollRequest, kind: &str) -> bool {
    let rest = request.operation.as_deref().and_then(|operation| operation.strip_prefix(kind));
    rest.is_some_and(|rest| rest.starts_with('-'))
}

/// Gone is what was to go; whoever polls for something to come must not take that for a success. The ancestors' users
/// name no operation, and poll until it is gone.
fn instance_is_not_there(request: &PollRequest) -> BrokerError {
    let comes =
        [OperationKind::Provision, OperationKind::Update].iter().any(|kind| names(request, kind.as_str()));
    if comes { BrokerError::InstanceUnknown } else { BrokerError::InstanceGone }
}

fn binding_is_not_there(request: &PollRequest) -> BrokerError {
    let comes = names(request, BindingKind::Bind.as_str());
    if comes { BrokerError::BindingUnknown } else { BrokerError::BindingGone }
}
