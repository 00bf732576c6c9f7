//! Tells a cluster's members, by Patroni's REST API, who is to lead and with which settings. Each call looks at how
//! things stand before it does anything, so that it may come twice, and ends within a time of its own.

mod configure;
mod hand_over;
mod restart;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Deserialize;
use storage::{Store, StoreError};

use super::REST_API;
use crate::model::NodeId;
use crate::patroni::{Door, Member, RestApi, Role, read_members};
use crate::services::MemberError;
use crate::state::{Credentials, InstanceRecord, keys};

/// Patroni's own `loop_wait`, where the cluster's settings cannot be read.
const LOOP_WAIT_S: u64 = 10;

/// How long is waited for what members do in their own time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Between two looks.
    pub pause: Duration,
    /// Beside what the cluster's own loop takes.
    pub beside: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_millis(250), beside: Duration::from_secs(15) }
    }
}

/// One cluster's members.
pub(super) struct Steering<'a> {
    pub store: &'a dyn Store,
    pub api: &'a dyn RestApi,
    pub record: &'a InstanceRecord,
    pub patience: Patience,
}

/// How the cluster stands, as the store says.
struct Sight {
    members: Vec<Member>,
    /// Who holds the leader's lock.
    lock: Option<String>,
    /// Who may take over in synchronous mode; nobody in another mode.
    standbys: Vec<String>,
    loop_wait: Duration,
}

/// What matters here of `/service/<scope>/sync`.
#[derive(Default, Deserialize)]
struct Sync {
    #[serde(default)]
    sync_standby: Option<String>,
}

/// What matters here of `/service/<scope>/config`.
#[derive(Default, Deserialize)]
struct Config {
    loop_wait: Option<u64>,
}

impl Sight {
    /// Who leads: who holds the lock, and while nobody does, who says so.
    fn leader(&self) -> Option<&Member> {
        match &self.lock {
            Some(name) => self.member(name),
            None => self.members.iter().find(|member| member.role == Role::Leader),
        }
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.node.as_str() == name)
    }

    /// The leader, when it has become one to the end.
    fn settled_leader(&self) -> Option<&NodeId> {
        let settled = |member: &&Member| member.role == Role::Leader && member.runs();
        self.leader().filter(settled).map(|member| &member.node)
    }
}

impl Steering<'_> {
    fn look(&self) -> Result<Sight, StoreError> {
        let instance = &self.record.instance_id;
        let text = |key| -> Result<Option<Vec<u8>>, StoreError> {
            Ok(self.store.get(&key)?.map(|entry| entry.value))
        };
        let sync = text(keys::sync(instance))?.and_then(|value| serde_json::from_slice::<Sync>(&value).ok());
        let config =
            text(keys::config(instance))?.and_then(|value| serde_json::from_slice::<Config>(&value).ok());
        let standbys = sync.and_then(|sync| sync.sync_standby).unwrap_or_default();
        let loop_wait_s = config.and_then(|config| config.loop_wait).unwrap_or(LOOP_WAIT_S);
        Ok(Sight {
            members: read_members(&self.store.list(&keys::members(instance))?.entries),
            lock: text(keys::leader(instance))?.map(|value| String::from_utf8_lossy(&value).into_owned()),
            standbys: standbys.split(',').map(str::to_owned).filter(|name| !name.is_empty()).collect(),
            loop_wait: Duration::from_secs(loop_wait_s),
        })
    }

    /// Where a node's REST API is; `None` for one that the record does not know, or the ancestors made.
    fn door(&self, node: &NodeId) -> Option<Door> {
        let node = self.record.node(node)?;
        let port = node.host_port(REST_API)?;
        let host = &node.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let user = |credentials: &Credentials| (credentials.username.clone(), credentials.password.clone());
        let user = self.record.rest_credentials.as_ref().map(user);
        (!host.is_empty()).then(|| Door { address: format!("{host}:{port}"), user })
    }

    fn door_of(&self, node: &NodeId) -> Result<Door, MemberError> {
        self.door(node).ok_or_else(|| MemberError::Refused {
            reason: format!("nobody knows where node {node}'s REST API is reached"),
        })
    }
}

fn not_now<T>(reason: String) -> Result<T, MemberError> {
    Err(MemberError::NotNow { reason })
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")
}
