//! Asks the members for something that they may not be ready for: for a little while again and again, then later.

use crossbeam_channel::RecvTimeoutError;
use log::debug;

use super::perform::Task;
use super::step_error::StepError;
use crate::model::NodeId;
use crate::scheduler::Step;
use crate::services::{Containers, MemberError};
use crate::state::NodeRecord;

/// How often they are asked before the worker turns to others.
const ATTEMPTS: u32 = 5;

impl Task<'_> {
    pub(super) fn ask_members(
        &self,
        ask: impl Fn(&dyn Containers) -> Result<(), MemberError>,
    ) -> Result<(), StepError> {
        let containers = self.core.containers_of(self.record)?;
        let mut attempts = 0;
        loop {
            self.check_going_on()?;
            attempts += 1;
            match ask(&*containers) {
                Ok(()) => return Ok(()),
                Err(MemberError::Store(error)) => return Err(error.into()),
                Err(MemberError::Refused { reason }) => return Err(StepError::Failed(reason)),
                Err(MemberError::NotNow { reason }) if attempts == ATTEMPTS => {
                    return Err(StepError::Later(reason));
                }
                Err(MemberError::NotNow { reason }) => {
                    debug!("instance {}: not now: {reason}", self.record.instance_id);
                }
            }
            let pause = self.core.settings.pace.look_every;
            if self.core.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return Err(StepError::Abandoned);
            }
        }
    }

    /// Lets one of these lead, if none of them does. Those that have left the record do not count.
    pub(super) fn hand_over(&self, to: &[NodeId]) -> Result<(), StepError> {
        let known = |node: &&NodeId| self.record.nodes.iter().any(|other| other.node_id == **node);
        let to: Vec<NodeId> = to.iter().filter(known).cloned().collect();
        self.ask_members(|containers| containers.hand_over(self.record, &to))
    }

    /// Makes sure, just before a node is stopped, that another one leads: who leads may have changed since it was
    /// planned. Those that go as well take the lead only where nobody else is there.
    pub(super) fn let_another_lead(&self, node: &NodeId) -> Result<(), StepError> {
        let containers = self.core.containers_of(self.record)?;
        let others: Vec<NodeId> = self
            .record
            .nodes
            .iter()
            .map(|other| other.node_id.clone())
            .filter(|other| other != node)
            .collect();
        let lasting: Vec<NodeId> = others.iter().filter(|other| !self.goes(other)).cloned().collect();
        let leads = containers.progress(self.record)?.leader.as_ref() == Some(node);
        let to = if leads && !lasting.is_empty() { lasting } else { others };
        self.ask_members(|containers| containers.hand_over(self.record, &to))
    }

    /// Makes sure, just before a node that runs is stopped, that each of the others that last is well: never is more than
    /// one node of a cluster down. One that runs and seems to be far behind may not be: members say where they are now and
    /// then.
    pub(super) fn let_only_this_be_down(&self, node: &NodeId) -> Result<(), StepError> {
        let others = self.record.nodes.iter().filter(|other| other.node_id != *node);
        let lasts = |other: &&NodeRecord| !self.goes(&other.node_id) && !self.comes(&other.node_id);
        let lasting: Vec<&NodeRecord> = others.filter(lasts).collect();
        self.ask_members(|containers| {
            let progress = containers.progress(self.record)?;
            if progress.leader.is_some() && !progress.up.contains(node) {
                return Ok(());
            }
            match lasting.iter().find(|other| !progress.caught_up.contains(&other.node_id)) {
                None => Ok(()),
                Some(NodeRecord { node_id, backend_id, .. }) => {
                    let reason = format!("node {node_id} on cell {backend_id} must run and catch up first");
                    Err(MemberError::NotNow { reason })
                }
            }
        })
    }

    /// Whether a step that is not done takes this node away.
    fn goes(&self, node: &NodeId) -> bool {
        self.steps_to_come().any(|step| {
            matches!(step, Step::RetireNode { node: gone, .. } | Step::RemoveNode { node: gone, .. } if gone == node)
        })
    }

    /// Whether a step that is not done makes this node.
    fn comes(&self, node: &NodeId) -> bool {
        self.steps_to_come().any(|step| matches!(step, Step::AddNode { node: new, .. } if new == node))
    }

    fn steps_to_come(&self) -> impl Iterator<Item = &Step> {
        self.record.operation.iter().flat_map(|operation| operation.steps.iter().skip(operation.done))
    }
}
