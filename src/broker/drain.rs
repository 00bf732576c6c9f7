//! Drains cells: moves every instance off a cell that takes no new nodes, a few at a time, until it is safe to reboot.
//! One thread of each broker sees to it. All that is known of a drain stands in the cell's cordon, so that several
//! brokers never begin more than was asked for, and one that starts goes on where another was cut off.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, select_biased};
use log::{info, warn};
use storage::StoreError;

use super::cordons::is_on;
use super::core::Core;
use super::relocate::relocation;
use super::{Accepted, BrokerError, DrainRequest, Drained, Fate, RehearsedMove};
use crate::model::{CellGuid, InstanceId, OperationId};
use crate::state::{CordonRecord, DrainRecord, OperationState};

/// How many instances move at the same time, where nobody says.
const AT_ONCE: usize = 2;
/// After so many that could not be moved, no more are tried: whatever is wrong is not theirs.
const MOST_STUCK: usize = 100;
/// How much of a reason is kept: all of them stand in one record.
const LONGEST_REASON: usize = 300;
/// How long a rehearsal may take; it keeps one of the callers' threads.
const REHEARSAL: Duration = Duration::from_secs(30);
/// How many instances a refusal names.
const NAMED: usize = 5;

impl DrainRecord {
    /// Whether so many are stuck that no more are tried.
    pub(super) fn is_given_up(&self) -> bool {
        self.stuck.len() >= MOST_STUCK
    }
}

/// The thread that drains.
pub(super) struct Drains {
    core: Arc<Core>,
    thread: Option<thread::JoinHandle<()>>,
    /// Closed when it has ended.
    ended: Receiver<()>,
}

impl Drains {
    pub(super) fn start(core: &Arc<Core>) -> std::io::Result<Self> {
        let (end, ended) = bounded::<()>(0);
        let thread = thread::Builder::new().name("drains".to_owned()).spawn({
            let core = Arc::clone(core);
            move || {
                run(&core);
                drop(end);
            }
        })?;
        Ok(Self { core: Arc::clone(core), thread: Some(thread), ended })
    }
}

impl Drop for Drains {
    /// It may be asking a cell that does not answer: that is not waited for.
    fn drop(&mut self) {
        self.core.stop();
        if self.ended.recv_timeout(self.core.settings.pace.farewell) == Err(RecvTimeoutError::Timeout) {
            return warn!("the thread that drains cells does not leave what it does");
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread that drains cells panicked");
        }
    }
}

fn run(core: &Core) {
    loop {
        if let Err(error) = core.drive_drains() {
            warn!("cells cannot be drained: {error}");
        }
        select_biased! {
            recv(core.stopped) -> _ => return,
            recv(core.drain_asked.1) -> _ => {}
            default(core.settings.pace.scan_every) => {}
        }
    }
}

/// How one that is to be moved stands.
enum Stand {
    /// Something is under way.
    Goes,
    /// Nothing is, and it is to be begun.
    Idle,
    /// It has no node there.
    Moved,
    /// Its move has failed.
    Stuck(String),
}

impl Core {
    /// Cordons a cell and begins to move everything off it. Asked for again, it tries those again that were stuck.
    pub(super) fn drain(&self, request: &DrainRequest) -> Result<Drained, BrokerError> {
        let DrainRequest { cell, at_once, dry_run } = request;
        self.check_cell(cell)?;
        self.check_elsewhere(cell)?;
        if *dry_run {
            return self.rehearse_drain(cell);
        }
        self.cordon(cell)?;
        let begin = |record: &mut CordonRecord| {
            let before =
                record.drain.take().unwrap_or(DrainRecord { at_once: AT_ONCE, ..DrainRecord::default() });
            // Each move may hold a worker for long, and others are to be served meanwhile.
            let at_once =
                at_once.unwrap_or(before.at_once).min(self.settings.workers.saturating_sub(1).max(1));
            record.drain = Some(DrainRecord { at_once, stuck: Default::default(), ..before });
            at_once
        };
        // Uncordoned at the same moment, it is not drained.
        let at_once = self.amend_cordon(cell, begin)?.ok_or(BrokerError::Store(StoreError::Conflict))?;
        info!("cell {cell} is drained, {at_once} instances at a time");
        // Full, it says so already.
        let _ = self.drain_asked.0.try_send(());
        Ok(Drained::Begun(self.cell_standing(cell)?))
    }

