//! How a cluster that lives becomes another one: in which order, so that it never loses its leader, nor more than one
//! replica at a time.

use super::choice::{Choice, Reshape, Standing};
use super::plan::Step;
use crate::model::{CellGuid, NodeId};

/// The steps from a choice to its cluster; `come` are the new nodes with their cells, in the order of the choice. None
/// where nothing changes.
///
/// New nodes come first, and the old ones go when the new ones have caught up. Replicas go before the leader, which
/// hands over to one of those that are left: in synchronous mode only then has one of them become a standby that may
/// take over.
#[must_use]
pub fn reshape(choice: &Choice, come: &[(NodeId, CellGuid)], wish: &Reshape) -> Vec<Step> {
    let remade = remade(choice, wish);
    let lasting: Vec<NodeId> = names(&choice.stay).chain(come.iter().map(|(node, _)| node.clone())).collect();
    let mut steps = check_image(&remade, come, wish);
    // Settings may be such as only the new image or its memory can bear: where all are made anew, that is their restart.
    let all_anew = choice.go.is_empty() && remade.len() == choice.stay.len();
    if let Some((from, to)) = &wish.configure {
        steps.push(Step::Configure { from: from.clone(), to: to.clone() });
        if !all_anew {
            let standing: Vec<&Standing> = choice.stay.iter().chain(&choice.go).collect();
            steps.extend(restarts(&standing));
        }
    }
    steps.extend(come.iter().map(|(node, cell)| Step::AddNode { node: node.clone(), cell: cell.clone() }));
    if !come.is_empty() {
        steps.push(Step::AwaitNodes { nodes: come.iter().map(|(node, _)| node.clone()).collect() });
    }
    let all: Vec<NodeId> = lasting.iter().cloned().chain(names(&choice.go)).collect();
    for node in remade {
        steps.extend(hand_over(others(&all, &node.node)));
        let (name, cell) = (node.node.clone(), node.cell.clone());
        steps.push(Step::RemakeNode { node: name, cell, from: node.build.clone(), to: wish.build.clone() });
        steps.push(Step::AwaitNodes { nodes: lasting.clone() });
    }
    for (place, node) in choice.go.iter().enumerate() {
        let later = names(&choice.go[place + 1..]);
        steps.extend(hand_over(lasting.iter().cloned().chain(later).collect()));
        steps.push(retire(node));
    }
    if all_anew && wish.configure.is_some() {
        steps.extend(restarts_whoever_leads(&lasting));
    }
    let last = Step::AwaitNodes { nodes: lasting };
    if !steps.is_empty() && steps.last() != Some(&last) {
        steps.push(last);
    }
    steps
}

/// The nodes that stay and are made anew, the leader last.
fn remade<'a>(choice: &'a Choice, wish: &Reshape) -> Vec<&'a Standing> {
    let differs = |node: &&Standing| wish.remake && node.build != wish.build;
    let mut remade: Vec<&Standing> = choice.stay.iter().filter(differs).collect();
    remade.sort_by_key(|node| node.leads);
    remade
}

fn check_image(remade: &[&Standing], come: &[(NodeId, CellGuid)], wish: &Reshape) -> Vec<Step> {
    let mut cells: Vec<CellGuid> = Vec::new();
    for cell in come.iter().map(|(_, cell)| cell).chain(remade.iter().map(|node| &node.cell)) {
        if !cells.contains(cell) {
            cells.push(cell.clone());
        }
    }
    if cells.is_empty() {
        return Vec::new();
    }
    vec![Step::CheckImage { image: wish.build.image.clone(), cells }]
}

/// Restarts after a change of settings: the replicas, the leader, and the replicas once more, since what was lowered
/// reaches them only when the leader has it.
pub(super) fn restarts(nodes: &[&Standing]) -> Vec<Step> {
    let (leaders, replicas): (Vec<&Standing>, Vec<&Standing>) = nodes.iter().partition(|node| node.leads);
    let again = if leaders.is_empty() { &[][..] } else { &replicas[..] };
    let order = replicas.iter().chain(&leaders).chain(again);
    order.map(|node| Step::RestartNode { node: node.node.clone() }).collect()
}

/// The same where the leader may have changed on the way: all, and all once more. Whose settings do not wait for it is
/// not restarted.
pub(super) fn restarts_whoever_leads(nodes: &[NodeId]) -> Vec<Step> {
    let again = if nodes.len() > 1 { nodes } else { &[][..] };
    nodes.iter().chain(again).map(|node| Step::RestartNode { node: node.clone() }).collect()
}

/// Lets one of these lead, if there are any.
pub(super) fn hand_over(to: Vec<NodeId>) -> Option<Step> {
    (!to.is_empty()).then_some(Step::HandOver { to })
}

pub(super) fn retire(node: &Standing) -> Step {
    Step::RetireNode { node: node.node.clone(), cell: node.cell.clone() }
}

pub(super) fn others(nodes: &[NodeId], node: &NodeId) -> Vec<NodeId> {
    nodes.iter().filter(|other| *other != node).cloned().collect()
}

pub(super) fn names(nodes: &[Standing]) -> impl Iterator<Item = NodeId> {
    nodes.iter().map(|node| node.node.clone())
}

#[cfg(test)]
mod tests {
    use super::reshape;
    use crate::scheduler::tests::{build, list, placed, settings, standing};
    use crate::scheduler::{Choice, Reshape};

    /// What becomes of the nodes beside their number and places.
    #[derive(Clone, Copy)]
    enum And {
        Nothing,
        Remake,
        Configure,
        Both,
    }

