//! How an instance's last operation stands.

use super::core::Core;
use super::{BrokerError, LastOperation};
use crate::model::InstanceId;
use crate::state::{InstanceRecord, OperationKind, OperationRecord, OperationState};

impl Core {
    pub(super) fn last_operation(&self, instance: &InstanceId) -> Result<LastOperation, BrokerError> {
        let record = self.instances.load(instance)?.ok_or(BrokerError::InstanceGone)?.value;
        let Some(operation) = &record.operation else {
            // An ancestor's record: its operations have ended.
            let description = self.describe_members(&record)?;
            return Ok(LastOperation::Succeeded { description });
        };
        let description = operation.description.clone();
        Ok(match operation.state {
            OperationState::InProgress => {
                LastOperation::InProgress { description: self.describe_operation(&record, operation)? }
            }
            OperationState::Succeeded => LastOperation::Succeeded { description },
            OperationState::Failed => LastOperation::Failed { description },
        })
    }

    fn describe_operation(
        &self,
        record: &InstanceRecord,
        operation: &OperationRecord,
    ) -> Result<String, BrokerError> {
        let (done, all) = (operation.done, operation.steps.len());
        match (&operation.failure, operation.kind) {
            (Some(failure), _) => Ok(format!("cleaning up ({done} of {all} steps) after: {failure}")),
            (None, OperationKind::Provision) if operation.description.is_empty() => {
                self.describe_members(record)
            }
            // What a step waits for.
            (None, OperationKind::Provision) => {
                Ok(format!("{}: {}", self.describe_members(record)?, operation.description))
            }
            (None, OperationKind::Deprovision) if operation.description.is_empty() => {
                Ok(format!("removing ({done} of {all} steps)"))
            }
            (None, OperationKind::Deprovision) => {
                Ok(format!("removing ({done} of {all} steps): {}", operation.description))
            }
        }
    }

    /// The ancestors' words for how the members stand now.
    pub(super) fn describe_members(&self, record: &InstanceRecord) -> Result<String, BrokerError> {
        Ok(self.driver_of(record).progress(record)?.description)
    }
}
