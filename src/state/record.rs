//! The record of an instance: the one truth about it. It keeps the ancestors' fields under their names, so that their
//! tools go on reading it. These types are the only ones that write secrets out.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::operation::{EndedOperation, OperationKind, OperationRecord, OperationState, UpdateRecord};
use crate::model::{Build, CellGuid, DriverKind, InstanceId, NodeId, OperationId, PlanId, Secret, ServiceId};

/// The version of the format that this program writes; the ancestors' records have none, which counts as 0.
pub const FORMAT: u32 = 1;
/// How many operations before the last one a record remembers.
pub const REMEMBERED: usize = 4;

/// `/service/<instance>/state`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Which version of the format this is.
    #[serde(default)]
    pub format: u32,
    /// A random id of the last write.
    #[serde(default)]
    pub write_id: String,
    /// The platform's id.
    pub instance_id: InstanceId,
    /// Of the catalog.
    pub service_id: ServiceId,
    /// Of the catalog.
    pub plan_id: PlanId,
    /// What it is made by: it can be taken away after its service and plan have left the catalog.
    #[serde(default)]
    pub driver: DriverKind,
    /// As the platform sent it.
    #[serde(default)]
    pub organization_guid: String,
    /// As the platform sent it.
    #[serde(default)]
    pub space_guid: String,
    /// May make roles and databases; of every `patroni` instance, as are the two that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_credentials: Option<Credentials>,
    /// PostgreSQL's superuser, for Patroni alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superuser_credentials: Option<Credentials>,
    /// What bindings hand out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_credentials: Option<Credentials>,
    /// For streaming between the members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_credentials: Option<Credentials>,
    /// For what changes something in Patroni's REST API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_credentials: Option<Credentials>,
    /// As whom the containers use the store. Without, they share the broker's access: nobody gave credentials when the
    /// instance was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_credentials: Option<Credentials>,
    /// The public port.
    #[serde(default)]
    pub allocated_port: Option<u16>,
    /// The placement.
    #[serde(default)]
    pub nodes: Vec<NodeRecord>,
    /// What the user asked for besides.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// The platform's context.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// Which version of its plan's offering it was last brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_version: Option<String>,
    /// The operation that made it: tells it from a later instance of the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<OperationId>,
    /// The last operation, under way or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationRecord>,
    /// How those before it ended, the latest last, for who asks late; no more than [`REMEMBERED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<EndedOperation>,
    /// Nodes given up whose containers may exist all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<OwedRemoval>,
    /// Nodes that the undoing of an update was to make what they were, and could not: they may be down, and are made what
    /// they are recorded as when their cells answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<NodeId>,
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The login.
    pub username: String,
    /// Its password.
    #[serde(serialize_with = "write_secret", deserialize_with = "read_secret")]
    pub password: Secret,
}

/// One node: this container on this cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Never used twice.
    pub node_id: NodeId,
    /// The cell's guid, under the ancestors' name.
    pub backend_id: CellGuid,
    /// The plan that it was made for.
    pub plan_id: PlanId,
    /// The service that it was made for.
    pub service_id: ServiceId,
    /// Where its ports are reached.
    #[serde(default)]
    pub host: String,
    /// Its ports on the cell, chosen before Docker heard of it.
    #[serde(default)]
    pub ports: Vec<PortRecord>,
    /// What its container is made as; what its plan says where it was made before that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
}

/// A container port on a cell's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRecord {
    /// Inside.
    pub container: u16,
    /// On the cell.
    pub host: u16,
}

/// A node that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedRemoval {
    /// Which.
    pub node: NodeRecord,
    /// Why.
    pub reason: String,
    /// When a removal went well, in milliseconds since 1970: it is looked for once more after that, since a call whose
    /// answer was lost may make it late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_ms: Option<u64>,
}

impl InstanceRecord {
    /// The operation, if one is under way.
    #[must_use]
    pub fn under_way(&self) -> Option<&OperationRecord> {
        self.operation.as_ref().filter(|operation| operation.is_under_way())
    }

    /// Whether something is left to be done when its cell answers.
    #[must_use]
    pub fn waits_for_cells(&self) -> bool {
        !self.owed.is_empty() || !self.unfinished.is_empty()
    }

    /// Whether it was never made: the order failed, and what there was of it is gone.
    #[must_use]
    pub fn was_never_made(&self) -> bool {
        self.operation
            .as_ref()
            .is_some_and(|last| last.kind == OperationKind::Provision && last.state == OperationState::Failed)
    }

    /// Whether its last operation is an update that failed: nodes and settings may be others than it says of itself.
    #[must_use]
    pub fn has_failed_to_be_updated(&self) -> bool {
        self.operation
            .as_ref()
            .is_some_and(|last| last.kind == OperationKind::Update && last.state == OperationState::Failed)
    }

    /// Why it cannot be used now, since its last operation failed and left it so.
    #[must_use]
    pub fn unusable(&self) -> Option<&str> {
        let failed = self.operation.as_ref().filter(|last| last.state == OperationState::Failed)?;
        (failed.instance_usable != Some(true)).then_some(failed.description.as_str())
    }

    /// Begins an operation; the one before it is remembered by how it ended.
    pub fn begin(&mut self, operation: OperationRecord) {
        self.ended.extend(self.operation.take().map(EndedOperation::from));
        let surplus = self.ended.len().saturating_sub(REMEMBERED);
        self.ended.drain(..surplus);
        self.operation = Some(operation);
    }

