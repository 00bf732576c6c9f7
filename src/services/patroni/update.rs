//! What an update of a cluster comes to. Until clusters can be resized and moved, that is nothing, or a refusal.

use serde_json::{Map, Value};

use super::parameters;
use crate::model::PatroniPlan;
use crate::scheduler::Step;
use crate::services::UpdateNotSupported;
use crate::state::{InstanceRecord, UpdateRecord};

/// The steps that make the cluster what it is to be. What is not asked for stays: a cluster of three whose plan says two
/// is not resized by an update that does not mention nodes.
pub(super) fn plan(
    plan: &PatroniPlan,
    record: &InstanceRecord,
    update: &UpdateRecord,
) -> Result<Vec<Step>, UpdateNotSupported> {
    let refused = |what: &str| Err(UpdateNotSupported { reason: format!("{what}, in this version") });
    if update.plan_id != record.plan_id {
        return refused("a cluster's plan cannot be changed");
    }
    if update.maintenance_version != record.maintenance_version {
        return refused("a cluster cannot be upgraded");
    }
    if is_resized(plan, record, &update.parameters)? {
        return refused("the number of a cluster's nodes cannot be changed");
    }
    if is_moved(plan, record, &update.parameters)? {
        return refused("a cluster's nodes cannot be moved to other cells");
    }
    Ok(Vec::new())
}

fn is_resized(
    plan: &PatroniPlan,
    record: &InstanceRecord,
    parameters: &Map<String, Value>,
) -> Result<bool, UpdateNotSupported> {
    let order = read(plan, parameters)?;
    Ok(parameters.contains_key("node-count") && order.nodes != record.nodes.len())
}

fn is_moved(
    plan: &PatroniPlan,
    record: &InstanceRecord,
    parameters: &Map<String, Value>,
) -> Result<bool, UpdateNotSupported> {
    let Some(cells) = read(plan, parameters)?.cells else { return Ok(false) };
    Ok(record.nodes.iter().any(|node| !cells.contains(&node.backend_id)))
}

fn read(
    plan: &PatroniPlan,
    parameters: &Map<String, Value>,
) -> Result<crate::services::Order, UpdateNotSupported> {
    parameters::read(plan, parameters).map_err(|error| UpdateNotSupported { reason: error.reason })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::plan;
    use crate::model::{PatroniPlan, PlanId};
    use crate::state::{InstanceRecord, UpdateRecord};

    fn record(nodes: &str) -> InstanceRecord {
        let user = json!({"username": "u", "password": "p"});
        let node =
            |cell: &str| json!({"node_id": cell, "backend_id": cell, "plan_id": "p", "service_id": "s"});
        serde_json::from_value(json!({
            "instance_id": "b1", "service_id": "s", "plan_id": "p", "admin_credentials": user,
            "superuser_credentials": user, "app_credentials": user, "maintenance_version": "1.0.0",
            "nodes": nodes.split_whitespace().map(node).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn what_changes_nothing_is_taken() {
        let check =
            |nodes: &str, plan_id: &str, version: &str, parameters: serde_json::Value, expected: &str| {
                let settings = PatroniPlan {
                    image: "postgresql-patroni:17".to_owned(),
                    node_count: 2,
                    synchronous: false,
                    database: "postgres".to_owned(),
                    ttl_s: 20,
                    loop_wait_s: 3,
                    retry_timeout_s: 8,
                    memory_bytes: None,
                    shm_bytes: 64 << 20,
                };
                let update = UpdateRecord {
                    previous_plan_id: PlanId::parse("p").unwrap(),
                    plan_id: PlanId::parse(plan_id).unwrap(),
                    parameters: parameters.as_object().unwrap().clone(),
                    context: serde_json::Map::new(),
                    maintenance_version: Some(version.to_owned()),
                };
                let told = match plan(&settings, &record(nodes), &update) {
                    Ok(steps) => format!("{steps:?}"),
                    Err(error) => error.reason,
                };
                assert!(told.contains(expected), "{parameters}: {told}");
            };
        check("a b", "p", "1.0.0", json!({}), "[]");
        check("a b", "p", "1.0.0", json!({"node-count": 2}), "[]");
        check("a b", "p", "1.0.0", json!({"cells": ["a", "b", "c"]}), "[]");
        // The Go ancestor took an update without a count as one to two nodes.
        check("a b c", "p", "1.0.0", json!({"cells": ["a", "b", "c"]}), "[]");
        check("a b", "p", "1.0.0", json!({"node-count": 3}), "number");
        check("a b", "p", "1.0.0", json!({"cells": ["a", "c"]}), "moved");
        check("a b", "q", "1.0.0", json!({}), "plan");
        check("a b", "p", "1.1.0", json!({}), "upgraded");
        check("a b", "p", "1.0.0", json!({"nodes": 3}), "nodes");
    }
}
