//! A member's container.

use std::time::Duration;

use serde_json::{Value, json};
use storage::ClientAccess;

use super::{POSTGRESQL, REST_API, settings};
use crate::cells::{ContainerSpec, PlacedFile, PublishedPort, label};
use crate::model::{Build, ContainerName, Plan, Secret};
use crate::services::Environment;
use crate::state::{Credentials, InstanceRecord, NodeRecord, keys};

/// Where the image looks for its secrets. They are placed into the container before it starts, so that
/// `docker inspect` does not show them.
const SECRETS_FILE: &str = "/etc/patroni-broker/secrets.json";
/// Lets PostgreSQL finish its checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// As what a node is made, whatever the catalog says by now; what the plan says where it was not recorded.
pub(super) fn build(plan: &Plan, node: &NodeRecord) -> Build {
    node.build.clone().unwrap_or_else(|| settings(plan).build())
}

pub(super) fn spec(
    access: &ClientAccess,
    plan: &Plan,
    record: &InstanceRecord,
    node: &NodeRecord,
) -> ContainerSpec {
    let build = build(plan, node);
    let name = ContainerName::of(&node.node_id);
    let labels = [
        (label::INSTANCE, record.instance_id.as_str()),
        (label::NODE, node.node_id.as_str()),
        (label::PLAN, plan.id.as_str()),
    ];
    let published = |container: u16| node.host_port(container).map(|host| PublishedPort { container, host });
    ContainerSpec {
        env: environment(access, plan, record, node, &build.image),
        image: build.image,
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ports: [POSTGRESQL, REST_API].into_iter().filter_map(published).collect(),
        files: vec![PlacedFile {
            path: SECRETS_FILE.to_owned(),
            mode: 0o600,
            content: secrets(access, record),
        }],
        memory_bytes: build.memory_bytes,
        shm_bytes: build.shm_bytes,
        stop_timeout: STOP_TIMEOUT,
        name,
    }
}

fn environment(
    access: &ClientAccess,
    plan: &Plan,
    record: &InstanceRecord,
    node: &NodeRecord,
    image: &str,
) -> Environment {
    let patroni = settings(plan);
    let mut told = json!({
        "ttl": patroni.ttl_s,
        "loop_wait": patroni.loop_wait_s,
        "retry_timeout": patroni.retry_timeout_s,
        "synchronous": patroni.synchronous,
        "database": patroni.database,
    });
    // Only where there are any, as with all that is new here: what stands in the environment is part of a container's
    // fingerprint.
    if !patroni.postgresql_parameters.is_empty() {
        told["postgresql_parameters"] = Value::from(patroni.postgresql_parameters.clone());
    }
    let name = ContainerName::of(&node.node_id);
    let entries = [
        ("PATRONI_SCOPE", record.instance_id.as_str().to_owned()),
        ("PATRONI_NAME", node.node_id.as_str().to_owned()),
        ("BROKER_STORE_ENGINE", access.engine.to_owned()),
        ("BROKER_STORE_ENDPOINTS", access.endpoints.join(",")),
        ("BROKER_REGISTRY_KEY", keys::registry_prefix(image, &node.host, &name)),
        ("BROKER_SETTINGS", told.to_string()),
    ];
    let session_node = access.session_node.clone().map(|node| ("BROKER_STORE_SESSION_NODE", node));
    entries.into_iter().chain(session_node).map(|(key, value)| (key.to_owned(), value)).collect()
}

fn secrets(access: &ClientAccess, record: &InstanceRecord) -> Secret {
    let user = |credentials: &Credentials| json!({"username": credentials.username, "password": credentials.password.expose()});
    let optional = |credentials: &Option<Credentials>| credentials.as_ref().map_or(Value::Null, user);
    let store = access.password.as_ref().map(|password| {
        // Consul knows tokens and no users.
        json!({"username": access.username.as_deref().unwrap_or_default(), "password": password})
    });
    let tls = access.tls.as_ref().map(|tls| {
        let client = tls.client.as_ref();
        json!({
            "ca": tls.ca,
            "cert": client.map(|client| &client.chain),
            "key": client.map(|client| &client.key),
        })
    });
    let told = json!({
        "superuser": optional(&record.superuser_credentials),
        "replication": optional(&record.replication_credentials),
        "admin": optional(&record.admin_credentials),
        "app": optional(&record.app_credentials),
        "rest_api": optional(&record.rest_credentials),
        "store": store,
        "store_tls": tls,
    });
    Secret::new(told.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use storage::ClientAccess;

    use super::spec;
    use crate::model::{PatroniPlan, PlanSettings};
    use crate::services::patroni::tests as stand_ins;

    fn access() -> ClientAccess {
        ClientAccess {
            engine: "etcd",
            endpoints: Vec::new(),
            username: None,
            password: None,
            tls: None,
            session_node: None,
        }
    }

    /// Its image, limits and announcement.
    fn check(build: &Value, expected: (&str, Option<u64>, u64, &str)) {
        let node = json!({
            "node_id": "n1", "backend_id": "a", "plan_id": "p", "service_id": "s", "host": "10.0.0.1", "build": build,
        });
        let record = stand_ins::record(vec![node]);
        let spec = spec(&access(), &stand_ins::offer("repository/catalogs:2"), &record, &record.nodes[0]);
        let key = spec.env["BROKER_REGISTRY_KEY"].rsplit_once(':').unwrap().0.to_owned();
        let made = (spec.image.as_str(), spec.memory_bytes, spec.shm_bytes, key.as_str());
        assert_eq!(made, expected, "{build}");
    }

    #[test]
    fn a_container_is_made_as_its_record_says() {
        check(&Value::Null, ("repository/catalogs:2", None, 64 << 20, "/catalogs/10.0.0.1"));
        check(
            &json!({"image": "own:1", "memory_bytes": 7, "shm_bytes": 9}),
            ("own:1", Some(7), 9, "/own/10.0.0.1"),
        );
    }

    #[test]
    fn parameters_are_told_where_there_are_any() {
        let check = |parameters: Value, expected: Option<Value>| {
            let mut plan = stand_ins::offer("i");
            let mut patroni = PatroniPlan::of("i");
            patroni.postgresql_parameters = parameters.as_object().unwrap().clone();
            plan.settings = PlanSettings::Patroni(patroni);
            let node = json!({"node_id": "n1", "backend_id": "a", "plan_id": "p", "service_id": "s"});
            let record = stand_ins::record(vec![node]);
            let spec = spec(&access(), &plan, &record, &record.nodes[0]);
            let told: Value = serde_json::from_str(&spec.env["BROKER_SETTINGS"]).unwrap();
            assert_eq!(told.get("postgresql_parameters").cloned(), expected, "{parameters}");
        };
        check(json!({}), None);
        check(json!({"work_mem": "8MB"}), Some(json!({"work_mem": "8MB"})));
    }
}
