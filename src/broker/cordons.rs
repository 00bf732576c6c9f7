//! Keeps new nodes off cells, and says how far a cell is from being rebooted without anybody's noticing.

use std::collections::{BTreeMap, BTreeSet};

use log::{info, warn};
use storage::StoreError;

use super::core::{CONFLICTS, Core};
use super::{BrokerError, CellStanding, DrainView};
use crate::model::{CellGuid, InstanceId};
use crate::scheduler::Step;
use crate::state::{CordonRecord, DrainRecord, InstanceRecord, NodeRecord, keys};

/// What the index of nodes does not say: instances whose operations are under way, or that owe the removal of containers.
pub(super) struct Pending {
    records: Vec<InstanceRecord>,
    /// A record that nobody can read may name any cell.
    unreadable: bool,
    /// How many containers whose instances are gone are left on each cell.
    orphans: BTreeMap<String, usize>,
}

/// What is left on a cell.
struct Left {
    instances: BTreeSet<InstanceId>,
    /// Those of them that an operation is under way on.
    busy: BTreeSet<InstanceId>,
    owed: usize,
}

impl Core {
    /// Keeps new nodes off a cell. That it is so already is as good.
    pub(super) fn cordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        self.check_cell(cell)?;
        if self.cordons.load(cell)?.is_none() {
            let record = CordonRecord { write_id: String::new(), since_ms: self.now_ms(), drain: None };
            match self.cordons.create(cell, record) {
                Ok(_) => info!("cell {cell} takes no new nodes"),
                // Somebody else has cordoned it at this moment.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.cell_standing(cell)
    }

    /// Lets a cell take nodes again, and ends its drain: what moves already goes on. A cell that has left the
    /// configuration can be uncordoned as well.
    pub(super) fn uncordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        if self.store.get(&keys::cordon(cell))?.is_some() {
            self.cordons.remove(cell)?;
            info!("cell {cell} takes new nodes again");
        } else {
            self.check_cell(cell)?;
        }
        self.cell_standing(cell)
    }

    pub(super) fn check_cell(&self, cell: &CellGuid) -> Result<(), BrokerError> {
        match self.cells.get(cell) {
            Some(_) => Ok(()),
            None => Err(BrokerError::UnknownCell(cell.clone())),
        }
    }

    /// How a cell stands by the store alone.
    pub(super) fn cell_standing(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        // One that cannot be read keeps nodes off all the same.
        let cordon = self.cordons.list()?.remove(cell);
        let pending = cordon.as_ref().map(|_| self.pending()).transpose()?;
        Ok(self.standing_of(cell, cordon.as_ref().zip(pending.as_ref())))
    }

    /// The same of a cell whose cordon, if it has one, is known.
    pub(super) fn standing_of(
        &self,
        cell: &CellGuid,
        cordon: Option<(&CordonRecord, &Pending)>,
    ) -> CellStanding {
        let nodes = self.nodes_on(cell);
        let Some((record, pending)) = cordon else {
            return CellStanding { nodes, ..CellStanding::default() };
        };
        let left = self.left_on(cell, pending);
        let is_others = |drain: &DrainRecord, busy: &InstanceId| {
            !drain.moving.contains_key(busy) && !drain.stuck.contains_key(busy)
        };
        let drain = record.drain.as_ref().map(|drain| DrainView {
            at_once: drain.at_once,
            left: left.instances.len(),
            moving: drain.moving.keys().cloned().collect(),
            waiting: left.busy.iter().filter(|busy| is_others(drain, busy)).cloned().collect(),
            stuck: drain.stuck.clone(),
            ended: drain.moving.is_empty()
                && (drain.is_given_up() || left.instances.iter().all(|left| drain.stuck.contains_key(left))),
        });
        CellStanding {
            nodes,
            cordoned: true,
            cordoned_since_ms: Some(record.since_ms),
            drain,
            owed: Some(left.owed),
            safe_to_reboot: left.instances.is_empty()
                && left.owed == 0
                && !pending.unreadable
                && !self.is_claimed(cell),
        }
    }

    /// Reads what [`Core::standing_of`] needs beside the index: no more than the operations under way, and what is owed.
    pub(super) fn pending(&self) -> Result<Pending, StoreError> {
        let mut pending = Pending { records: Vec::new(), unreadable: false, orphans: BTreeMap::new() };
        for note in self.store.list(&keys::pending_operations())?.entries {
            let Ok(instance) = InstanceId::parse(note.key.name()) else { continue };
            match self.instances.load(&instance) {
                Ok(record) => pending.records.extend(record.map(|record| record.value)),
                Err(error @ StoreError::Corrupt { .. }) => {
                    warn!("no cordoned cell is safe to reboot: {error}");
                    pending.unreadable = true;
                }
                Err(error) => return Err(error),
            }
        }
        for orphan in self.store.list(&keys::orphans())?.entries {
            let cell = orphan.key.segments().nth(2).unwrap_or_default().to_owned();
            *pending.orphans.entry(cell).or_default() += 1;
        }
        Ok(pending)
    }

    /// Whether an order that saw the cell before it was cordoned may place a node there yet: its ports are claimed first.
    fn is_claimed(&self, cell: &CellGuid) -> bool {
        self.ports.claimants_on(cell).map_or(true, |claimants| !claimants.is_empty())
    }

    fn left_on(&self, cell: &CellGuid, pending: &Pending) -> Left {
        let mut left = Left {
            instances: self.instances_on(cell),
            busy: BTreeSet::new(),
            owed: pending.orphans.get(cell.as_str()).copied().unwrap_or_default(),
        };
        for record in &pending.records {
            left.owed += record.owed.iter().filter(|owed| owed.node.backend_id == *cell).count();
            // The index has a node from when it is made until what is left of it is gone.
            if is_on(record, cell) {
                left.instances.insert(record.instance_id.clone());
                left.busy.extend(record.under_way().map(|_| record.instance_id.clone()));
            } else {
                left.instances.remove(&record.instance_id);
            }
        }
        left
    }

    /// Changes a cell's record; `None` where there is none. Nothing is written where nothing changes.
    pub(super) fn amend_cordon<T>(
        &self,
        cell: &CellGuid,
        change: impl Fn(&mut CordonRecord) -> T,
    ) -> Result<Option<T>, StoreError> {
        for _ in 0..CONFLICTS {
            let Some(mut stored) = self.cordons.load(cell)? else { return Ok(None) };
            let before = stored.value.clone();
            let answer = change(&mut stored.value);
            if stored.value == before {
                return Ok(Some(answer));
            }
            match self.cordons.save(cell, stored) {
                Ok(_) => return Ok(Some(answer)),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }
}

/// Whether one of the instance's nodes is placed there: one that its operation has removed is in the record until all of
/// them are.
pub(super) fn is_on(record: &InstanceRecord, cell: &CellGuid) -> bool {
    let is_removed = |node: &NodeRecord| {
        let mut done =
            record.under_way().into_iter().flat_map(|operation| operation.steps.iter().take(operation.done));
        done.any(|step| matches!(step, Step::RemoveNode { node: removed, .. } if *removed == node.node_id))
    };
    record.nodes.iter().any(|node| node.backend_id == *cell && !is_removed(node))
}
