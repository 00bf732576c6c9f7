//! Waits until the members run, or have caught up. A container that has ended, and a first start that died half-way, are dealt with or
//! reported within seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use log::{info, warn};
use storage::Revision;

use super::perform::{Task, make_container};
use super::step_error::StepError;
use crate::cells::{Cell, CellError, ContainerState};
use crate::model::{ContainerName, NodeId};
use crate::patroni::Progress;
use crate::state::NodeRecord;

/// How often a node's container may be made or started again in one wait.
const ATTEMPTS: u32 = 3;
/// How long an engine may go on restarting a container before that is a failure.
const RESTARTING: Duration = Duration::from_secs(20);
/// How many of a container's last lines go into a failure's message.
const LOG_LINES: u32 = 5;

/// What one wait remembers of the nodes' troubles.
#[derive(Default)]
struct Troubles {
    attempts: BTreeMap<NodeId, u32>,
    restarting_since: BTreeMap<NodeId, Instant>,
    stalled: Option<(Revision, Instant)>,
}

impl Task<'_> {
    pub(super) fn await_members(&self, wanted: u32) -> Result<(), StepError> {
        let all: Vec<&NodeRecord> = self.record.nodes.iter().collect();
        self.await_progress(&all, |progress| progress.running == wanted)
    }

    /// Those that have left the record are not waited for.
    pub(super) fn await_nodes(&self, nodes: &[NodeId]) -> Result<(), StepError> {
        let awaited: Vec<&NodeRecord> =
            self.record.nodes.iter().filter(|node| nodes.contains(&node.node_id)).collect();
        self.await_progress(&awaited, |progress| {
            awaited.iter().all(|node| progress.caught_up.contains(&node.node_id))
        })
    }

    fn await_progress(
        &self,
        awaited: &[&NodeRecord],
        is_reached: impl Fn(&Progress) -> bool,
    ) -> Result<(), StepError> {
        let containers = self.core.containers_of(self.record)?;
        let watching = self.core.members.watch(&containers, self.record)?;
        let mut last = watching.first().clone();
        let mut troubles = Troubles::default();
        let look_every = self.core.settings.pace.look_every;
        let mut look = Instant::now() + look_every;
        loop {
            if is_reached(&last) {
                return Ok(());
            }
            self.check_going_on()?;
            if self.operation_is_overdue() {
                return Err(self.not_in_time(awaited, &last));
            }
            match watching.changes().recv_deadline(look) {
                Ok(progress) => last = progress,
                Err(RecvTimeoutError::Timeout) => {
                    self.look_after(awaited, last.leader.is_none(), &mut troubles)?;
                    look = Instant::now() + look_every;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(StepError::Abandoned),
            }
        }
    }

    fn operation_is_overdue(&self) -> bool {
        self.record.operation.as_ref().is_some_and(|operation| self.core.now_ms() > operation.deadline_ms)
    }

    /// Looks at the nodes' containers, and makes ended ones run again: at those that are not awaited only while nobody
    /// leads, which the others may be waiting for.
    fn look_after(
        &self,
        awaited: &[&NodeRecord],
        nobody_leads: bool,
        troubles: &mut Troubles,
    ) -> Result<(), StepError> {
        for node in &self.record.nodes {
            let is_awaited = awaited.iter().any(|awaited| awaited.node_id == node.node_id);
            if !is_awaited && !nobody_leads {
                continue;
            }
            let error = match self.look_after_node(node, troubles) {
                Ok(Ok(())) => continue,
                // The other nodes may run yet; the deadline ends the wait.
                Ok(Err(error)) => error.to_string(),
                Err(StepError::Failed(reason)) if !is_awaited => reason,
                Err(error) => return Err(error),
            };
            warn!("instance {}: {error}", self.record.instance_id);
        }
        self.clear_stalled_start(troubles)
    }

    fn look_after_node(
        &self,
        node: &NodeRecord,
        troubles: &mut Troubles,
    ) -> Result<Result<(), CellError>, StepError> {
        let name = ContainerName::of(&node.node_id);
        let found = self.core.cell(&node.backend_id).and_then(|cell| Ok((cell.inspect(&name)?, cell)));
        let (found, cell) = match found {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let state = found.map(|view| view.state);
        match &state {
            Some(ContainerState::Running) => {
                troubles.restarting_since.remove(&node.node_id);
                return Ok(Ok(()));
            }
            Some(ContainerState::Restarting) => {
                let since =
                    troubles.restarting_since.entry(node.node_id.clone()).or_insert_with(Instant::now);
                if since.elapsed() > RESTARTING {
                    return Err(self.given_up(node, "ends again and again"));
                }
                return Ok(Ok(()));
            }
            _ => {}
        }
        let attempts = troubles.attempts.entry(node.node_id.clone()).or_default();
        *attempts += 1;
        if *attempts > ATTEMPTS {
            return Err(self.given_up(node, "does not stay up"));
        }
        self.revive(&*cell, node, state.as_ref())
    }

    /// A node with data behind it is started again on its volume; before there are any, it is made anew, and what it
    /// left half-done in the store is cleared.
    fn revive(
        &self,
        cell: &dyn Cell,
        node: &NodeRecord,
        state: Option<&ContainerState>,
    ) -> Result<Result<(), CellError>, StepError> {
        let containers = self.core.containers_of(self.record)?;
        let spec = self.spec(&node.node_id)?;
        let was_started = matches!(state, Some(ContainerState::Exited { .. } | ContainerState::Other(_)));
        let found = state.map_or_else(|| "is not there".to_owned(), ToString::to_string);
        warn!("instance {}: {} on {} {found}", self.record.instance_id, spec.name, node.backend_id);
        if state.is_some() && containers.holds_data(self.record)? {
            // What was made anew and never started has the volume of one that is set aside.
            return Ok(if was_started {
                cell.start(&spec.name)
            } else {
                cell.remake(&spec, spec.stop_timeout)
            });
        }
        if let Err(error) = cell.remove(&spec.name) {
            return Ok(Err(error));
        }
        if containers.first_start(self.record)?.is_some_and(|start| start.by.as_ref() == Some(&node.node_id))
        {
            containers.clear_failed_start(self.record)?;
        }
        self.admit()?;
        Ok(make_container(cell, &spec, false))
    }

    /// The mark of a first start stands, and for a while no member has been at it: whoever was has lost it. Counted
    /// from when this very mark was seen, since a member sets it a moment before it says that it is at it.
    fn clear_stalled_start(&self, troubles: &mut Troubles) -> Result<(), StepError> {
        let containers = self.core.containers_of(self.record)?;
        let mark =
            containers.first_start(self.record)?.filter(|start| start.by.is_none()).map(|start| start.mark);
        let Some(mark) = mark else {
            troubles.stalled = None;
            return Ok(());
        };
        let (_, since) = *troubles.stalled.get_or_insert((mark, Instant::now()));
        if troubles.stalled.is_some_and(|(known, _)| known != mark) {
            troubles.stalled = Some((mark, Instant::now()));
        } else if since.elapsed() > self.core.settings.pace.stalled_after
            && containers.clear_failed_start(self.record)?
        {
            info!("instance {}: cleared the mark of a first start that died", self.record.instance_id);
            troubles.stalled = None;
        }
        Ok(())
    }

    fn given_up(&self, node: &NodeRecord, what: &str) -> StepError {
        let (id, cell) = (&node.node_id, &node.backend_id);
        StepError::Failed(format!("node {id} on cell {cell} {what}{}", self.last_words(node)))
    }

    /// Which node on which cell waits for what.
    fn not_in_time(&self, awaited: &[&NodeRecord], last: &Progress) -> StepError {
        let nodes: Vec<String> = awaited
            .iter()
            .map(|node| format!("node {} on cell {}{}", node.node_id, node.backend_id, self.last_words(node)))
            .collect();
        StepError::Failed(format!("not ready in time: {}; {}", last.description, nodes.join("; ")))
    }

    /// The end of a container's log, without secrets, ready to be added to a sentence.
    fn last_words(&self, node: &NodeRecord) -> String {
        let name = ContainerName::of(&node.node_id);
        let tail = self.core.cell(&node.backend_id).and_then(|cell| cell.log_tail(&name, LOG_LINES));
        match tail {
            Ok(lines) if lines.is_empty() => String::new(),
            Ok(lines) => {
                let mut text = lines.join(" | ");
                let containers = self.core.drivers.containers(self.record.driver);
                let secrets =
                    containers.map(|containers| containers.secrets(self.record)).unwrap_or_default();
                for secret in secrets.into_iter().filter(|secret| !secret.expose().is_empty()) {
                    text = text.replace(secret.expose(), "<redacted>");
                }
                format!(", which logged last: {text}")
            }
            Err(error) => format!(" ({error})"),
        }
    }
}
