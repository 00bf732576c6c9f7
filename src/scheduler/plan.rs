//! Plans: lists of steps, stored before they run.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::differences;
use crate::model::{Build, CellGuid, NodeId};

/// One durable unit of work. Performing it twice equals performing it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Write the public port down where routers look.
    PublishRoute,
    /// Make the node's container on its cell and start it.
    AddNode {
        /// Which node of the record.
        node: NodeId,
        /// Where.
        cell: CellGuid,
    },
    /// Wait until this many members run, one of them as leader.
    AwaitMembers {
        /// How many.
        running: u32,
    },
    /// Wait until every router has applied the route.
    AwaitRoute,
    /// Remove the node's container with its volumes, and give its ports back.
    RemoveNode {
        /// Which node, of the record or owed for removal.
        node: NodeId,
        /// Where.
        cell: CellGuid,
    },
    /// Have the image on these cells, and make sure that it is of the PostgreSQL that the cluster's data are of. Changes
    /// nothing of the cluster, and spares its nodes the time of a pull while they are down.
    CheckImage {
        /// Which.
        image: String,
        /// Where it will be used.
        cells: Vec<CellGuid>,
    },
    /// Wait until each of these nodes runs and has caught up with the leader.
    AwaitNodes {
        /// Which nodes of the record.
        nodes: Vec<NodeId>,
    },
    /// Let one of these nodes be the leader: the one that leads, if it is one of them; else the one that has caught up
    /// best takes over in good order.
    HandOver {
        /// Which nodes may lead.
        to: Vec<NodeId>,
    },
    /// Make a node's container anew on its volume, if it is not as it should be.
    RemakeNode {
        /// Which node of the record.
        node: NodeId,
        /// Where.
        cell: CellGuid,
        /// As what it was made: what an undoing goes back to.
        from: Build,
        /// As what it is to be made.
        to: Build,
    },
    /// Make a node run that an earlier update may have left down, as its record says.
    ReviveNode {
        /// Which node of the record.
        node: NodeId,
        /// Where.
        cell: CellGuid,
    },
    /// Change the cluster's settings in Patroni's dynamic configuration.
    Configure {
        /// What they were: what an undoing goes back to.
        from: Map<String, Value>,
        /// What they are to be.
        to: Map<String, Value>,
    },
    /// Restart the node's PostgreSQL, if its settings wait for that.
    RestartNode {
        /// Which node of the record.
        node: NodeId,
    },
    /// Take a node out of a cluster that lives on: never its leader; in good order, with its volumes, its ports and its
    /// entry among the members.
    RetireNode {
        /// Which node of the record.
        node: NodeId,
        /// Where.
        cell: CellGuid,
    },
    /// Remove what the members keep in the store, and the index of nodes.
    ForgetMembers,
    /// Remove the bindings' records.
    ForgetBindings,
    /// Take the route away and give the public port back.
    WithdrawRoute,
    /// Wait until this long after the operation began.
    Wait {
        /// In milliseconds.
        for_ms: u64,
    },
    /// End the operation badly.
    Fail {
        /// What its user is told.
        reason: String,
    },
}

impl Step {
    /// Whether the instance is, also when the step was begun, as it was before.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        matches!(
            self,
            Self::AwaitMembers { .. }
                | Self::AwaitNodes { .. }
                | Self::CheckImage { .. }
                | Self::AwaitRoute
                | Self::ReviveNode { .. }
                | Self::Wait { .. }
                | Self::Fail { .. }
        )
    }

    /// As it is displayed, with the settings that change: for who rehearses and not for the log, since a setting may be a
    /// command with a password in it.
    #[must_use]
    pub fn in_full(&self) -> String {
        match self {
            Self::Configure { from, to } => format!("{self}{}", differences::of_settings(from, to)),
            step => step.to_string(),
        }
    }
}

impl fmt::Display for Step {
    /// For the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PublishRoute => f.write_str("publish the route"),
            Self::AddNode { node, cell } => write!(f, "add node {node} on cell {cell}"),
            Self::AwaitMembers { running: 1 } => f.write_str("await the member"),
            Self::AwaitMembers { running } => write!(f, "await {running} members"),
            Self::AwaitRoute => f.write_str("await the route"),
            Self::RemoveNode { node, cell } => write!(f, "remove node {node} from cell {cell}"),
            Self::CheckImage { image, cells } => write!(f, "check the image {image} on {}", list(cells)),
            Self::AwaitNodes { nodes } => write!(f, "await that {} run and have caught up", list(nodes)),
            Self::HandOver { to } => write!(f, "let one of {} lead", list(to)),
            Self::RemakeNode { node, cell, from, to } => {
                write!(f, "make node {node} on cell {cell} anew{}", differences::of_builds(from, to))
            }
            Self::ReviveNode { node, cell } => write!(f, "revive node {node} on cell {cell} if it is down"),
            Self::Configure { .. } => f.write_str("change the cluster's settings"),
            Self::RestartNode { node } => write!(f, "restart node {node} if its settings wait for that"),
            Self::RetireNode { node, cell } => write!(f, "retire node {node} from cell {cell}"),
            Self::ForgetMembers => f.write_str("forget the members"),
            Self::ForgetBindings => f.write_str("forget the bindings"),
            Self::WithdrawRoute => f.write_str("withdraw the route"),
            Self::Wait { for_ms } => write!(f, "wait {for_ms} ms"),
            Self::Fail { reason } => write!(f, "fail: {reason}"),
        }
    }
}

