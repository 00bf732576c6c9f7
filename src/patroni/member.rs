//! A member's own entry, `/service/<scope>/members/<name>`.

use serde::Deserialize;
use serde_json::Value;
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
    /// The timeline that it is on, where it says so: each new leader begins one.
    pub timeline: Option<u64>,
    /// How far it has written, or as a replica received or replayed: bytes since the cluster was made. As it was when
    /// the entry was written, up to a `loop_wait` ago; none while PostgreSQL does not run.
    pub position: Option<u64>,
    /// A replica's, in Patroni's words, such as `streaming`; Patroni 3.0 does not say.
    pub replication_state: Option<String>,
}

/// How far a replica may be behind to have caught up, in bytes: a segment of the log. Members say where they are once in
/// a `loop_wait`, so that a replica of a busy leader seems to lag by what is written in that time.
const CAUGHT_UP_WITHIN: u64 = 16 << 20;

impl Member {
    /// Whether its PostgreSQL runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state == "running"
    }

    /// How many bytes it is behind its leader; `None` where one of them does not say.
    #[must_use]
    pub fn lag(&self, leader: &Self) -> Option<u64> {
        Some(leader.position?.saturating_sub(self.position?))
    }

    /// What keeps it from having caught up with its leader, for people; `None` where nothing does. Who leaves out what
    /// its leader leaves out too is believed: it is too old to say so.
    #[must_use]
    pub fn behind(&self, leader: &Self) -> Option<String> {
        if !self.runs() {
            return Some(if self.state.is_empty() { "stopped".to_owned() } else { self.state.clone() });
        }
        if self.node == leader.node {
            return None;
        }
        if let Some(state) = self.replication_state.as_ref().filter(|state| *state != "streaming") {
            return Some(state.clone());
        }
        if let (Some(own), Some(leaders)) = (self.timeline, leader.timeline)
            && own != leaders
        {
            return Some(format!("on timeline {own} and not {leaders}"));
        }
        match self.lag(leader) {
            None if leader.position.is_some() => Some("not saying where it is".to_owned()),
            Some(lag) if lag > CAUGHT_UP_WITHIN => Some(format!("{lag} bytes behind")),
            _ => None,
        }
    }
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
    #[serde(default)]
    timeline: Value,
    #[serde(default)]
    xlog_location: Value,
    #[serde(default)]
    replication_state: Value,
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
    Some(Member {
        node,
        role,
        state: raw.state,
        conn_url: raw.conn_url,
        api_url: raw.api_url,
        timeline: raw.timeline.as_u64(),
        position: raw.xlog_location.as_u64(),
        replication_state: raw.replication_state.as_str().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use storage::{Entry, Key, Revision};

    use super::{Member, read_members};

    fn member(name: &str, value: &str) -> Option<Member> {
        let key = Key::parse(&format!("/service/b1/members/{name}")).unwrap();
        let entry = Entry { key, value: value.as_bytes().to_vec(), revision: Revision(1) };
        read_members(&[entry]).pop()
    }

    /// As Patroni 4.0 and 3.0.2 write them.
    #[test]
    fn entries_of_both_versions_are_read() {
        let check = |value: &str, expected: &str| {
            let told = member("n1", value).map(|member| {
                let Member { role, state, timeline, position, replication_state, .. } = member;
                format!("{role:?} {state} {timeline:?} {position:?} {replication_state:?}")
            });
            assert_eq!(told.as_deref().unwrap_or("nobody"), expected, "{value}");
        };
        check(
            r#"{"conn_url":"postgres://10.0.0.1:20000/postgres","api_url":"http://10.0.0.1:20001/patroni","state":"running",
                "role":"primary","version":"4.0.4","xlog_location":67108864,"timeline":3}"#,
            "Leader running Some(3) Some(67108864) None",
        );
        check(
            r#"{"state":"running","role":"replica","version":"4.0.4","xlog_location":67108864,"replay_lsn":67108864,
                "receive_lsn":67108864,"replication_state":"streaming","timeline":3}"#,
            r#"Replica running Some(3) Some(67108864) Some("streaming")"#,
        );
        check(
            r#"{"state":"running","role":"master","version":"3.0.2","xlog_location":67108864,"timeline":1}"#,
            "Leader running Some(1) Some(67108864) None",
        );
        check(r#"{"state":"stopped","role":"replica","version":"3.0.2"}"#, "Replica stopped None None None");
        check(
            r#"{"state":"running","role":"replica","timeline":"x","xlog_location":-1}"#,
            "Replica running None None None",
        );
        check("7", "nobody");
        check("running", "nobody");
    }

    #[test]
    fn a_replica_has_caught_up_or_says_why_not() {
        let check = |leader: &str, replica: &str, expected: &str| {
            let entry = |role: &str, more: &str| format!(r#"{{"role":"{role}",{more}}}"#);
            let leader = member("n1", &entry("primary", leader)).unwrap();
            let behind = member("n2", &entry("replica", replica)).unwrap().behind(&leader);
            assert_eq!(behind.as_deref().unwrap_or("caught up"), expected, "{replica}");
        };
        let leader = r#""state":"running","timeline":2,"xlog_location":100000000"#;
        let at = |timeline: u64, position: u64| {
            format!(r#""state":"running","timeline":{timeline},"xlog_location":{position}"#)
        };
        check(leader, &at(2, 100_000_000), "caught up");
        check(leader, &at(2, 100_000_000 - (16 << 20)), "caught up");
        check(leader, &at(2, 100_000_000 - (16 << 20) - 1), "16777217 bytes behind");
        // Its entry is the younger one.
        check(leader, &at(2, 200_000_000), "caught up");
        check(leader, &at(1, 100_000_000), "on timeline 1 and not 2");
        check(leader, &format!(r#"{},"replication_state":"streaming""#, at(2, 100_000_000)), "caught up");
        check(
            leader,
            &format!(r#"{},"replication_state":"in archive recovery""#, at(2, 100_000_000)),
            "in archive recovery",
        );
        check(leader, r#""state":"starting","timeline":2,"xlog_location":100000000"#, "starting");
        check(leader, r#""state":"""#, "stopped");
        // A replica need not know its timeline.
        check(leader, r#""state":"running","xlog_location":100000000"#, "caught up");
        check(leader, r#""state":"running","timeline":2"#, "not saying where it is");
        check(r#""state":"running""#, r#""state":"running""#, "caught up");
    }
}
