//! Gives an instance back: records the plan; the workers do the rest. What is under way on the instance ends by that.

use log::{info, warn};
use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::parking::Parking;
use super::provision::{check_polled, running};
use super::{Accepted, BrokerError, DeprovisionRequest, Outcome};
use crate::model::{PlanId, ServiceId};
use crate::state::{InstanceRecord, OperationKind, OperationRecord, OperationState, Stored};

/// What is said of an operation in whose place a deprovision came (OSB 2.17, "Deprovisioning").
const ENDED: &str = "ended by a deprovision";

impl Core {
    pub(super) fn deprovision(
        &self,
        request: &DeprovisionRequest,
        parking: &Parking,
    ) -> Result<Accepted, BrokerError> {
        for _ in 0..CONFLICTS {
            let Some(record) = self.instances.load(&request.instance)? else {
                return Err(BrokerError::InstanceGone);
            };
            check_hints(&record.value, request.service.as_ref(), request.plan.as_ref())?;
            let answer = match record.value.under_way() {
                Some(operation) if operation.kind == OperationKind::Deprovision => {
                    check_polled(operation.answering, request.accepts_incomplete)?;
                    self.join_deprovision(record, request)
                }
                _ => self.record_deprovision(record, request, parking),
            };
            match answer {
                Err(BrokerError::Store(StoreError::Conflict)) => {}
                answer => return answer,
            }
        }
        Err(BrokerError::Concurrency)
    }

    /// One is under way already: it goes on, without waiting for silent cells from now on where that is asked for.
    fn join_deprovision(
        &self,
        mut record: Stored<InstanceRecord>,
        request: &DeprovisionRequest,
    ) -> Result<Accepted, BrokerError> {
        let Some(operation) = &mut record.value.operation else { return Err(BrokerError::Concurrency) };
        let accepted = running(operation);
        if request.force && !operation.forced {
            operation.forced = true;
            info!("instance {}: {} is forced from now on", request.instance, operation.id);
            self.instances.save(record)?;
            self.enqueue(&request.instance);
        }
        Ok(accepted)
    }

    fn record_deprovision(
        &self,
        mut record: Stored<InstanceRecord>,
        request: &DeprovisionRequest,
        parking: &Parking,
    ) -> Result<Accepted, BrokerError> {
        let limit_s = self.limit_s(&record.value);
        let ended = end_by_deprovision(&mut record.value);
        let procedure = self.driver_of(&record.value).deprovision(&record.value);
        check_polled(procedure.answering, request.accepts_incomplete)?;
        let mut operation =
            self.new_operation(OperationKind::Deprovision, procedure, limit_s, request.accepts_incomplete);
        operation.forced = request.force;
        operation.replaces = ended.as_ref().map(|ended| ended.id.clone());
        let (id, accepted) = (operation.id.clone(), running(&operation));
        let ancestors = record.value.format == 0;
        record.value.begin(operation);
        self.note_pending(&request.instance, &id)?;
        self.instances.save(record)?;
        info!("instance {}: {id}{}", request.instance, if request.force { ", forced" } else { "" });
        if let Some(ended) = ended {
            info!("instance {}: {} {}: {}", request.instance, ended.id, ended.state, ended.description);
            self.count_end(&ended);
            let outcome = Outcome::of(ended.clone().into());
            outcome.into_iter().for_each(|outcome| parking.ended(&ended.id, &outcome));
        }
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

/// Ends what is under way, in the record alone: whoever performs it finds that out by the record.
fn end_by_deprovision(record: &mut InstanceRecord) -> Option<OperationRecord> {
    let operation = record.operation.as_mut().filter(|operation| operation.is_under_way())?;
    operation.state = OperationState::Failed;
    // One that is being undone has failed for a reason of its own.
    operation.description = operation.failure.take().unwrap_or_else(|| ENDED.to_owned());
    if operation.kind == OperationKind::Update {
        (operation.instance_usable, operation.update_repeatable) = (Some(false), Some(false));
    }
    Some(operation.clone())
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
