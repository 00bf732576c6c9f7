//! How the reshaping of a cluster that failed is undone.

use std::collections::BTreeSet;

use super::choice::Standing;
use super::plan::Step;
use super::reshape::{hand_over, names, others, restarts, restarts_whoever_leads, retire};
use crate::model::NodeId;

/// How a reshaping that failed is undone, from its steps and how many of them were begun, and the nodes that the record
/// has now: what was made anew or configured goes back to what it was, and new nodes go, as many as
/// leave the cluster its size. A node whose removal was begun is lost: its volume may be gone. None where nothing was
/// begun.
#[must_use]
pub fn undo_reshape(nodes: &[Standing], steps: &[Step], begun: usize) -> Vec<Step> {
    let begun = &steps[..steps.len().min(begun)];
    let retired = retirements(nodes, steps, begun);
    let stays = |node: &&Standing| !retired.iter().any(|other| other.node == node.node);
    let stay: Vec<Standing> = nodes.iter().filter(stays).cloned().collect();
    let lasting: Vec<NodeId> = names(&stay).collect();
    let was_begun = |node: &NodeId| begun.iter().any(|step| concerns(step, node));

    // Settings go back first: they may be what nobody can start with.
    let mut undo: Vec<Step> = begun.iter().find_map(configured_back).into_iter().collect();
    let is_configured = !undo.is_empty();
    let mut is_touched = is_configured;
    for node in &retired {
        if was_begun(&node.node) {
            is_touched = true;
            undo.extend(hand_over(lasting.clone()));
        }
        undo.push(retire(node));
    }
    let back = remade_back(&stay, begun);
    let is_remade = !back.is_empty();
    for (node, step) in back {
        is_touched = true;
        undo.extend(hand_over(others(&lasting, &node.node)));
        undo.push(step);
        undo.push(Step::AwaitNodes { nodes: lasting.clone() });
    }
    if is_configured && is_remade {
        undo.extend(restarts_whoever_leads(&lasting));
    } else if is_configured {
        undo.extend(restarts(&stay.iter().collect::<Vec<_>>()));
    }
    let last = Step::AwaitNodes { nodes: lasting };
    if is_touched && undo.last() != Some(&last) {
        undo.push(last);
    }
    undo
}

/// The nodes that go: those whose removal was begun, and of the new ones those that were not begun, and of the others
/// as many as there are too many; who leads by now is the last of them.
fn retirements<'a>(nodes: &'a [Standing], steps: &[Step], begun: &[Step]) -> Vec<&'a Standing> {
    let new: BTreeSet<&NodeId> = steps.iter().filter_map(added).collect();
    let new_begun: BTreeSet<&NodeId> = begun.iter().filter_map(added).collect();
    let going: BTreeSet<&NodeId> =
        begun.iter().filter_map(going).filter(|node| !new.contains(node)).collect();
    let mut standing: Vec<&Standing> = nodes.iter().filter(|node| new_begun.contains(&node.node)).collect();
    standing.sort_by_key(|node| !node.leads);
    // As many are kept as were lost.
    let surplus = standing.split_off(going.len().min(standing.len()));
    let goes = |node: &&Standing| {
        going.contains(&node.node)
            || (new.contains(&node.node) && !new_begun.contains(&node.node))
            || surplus.iter().any(|other| other.node == node.node)
    };
    let mut retired: Vec<&Standing> = nodes.iter().filter(goes).collect();
    retired.sort_by_key(|node| node.leads);
    retired
}

/// What goes back to what it was made as before, what was begun last first: nobody knows whether that one runs. The
/// leader is the last.
fn remade_back<'a>(nodes: &'a [Standing], begun: &[Step]) -> Vec<(&'a Standing, Step)> {
    let back = |step: &Step| {
        let Step::RemakeNode { node, cell, from, to } = step else { return None };
        let standing = nodes.iter().find(|standing| standing.node == *node)?;
        let (from, to) = (to.clone(), from.clone());
        Some((standing, Step::RemakeNode { node: node.clone(), cell: cell.clone(), from, to }))
    };
    let mut back: Vec<(&Standing, Step)> = begun.iter().rev().filter_map(back).collect();
    back.sort_by_key(|(node, _)| node.leads);
    back
}

