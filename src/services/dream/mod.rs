//! The `dream` driver: instances that are nothing but what was posted, to test a platform with. They take as long as
//! they are told, fail as they are told, and forget nothing.

mod behaviour;

use std::time::Duration;

use serde_json::{Map, Value, json};
use storage::StoreError;

use self::behaviour::Behaviour;
use super::{BindingProcedure, Change, Driver, InvalidParameters, Order, Procedure, UpdateError};
use crate::model::{Plan, Schemas};
use crate::scheduler::{self, Step};
use crate::state::{BindingKind, BindingRecord, InstanceRecord, OperationKind, UpdateRecord};

/// Makes dreams.
pub(super) struct DreamDriver;

impl Driver for DreamDriver {
    fn schemas(&self, _: &Plan) -> Schemas {
        let schema = behaviour::schema();
        Schemas { create: Some(schema.clone()), update: Some(schema.clone()), bind: Some(schema) }
    }

    fn order(&self, _: &Plan, _: &Map<String, Value>) -> Result<Order, InvalidParameters> {
        Ok(Order::default())
    }

    fn provision(&self, record: &InstanceRecord) -> Procedure {
        pretend(&Behaviour::of(&[&record.parameters]), OperationKind::Provision.as_str())
    }

    fn update(
        &self,
        _: &Plan,
        _: Option<&Plan>,
        _: &InstanceRecord,
        update: &UpdateRecord,
    ) -> Result<Change, UpdateError> {
        let behaviour = Behaviour::of(&[&update.parameters]);
        Ok(Change::Steps(pretend(&behaviour, OperationKind::Update.as_str())))
    }

    /// One that is told to fail would fail again.
    fn is_update_repeatable(&self, update: &UpdateRecord) -> bool {
        Behaviour::of(&[&update.parameters]).failure(OperationKind::Update.as_str()).is_none()
    }

    fn deprovision(&self, record: &InstanceRecord) -> Procedure {
        let behaviour = Behaviour::of(&[&record.parameters]);
        let mut procedure = pretend(&behaviour, OperationKind::Deprovision.as_str());
        // What was told to fail in the beginning and in the end could never be got rid of.
        if record.was_never_made() {
            procedure.steps.retain(|step| !matches!(step, Step::Fail { .. }));
        }
        procedure.steps.push(Step::ForgetBindings);
        procedure
    }

    fn roll_back(&self, _: &InstanceRecord) -> Vec<Step> {
        Vec::new()
    }

    fn describe(&self, _: &InstanceRecord) -> Result<String, StoreError> {
        Ok("dreaming".to_owned())
    }

    fn metadata(&self, record: &InstanceRecord) -> Option<Value> {
        let posted = json!({
            "context": record.context,
            "organization_guid": record.organization_guid,
            "space_guid": record.space_guid,
        });
        Some(json!({ "labels": {}, "attributes": posted }))
    }

    fn has_rotatable_bindings(&self) -> bool {
        true
    }

    fn binding(
        &self,
        kind: BindingKind,
        record: &InstanceRecord,
        parameters: &Map<String, Value>,
    ) -> BindingProcedure {
        let behaviour = Behaviour::of(&[&record.parameters, parameters]);
        BindingProcedure {
            takes: Duration::from_millis(behaviour.delay_ms),
            failure: behaviour.failure(kind.as_str()),
            answering: behaviour.answering,
        }
    }

    fn binding_lifetime(&self, record: &InstanceRecord, parameters: &Map<String, Value>) -> Option<Duration> {
        Behaviour::of(&[&record.parameters, parameters]).expires_in_s.map(Duration::from_secs)
    }

    /// The same for every dream, and of use to nobody.
    fn credentials(&self, _: &Plan, _: &InstanceRecord, _: &str) -> Map<String, Value> {
        let names = ["uri", "hostname", "port", "username", "password"];
        names.into_iter().map(|name| (name.to_owned(), Value::Null)).collect()
    }

    fn binding_metadata(&self, binding: &BindingRecord) -> Map<String, Value> {
        let posted = [("bind_resource", &binding.bind_resource), ("context", &binding.context)];
        posted.into_iter().map(|(name, value)| (name.to_owned(), Value::Object(value.clone()))).collect()
    }
}

fn pretend(behaviour: &Behaviour, operation: &str) -> Procedure {
    let steps = scheduler::pretend(behaviour.delay_ms, behaviour.failure(operation));
    Procedure { steps, answering: behaviour.answering }
}