fn list<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How a new cluster comes to be. The route is published first, so that routers are ready when the members are.
#[must_use]
pub fn provision(nodes: &[(NodeId, CellGuid)]) -> Vec<Step> {
    let add = |(node, cell): &(NodeId, CellGuid)| Step::AddNode { node: node.clone(), cell: cell.clone() };
    let running = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
    let mut steps = vec![Step::PublishRoute];
    steps.extend(nodes.iter().map(add));
    steps.extend([Step::AwaitMembers { running }, Step::AwaitRoute]);
    steps
}

/// How an instance goes: containers first, since what they keep in the store comes back as long as they run; the
/// public port last, since it is what others rely on.
#[must_use]
pub fn deprovision(nodes: &[(NodeId, CellGuid)]) -> Vec<Step> {
    let mut steps = roll_back(nodes);
    steps.insert(steps.len() - 1, Step::ForgetBindings);
    steps
}

/// How a provision that failed is undone.
#[must_use]
pub fn roll_back(nodes: &[(NodeId, CellGuid)]) -> Vec<Step> {
    let remove =
        |(node, cell): &(NodeId, CellGuid)| Step::RemoveNode { node: node.clone(), cell: cell.clone() };
    let mut steps: Vec<Step> = nodes.iter().map(remove).collect();
    steps.extend([Step::ForgetMembers, Step::WithdrawRoute]);
    steps
}

/// What takes its time and does nothing, and ends badly where there is a reason for it to.
#[must_use]
pub fn pretend(delay_ms: u64, failure: Option<String>) -> Vec<Step> {
    let fail = failure.map(|reason| Step::Fail { reason });
    std::iter::once(Step::Wait { for_ms: delay_ms }).chain(fail).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::{Step, deprovision, pretend, provision, roll_back};
    use crate::model::{Build, CellGuid, NodeId};

    fn check(steps: &[Step], expected: &str) {
        let words: Vec<String> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(words.join(", "), expected);
    }

    #[test]
    fn plans_are_lists_of_steps() {
        let nodes: Vec<_> = [("n1", "a"), ("n2", "b")]
            .iter()
            .map(|(node, cell)| (NodeId::parse(node).unwrap(), CellGuid::parse(cell).unwrap()))
            .collect();
        check(
            &provision(&nodes),
            "publish the route, add node n1 on cell a, add node n2 on cell b, await 2 members, await the route",
        );
        check(
            &deprovision(&nodes),
            "remove node n1 from cell a, remove node n2 from cell b, forget the members, forget the bindings, \
             withdraw the route",
        );
        check(
            &roll_back(&nodes),
            "remove node n1 from cell a, remove node n2 from cell b, forget the members, withdraw the route",
        );
        check(&deprovision(&[]), "forget the members, forget the bindings, withdraw the route");
        let build = |image: &str| Build { image: image.to_owned(), memory_bytes: None, shm_bytes: 1 << 20 };
        let [(node, cell), _] = &nodes[..] else { panic!("there are two") };
        let (node, cell) = (node.clone(), cell.clone());
        check(
            &[Step::RemakeNode { node, cell, from: build("i:1"), to: build("i:2") }],
            "make node n1 on cell a anew (image i:1 → i:2)",
        );
        check(&pretend(0, None), "wait 0 ms");
        check(&pretend(500, Some("as told".to_owned())), "wait 500 ms, fail: as told");
    }

    #[test]
    fn settings_are_told_and_not_logged() {
        let command = |word: &str| Map::from_iter([("archive_command".to_owned(), Value::from(word))]);
        let step = Step::Configure { from: command("hunter2"), to: command("hunter3") };
        assert_eq!(step.to_string(), "change the cluster's settings");
        let told = r#"change the cluster's settings (archive_command "hunter2" → "hunter3")"#;
        assert_eq!(step.in_full(), told);
        assert_eq!(Step::ForgetMembers.in_full(), "forget the members");
    }
}