/// Nobody knows what to go back to where nothing is said to have been before.
fn configured_back(step: &Step) -> Option<Step> {
    match step {
        Step::Configure { from, to } if !from.is_empty() && from != to => {
            Some(Step::Configure { from: to.clone(), to: from.clone() })
        }
        _ => None,
    }
}

fn added(step: &Step) -> Option<&NodeId> {
    match step {
        Step::AddNode { node, .. } => Some(node),
        _ => None,
    }
}

fn going(step: &Step) -> Option<&NodeId> {
    match step {
        Step::RetireNode { node, .. } => Some(node),
        _ => None,
    }
}

fn concerns(step: &Step, node: &NodeId) -> bool {
    added(step).or_else(|| going(step)) == Some(node)
}

#[cfg(test)]
mod tests {
    use super::undo_reshape;
    use crate::scheduler::tests::{list, standing, steps};

    /// `was` are the steps; the last one of `begun` was begun, and those before it done.
    fn check(nodes: &str, begun: &str, not_begun: &str, expected: &str) {
        let count = steps(begun).len();
        let all: Vec<_> = steps(begun).into_iter().chain(steps(not_begun)).collect();
        let undo = undo_reshape(&standing(nodes), &all, count);
        assert_eq!(list(&undo), expected, "{nodes} after {begun} before {not_begun}");
    }

    #[test]
    fn nothing_is_undone_where_nothing_was_begun() {
        check("n1@a leader", "check new on a", "remake n1@a old>new, await n1", "");
        check("n1@a leader, n2@b", "hand over to n1", "retire n2@b, await n1", "");
        // A new node is in the record from the start; no container knows of it.
        check("n1@a leader, n2@b", "check old on b", "add n2@b, await n2, await n1 n2", "retire n2@b");
    }

    #[test]
    fn new_nodes_go() {
        let back = "hand over to n1, retire n2@b, await n1";
        check("n1@a leader, n2@b", "check old on b, add n2@b", "await n2, await n1 n2", back);
        check("n1@a leader, n2@b", "check old on b, add n2@b, await n2", "await n1 n2", back);
        check("n1@a, n2@b leader", "check old on b, add n2@b, await n2", "await n1 n2", back);
        check(
            "n1@a leader, n2@b, n3@c",
            "check old on b c, add n2@b",
            "add n3@c, await n2 n3, await n1 n2 n3",
            "hand over to n1, retire n2@b, retire n3@c, await n1",
        );
        // The one that leads goes last.
        check(
            "n1@a, n2@b leader, n3@c",
            "check old on b c, add n2@b, add n3@c, await n2 n3, await n1 n2 n3",
            "",
            "hand over to n1, retire n3@c, hand over to n1, retire n2@b, await n1",
        );
        // n2 was passed over for n3, whose name the step has since; n2's container is owed.
        check(
            "n1@a leader, n3@c",
            "check old on b, add n3@c",
            "await n3",
            "hand over to n1, retire n3@c, await n1",
        );
    }

    #[test]
    fn a_move_goes_back_or_keeps_its_size() {
        let all = "check old on c d, add n3@c, add n4@d, await n3 n4, hand over to n3 n4 n1, retire n2@b, \
                   hand over to n3 n4, retire n1@a, await n3 n4";
        let after = |words: &str| {
            let (begun, rest) = all.split_at(all.find(words).unwrap() + words.len());
            (begun.to_owned(), rest.strip_prefix(", ").unwrap_or_default().to_owned())
        };
        let check = |nodes: &str, after_step: &str, expected: &str| {
            let (begun, rest) = after(after_step);
            check(nodes, &begun, &rest, expected);
        };
        let back = "hand over to n1 n2, retire n3@c, hand over to n1 n2, retire n4@d, await n1 n2";
        check("n1@a leader, n2@b, n3@c, n4@d", "await n3 n4", back);
        check("n1@a leader, n2@b, n3@c, n4@d", "hand over to n3 n4 n1", back);
        // n2's removal was begun: its volume may be gone, and one of the new ones is kept in its place.
        check(
            "n1@a leader, n2@b, n3@c, n4@d",
            "retire n2@b",
            "hand over to n1 n3, retire n2@b, hand over to n1 n3, retire n4@d, await n1 n3",
        );
        check(
            "n1@a leader, n3@c, n4@d",
            "retire n2@b, hand over to n3 n4",
            "hand over to n1 n3, retire n4@d, await n1 n3",
        );
        // Who leads already is the one that is kept.
        check(
            "n1@a, n3@c, n4@d leader",
            "retire n2@b, hand over to n3 n4",
            "hand over to n1 n4, retire n3@c, await n1 n4",
        );
        check("n1@a, n3@c, n4@d leader", "retire n1@a", "hand over to n3 n4, retire n1@a, await n3 n4");
        // Everything was done but the last wait.
        check("n3@c, n4@d leader", "retire n1@a, await n3 n4", "");
    }