    fn check(stay: &str, go: &str, come: &str, and: And, expected: &str) {
        let remake = matches!(and, And::Remake | And::Both);
        let configure = matches!(and, And::Configure | And::Both);
        let choice = Choice {
            stay: standing(stay),
            go: standing(go),
            come: placed(come).into_iter().map(|(_, cell)| cell).collect(),
        };
        let wish = Reshape {
            nodes: choice.stay.len() + choice.come.len(),
            among: None,
            among_is_new: false,
            build: build(if remake { "new" } else { "old" }),
            remake,
            configure: configure.then(|| (settings("one"), settings("two"))),
        };
        let steps = reshape(&choice, &placed(come), &wish);
        assert_eq!(list(&steps), expected, "{stay} with {come} without {go}");
    }

    #[test]
    fn nothing_is_done_where_nothing_changes() {
        check("n1@a leader", "", "", And::Nothing, "");
        check("n1@a leader, n2@b", "", "", And::Nothing, "");
        check("n1@a:new leader, n2@b:new", "", "", And::Remake, "");
        // As what they are made is left to them.
        check("n1@a:new leader, n2@b", "", "", And::Nothing, "");
    }

    #[test]
    fn a_cluster_grows() {
        check("n1@a leader", "", "n2@b", And::Nothing, "check old on b, add n2@b, await n2, await n1 n2");
        check(
            "n1@a leader",
            "",
            "n2@b, n3@c",
            And::Nothing,
            "check old on b c, add n2@b, add n3@c, await n2 n3, await n1 n2 n3",
        );
    }

    #[test]
    fn a_cluster_shrinks() {
        check("n1@a leader, n2@b", "n3@c", "", And::Nothing, "hand over to n1 n2, retire n3@c, await n1 n2");
        check(
            "n1@a leader",
            "n2@b, n3@c",
            "",
            And::Nothing,
            "hand over to n1 n3, retire n2@b, hand over to n1, retire n3@c, await n1",
        );
    }

    #[test]
    fn a_cluster_moves() {
        check(
            "",
            "n1@a leader",
            "n2@b",
            And::Nothing,
            "check old on b, add n2@b, await n2, hand over to n2, retire n1@a, await n2",
        );
        check(
            "",
            "n2@b, n1@a leader",
            "n3@c, n4@d",
            And::Nothing,
            "check old on c d, add n3@c, add n4@d, await n3 n4, hand over to n3 n4 n1, retire n2@b, \
             hand over to n3 n4, retire n1@a, await n3 n4",
        );
        check(
            "n2@b",
            "n1@a leader",
            "n3@c",
            And::Nothing,
            "check old on c, add n3@c, await n3, hand over to n2 n3, retire n1@a, await n2 n3",
        );
    }

    #[test]
    fn nodes_are_made_anew_one_by_one() {
        check("n1@a leader", "", "", And::Remake, "check new on a, remake n1@a old>new, await n1");
        check(
            "n1@a leader, n2@b, n3@c",
            "",
            "",
            And::Remake,
            "check new on b c a, hand over to n1 n3, remake n2@b old>new, await n1 n2 n3, \
             hand over to n1 n2, remake n3@c old>new, await n1 n2 n3, \
             hand over to n2 n3, remake n1@a old>new, await n1 n2 n3",
        );
        // Those that are so already are left alone, as after an upgrade that was cut off.
        check(
            "n1@a leader, n2@b:new",
            "",
            "",
            And::Remake,
            "check new on a, hand over to n2, remake n1@a old>new, await n1 n2",
        );
    }

    #[test]
    fn settings_reach_the_replicas_twice() {
        check("n1@a leader", "", "", And::Configure, "configure one>two, restart n1, await n1");
        check(
            "n1@a leader, n2@b, n3@c",
            "",
            "",
            And::Configure,
            "configure one>two, restart n2, restart n3, restart n1, restart n2, restart n3, await n1 n2 n3",
        );
        // Nobody leads, as far as is known.
        check("n1@a, n2@b", "", "", And::Configure, "configure one>two, restart n1, restart n2, await n1 n2");
    }

    #[test]
    fn everything_at_once() {
        check(
            "n2@b",
            "n1@a leader",
            "n3@c",
            And::Both,
            "check new on c b, configure one>two, restart n2, restart n1, restart n2, add n3@c, await n3, \
             hand over to n3 n1, remake n2@b old>new, await n2 n3, hand over to n2 n3, retire n1@a, await n2 n3",
        );
        // All are made anew: that is the restart. What was lowered may wait for another yet.
        check(
            "n1@a leader",
            "",
            "",
            And::Both,
            "check new on a, configure one>two, remake n1@a old>new, await n1, restart n1, await n1",
        );
        check(
            "n1@a leader, n2@b",
            "",
            "n3@c",
            And::Both,
            "check new on c b a, configure one>two, add n3@c, await n3, hand over to n1 n3, remake n2@b old>new, \
             await n1 n2 n3, hand over to n2 n3, remake n1@a old>new, await n1 n2 n3, \
             restart n1, restart n2, restart n3, restart n1, restart n2, restart n3, await n1 n2 n3",
        );
        // The one that goes holds the fort while the one that stays is made anew.
        check(
            "n1@a leader",
            "n2@b",
            "",
            And::Remake,
            "check new on a, hand over to n2, remake n1@a old>new, await n1, hand over to n1, retire n2@b, await n1",
        );
        // Two of one cluster on one cell: its image is checked once.
        check(
            "n1@a leader, n2@a",
            "",
            "",
            And::Remake,
            "check new on a, hand over to n1, remake n2@a old>new, await n1 n2, \
             hand over to n2, remake n1@a old>new, await n1 n2",
        );
    }
}
