//! Which of a cluster's nodes stay and go when it becomes another one, and where new ones come.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::placement::{CellLoad, PlacementError, Wish, place};
use crate::model::{Build, CellGuid, NodeId};

/// What a cluster is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// How many nodes.
    pub nodes: usize,
    /// On which cells; where they are, and any for new ones, without.
    pub among: Option<Vec<CellGuid>>,
    /// Whether the request itself names these cells: then each of them must be there and take nodes. Of those named at
    /// another time, the ones that are gone or cordoned are passed over.
    pub among_is_new: bool,
    /// As what new nodes' containers are made.
    pub build: Build,
    /// Whether the nodes that stay are made so too, where they are not; they are left as they are without.
    pub remake: bool,
    /// Its settings in Patroni's dynamic configuration, before and after; none where they stay. Before is empty where
    /// nobody knows any more.
    pub configure: Option<(Map<String, Value>, Map<String, Value>)>,
}

/// A node as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which.
    pub node: NodeId,
    /// Where.
    pub cell: CellGuid,
    /// As what its container was made.
    pub build: Build,
    /// Whether it leads, as far as is known: the plan holds, and costs a change of leaders more, where another does.
    pub leads: bool,
}

/// Which nodes stay and go, and where new ones come.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Those that stay, in the record's order.
    pub stay: Vec<Standing>,
    /// Those that go, the leader last.
    pub go: Vec<Standing>,
    /// A cell for each new node.
    pub come: Vec<CellGuid>,
}

/// Chooses. Nodes on cells that are not wanted, or are to be `left`, go; of those that are too many, replicas before the
/// leader, then the zone with the most of this cluster's nodes, then the cell with the most nodes overall, then the
/// newest. New nodes are placed as [`place`] does, on no cell that is `left` or `excluded`.
///
/// # Errors
/// [`PlacementError`], naming the cells.
pub fn choose(
    nodes: &[Standing],
    loads: &[CellLoad],
    wish: &Reshape,
    left: &BTreeSet<CellGuid>,
    excluded: &[CellGuid],
) -> Result<Choice, PlacementError> {
    let is_wanted = |cell: &CellGuid| {
        wish.among.as_ref().is_none_or(|among| among.contains(cell)) && !left.contains(cell)
    };
    let mut stay: Vec<&Standing> = nodes.iter().filter(|node| is_wanted(&node.cell)).collect();
    while stay.len() > wish.nodes
        && let Some(place) = most_dispensable(&stay, loads)
    {
        stay.remove(place);
    }
    let occupied: Vec<CellGuid> = stay.iter().map(|node| node.cell.clone()).collect();
    let come = come(loads, wish, &occupied, left, excluded)?;
    let stays = |node: &Standing| stay.iter().any(|other| other.node == node.node);
    let mut go: Vec<Standing> = nodes.iter().filter(|node| !stays(node)).cloned().collect();
    go.sort_by_key(|node| node.leads);
    Ok(Choice { stay: stay.into_iter().cloned().collect(), go, come })
}

/// Which of the nodes goes first.
fn most_dispensable(nodes: &[&Standing], loads: &[CellLoad]) -> Option<usize> {
    let load = |cell: &CellGuid| loads.iter().find(|load| load.guid == *cell);
    // A cell that has left the configuration is a zone of its own.
    let zone = |node: &Standing| {
        load(&node.cell).map_or(node.cell.as_str(), |load| load.availability_zone.as_str()).to_owned()
    };
    let mut zones: BTreeMap<String, usize> = BTreeMap::new();
    for node in nodes {
        *zones.entry(zone(node)).or_default() += 1;
    }
    let rank = |(place, node): &(usize, &&Standing)| {
        (!node.leads, zones[&zone(node)], load(&node.cell).map_or(0, |load| load.nodes), *place)
    };
    nodes.iter().enumerate().max_by_key(rank).map(|(place, _)| place)
}

/// Where new nodes come, given where there are some that stay.
fn come(
    loads: &[CellLoad],
    wish: &Reshape,
    occupied: &[CellGuid],
    left: &BTreeSet<CellGuid>,
    excluded: &[CellGuid],
) -> Result<Vec<CellGuid>, PlacementError> {
    let mut excluded: Vec<CellGuid> = excluded.iter().chain(left).cloned().collect();
    let mut among = wish.among.clone();
    if !wish.among_is_new {
        excluded.extend(loads.iter().filter(|load| load.cordoned).map(|load| load.guid.clone()));
        let is_there = |cell: &CellGuid| loads.iter().any(|load| load.guid == *cell);
        among.iter_mut().for_each(|among| among.retain(is_there));
    }
    let new_nodes = wish.nodes.saturating_sub(occupied.len());
    place(loads, &Wish { new_nodes, occupied, among: among.as_deref(), excluded: &excluded })
}

