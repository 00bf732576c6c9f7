//! Plans: lists of steps, stored before they run.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{CellGuid, NodeId};

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
        matches!(self, Self::AwaitMembers { .. } | Self::AwaitRoute | Self::Wait { .. } | Self::Fail { .. })
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
            Self::ForgetMembers => f.write_str("forget the members"),
            Self::ForgetBindings => f.write_str("forget the bindings"),
            Self::WithdrawRoute => f.write_str("withdraw the route"),
            Self::Wait { for_ms } => write!(f, "wait {for_ms} ms"),
            Self::Fail { reason } => write!(f, "fail: {reason}"),
        }
    }
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
    use super::{Step, deprovision, pretend, provision, roll_back};
    use crate::model::{CellGuid, NodeId};

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
        check(&pretend(0, None), "wait 0 ms");
        check(&pretend(500, Some("as told".to_owned())), "wait 500 ms, fail: as told");
    }
}
