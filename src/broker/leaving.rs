//! Cells that are about to leave the configuration, or to be reached at another host: none may do so while something of
//! an instance is there, or is about to be.
//!
//! An order claims a node's ports on its cell before anything else is written, and looks only then whether the cell is
//! still there to stay ([`Core::stays`]). A cell that is to go is marked first, and only then its claims are read. So one of
//! the two sees the other, whoever comes first. Another broker of the same store is not seen before it has claimed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use storage::StoreError;

use super::core::Core;
use crate::cells::Cell;
use crate::model::{CellGuid, InstanceId};
use crate::state::{NodeRecord, keys};

/// How many instances are named.
const NAMED: usize = 5;

/// The cells that are about to go.
pub(super) type Marks = Arc<Mutex<BTreeSet<CellGuid>>>;

/// As long as this value lives, no node is placed on the cell.
pub struct Leaving {
    cell: CellGuid,
    marks: Marks,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.cell);
    }
}

/// What is on a cell, by the instances that it is of.
#[derive(Default)]
struct Found {
    nodes: BTreeMap<InstanceId, usize>,
    owed: BTreeMap<InstanceId, usize>,
    orphans: usize,
    claims: BTreeSet<InstanceId>,
}

impl Core {
    /// Keeps new nodes off a cell that has nothing of any instance.
    pub(super) fn let_go(&self, cell: &CellGuid) -> Result<Leaving, String> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).insert(cell.clone());
        let leaving = Leaving { cell: cell.clone(), marks: Arc::clone(&self.leaving) };
        match self.look_for_nodes(cell) {
            Ok(found) => found.check().map(|()| leaving),
            Err(error) => Err(format!("it cannot be told what is on it: {error}")),
        }
    }

    /// Whether a cell, by which a node's ports have been claimed, is still the one to place nodes on.
    pub(super) fn stays(&self, cell: &dyn Cell) -> bool {
        let guid = &cell.site().guid;
        let goes = self.leaving.lock().unwrap_or_else(PoisonError::into_inner).contains(guid);
        !goes && self.cells.get(guid).is_some_and(|now| now.site() == cell.site())
    }

    fn look_for_nodes(&self, cell: &CellGuid) -> Result<Found, StoreError> {
        let mut found = Found { claims: self.ports.claimants_on(cell)?, ..Found::default() };
        // Records that cannot be read have claims all the same, and the others are to be named.
        for record in self.instances.survey()?.records {
            let here = |node: &&NodeRecord| node.backend_id == *cell;
            let nodes = record.nodes.iter().filter(here).count();
            let owed = record.owed.iter().map(|owed| &owed.node).filter(here).count();
            for (kind, count) in [(&mut found.nodes, nodes), (&mut found.owed, owed)] {
                if count > 0 {
                    kind.insert(record.instance_id.clone(), count);
                }
            }
        }
        found.orphans = self.store.list(&keys::orphans_on(cell))?.entries.len();
        found
            .claims
            .retain(|instance| !found.nodes.contains_key(instance) && !found.owed.contains_key(instance));
        Ok(found)
    }
}

impl Found {
    /// Says what is there.
    fn check(&self) -> Result<(), String> {
        let mut said = Vec::new();
        for (of, what) in [(&self.nodes, ""), (&self.owed, " owed for removal")] {
            if !of.is_empty() {
                let count: usize = of.values().sum();
                said.push(format!("{}{what}, of {}", counted(count, "node"), named(of.keys())));
            }
        }
        if self.orphans > 0 {
            let containers = counted(self.orphans, "container");
            said.push(format!("{containers} of instances that were removed by force"));
            // It is for them that other ports are claimed.
        } else if !self.claims.is_empty() {
            said.push(format!("ports claimed for {}", named(self.claims.iter())));
        }
        if said.is_empty() { Ok(()) } else { Err(format!("it has {}", said.join("; "))) }
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn named<'a>(instances: impl ExactSizeIterator<Item = &'a InstanceId>) -> String {
    let count = instances.len();
    let names: Vec<&str> = instances.take(NAMED).map(InstanceId::as_str).collect();
    let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
    format!("{} ({}{more})", counted(count, "instance"), names.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::Found;
    use crate::model::InstanceId;

    fn instances(ids: &str) -> BTreeSet<InstanceId> {
        ids.split_whitespace().map(|id| InstanceId::parse(id).unwrap()).collect()
    }

    fn each(ids: &str, count: usize) -> BTreeMap<InstanceId, usize> {
        instances(ids).into_iter().map(|id| (id, count)).collect()
    }

    #[test]
    fn what_keeps_a_cell_is_counted_and_named() {
        let check = |nodes: &str, owed: &str, orphans: usize, claims: &str, expected: &str| {
            let found =
                Found { nodes: each(nodes, 1), owed: each(owed, 2), orphans, claims: instances(claims) };
            assert_eq!(found.check().err().unwrap_or_default(), expected);
        };
        check("", "", 0, "", "");
        check("b1", "", 0, "", "it has 1 node, of 1 instance (b1)");
        check(
            "b1 b2",
            "b1",
            0,
            "",
            "it has 2 nodes, of 2 instances (b1, b2); 2 nodes owed for removal, of 1 instance (b1)",
        );
        check("1 2 3 4 5 6 7", "", 0, "", "it has 7 nodes, of 7 instances (1, 2, 3, 4, 5 and 2 more)");
        check("", "", 2, "b3", "it has 2 containers of instances that were removed by force");
        check("", "", 0, "b3", "it has ports claimed for 1 instance (b3)");
    }
}
