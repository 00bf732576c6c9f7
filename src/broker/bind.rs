//! Bindings: who is given an instance's credentials.

use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::{BindRequest, Bound, BrokerError, UnbindRequest};
use crate::model::{BindingId, InstanceId};
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
        let (instance, binding) = (request.instance.clone(), request.binding.clone());
        let new = self.record_binding(request)?;
        self.take_back_if_going(&record, &instance, binding)?;
        Ok(Bound { credentials, new })
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

    /// A deprovision that began while the binding was being written may have passed the bindings already: then this one
    /// goes too, and nobody is given credentials of what is being removed, or of what was there before.
    fn take_back_if_going(
        &self,
        bound: &InstanceRecord,
        instance: &InstanceId,
        binding: BindingId,
    ) -> Result<(), BrokerError> {
        let now = self.instances.load(instance)?;
        let refusal = match &now {
            None => BrokerError::InstanceUnknown,
            Some(now) if now.value.app_credentials != bound.app_credentials => BrokerError::Concurrency,
            Some(now) => match now.value.under_way() {
                Some(operation) if operation.kind == OperationKind::Deprovision => BrokerError::Concurrency,
                _ => return Ok(()),
            },
        };
        match self.unbind(&UnbindRequest { instance: instance.clone(), binding }) {
            Ok(()) | Err(BrokerError::BindingGone) => Err(refusal),
            Err(error) => Err(error),
        }
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

fn is_same(stored: &BindingRecord, wanted: &BindingRecord) -> bool {
    stored.service_id == wanted.service_id
        && stored.plan_id == wanted.plan_id
        && stored.parameters == wanted.parameters
        && stored.bind_resource == wanted.bind_resource
}
