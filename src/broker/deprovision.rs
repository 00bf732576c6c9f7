//! Gives an instance back: records the plan; the workers do the rest.

use log::{info, warn};
use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::{Accepted, BrokerError, DeprovisionRequest};
use crate::scheduler;
use crate::state::{InstanceRecord, OperationKind, Stored};

/// How long it may take where the plan that would say so has left the catalog, in seconds.
const DEFAULT_LIMIT_S: u64 = 900;

impl Core {
    pub(super) fn deprovision(&self, request: &DeprovisionRequest) -> Result<Accepted, BrokerError> {
        for _ in 0..CONFLICTS {
            let Some(record) = self.instances.load(&request.instance)? else {
                return Err(BrokerError::InstanceGone);
            };
            check_ids(&record.value, request)?;
            if let Some(operation) = record.value.under_way() {
                return match operation.kind {
                    OperationKind::Deprovision => Ok(Accepted::Running { operation: operation.id.clone() }),
                    OperationKind::Provision => Err(BrokerError::Concurrency),
                };
            }
            match self.record_deprovision(record, request) {
                Err(BrokerError::Store(StoreError::Conflict)) => {}
                answer => return answer,
            }
        }
        Err(BrokerError::Busy)
    }

    fn record_deprovision(
        &self,
        mut record: Stored<InstanceRecord>,
        request: &DeprovisionRequest,
    ) -> Result<Accepted, BrokerError> {
        // What is not offered any more must be able to go all the same.
        let limit_s =
            self.plan_of(&record.value).map_or(DEFAULT_LIMIT_S, |plan| plan.maximum_polling_duration_s);
        let steps = scheduler::deprovision(&record.value.containers());
        let operation =
            self.new_operation(OperationKind::Deprovision, steps, limit_s, request.accepts_incomplete);
        let id = operation.id.clone();
        let ancestors = record.value.format == 0;
        record.value.operation = Some(operation);
        self.note_pending(&request.instance, &id)?;
        self.instances.save(record)?;
        info!("instance {}: {id}", request.instance);
        if ancestors {
            warn!(
                "instance {}: an ancestor made its containers, and called them otherwise: remove them by hand",
                request.instance
            );
        }
        self.enqueue(&request.instance);
        Ok(Accepted::Running { operation: id })
    }
}

fn check_ids(record: &InstanceRecord, request: &DeprovisionRequest) -> Result<(), BrokerError> {
    let service = request.service.as_ref().is_none_or(|service| *service == record.service_id);
    let plan = request.plan.as_ref().is_none_or(|plan| *plan == record.plan_id);
    if service && plan {
        return Ok(());
    }
    let reason = format!("the instance is one of service {} and plan {}", record.service_id, record.plan_id);
    Err(BrokerError::WrongPlan { reason })
}
