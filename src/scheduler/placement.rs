//! Which cells a cluster's new nodes go to.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::CellGuid;

/// What placement knows of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellLoad {
    /// Which one.
    pub guid: CellGuid,
    /// Where it stands.
    pub availability_zone: String,
    /// The nodes of every instance on it.
    pub nodes: usize,
    /// Whether new nodes are kept off it.
    pub cordoned: bool,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// How many new nodes.
    pub new_nodes: usize,
    /// The cells of the cluster's nodes that stay, one for each node.
    pub occupied: &'a [CellGuid],
    /// The cells that the request allows; every cell without.
    pub among: Option<&'a [CellGuid]>,
    /// Cells that cannot serve now: they do not answer, or have refused.
    pub excluded: &'a [CellGuid],
}

/// Why no placement serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// The request names a cell that there is not.
    UnknownCell {
        /// As the request names it.
        cell: CellGuid,
        /// Those that there are.
        cells: Vec<CellGuid>,
    },
    /// The request names a cell that new nodes are kept off.
    Cordoned {
        /// As the request names it.
        cell: CellGuid,
        /// Those of the others that the request allows and that can take one.
        cells: Vec<CellGuid>,
    },
    /// More nodes than cells.
    TooFewCells {
        /// The nodes that the cluster would have.
        nodes: usize,
        /// The cells that can take one, or have one that stays.
        cells: Vec<CellGuid>,
    },
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |cells: &[CellGuid]| cells.iter().map(CellGuid::as_str).collect::<Vec<_>>().join(", ");
        match self {
            Self::UnknownCell { cell, cells } => {
                write!(f, "there is no cell {cell}; the cells are {}", list(cells))
            }
            Self::Cordoned { cell, cells } if cells.is_empty() => {
                write!(f, "cell {cell} is cordoned: it takes no new nodes")
            }
            Self::Cordoned { cell, cells } => {
                write!(
                    f,
                    "cell {cell} is cordoned: it takes no new nodes; of the cells that are allowed, {} can",
                    list(cells)
                )
            }
            Self::TooFewCells { nodes, cells } if cells.is_empty() => {
                write!(f, "{nodes} nodes are asked for and no cell can take one")
            }
            Self::TooFewCells { nodes, cells } => {
                let count =
                    if let [_] = cells[..] { "1 cell".to_owned() } else { format!("{} cells", cells.len()) };
                write!(f, "{nodes} nodes are asked for and only {count} can take one: {}", list(cells))
            }
        }
    }
}

impl std::error::Error for PlacementError {}

