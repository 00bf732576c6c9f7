//! What the driver's tests have in common: an offered plan and a record.

use serde_json::{Value, json};

use crate::model::{PatroniPlan, Plan, PlanId, PlanSettings};
use crate::state::InstanceRecord;

/// The plan in its catalog.
pub(super) fn offer(image: &str) -> Plan {
    let settings = PlanSettings::Patroni(PatroniPlan::of(image));
    Plan::of(PlanId::parse("p").unwrap(), "p", "a plan", settings)
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
