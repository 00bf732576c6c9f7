//! What the driver's tests have in common: an offered plan and a record.

use serde_json::{Map, Value, json};

use crate::model::{PatroniPlan, Plan, PlanId, PlanSettings, Schemas};
use crate::state::InstanceRecord;

/// The plan in its catalog.
pub(super) fn offer(image: &str) -> Plan {
    Plan {
        id: PlanId::parse("p").unwrap(),
        name: String::new(),
        description: String::new(),
        free: true,
        bindable: None,
        plan_updateable: None,
        binding_rotatable: None,
        metadata: Map::new(),
        maintenance: None,
        schemas: Schemas::default(),
        maximum_polling_duration_s: 60,
        settings: PlanSettings::Patroni(PatroniPlan::of(image)),
    }
}

pub(super) fn record(nodes: Vec<Value>) -> InstanceRecord {
    let user = json!({"username": "u", "password": "p"});
    serde_json::from_value(json!({
        "instance_id": "b1", "service_id": "s", "plan_id": "p", "admin_credentials": user,
        "superuser_credentials": user, "app_credentials": user,
        "rest_credentials": {"username": "patroni", "password": "hunter2"}, "nodes": nodes,
    }))
    .unwrap()
}
