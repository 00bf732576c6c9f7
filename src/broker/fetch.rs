//! What an instance is.

use super::core::Core;
use super::deprovision::check_hints;
use super::{BrokerError, FetchRequest, Fetched};
use crate::state::{OperationKind, OperationRecord};

impl Core {
    /// An instance that is being taken away is there until it is gone, and can be looked at: the specification forbids
    /// it only while one is made or changed.
    pub(super) fn fetch(&self, request: &FetchRequest) -> Result<Fetched, BrokerError> {
        let record = self.instances.load(&request.instance)?.ok_or(BrokerError::InstanceUnknown)?.value;
        // What is given back before it was made never was there.
        if record.operation.as_ref().is_some_and(OperationRecord::replaces_provision) {
            return Err(BrokerError::InstanceUnknown);
        }
        match record.under_way().map(|operation| operation.kind) {
            Some(OperationKind::Provision) => return Err(BrokerError::InstanceUnknown),
            Some(OperationKind::Update) => return Err(BrokerError::Concurrency),
            Some(OperationKind::Deprovision) | None => {}
        }
        if record.was_never_made() {
            return Err(BrokerError::InstanceUnknown);
        }
        check_hints(&record, request.service.as_ref(), request.plan.as_ref())?;
        Ok(Fetched {
            metadata: self.driver_of(&record).metadata(&record),
            service: record.service_id,
            plan: record.plan_id,
            parameters: record.parameters,
            maintenance_version: record.maintenance_version,
            dashboard_url: None,
        })
    }
}