    /// Makes it what an update says.
    pub fn apply(&mut self, update: UpdateRecord) {
        let UpdateRecord { previous_plan_id: _, plan_id, parameters, context, maintenance_version } = update;
        self.plan_id = plan_id;
        self.parameters = parameters;
        self.context = context;
        self.maintenance_version = maintenance_version;
    }

    /// How an operation with this id stands or ended, as far as it is remembered.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<EndedOperation> {
        let last = self.operation.as_ref().filter(|last| last.id.as_str() == id).cloned();
        let before = || self.ended.iter().find(|ended| ended.id.as_str() == id).cloned();
        last.map(EndedOperation::from).or_else(before)
    }

    /// What keeps the record from being one: without these nobody could be let into its database.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        let needed = [
            (&self.admin_credentials, "it has no admin_credentials"),
            (&self.superuser_credentials, "it has no superuser_credentials"),
            (&self.app_credentials, "it has no app_credentials"),
        ];
        let missing = needed.into_iter().find(|(credentials, _)| credentials.is_none());
        missing.filter(|_| self.driver == DriverKind::Patroni).map(|(_, flaw)| flaw)
    }

    /// The node with this id, of the record or owed for removal.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&NodeRecord> {
        let owed = self.owed.iter().map(|owed| &owed.node);
        self.nodes.iter().chain(owed).find(|node| node.node_id == *id)
    }

    /// Every node whose container may exist, with its cell.
    #[must_use]
    pub fn containers(&self) -> Vec<(NodeId, CellGuid)> {
        let owed = self.owed.iter().map(|owed| &owed.node);
        self.nodes.iter().chain(owed).map(|node| (node.node_id.clone(), node.backend_id.clone())).collect()
    }

    /// Every password in it, so that texts from outside can be cleaned of them.
    #[must_use]
    pub fn secrets(&self) -> Vec<&Secret> {
        let fixed = [&self.admin_credentials, &self.superuser_credentials, &self.app_credentials];
        let added = [&self.replication_credentials, &self.rest_credentials, &self.store_credentials];
        let all = fixed.into_iter().chain(added).flatten();
        all.map(|credentials| &credentials.password).collect()
    }
}

impl NodeRecord {
    /// The cell's port for a container port.
    #[must_use]
    pub fn host_port(&self, container: u16) -> Option<u16> {
        self.ports.iter().find(|port| port.container == container).map(|port| port.host)
    }
}

fn write_secret<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn read_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::{Credentials, InstanceRecord};
    use crate::model::Secret;

    /// The Go ancestor's record, as its documents show it: it must be read, and its fields must be written again.
    const ANCESTORS: &str = r#"{
        "instance_id": "c45ecc24-aa5d-49cd-9b36-2027e60b7d8a",
        "service_id": "beb5973c-e1b2-11e5-a736-c7c0b526363d",
        "plan_id": "1545e30e-6dc3-11e5-826a-6c4008a663f0",
        "organization_guid": "06986bcb-aac7-4cbc-900c-4591f9a6ea11",
        "space_guid": "370de1f6-4c58-4bc4-9e5f-4ac452f5180e",
        "admin_credentials": {"username": "pgadmin", "password": "k"},
        "superuser_credentials": {"username": "postgres", "password": "P"},
        "app_credentials": {"username": "appuser", "password": "r"},
        "allocated_port": 30006,
        "nodes": [{
            "node_id": "7398f0c6-a2ec-497b-9b60-f75e4e55d7e0",
            "backend_id": "10.244.21.7",
            "plan_id": "1545e30e-6dc3-11e5-826a-6c4008a663f0",
            "service_id": "beb5973c-e1b2-11e5-a736-c7c0b526363d"
        }]
    }"#;

    #[test]
    fn the_ancestors_record_is_read_and_keeps_its_fields() {
        let record: InstanceRecord = serde_json::from_str(ANCESTORS).unwrap();
        assert_eq!(record.allocated_port, Some(30006));
        assert_eq!(record.nodes[0].backend_id.as_str(), "10.244.21.7");
        let theirs: serde_json::Value = serde_json::from_str(ANCESTORS).unwrap();
        let ours = serde_json::to_value(&record).unwrap();
        for (field, value) in theirs.as_object().unwrap() {
            if field != "nodes" {
                assert_eq!(&ours[field], value, "{field}");
            }
        }
    }

    /// A new kind of credentials is found here, so that it cannot be forgotten among what texts are cleaned of.
    #[test]
    fn every_password_is_among_the_secrets() {
        let mut record: InstanceRecord = serde_json::from_str(ANCESTORS).unwrap();
        let added = Credentials { username: "u".to_owned(), password: Secret::new("added") };
        record.replication_credentials = Some(added.clone());
        record.rest_credentials = Some(added.clone());
        record.store_credentials = Some(added);
        let written = serde_json::to_value(&record).unwrap();
        let fields = written.as_object().unwrap().iter();
        let mut written: Vec<_> =
            fields.filter_map(|(_, field)| field.get("password")?.as_str().map(str::to_owned)).collect();
        let mut secrets: Vec<_> = record.secrets().iter().map(|secret| secret.expose().to_owned()).collect();
        written.sort();
        secrets.sort();
        assert_eq!((secrets.len(), secrets), (6, written));
    }

    #[test]
    fn a_record_does_not_print_its_passwords() {
        let record: InstanceRecord =
            serde_json::from_str(&ANCESTORS.replace("\"k\"", "\"hunter2\"")).unwrap();
        assert!(!format!("{record:?}").contains("hunter2"));
    }
}
