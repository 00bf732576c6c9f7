//! A binding as it stands: nobody performs its operations, so whoever looks ends those whose time has come.

use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::request::{Binding, Endpoint};
use super::{BrokerError, FetchRequest};
use crate::model::{BindingId, InstanceId};
use crate::state::{BindingRecord, BindingState, InstanceRecord, OperationKind, Stored};

/// Of a binding's life, how much may pass before it should be renewed.
const RENEW_AFTER_PERCENT: u64 = 80;

impl Core {
    /// The binding's record, with what its time has brought written down: an unbinding that has ended leaves none. So
    /// what was once said of it stays so, whatever the clocks of this and other brokers say.
    pub(super) fn settled_binding(
        &self,
        instance: &InstanceId,
        binding: &BindingId,
    ) -> Result<Option<Stored<BindingRecord>>, BrokerError> {
        for _ in 0..CONFLICTS {
            let Some(mut stored) = self.bindings.load(instance, binding)? else { return Ok(None) };
            if !stored.value.settle(self.now_ms()) {
                return Ok(Some(stored));
            }
            let settled = if stored.value.state() == BindingState::Gone {
                self.bindings.remove(instance, &stored).map(|()| None)
            } else {
                self.bindings.save(instance, stored).map(Some)
            };
            match settled {
                Err(StoreError::Conflict) => {}
                answer => return Ok(answer?),
            }
        }
        Err(BrokerError::Concurrency)
    }

    /// What a binding gives; see [`super::Broker::fetch_binding`]. Nobody is given credentials of what is being removed.
    pub(super) fn fetch_binding(
        &self,
        request: &FetchRequest,
        binding: &BindingId,
    ) -> Result<Binding, BrokerError> {
        let instance = self.instances.load(&request.instance)?.ok_or(BrokerError::BindingUnknown)?.value;
        if instance.under_way().is_some_and(|operation| operation.kind == OperationKind::Deprovision) {
            return Err(BrokerError::Concurrency);
        }
        let stored = self.settled_binding(&request.instance, binding)?;
        let record = stored.ok_or(BrokerError::BindingUnknown)?.value;
        check_binding_hints(&instance, &record, request.service.as_ref(), request.plan.as_ref())?;
        if record.is_there() { self.given(&instance, &record) } else { Err(BrokerError::BindingUnknown) }
    }

    /// What this binding of this instance gives.
    pub(super) fn given(
        &self,
        instance: &InstanceRecord,
        binding: &BindingRecord,
    ) -> Result<Binding, BrokerError> {
        let plan = self.plan_of(instance)?;
        let driver = self.driver_of(instance);
        let host = &self.settings.bind_host;
        let endpoint = |port| Endpoint { host: host.clone(), ports: vec![port] };
        let renew_before = |expires_at_ms: u64| {
            let life_ms = expires_at_ms.saturating_sub(binding.created_ms);
            binding.created_ms.saturating_add(life_ms / 100 * RENEW_AFTER_PERCENT)
        };
        Ok(Binding {
            credentials: driver.credentials(plan, instance, host),
            endpoints: instance.allocated_port.map(endpoint).into_iter().collect(),
            parameters: binding.parameters.clone(),
            expires_at_ms: binding.expires_at_ms,
            renew_before_ms: binding.expires_at_ms.map(renew_before),
            metadata: driver.binding_metadata(binding),
        })
    }
}

/// What a caller believes a binding to be of must be so: the plan is the instance's, which may have changed since it was
/// bound.
pub(super) fn check_binding_hints(
    instance: &InstanceRecord,
    binding: &BindingRecord,
    service: Option<&crate::model::ServiceId>,
    plan: Option<&crate::model::PlanId>,
) -> Result<(), BrokerError> {
    let then = plan.filter(|plan| **plan != binding.plan_id);
    super::deprovision::check_hints(instance, service, then)
}
