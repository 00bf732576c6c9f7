//! Bindings: who is given an instance's credentials.

use log::info;
use serde_json::{Map, Value};
use storage::StoreError;

use super::core::{CONFLICTS, Core, millis};
use super::deprovision::check_hints;
use super::kept;
use super::offerings::Purpose;
use super::unbind::is_polled;
use super::{BindRequest, Bound, BrokerError};
use crate::model::{BindingId, InstanceId, Plan, Service};
use crate::services::BindingProcedure;
use crate::state::{
    BindingKind, BindingOperation, BindingRecord, BindingState, InstanceRecord, OperationKind, Stored,
};

impl Core {
    pub(super) fn bind(&self, request: &BindRequest) -> Result<Bound, BrokerError> {
        let record = self.bindable_instance(&request.instance)?;
        let service = request.service.as_ref().unwrap_or(&record.service_id);
        let plan = request.plan.as_ref().unwrap_or(&record.plan_id);
        // Tells an id that there is not from one that is not the instance's.
        let (service, plan) = self.offering(service, plan)?;
        check_hints(&record, Some(&service.id), Some(&plan.id))?;
        let (service, plan) = self.offering_to(&record, &plan.id)?;
        if !service.is_bindable(plan) {
            return Err(BrokerError::NotBindable);
        }
        for _ in 0..CONFLICTS {
            match self.bind_once(&record, (service, plan), request) {
                Err(BrokerError::Store(StoreError::Conflict)) => {}
                answer => return answer,
            }
        }
        Err(BrokerError::Concurrency)
    }

    fn bind_once(
        &self,
        record: &InstanceRecord,
        offering: (&Service, &Plan),
        request: &BindRequest,
    ) -> Result<Bound, BrokerError> {
        let stored = self.settled_binding(&request.instance, &request.binding)?;
        // One that could not be made is not there: the id is free.
        let (standing, failed): (Option<Stored<_>>, _) = match stored {
            Some(stored) if stored.value.state() != BindingState::Failed => (Some(stored), None),
            failed => (None, failed),
        };
        let Some(standing) = standing else { return self.make(record, offering, request, failed) };
        if !is_same(&standing.value, request) {
            return Err(BrokerError::BindingExists);
        }
        // It stood before: a deprovision that comes to nothing leaves it.
        self.check_not_going(record)?;
        match standing.value.state() {
            BindingState::Live => {
                let binding = self.given(record, &standing.value)?;
                Ok(Bound::Now { binding, new: false })
            }
            BindingState::Coming => {
                let polled = standing.value.waited_for_until_ms().is_none();
                if polled && !request.accepts_incomplete {
                    return Err(BrokerError::AsyncRequired);
                }
                self.answer(record, standing.value, polled, false)
            }
            BindingState::Going | BindingState::Gone | BindingState::Failed => Err(BrokerError::Concurrency),
        }
    }

    fn make(
        &self,
        record: &InstanceRecord,
        offering: (&Service, &Plan),
        request: &BindRequest,
        failed: Option<Stored<BindingRecord>>,
    ) -> Result<Bound, BrokerError> {
        let mut wanted = self.wanted(record, offering, request)?;
        let driver = self.driver_of(record);
        let procedure = driver.binding(BindingKind::Bind, record, &wanted.parameters);
        let polled = is_polled(&procedure, request.accepts_incomplete)?;
        let BindingProcedure { takes, failure, .. } = &procedure;
        if polled || !takes.is_zero() {
            let operation = self.new_binding_operation(BindingKind::Bind, &procedure, None);
            wanted.operation = Some(BindingOperation { waited_for: !polled, ..operation });
        } else if let Some(reason) = failure {
            return Err(BrokerError::OperationFailed { reason: reason.clone() });
        }
        let begins_ms = wanted.created_ms.saturating_add(millis(*takes));
        let lifetime = driver.binding_lifetime(record, &wanted.parameters);
        wanted.expires_at_ms = lifetime.map(|lifetime| begins_ms.saturating_add(millis(lifetime)));
        let made = match failed {
            Some(failed) => self.bindings.save(&request.instance, Stored { value: wanted, ..failed })?,
            None => self.bindings.create(&request.instance, wanted)?,
        };
        self.take_back_if_going(record, &request.binding)?;
        self.answer(record, made.value, polled, true)
    }

    /// What is to be written down of a new binding. A successor takes over what its predecessor was asked with.
    fn wanted(
        &self,
        record: &InstanceRecord,
        (service, plan): (&Service, &Plan),
        request: &BindRequest,
    ) -> Result<BindingRecord, BrokerError> {
        let over = |before: Map<String, Value>, own: &Map<String, Value>| {
            before.into_iter().chain(own.clone()).collect::<Map<_, _>>()
        };
        let (parameters, bind_resource, context) = match &request.predecessor {
            None => (request.parameters.clone(), request.bind_resource.clone(), request.context.clone()),
            Some(predecessor) => {
                let before = self.predecessor(record, (service, plan), predecessor)?;
                (
                    over(before.parameters, &request.parameters),
                    over(before.bind_resource, &request.bind_resource),
                    over(before.context, &request.context),
                )
            }
        };
        kept::check(&[&parameters, &bind_resource, &context], &[])?;
        self.offerings.check(plan, Purpose::Bind, &parameters)?;
        let app = bind_resource.get("app_guid").and_then(Value::as_str).unwrap_or_default();
        if service.requires_app && app.is_empty() {
            return Err(BrokerError::RequiresApp);
        }
        Ok(BindingRecord {
            write_id: String::new(),
            binding_id: request.binding.clone(),
            service_id: service.id.clone(),
            plan_id: plan.id.clone(),
            parameters,
            bind_resource,
            context,
            predecessor: request.predecessor.clone(),
            created_ms: self.now_ms(),
            expires_at_ms: None,
            operation: None,
        })
    }

