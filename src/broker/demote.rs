//! Takes the lead away from every member on a cell, as before a short piece of work on it: nothing is moved, and whoever
//! is a replica there stays one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::core::Core;
use super::{BrokerError, Demotion};
use crate::model::{CellGuid, InstanceId, NodeId};
use crate::services::MemberError;
use crate::state::{CordonRecord, InstanceRecord, NodeRecord};

/// How many clusters hand over at the same time.
const AT_ONCE: usize = 4;
/// After this no further cluster is begun with: it keeps one of the callers' threads.
const PATIENCE: Duration = Duration::from_secs(60);

const UNDER_WAY: &str = "an operation on it is under way";

/// What is the same for every cluster of a demotion.
struct Round<'a> {
    cell: &'a CellGuid,
    cordons: BTreeMap<CellGuid, CordonRecord>,
    until: Instant,
}

impl Core {
    /// Hands every cluster that is led from this cell over to a member elsewhere, and says what became of each.
    pub(super) fn demote(&self, cell: &CellGuid) -> Result<Vec<Demotion>, BrokerError> {
        self.check_cell(cell)?;
        let _alone = self.alone()?;
        let round = Round { cell, cordons: self.cordons.list()?, until: Instant::now() + PATIENCE };
        let waiting: Mutex<VecDeque<InstanceId>> = Mutex::new(self.instances_on(cell).into_iter().collect());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = || {
            let mut demotions = Vec::new();
            while let Some(instance) = next() {
                demotions.extend(self.demote_instance(&round, &instance));
            }
            demotions
        };
        let mut demotions = thread::scope(|scope| {
            // The caller's own thread is one of them, so that it goes on where the system gives none.
            let others: Vec<_> = (1..AT_ONCE)
                .map_while(|_| {
                    thread::Builder::new().name("demote".to_owned()).spawn_scoped(scope, work).ok()
                })
                .collect();
            let mut demotions = work();
            for other in others {
                match other.join() {
                    Ok(found) => demotions.extend(found),
                    Err(_) => warn!("a thread that demotes panicked"),
                }
            }
            demotions
        });
        demotions.sort_by(|one, other| one.instance_id.cmp(&other.instance_id));
        Ok(demotions)
    }

    /// `None` where it is not led from there.
    fn demote_instance(&self, round: &Round<'_>, instance: &InstanceId) -> Option<Demotion> {
        let demotion = |from: Option<&NodeId>, to, kept| Demotion {
            instance_id: instance.clone(),
            from: from.cloned(),
            to,
            kept,
        };
        match self.try_demote(round, instance) {
            Ok(None) => None,
            Ok(Some((from, Ok(to)))) => {
                info!("cell {}: instance {instance} is led from elsewhere", round.cell);
                Some(demotion(Some(&from), to, None))
            }
            Ok(Some((from, Err(kept)))) => Some(demotion(Some(&from), None, Some(kept))),
            Err(error) => Some(demotion(None, None, Some(error.to_string()))),
        }
    }

    /// Who led from there, and who leads now or why he still does.
    #[expect(clippy::type_complexity, reason = "it is looked at in one place")]
    fn try_demote(
        &self,
        round: &Round<'_>,
        instance: &InstanceId,
    ) -> Result<Option<(NodeId, Result<Option<NodeId>, String>)>, BrokerError> {
        let Some(leader) = self.leader_on(round.cell, instance)? else { return Ok(None) };
        let kept = |reason: &str| Ok(Some((leader.clone(), Err(reason.to_owned()))));
        if Instant::now() >= round.until || self.is_stopping() {
            return kept("the time was over before its turn; ask again");
        }
        let Some(_lease) = self.take(instance)? else { return kept(UNDER_WAY) };
        // Read with the lease: from now on no worker begins anything.
        let Some(record) = self.instances.load(instance)? else { return Ok(None) };
        let record = record.value;
        if record.under_way().is_some() {
            return kept(UNDER_WAY);
        }
        if record.nodes.len() == 1 {
            return kept("it is the only node of its cluster");
        }
        let to = successors(&record, round);
        if to.is_empty() {
            return kept("all of its nodes are on that cell");
        }
        let Some(containers) = self.drivers.containers(record.driver) else { return Ok(None) };
        let ended = match containers.hand_over(&record, &to) {
            Ok(()) => Ok(containers.progress(&record)?.leader.filter(|now| *now != leader)),
            Err(MemberError::NotNow { reason } | MemberError::Refused { reason }) => Err(reason),
            Err(MemberError::Store(error)) => return Err(error.into()),
        };
        Ok(Some((leader, ended)))
    }

    /// The instance's leader, if it is on this cell.
    fn leader_on(&self, cell: &CellGuid, instance: &InstanceId) -> Result<Option<NodeId>, BrokerError> {
        let Some(record) = self.instances.load(instance)? else { return Ok(None) };
        let Some(containers) = self.drivers.containers(record.value.driver) else { return Ok(None) };
        let leader = containers.progress(&record.value)?.leader;
        let is_here = |leader: &NodeId| {
            record.value.nodes.iter().any(|node| node.node_id == *leader && node.backend_id == *cell)
        };
        Ok(leader.filter(is_here))
    }
}

/// Who may lead instead: nodes on other cells, and on cells that stay, if there are such.
fn successors(record: &InstanceRecord, round: &Round<'_>) -> Vec<NodeId> {
    let elsewhere: Vec<&NodeRecord> =
        record.nodes.iter().filter(|node| node.backend_id != *round.cell).collect();
    let stays = |node: &&&NodeRecord| !round.cordons.contains_key(&node.backend_id);
    let staying: Vec<NodeId> = elsewhere.iter().filter(stays).map(|node| node.node_id.clone()).collect();
    if staying.is_empty() {
        elsewhere.into_iter().map(|node| node.node_id.clone()).collect()
    } else {
        staying
    }
}
