//! A member's own entry, `/service/<scope>/members/<name>`.

use serde::Deserialize;
use storage::Entry;

use crate::model::NodeId;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: the node's id.
    pub node: NodeId,
    /// What it is.
    pub role: Role,
    /// Patroni's own word, such as `running`, `starting`, `creating replica`.
    pub state: String,
    /// Where its PostgreSQL is reached: a URL with host and port.
    pub conn_url: String,
    /// Where its REST API is reached.
    pub api_url: String,
}

/// A member's role. Patroni 4 says `primary`, older ones say `master`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds the leader's lock, or is on its way to it.
    Leader,
    /// Everything else.
    Replica,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    role: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    conn_url: String,
    #[serde(default)]
    api_url: String,
}

/// Reads the entries under `/service/<scope>/members`; what is no member's is passed over.
#[must_use]
pub fn read_members(entries: &[Entry]) -> Vec<Member> {
    entries.iter().filter_map(read_member).collect()
}

fn read_member(entry: &Entry) -> Option<Member> {
    let segments: Vec<&str> = entry.key.segments().collect();
    let ["service", _, "members", name] = segments[..] else { return None };
    let node = NodeId::parse(name).ok()?;
    let raw: Raw = serde_json::from_slice(&entry.value).ok()?;
    let role = match raw.role.as_str() {
        "master" | "primary" | "standby_leader" | "promoted" => Role::Leader,
        _ => Role::Replica,
    };
    Some(Member { node, role, state: raw.state, conn_url: raw.conn_url, api_url: raw.api_url })
}
