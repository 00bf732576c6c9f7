//! A member's container.

use std::time::Duration;

use serde_json::{Value, json};
use storage::ClientAccess;

use super::{POSTGRESQL, REST_API, settings};
use crate::cells::{ContainerSpec, PlacedFile, PublishedPort, label};
use crate::model::{ContainerName, Plan, Secret};
use crate::services::Environment;
use crate::state::{Credentials, InstanceRecord, NodeRecord, keys};

/// Where the image looks for its secrets. They are placed into the container before it starts, so that
/// `docker inspect` does not show them.
const SECRETS_FILE: &str = "/etc/patroni-broker/secrets.json";
/// Lets PostgreSQL finish its checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn spec(
    access: &ClientAccess,
    plan: &Plan,
    record: &InstanceRecord,
    node: &NodeRecord,
) -> ContainerSpec {
    let patroni = settings(plan);
    let name = ContainerName::of(&node.node_id);
    let labels = [
        (label::INSTANCE, record.instance_id.as_str()),
        (label::NODE, node.node_id.as_str()),
        (label::PLAN, plan.id.as_str()),
    ];
    let published = |container: u16| node.host_port(container).map(|host| PublishedPort { container, host });
    ContainerSpec {
        image: patroni.image.clone(),
        env: environment(access, plan, record, node, &name),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ports: [POSTGRESQL, REST_API].into_iter().filter_map(published).collect(),
        files: vec![PlacedFile {
            path: SECRETS_FILE.to_owned(),
            mode: 0o600,
            content: secrets(access, record),
        }],
        memory_bytes: patroni.memory_bytes,
        shm_bytes: patroni.shm_bytes,
        stop_timeout: STOP_TIMEOUT,
        name,
    }
}

fn environment(
    access: &ClientAccess,
    plan: &Plan,
    record: &InstanceRecord,
    node: &NodeRecord,
    name: &ContainerName,
) -> Environment {
    let patroni = settings(plan);
    let told = json!({
        "ttl": patroni.ttl_s,
        "loop_wait": patroni.loop_wait_s,
        "retry_timeout": patroni.retry_timeout_s,
        "synchronous": patroni.synchronous,
        "database": patroni.database,
    });
    let entries = [
        ("PATRONI_SCOPE", record.instance_id.as_str().to_owned()),
        ("PATRONI_NAME", node.node_id.as_str().to_owned()),
        ("BROKER_STORE_ENGINE", access.engine.to_owned()),
        ("BROKER_STORE_ENDPOINTS", access.endpoints.join(",")),
        ("BROKER_REGISTRY_KEY", keys::registry_prefix(&patroni.image, &node.host, name)),
        ("BROKER_SETTINGS", told.to_string()),
    ];
    // Only where it is needed: what stands in the environment is part of a container's fingerprint.
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