    #[test]
    fn a_shrinking_that_has_begun_is_ended() {
        check(
            "n1@a leader, n2@b, n3@c",
            "hand over to n1 n3, retire n2@b",
            "hand over to n1, retire n3@c, await n1",
            "hand over to n1 n3, retire n2@b, await n1 n3",
        );
        check(
            "n1@a leader, n3@c",
            "hand over to n1 n3, retire n2@b, hand over to n1",
            "retire n3@c, await n1",
            "",
        );
    }

    #[test]
    fn what_was_made_anew_goes_back() {
        check(
            "n1@a leader",
            "check new on a, remake n1@a old>new",
            "await n1",
            "remake n1@a new>old, await n1",
        );
        let first = "check new on b a, hand over to n1, remake n2@b old>new, await n1 n2";
        check(
            "n1@a leader, n2@b:new",
            first,
            "hand over to n2, remake n1@a old>new, await n1 n2",
            "hand over to n1, remake n2@b new>old, await n1 n2",
        );
        // The last one to be begun may not run: it is the first to go back, and the leader is the last.
        check(
            "n1@a leader, n2@b:new, n3@c",
            "check new on b c a, hand over to n1 n3, remake n2@b old>new, await n1 n2 n3, hand over to n1 n2, \
             remake n3@c old>new",
            "await n1 n2 n3, hand over to n2 n3, remake n1@a old>new, await n1 n2 n3",
            "hand over to n1 n2, remake n3@c new>old, await n1 n2 n3, hand over to n1 n3, remake n2@b new>old, \
             await n1 n2 n3",
        );
        check(
            "n1@a, n2@b:new leader",
            &format!("{first}, hand over to n2, remake n1@a old>new, await n1 n2"),
            "",
            "hand over to n2, remake n1@a new>old, await n1 n2, hand over to n1, remake n2@b new>old, await n1 n2",
        );
    }

    #[test]
    fn settings_go_back() {
        check(
            "n1@a leader, n2@b",
            "configure one>two, restart n2",
            "restart n1, restart n2, await n1 n2",
            "configure two>one, restart n2, restart n1, restart n2, await n1 n2",
        );
        // Nobody knows what they were, or they are the same.
        check("n1@a leader", "configure nothing>two, restart n1", "await n1", "");
        check("n1@a leader", "configure two>two, restart n1", "await n1", "");
        check("n1@a leader", "check new on a", "configure one>two, restart n1, await n1", "");
    }

    #[test]
    fn everything_goes_back_in_order() {
        check(
            "n1@a leader, n2@b:new, n3@c:new",
            "check new on c b a, configure one>two, restart n2, restart n1, restart n2, add n3@c, await n3, \
             hand over to n1 n3, remake n2@b old>new",
            "await n1 n2 n3, hand over to n2 n3, remake n1@a old>new, await n1 n2 n3",
            "configure two>one, hand over to n1 n2, retire n3@c, hand over to n1, remake n2@b new>old, await n1 n2, \
             restart n1, restart n2, restart n1, restart n2, await n1 n2",
        );
        // A node that was made anew is not, once it is gone.
        check(
            "n1@a leader, n3@c",
            "remake n2@b old>new, await n1 n2 n3, hand over to n1 n3, retire n2@b, await n1 n3",
            "",
            "",
        );
    }
}
