//! Plans: lists of steps, stored before they run.

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

#[cfg(test)]
mod tests {
    use super::{Step, deprovision, provision, roll_back};
    use crate::model::{CellGuid, NodeId};

    fn check(steps: &[Step], expected: &str) {
        let word = |step: &Step| match step {
            Step::PublishRoute => "publish".to_owned(),
            Step::AddNode { node, cell } => format!("add {node}@{cell}"),
            Step::AwaitMembers { running } => format!("await {running}"),
            Step::AwaitRoute => "await route".to_owned(),
            Step::RemoveNode { node, cell } => format!("remove {node}@{cell}"),
            Step::ForgetMembers => "forget members".to_owned(),
            Step::ForgetBindings => "forget bindings".to_owned(),
            Step::WithdrawRoute => "withdraw".to_owned(),
        };
        assert_eq!(steps.iter().map(word).collect::<Vec<_>>().join(", "), expected);
    }

    #[test]
    fn plans_are_lists_of_steps() {
        let nodes: Vec<_> = [("n1", "a"), ("n2", "b")]
            .iter()
            .map(|(node, cell)| (NodeId::parse(node).unwrap(), CellGuid::parse(cell).unwrap()))
            .collect();
        check(&provision(&nodes), "publish, add n1@a, add n2@b, await 2, await route");
        check(&deprovision(&nodes), "remove n1@a, remove n2@b, forget members, forget bindings, withdraw");
        check(&roll_back(&nodes), "remove n1@a, remove n2@b, forget members, withdraw");
        check(&deprovision(&[]), "forget members, forget bindings, withdraw");
    }
}
