//! What operators see, as plain data: instances, cells, and what becomes of them. No type here holds a secret.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{BindingId, InstanceId, NodeId, OperationId, PlanId, ServiceId};

/// An instance as operators see it: no secret is in it.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceView {
    /// The platform's id.
    pub instance_id: InstanceId,
    /// Of the catalog.
    pub service_id: ServiceId,
    /// By which people know it; none when it has left the catalog.
    pub service_name: Option<String>,
    /// Of the catalog.
    pub plan_id: PlanId,
    /// By which people know it; none when it has left the catalog.
    pub plan_name: Option<String>,
    /// As the platform's context last said.
    pub name: Option<String>,
    /// As the platform sent it.
    pub organization_guid: String,
    /// As the platform sent it.
    pub space_guid: String,
    /// The public port.
    pub public_port: Option<u16>,
    /// The placement.
    pub nodes: Vec<NodeView>,
    /// The last operation.
    pub operation: Option<OperationView>,
    /// Which version it was last brought to.
    pub maintenance_version: Option<String>,
    /// The ids of its bindings; none of them in a list of instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindings: Option<Vec<BindingId>>,
}

/// A node as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct NodeView {
    /// The node.
    pub node_id: String,
    /// The cell that it is on.
    pub cell: String,
    /// `host:port` of each container port, as it is reached.
    pub ports: Vec<String>,
    /// What Patroni last reported of it; only where one instance is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What Patroni last reported of it; only where one instance is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// An operation as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct OperationView {
    /// Its id.
    pub id: OperationId,
    /// Such as `provision`.
    pub kind: &'static str,
    /// `in progress`, `succeeded` or `failed`.
    pub state: &'static str,
    /// Its last word.
    pub description: String,
    /// How many of its steps are done.
    pub steps_done: usize,
    /// How many there are.
    pub steps: usize,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
}

/// A cell as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct CellView {
    /// Its id.
    pub guid: String,
    /// Its zone.
    pub availability_zone: String,
    /// Where its ports are reached.
    pub host: String,
    /// Whether its engine answers now.
    pub up: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is on it, and what is to become of it.
    #[serde(flatten)]
    pub standing: CellStanding,
}

/// What is on a cell, and whether it takes more, as the store says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CellStanding {
    /// How many nodes are placed on it.
    pub nodes: usize,
    /// Whether it takes no new nodes.
    pub cordoned: bool,
    /// Since when, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordoned_since_ms: Option<u64>,
    /// How far it is drained, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainView>,
    /// How many containers are to be removed from it when it answers; only where it takes no new nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owed: Option<usize>,
    /// Whether nothing is on it, nothing is owed there, and nothing new comes.
    pub safe_to_reboot: bool,
}

/// How far a cell is drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrainView {
    /// How many instances move at the same time.
    pub at_once: usize,
    /// How many instances have nodes there yet, those that move and those that are stuck included.
    pub left: usize,
    /// Those that move now.
    pub moving: Vec<InstanceId>,
    /// Those that something else is done to: they are waited for, and move afterwards if they are there yet.
    pub waiting: Vec<InstanceId>,
    /// Those that could not be moved, and why not; they are tried again when the drain is asked for again.
    pub stuck: BTreeMap<InstanceId, String>,
    /// Whether nothing moves any more: nothing is left, or all of it is stuck, or so much that no more is tried.
    pub ended: bool,
}

/// What a wish to drain a cell came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// It has begun, or there was nothing to do.
    Begun(CellStanding),
    /// It was only a rehearsal.
    Rehearsed {
        /// In the order of the instances' ids.
        moves: Vec<RehearsedMove>,
        /// How many instances were not looked at any more, since that took too long.
        left_off: usize,
    },
}

/// What would become of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RehearsedMove {
    /// Which.
    pub instance_id: InstanceId,
    /// What.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// What would be done, in order, in words.
    Steps(Vec<String>),
    /// Why it would stay.
    Stuck(String),
    /// Why it would be moved later: what its steps are is seen then.
    Waits(String),
}

/// What became of an instance that was led from a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Demotion {
    /// Which.
    pub instance_id: InstanceId,
    /// The node that led it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<NodeId>,
    /// The node that leads it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<NodeId>,
    /// Why it is led from there all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}