    /// Where it is plain that nothing can go anywhere, nothing is begun.
    fn check_elsewhere(&self, cell: &CellGuid) -> Result<(), BrokerError> {
        let cordons = self.cordons.list()?;
        let takes_nodes = |guid: &CellGuid| guid != cell && !cordons.contains_key(guid);
        let here = self.instances_on(cell);
        if here.is_empty() || self.cells.all().iter().any(|other| takes_nodes(&other.site().guid)) {
            return Ok(());
        }
        let mut named = here.iter().take(NAMED).map(InstanceId::as_str).collect::<Vec<_>>().join(", ");
        if here.len() > NAMED {
            named.push_str(&format!(" and {} more", here.len() - NAMED));
        }
        let reason = format!(
            "cell {cell} cannot be drained: no other cell takes new nodes, and it has those of {named}"
        );
        Err(BrokerError::DrainRefused { reason })
    }

    /// What a drain would do to each instance, as things stand: each is looked at alone.
    fn rehearse_drain(&self, cell: &CellGuid) -> Result<Drained, BrokerError> {
        let _alone = self.alone()?;
        let until = Instant::now() + REHEARSAL;
        let (mut moves, mut left_off) = (Vec::new(), 0);
        for instance_id in self.instances_on(cell) {
            if Instant::now() >= until || self.is_stopping() {
                left_off += 1;
                continue;
            }
            let fate = match self.relocate(&instance_id, cell, true) {
                Ok(Accepted::Rehearsed { steps }) => Fate::Steps(steps),
                Ok(Accepted::Already | Accepted::Running { .. })
                | Err(BrokerError::InstanceUnknown | BrokerError::InstanceGone) => continue,
                Err(error @ BrokerError::Store(StoreError::Unavailable { .. })) => return Err(error),
                Err(error @ (BrokerError::Concurrency | BrokerError::Busy)) => Fate::Waits(error.to_string()),
                Err(error) => Fate::Stuck(self.why_not(&instance_id, &error)?),
            };
            moves.push(RehearsedMove { instance_id, fate });
        }
        Ok(Drained::Rehearsed { moves, left_off })
    }

