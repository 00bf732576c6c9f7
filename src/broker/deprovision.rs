//! Gives an instance back: records the plan; the workers do the rest.

use log::{info, warn};
use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::provision::{check_polled, running};
use super::{Accepted, BrokerError, DeprovisionRequest};
use crate::model::{PlanId, ServiceId};
use crate::state::{InstanceRecord, OperationKind, Stored};

/// How long it may take where the plan that would say so has left the catalog, in seconds.
const DEFAULT_LIMIT_S: u64 = 900;

impl Core {
    pub(super) fn deprovision(&self, request: &DeprovisionRequest) -> Result<Accepted, BrokerError> {
        for _ in 0..CONFLICTS {
            let Some(record) = self.instances.load(&request.instance)? else {
                return Err(BrokerError::InstanceGone);
            };
            check_hints(&record.value, request.service.as_ref(), request.plan.as_ref())?;
            if let Some(operation) = record.value.under_way() {
                if operation.kind != OperationKind::Deprovision {
                    return Err(BrokerError::Concurrency);
                }
                check_polled(operation.answering, request.accepts_incomplete)?;
                return Ok(running(operation));
            }
            match self.record_deprovision(record, request) {
                Err(BrokerError::Store(StoreError::Conflict)) => {}
                answer => return answer,
            }
        }
        Err(BrokerError::Concurrency)
    }

    fn record_deprovision(
        &self,
        mut record: Stored<InstanceRecord>,
        request: &DeprovisionRequest,
    ) -> Result<Accepted, BrokerError> {
        // What is not offered any more must be able to go all the same.
        let limit_s =
            self.plan_of(&record.value).map_or(DEFAULT_LIMIT_S, |plan| plan.maximum_polling_duration_s);
        let procedure = self.driver_of(&record.value).deprovision(&record.value);
        check_polled(procedure.answering, request.accepts_incomplete)?;
        let operation =
            self.new_operation(OperationKind::Deprovision, procedure, limit_s, request.accepts_incomplete);
        let (id, accepted) = (operation.id.clone(), running(&operation));
        let ancestors = record.value.format == 0;
        record.value.begin(operation);
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
        Ok(accepted)
    }
}

/// What a caller believes an instance to be must be so, where it says so.
pub(super) fn check_hints(
    record: &InstanceRecord,
    service: Option<&ServiceId>,
    plan: Option<&PlanId>,
) -> Result<(), BrokerError> {
    if service.is_none_or(|service| *service == record.service_id)
        && plan.is_none_or(|plan| *plan == record.plan_id)
    {
        return Ok(());
    }
    let reason = format!("the instance is one of service {} and plan {}", record.service_id, record.plan_id);
    Err(BrokerError::WrongPlan { reason })
}