    /// The binding that is to be replaced: one of the same instance that can be used now (OSB 2.17, "Binding Rotation").
    fn predecessor(
        &self,
        record: &InstanceRecord,
        (service, plan): (&Service, &Plan),
        predecessor: &BindingId,
    ) -> Result<BindingRecord, BrokerError> {
        if !service.is_binding_rotatable(plan) {
            let reason = format!("bindings of the plan {} have no successors", plan.id);
            return Err(BrokerError::NotRotatable { reason });
        }
        let now_ms = self.now_ms();
        let is_valid = |stored: &Stored<BindingRecord>| {
            stored.value.state() == BindingState::Live
                && stored.value.expires_at_ms.is_none_or(|expires_at_ms| now_ms < expires_at_ms)
        };
        let stored = self.settled_binding(&record.instance_id, predecessor)?.filter(is_valid);
        stored.map(|stored| stored.value).ok_or_else(|| BrokerError::NotRotatable {
            reason: format!("the instance has no valid binding {predecessor} that could have a successor"),
        })
    }

    /// Tells to poll, or waits for the end. Nothing but the instance's own end halts what is waited for, so it ends as
    /// it was going to, whatever has been recorded of this id since.
    fn answer(
        &self,
        record: &InstanceRecord,
        binding: BindingRecord,
        polled: bool,
        new: bool,
    ) -> Result<Bound, BrokerError> {
        let (instance, id) = (&record.instance_id, &binding.binding_id);
        let Some(operation) = &binding.operation else {
            return Ok(Bound::Now { binding: self.given(record, &binding)?, new });
        };
        info!("instance {instance}, binding {id}: {}", operation.id);
        if polled {
            return Ok(Bound::Running { operation: operation.id.clone() });
        }
        self.wait_until(operation.due_ms)?;
        let stored = self.settled_binding(instance, id)?;
        let own = stored.filter(|stored| stored.value.has_operation(&operation.id));
        if own.as_ref().is_some_and(|stored| stored.value.state() == BindingState::Coming) {
            // The clock was set back.
            return Err(BrokerError::Busy);
        }
        if own.is_none() {
            self.check_not_going(record)?;
        }
        let Some(reason) = &operation.failure else {
            return Ok(Bound::Now { binding: self.given(record, &binding)?, new });
        };
        // Its sender is told: nobody will look at it.
        match own.map_or(Ok(()), |stored| self.bindings.remove(instance, &stored)) {
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Err(BrokerError::OperationFailed { reason: reason.clone() })
    }

    /// A deprovision that began while the binding was being written may have passed the bindings already: then this one
    /// goes too, and nobody is given credentials of what is being removed, or of what was there before.
    fn take_back_if_going(&self, bound: &InstanceRecord, binding: &BindingId) -> Result<(), BrokerError> {
        match self.check_not_going(bound) {
            Err(refusal @ (BrokerError::InstanceUnknown | BrokerError::Concurrency)) => {
                self.drop_binding(&bound.instance_id, binding)?;
                Err(refusal)
            }
            answer => answer,
        }
    }

    /// Whether the instance is still the one that was bound, and stays.
    fn check_not_going(&self, bound: &InstanceRecord) -> Result<(), BrokerError> {
        let now = self.instances.load(&bound.instance_id)?.map(|stored| stored.value);
        let is_another = |now: &InstanceRecord| {
            (&now.made_by, &now.app_credentials) != (&bound.made_by, &bound.app_credentials)
        };
        let is_going = |now: &InstanceRecord| {
            now.under_way().is_some_and(|operation| operation.kind == OperationKind::Deprovision)
        };
        match &now {
            None => Err(BrokerError::InstanceUnknown),
            Some(now) if is_another(now) || is_going(now) => Err(BrokerError::Concurrency),
            Some(_) => Ok(()),
        }
    }

    /// The record of an instance that can be used now.
    fn bindable_instance(&self, instance: &InstanceId) -> Result<InstanceRecord, BrokerError> {
        let record = self.instances.load(instance)?.ok_or(BrokerError::InstanceUnknown)?.value;
        if record.under_way().is_some() {
            return Err(BrokerError::Concurrency);
        }
        if let Some(reason) = self.unusable(&record) {
            return Err(BrokerError::InstanceFailed { reason: reason.to_owned() });
        }
        Ok(record)
    }
}

/// Whether the request is the one that the binding was made by. A successor's says no more than what it replaces, which
/// may have gone since.
fn is_same(stored: &BindingRecord, request: &BindRequest) -> bool {
    if stored.predecessor != request.predecessor {
        return false;
    }
    let agrees = |stored: &Map<String, Value>, own: &Map<String, Value>| match request.predecessor {
        None => stored == own,
        Some(_) => own.iter().all(|(name, value)| stored.get(name) == Some(value)),
    };
    agrees(&stored.parameters, &request.parameters) && agrees(&stored.bind_resource, &request.bind_resource)
}