#[cfg(test)]
mod tests {
    use super::{Reshape, choose};
    use crate::model::CellGuid;
    use crate::scheduler::PlacementError;
    use crate::scheduler::tests::{build, cell, loads, standing};

    const CELLS: &str = "a@z1:0 b@z1:0 c@z2:0 d@z2:0";

    /// What else is known when it is chosen.
    #[derive(Default)]
    struct Given<'a> {
        among: Option<&'a str>,
        among_is_new: bool,
        left: &'a str,
        excluded: &'a str,
    }

    fn guids(list: &str) -> Vec<CellGuid> {
        list.split_whitespace().map(cell).collect()
    }

    fn check(cells: &str, nodes: &str, wanted: usize, expected: &str) {
        check_given(cells, nodes, wanted, &Given::default(), expected);
    }

    fn check_among(cells: &str, nodes: &str, wanted: usize, among: &str, expected: &str) {
        let given = Given { among: Some(among), among_is_new: true, ..Given::default() };
        check_given(cells, nodes, wanted, &given, expected);
    }

    fn check_left(cells: &str, nodes: &str, wanted: usize, left: &str, expected: &str) {
        check_given(cells, nodes, wanted, &Given { left, ..Given::default() }, expected);
    }

    fn check_given(cells: &str, nodes: &str, wanted: usize, given: &Given<'_>, expected: &str) {
        let wish = Reshape {
            nodes: wanted,
            among: given.among.map(guids),
            among_is_new: given.among_is_new,
            build: build("old"),
            remake: false,
            configure: None,
        };
        let left = guids(given.left).into_iter().collect();
        let told = match choose(&standing(nodes), &loads(cells), &wish, &left, &guids(given.excluded)) {
            Ok(choice) => {
                let names = |of: &[super::Standing]| {
                    of.iter().map(|node| node.node.to_string()).collect::<Vec<_>>().join(" ")
                };
                let come = choice.come.iter().map(CellGuid::as_str).collect::<Vec<_>>().join(" ");
                let parts = [("stay", names(&choice.stay)), ("go", names(&choice.go)), ("come", come)];
                let told = parts.iter().filter(|(_, who)| !who.is_empty());
                told.map(|(what, who)| format!("{what} {who}")).collect::<Vec<_>>().join(", ")
            }
            Err(error) => match &error {
                PlacementError::UnknownCell { cell, .. } => format!("unknown {cell}"),
                PlacementError::Cordoned { cell, .. } => format!("cordoned {cell}"),
                PlacementError::TooFewCells { nodes, cells } => {
                    let cells: Vec<&str> = cells.iter().map(CellGuid::as_str).collect();
                    format!("{nodes} on {}", cells.join(" "))
                }
            },
        };
        assert_eq!(told, expected, "{nodes} of {wanted} among {:?} without {}", given.among, given.left);
    }

    #[test]
    fn what_is_as_it_should_be_stays() {
        check(CELLS, "n1@a leader, n2@c", 2, "stay n1 n2");
        check_among(CELLS, "n1@a leader, n2@c", 2, "a c", "stay n1 n2");
        check_among(CELLS, "n1@a leader, n2@c", 2, "a b c d", "stay n1 n2");
        check_left(CELLS, "n1@a leader, n2@c", 2, "b", "stay n1 n2");
        // The cell has left the configuration, and cordons keep only new nodes off.
        check("c@z2:0", "n1@a leader, n2@c", 2, "stay n1 n2");
        check("a@z1:1! c@z2:1!", "n1@a leader, n2@c", 2, "stay n1 n2");
        check_among("a@z1:1! c@z2:1!", "n1@a leader, n2@c", 2, "a c", "stay n1 n2");
        // The ancestors may have put two nodes on one cell.
        check(CELLS, "n1@a leader, n2@a", 2, "stay n1 n2");
    }

    #[test]
    fn new_nodes_are_placed_beside_those_that_stay() {
        check(CELLS, "n1@a leader", 2, "stay n1, come c");
        check(CELLS, "n1@a leader", 3, "stay n1, come c b");
        check(CELLS, "n1@a leader", 4, "stay n1, come c b d");
        check("a@z1:0 b@z1:0 c@z2:9!", "n1@a leader", 2, "stay n1, come b");
        check_among(CELLS, "n1@a leader", 2, "a b", "stay n1, come b");
        check(CELLS, "n1@a leader", 5, "5 on a b c d");
        check("a@z1:0! b@z1:0", "n1@a leader", 3, "3 on a b");
        check_among(CELLS, "n1@a leader", 3, "a d", "3 on a d");
        let silent = Given { excluded: "c", ..Given::default() };
        check_given(CELLS, "n1@a leader", 2, &silent, "stay n1, come d");
        check_given(CELLS, "n1@a leader", 4, &silent, "4 on a b d");
    }

    #[test]
    fn replicas_go_before_the_leader() {
        check(CELLS, "n1@a leader, n2@c", 1, "stay n1, go n2");
        check(CELLS, "n1@a, n2@c leader", 1, "stay n2, go n1");
        check(CELLS, "n1@a leader, n2@b, n3@c", 1, "stay n1, go n2 n3");
        // Nobody leads, as far as is known.
        check("a@z1:0 b@z2:0", "n1@a, n2@b", 1, "stay n1, go n2");
    }

    #[test]
    fn the_fullest_go_first() {
        // The zone with the most of the cluster, then the cell with the most of all, then the newest.
        check(CELLS, "n1@a leader, n2@b, n3@c", 2, "stay n1 n3, go n2");
        check(CELLS, "n1@a, n2@b leader, n3@c", 2, "stay n2 n3, go n1");
        check("a@z1:0 c@z2:1 d@z2:5", "n1@a leader, n2@d, n3@c", 2, "stay n1 n3, go n2");
        check("a@z1:0 c@z2:5 d@z2:5", "n1@a leader, n2@d, n3@c", 2, "stay n1 n2, go n3");
        check("a@z1:9 b@z1:9 c@z2:0 d@z2:0", "n1@c leader, n2@a, n3@b, n4@d", 2, "stay n1 n2, go n3 n4");
        check("a@z1:0 b@z2:3 c@z3:7", "n1@a leader, n2@b, n3@c", 2, "stay n1 n2, go n3");
        // A cell that has left the configuration is a zone of its own.
        check("a@z1:1 b@z1:1", "n1@a leader, n2@b, n3@x", 2, "stay n1 n3, go n2");
    }

    #[test]
    fn nodes_move_where_they_are_wanted() {
        check_among(CELLS, "n1@a leader, n2@c", 2, "b d", "go n2 n1, come b d");
        check_among(CELLS, "n1@a, n2@c leader", 2, "b d", "go n1 n2, come b d");
        check_among(CELLS, "n1@a leader, n2@c", 2, "a b", "stay n1, go n2, come b");
        check_among(CELLS, "n1@a leader, n2@c", 2, "c d", "stay n2, go n1, come d");
        check_among(CELLS, "n1@a leader, n2@c", 1, "b", "go n2 n1, come b");
        check_among(CELLS, "n1@a leader, n2@c", 1, "b c", "stay n2, go n1");
        check_among(CELLS, "n1@a leader, n2@c", 3, "b c d", "stay n2, go n1, come b d");
        check_among(CELLS, "n1@a leader, n2@c", 2, "b", "2 on b");
        check_among(CELLS, "n1@a leader, n2@c", 2, "a", "2 on a");
    }

    #[test]
    fn cells_that_are_named_must_take_nodes() {
        check_among(CELLS, "n1@a leader", 1, "a x", "unknown x");
        check_among("a@z1:1 b@z1:0! c@z1:0", "n1@a leader", 2, "a b c", "cordoned b");
        check_among("a@z1:1 b@z1:0!", "n1@a leader", 1, "b", "cordoned b");
        // Named at another time, they are passed over.
        let once = |among| Given { among: Some(among), ..Given::default() };
        check_given(CELLS, "n1@a leader", 1, &once("a x"), "stay n1");
        check_given(CELLS, "n1@a leader", 2, &once("a x"), "2 on a");
        check_given("a@z1:1 b@z1:0! c@z1:0", "n1@a leader", 2, &once("a b c"), "stay n1, come c");
        check_given("a@z1:1 b@z1:0!", "n1@a leader", 2, &once("a b"), "2 on a");
    }

    #[test]
    fn a_cell_is_left() {
        check_left(CELLS, "n1@a leader, n2@c", 2, "a", "stay n2, go n1, come b");
        check_left(CELLS, "n1@a leader, n2@c", 2, "a b", "stay n2, go n1, come d");
        check_left(CELLS, "n1@a leader, n2@c", 2, "a c", "go n2 n1, come b d");
        check_left(CELLS, "n1@a leader", 1, "a", "go n1, come b");
        check_left("a@z1:1! b@z1:0", "n1@a leader", 1, "a", "go n1, come b");
        check_left("a@z1:1! b@z1:0!", "n1@a leader", 1, "a", "1 on ");
        check_left("a@z1:1", "n1@a leader", 1, "a", "1 on ");
        check_left("a@z1:1 b@z1:1", "n1@a leader, n2@b", 2, "a", "2 on b");
        // What the user has named stays binding.
        let named = |among| Given { among: Some(among), left: "a", ..Given::default() };
        check_given(CELLS, "n1@a leader, n2@c", 2, &named("a c"), "2 on c");
        check_given("a@z1:1! b@z1:0 c@z2:0", "n1@a leader", 1, &named("a c"), "go n1, come c");
    }
}
