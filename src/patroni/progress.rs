//! How a cluster stands, in the ancestors' words.

use super::{Member, Role};
use crate::model::NodeId;

/// How a cluster stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Such as `master running; replicas running, starting`.
    pub description: String,
    /// How many of its nodes run; the leader counts only while it is the only one.
    pub running: u32,
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// Those of its nodes that run, however far behind they are.
    pub up: Vec<NodeId>,
    /// Those of its nodes that run and have caught up with the leader, which is one of them; none without a leader.
    pub caught_up: Vec<NodeId>,
}

/// Sums the members up, for these nodes and in their order, the leader first. A node that has not been seen yet counts
/// as `stopped`; a member that is none of the nodes does not count.
#[must_use]
pub fn progress(nodes: &[NodeId], members: &[Member]) -> Progress {
    let of = |node: &NodeId| members.iter().find(|member| member.node == *node);
    let state = |node: &NodeId| match of(node) {
        Some(member) if !member.state.is_empty() => member.state.clone(),
        _ => "stopped".to_owned(),
    };
    let is_leader = |node: &&NodeId| of(node).is_some_and(|member| member.role == Role::Leader);
    let leaders: Vec<&NodeId> = nodes.iter().filter(is_leader).collect();
    let states = |nodes: &mut dyn Iterator<Item = &NodeId>| nodes.map(state).collect::<Vec<_>>().join(", ");
    let description = match leaders.first() {
        None if nodes.is_empty() => "no members".to_owned(),
        None => format!("members {}", states(&mut nodes.iter())),
        Some(leader) if nodes.len() == 1 => format!("master {}", state(leader)),
        Some(leader) => {
            let replicas = states(&mut nodes.iter().filter(|node| node != leader));
            format!("master {}; replicas {replicas}", state(leader))
        }
    };
    let up: Vec<NodeId> = nodes.iter().filter(|node| of(node).is_some_and(Member::runs)).cloned().collect();
    let running = if leaders.len() == 1 { u32::try_from(up.len()).unwrap_or(u32::MAX) } else { 0 };
    let caught_up = match leaders[..] {
        [leader] => {
            let leader = of(leader);
            let has = |node: &&NodeId| {
                of(node).zip(leader).is_some_and(|(member, leader)| member.behind(leader).is_none())
            };
            nodes.iter().filter(has).cloned().collect()
        }
        _ => Vec::new(),
    };
    let leader = leaders.first().map(|node| (*node).clone());
    Progress { description, running, leader, up, caught_up }
}

#[cfg(test)]
mod tests {
    use super::progress;
    use crate::model::NodeId;
    use crate::patroni::{Member, Role};

    fn nodes(list: &str) -> Vec<NodeId> {
        list.split_whitespace().map(|raw| NodeId::parse(raw).unwrap()).collect()
    }

    /// Members are written `node:role:state`, and who is where `state@position`.
    fn members(list: &str) -> Vec<Member> {
        let member = |raw: &str| {
            let (raw, position) = raw.split_once('@').map_or((raw, None), |(raw, at)| (raw, at.parse().ok()));
            let mut parts = raw.splitn(3, ':');
            Member {
                node: NodeId::parse(parts.next().unwrap()).unwrap(),
                role: if parts.next() == Some("leader") { Role::Leader } else { Role::Replica },
                state: parts.next().unwrap().to_owned(),
                conn_url: String::new(),
                api_url: String::new(),
                timeline: None,
                position,
                replication_state: None,
            }
        };
        list.split(',').filter(|raw| !raw.is_empty()).map(member).collect()
    }

    fn check(list: &str, seen: &str, running: u32, description: &str) {
        let now = progress(&nodes(list), &members(seen));
        assert_eq!((now.description.as_str(), now.running), (description, running), "{seen}");
    }

    #[test]
    fn the_ancestors_words() {
        check("a b", "", 0, "members stopped, stopped");
        check("a b", "a:replica:starting", 0, "members starting, stopped");
        check("a b", "a:leader:running", 1, "master running; replicas stopped");
        check("a b", "b:leader:running", 1, "master running; replicas stopped");
        check("a b", "a:leader:running,b:replica:running", 2, "master running; replicas running");
        check("a b", "a:replica:running,b:leader:running", 2, "master running; replicas running");
        check("a", "a:leader:running", 1, "master running");
        check("a", "", 0, "members stopped");
        check("", "", 0, "no members");
        check(
            "a b c d",
            "a:replica:starting,c:leader:running,d:replica:creating replica",
            1,
            "master running; replicas starting, stopped, creating replica",
        );
    }

    #[test]
    fn strangers_and_rivals_do_not_count() {
        check("a b", "a:leader:running,x:replica:running", 1, "master running; replicas stopped");
        check("a b", "a:leader:running,b:leader:running", 0, "master running; replicas running");
    }

    #[test]
    fn who_has_caught_up_is_told_as_long_as_somebody_leads() {
        let check = |list: &str, seen: &str, expected: &str| {
            let now = progress(&nodes(list), &members(seen));
            let told: Vec<&str> = now.caught_up.iter().map(NodeId::as_str).collect();
            assert_eq!(told.join(" "), expected, "{seen}");
        };
        check("a b", "a:leader:running,b:replica:running", "a b");
        check("a b", "a:leader:running,b:replica:starting", "a");
        check("a b", "a:leader:running", "a");
        check("a b", "a:leader:starting,b:replica:running", "b");
        check("a b", "a:replica:running,b:replica:running", "");
        check("a b", "a:leader:running,b:leader:running", "");
        check("a b", "a:leader:running@20000000,b:replica:running@10000000", "a b");
        check("a b", "a:leader:running@30000000,b:replica:running@10000000", "a");
        check("a", "a:leader:running,x:replica:running", "a");
        check("b", "a:leader:running,b:replica:running", "");
    }

    #[test]
    fn who_runs_is_told_however_far_behind() {
        let check = |seen: &str, expected: &str| {
            let now = progress(&nodes("a b"), &members(seen));
            let told: Vec<&str> = now.up.iter().map(NodeId::as_str).collect();
            assert_eq!(told.join(" "), expected, "{seen}");
        };
        check("a:leader:running@30000000,b:replica:running@10000000,x:replica:running", "a b");
        check("a:leader:running,b:replica:starting", "a");
        check("b:replica:running", "b");
        check("a:leader:running,b:leader:running", "a b");
    }
}