/// Chooses a cell for each new node, in the order in which they are to be made: a cell that the cluster does not use;
/// among those the zone with the fewest of the cluster's nodes; then the cell with the fewest nodes overall; then the
/// lowest guid. No cell takes two nodes of one cluster, and a cordoned one takes none: naming it is refused, unless it is
/// excluded all the same, or occupied by a node that stays.
///
/// # Errors
/// [`PlacementError`], naming the cells.
pub fn place(loads: &[CellLoad], wish: &Wish<'_>) -> Result<Vec<CellGuid>, PlacementError> {
    let known = |guid: &CellGuid| loads.iter().any(|load| load.guid == *guid);
    if let Some(cell) = wish.among.unwrap_or_default().iter().find(|guid| !known(guid)) {
        let cells = loads.iter().map(|load| load.guid.clone()).collect();
        return Err(PlacementError::UnknownCell { cell: cell.clone(), cells });
    }
    let occupied = |load: &CellLoad| wish.occupied.contains(&load.guid);
    let allowed = |load: &CellLoad| {
        wish.among.is_none_or(|among| among.contains(&load.guid)) && !wish.excluded.contains(&load.guid)
    };
    let usable = |load: &&CellLoad| allowed(load) && !load.cordoned && !occupied(load);
    let guids = |of: &mut dyn Iterator<Item = &CellLoad>| of.map(|load| load.guid.clone()).collect();
    let is_named = |load: &&CellLoad| wish.among.is_some() && allowed(load) && !occupied(load);
    if let Some(cordoned) = loads.iter().filter(is_named).find(|load| load.cordoned) {
        let cells = guids(&mut loads.iter().filter(usable));
        return Err(PlacementError::Cordoned { cell: cordoned.guid.clone(), cells });
    }
    let mut free: Vec<&CellLoad> = loads.iter().filter(usable).collect();
    if free.len() < wish.new_nodes {
        let cells = guids(&mut loads.iter().filter(|load| occupied(load) || usable(load)));
        return Err(PlacementError::TooFewCells { nodes: wish.occupied.len() + wish.new_nodes, cells });
    }
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for load in loads {
        let here = wish.occupied.iter().filter(|guid| **guid == load.guid).count();
        *zones.entry(&load.availability_zone).or_default() += here;
    }
    let mut chosen = Vec::with_capacity(wish.new_nodes);
    for _ in 0..wish.new_nodes {
        let rank = |load: &&CellLoad| (zones[load.availability_zone.as_str()], load.nodes, load.guid.clone());
        let Some(best) = free.iter().copied().min_by_key(rank) else { break };
        free.retain(|load| load.guid != best.guid);
        *zones.entry(&best.availability_zone).or_default() += 1;
        chosen.push(best.guid.clone());
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::{PlacementError, Wish, place};
    use crate::model::CellGuid;
    use crate::scheduler::tests::loads;

    fn guids(list: &str) -> Vec<CellGuid> {
        list.split_whitespace().map(|raw| CellGuid::parse(raw).unwrap()).collect()
    }

    fn check(cells: &str, occupied: &str, new_nodes: usize, expected: &str) {
        check_among(cells, occupied, None, "", new_nodes, expected);
    }

    fn check_among(
        cells: &str,
        occupied: &str,
        among: Option<&str>,
        excluded: &str,
        new_nodes: usize,
        expected: &str,
    ) {
        let (occupied, among, excluded) = (guids(occupied), among.map(guids), guids(excluded));
        let wish = Wish { new_nodes, occupied: &occupied, among: among.as_deref(), excluded: &excluded };
        let chosen = match place(&loads(cells), &wish) {
            Ok(chosen) => chosen.iter().map(CellGuid::as_str).collect::<Vec<_>>().join(" "),
            Err(PlacementError::UnknownCell { cell, .. }) => format!("unknown {cell}"),
            Err(PlacementError::Cordoned { cell, cells }) => format!("{cell} cordoned, not {}", cells.len()),
            Err(PlacementError::TooFewCells { cells, .. }) => format!("too few of {}", cells.len()),
        };
        assert_eq!(chosen, expected, "{cells} with {occupied:?} among {among:?} without {excluded:?}");
    }

    #[test]
    fn nodes_are_spread() {
        check("a@z1:0 b@z1:0 c@z2:0 d@z2:0", "", 2, "a c");
        check("a@z1:0 b@z1:0 c@z2:0 d@z2:0", "", 4, "a c b d");
        check("a@z1:0 b@z1:0 c@z2:0", "a", 1, "c");
        check("a@z1:5 b@z1:0 c@z2:9", "", 1, "b");
        check("a@z1:5 b@z1:0 c@z2:9", "", 2, "b c");
        check("b@z1:0 a@z1:0", "", 1, "a");
        check("a@z1:0 b@z2:0", "a", 1, "b");
        check("a@z1:0", "", 0, "");
    }

    #[test]
    fn a_request_may_narrow_the_choice() {
        check_among("a@z1:0 b@z1:0 c@z2:0", "", Some("b c"), "", 2, "b c");
        check_among("a@z1:0 b@z1:0 c@z2:0", "", Some("b x"), "", 1, "unknown x");
        check_among("a@z1:0 b@z1:0 c@z2:0", "", Some("b"), "", 2, "too few of 1");
        check_among("a@z1:0 b@z1:0 c@z2:0", "", None, "a c", 1, "b");
        check_among("a@z1:0 b@z1:0", "a", None, "b", 1, "too few of 1");
        check("a@z1:0 b@z1:0", "", 3, "too few of 2");
        check("", "", 1, "too few of 0");
    }

    #[test]
    fn a_cordoned_cell_takes_no_new_node() {
        check("a@z1:0! b@z1:9", "", 1, "b");
        check("a@z1:0! b@z1:0", "", 2, "too few of 1");
        check("a@z1:0!", "", 1, "too few of 0");
        check_among("a@z1:0! b@z1:0", "", Some("a b"), "", 1, "a cordoned, not 1");
        check_among("a@z1:0! b@z1:0", "", Some("b"), "", 1, "b");
        // What the cluster has there stays.
        check_among("a@z1:0! b@z1:0", "a", Some("a b"), "", 1, "b");
        check("a@z1:0! b@z1:0", "a", 2, "too few of 2");
        // It is known not to serve: who asks passes it over.
        check_among("a@z1:0! b@z1:0", "", Some("a b"), "a", 1, "b");
    }
}
