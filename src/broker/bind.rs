//! Bindings: who is given an instance's credentials.

use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::{BindRequest, Bound, BrokerError, UnbindRequest};
use crate::model::InstanceId;
use crate::state::{BindingRecord, InstanceRecord, OperationKind, OperationState};

impl Core {
    pub(super) fn bind(&self, request: BindRequest) -> Result<Bound, BrokerError> {
        let record = self.bindable_instance(&request.instance)?;
        if record.service_id != request.service || record.plan_id != request.plan {
            // Distinguishes an id that there is not from one that is not the instance's.
            self.offering(&request.service, &request.plan)?;
            let (service, plan) = (&record.service_id, &record.plan_id);
            let reason = format!("the instance is one of service {service} and plan {plan}");
            return Err(BrokerError::WrongPlan { reason });
        }
        let (service, plan) = self.offering(&request.service, &request.plan)?;
        if !service.bindable {
            return Err(BrokerError::NotBindable);
        }
        let credentials =
            self.drivers.of(service.driver).credentials(plan, &record, &self.settings.bind_host);
        let instance = request.instance.clone();
        let new = self.record_binding(request)?;
        Ok(Bound { credentials: credentials_unless_going(self, &instance, credentials)?, new })
    }

    /// Writes the binding down; `false` when the same one stands there already.
    fn record_binding(&self, request: BindRequest) -> Result<bool, BrokerError> {
        let BindRequest { instance, binding, service, plan, parameters, bind_resource } = request;
        let wanted = BindingRecord {
            write_id: String::new(),
            binding_id: binding,
            service_id: service,
            plan_id: plan,
            parameters,
            bind_resource,
            created_ms: self.now_ms(),
        };
        for _ in 0..CONFLICTS {
            match self.bindings.load(&instance, &wanted.binding_id)? {
                Some(stored) if is_same(&stored.value, &wanted) => return Ok(false),
                Some(_) => return Err(BrokerError::BindingExists),
                None => {}
            }
            match self.bindings.create(&instance, wanted.clone()) {
                Ok(_) => return Ok(true),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BrokerError::Busy)
    }

    pub(super) fn unbind(&self, request: &UnbindRequest) -> Result<(), BrokerError> {
        for _ in 0..CONFLICTS {
            let Some(stored) = self.bindings.load(&request.instance, &request.binding)? else {
                return Err(BrokerError::BindingGone);
            };
            match self.bindings.remove(&request.instance, &stored) {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BrokerError::Busy)
    }

    /// The record of an instance that can be used now.
    fn bindable_instance(&self, instance: &InstanceId) -> Result<InstanceRecord, BrokerError> {
        let record = self.instances.load(instance)?.ok_or(BrokerError::InstanceUnknown)?.value;
        match &record.operation {
            Some(operation) if operation.is_under_way() => Err(BrokerError::Concurrency),
            Some(operation) if operation.state == OperationState::Failed => {
                Err(BrokerError::InstanceFailed { reason: operation.description.clone() })
            }
            _ => Ok(record),
        }
    }
}

/// A deprovision that began while the binding was being written may have passed the bindings already: then this one
/// goes too, and nobody is given credentials of what is being removed.
fn credentials_unless_going<T>(core: &Core, instance: &InstanceId, credentials: T) -> Result<T, BrokerError> {
    let record = core.instances.load(instance)?;
    let going = |record: &InstanceRecord| {
        record.under_way().is_some_and(|operation| operation.kind == OperationKind::Deprovision)
    };
    match record {
        Some(record) if !going(&record.value) => Ok(credentials),
        other => {
            core.forget_bindings(instance)?;
            Err(if other.is_some() { BrokerError::Concurrency } else { BrokerError::InstanceUnknown })
        }
    }
}

fn is_same(stored: &BindingRecord, wanted: &BindingRecord) -> bool {
    stored.service_id == wanted.service_id
        && stored.plan_id == wanted.plan_id
        && stored.parameters == wanted.parameters
        && stored.bind_resource == wanted.bind_resource
}