    fn drive_drains(&self) -> Result<(), StoreError> {
        for (cell, cordon) in self.cordons.list()? {
            if let Some(drain) = &cordon.drain {
                match self.drive_drain(&cell, drain) {
                    // Another broker is at it as well: the next round sees what it has done.
                    Ok(()) | Err(StoreError::Conflict) => {}
                    Err(error @ StoreError::Corrupt { .. }) => {
                        warn!("cell {cell} cannot be drained: {error}")
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// One round: notes down what has ended, and begins as much as there is room for. Reads the records of instances on
    /// the cell, and of no others.
    fn drive_drain(&self, cell: &CellGuid, drain: &DrainRecord) -> Result<(), StoreError> {
        self.count_earlier_moves(cell, drain)?;
        let mut begin = Vec::new();
        for (instance, operation) in &drain.moving {
            match self.stand(cell, instance, operation.as_ref())? {
                Stand::Goes => {}
                Stand::Idle => begin.push(instance.clone()),
                Stand::Moved => {
                    info!("cell {cell}: instance {instance} has no node there");
                    self.amend_drain(cell, |drain| drain.moving.remove(instance).is_some())?;
                }
                Stand::Stuck(reason) => self.stick(cell, instance, &reason)?,
            }
        }
        for instance in self.instances_on(cell) {
            if self.is_stopping() {
                return Ok(());
            }
            if drain.moving.contains_key(&instance) || drain.stuck.contains_key(&instance) {
                continue;
            }
            let has_room = |drain: &DrainRecord| drain.moving.len() < drain.at_once && !drain.is_given_up();
            if self.amend_drain(cell, |drain| has_room(drain))? != Some(true) {
                break;
            }
            match self.stand(cell, &instance, None)? {
                Stand::Idle => {}
                Stand::Stuck(reason) => {
                    self.stick(cell, &instance, &reason)?;
                    continue;
                }
                // What its users do with it comes first.
                Stand::Goes | Stand::Moved => continue,
            }
            // In the record before it is begun: what is there is counted by every broker.
            let reserve = |drain: &mut DrainRecord| {
                let free = has_room(drain) && !drain.moving.contains_key(&instance);
                if free {
                    drain.moving.insert(instance.clone(), None);
                }
                free
            };
            if self.amend_drain(cell, reserve)? == Some(true) {
                begin.push(instance);
            }
        }
        begin.iter().try_for_each(|instance| self.begin_move(cell, instance))
    }

    /// What an earlier drain of this cell began, before it was uncordoned, may go on yet, and takes a place of this one's.
    fn count_earlier_moves(&self, cell: &CellGuid, drain: &DrainRecord) -> Result<(), StoreError> {
        let here = self.instances_on(cell);
        if here.is_empty() {
            return Ok(());
        }
        self.each_pending(|instance, _| {
            if !here.contains(instance) || drain.moving.contains_key(instance) {
                return Ok(());
            }
            let Some(record) = self.instances.load(instance)? else { return Ok(()) };
            if let Some(operation) = relocation(&record.value, cell) {
                self.amend_drain(cell, |drain| {
                    drain.moving.entry(instance.clone()).or_insert_with(|| Some(operation.id.clone()));
                })?;
            }
            Ok(())
        })
    }

    /// How an instance stands that is, or may be, moved by this operation.
    fn stand(
        &self,
        cell: &CellGuid,
        instance: &InstanceId,
        moved_by: Option<&OperationId>,
    ) -> Result<Stand, StoreError> {
        let record = match self.instances.load(instance) {
            Ok(Some(record)) => record.value,
            Ok(None) => return Ok(Stand::Moved),
            // One record that nobody can read must not keep the others on the cell.
            Err(error @ StoreError::Corrupt { .. }) => return Ok(Stand::Stuck(error.to_string())),
            Err(error) => return Err(error),
        };
        let (is_on, under_way) = (is_on(&record, cell), record.under_way());
        if under_way.is_some_and(|operation| is_on || Some(&operation.id) == moved_by) {
            return Ok(Stand::Goes);
        }
        if !is_on {
            return Ok(Stand::Moved);
        }
        Ok(match moved_by.and_then(|id| record.operation(id.as_str())) {
            Some(ended) if ended.state == OperationState::Failed => Stand::Stuck(ended.description),
            Some(_) => Stand::Stuck("it was moved, and has a node there all the same".to_owned()),
            None => Stand::Idle,
        })
    }

    fn begin_move(&self, cell: &CellGuid, instance: &InstanceId) -> Result<(), StoreError> {
        match self.relocate(instance, cell, false) {
            Ok(Accepted::Running { operation, .. }) => {
                info!("cell {cell}: {operation} moves instance {instance}");
                self.amend_drain(cell, |drain| {
                    if let Some(moved_by) = drain.moving.get_mut(instance) {
                        *moved_by = Some(operation.clone());
                    }
                })?;
                Ok(())
            }
            Ok(Accepted::Already | Accepted::Rehearsed { .. })
            | Err(BrokerError::InstanceUnknown | BrokerError::InstanceGone) => {
                self.amend_drain(cell, |drain| drain.moving.remove(instance).is_some()).map(drop)
            }
            // It keeps its place, and the next round tries it again.
            Err(BrokerError::Concurrency | BrokerError::Busy | BrokerError::Store(_)) => Ok(()),
            Err(error) => self.stick(cell, instance, &self.why_not(instance, &error)?),
        }
    }

    /// Why it cannot be moved, with what its user has to do with that.
    fn why_not(&self, instance: &InstanceId, error: &BrokerError) -> Result<String, StoreError> {
        let record = match self.instances.load(instance) {
            // Then that is why.
            Err(StoreError::Corrupt { .. }) => None,
            record => record?,
        };
        let wanted = record.and_then(|record| {
            let plan = self.plan_of(&record.value).ok()?;
            self.driver_of(&record.value).order(plan, &record.value.parameters).ok()?.cells
        });
        Ok(match wanted {
            Some(cells) => {
                let cells: Vec<&str> = cells.iter().map(CellGuid::as_str).collect();
                format!("{error}; it was ordered for cells {}", cells.join(", "))
            }
            None => error.to_string(),
        })
    }

    fn stick(&self, cell: &CellGuid, instance: &InstanceId, reason: &str) -> Result<(), StoreError> {
        warn!("cell {cell}: instance {instance} stays there: {reason}");
        let reason: String = reason.chars().take(LONGEST_REASON).collect();
        self.amend_drain(cell, |drain| {
            drain.moving.remove(instance);
            drain.stuck.insert(instance.clone(), reason.clone());
        })?;
        Ok(())
    }

    /// `None` where the cell is not drained any more.
    fn amend_drain<T>(
        &self,
        cell: &CellGuid,
        change: impl Fn(&mut DrainRecord) -> T,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.amend_cordon(cell, |record| record.drain.as_mut().map(&change))?.flatten())
    }
}
