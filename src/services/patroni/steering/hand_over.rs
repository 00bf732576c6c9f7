//! Another leader.

use std::thread;
use std::time::Instant;

use super::{Sight, Steering, list, not_now};
use crate::model::NodeId;
use crate::patroni::Member;
use crate::services::MemberError;

impl Steering<'_> {
    /// Lets one of these lead, if none of them does: of those that have caught up with the leader, a synchronous standby
    /// before others, since in that mode nobody else may take over; then the one that lags least.
    pub(in super::super) fn hand_over(&self, to: &[NodeId]) -> Result<(), MemberError> {
        let sight = self.look()?;
        let Some(leader) = sight.leader() else { return not_now("nobody leads".to_owned()) };
        if to.contains(&leader.node) {
            return settled(&sight, to).map_or_else(
                || {
                    not_now(format!(
                        "node {} leads and is {}, not running as leader yet",
                        leader.node, leader.state
                    ))
                },
                |_| Ok(()),
            );
        }
        let door = self.door_of(&leader.node)?;
        let status = self
            .api
            .status(&door)
            .or_else(|error| not_now(format!("the leader {}: {error}", leader.node)))?;
        let candidate = candidate(&sight, leader, &status.streaming, to)?;
        let answer = self.api.switch_over(&door, &leader.node, &candidate.node);
        // Who leads now is what the store says, whatever was answered.
        let deadline = Instant::now() + self.patience.beside + 2 * sight.loop_wait;
        loop {
            if settled(&self.look()?, to).is_some() {
                return Ok(());
            }
            match &answer {
                Err(error) => return not_now(format!("node {} cannot take over: {error}", candidate.node)),
                Ok(()) if Instant::now() >= deadline => {
                    return not_now(format!("node {} was to take over and does not lead", candidate.node));
                }
                Ok(()) => thread::sleep(self.patience.pause),
            }
        }
    }
}

fn settled<'a>(sight: &'a Sight, to: &[NodeId]) -> Option<&'a NodeId> {
    sight.settled_leader().filter(|leader| to.contains(leader))
}

/// What the leader has acknowledged and the candidate does not have is lost: a leader that ends sends the rest to those
/// that stream from it at that moment, and to nobody else. What members say of themselves in the store is seconds old.
fn candidate<'a>(
    sight: &'a Sight,
    leader: &Member,
    streaming: &[String],
    to: &[NodeId],
) -> Result<&'a Member, MemberError> {
    let streams = |node: &NodeId| streaming.iter().any(|name| name == node.as_str());
    let known = to.iter().filter_map(|node| sight.member(node.as_str()));
    let ready = known.filter(|member| member.behind(leader).is_none() && streams(&member.node));
    let rank = |member: &&Member| {
        let is_standby = sight.standbys.iter().any(|name| name == member.node.as_str());
        (!is_standby, member.lag(leader))
    };
    if let Some(best) = ready.min_by_key(rank) {
        return Ok(best);
    }
    let state = |node: &NodeId| {
        let behind = sight.member(node.as_str()).and_then(|member| member.behind(leader));
        let is = match behind {
            _ if sight.member(node.as_str()).is_none() => "stopped".to_owned(),
            Some(behind) => behind,
            None => "not streaming from it".to_owned(),
        };
        format!("{node} is {is}")
    };
    let states: Vec<String> = to.iter().map(state).collect();
    not_now(format!(
        "none of {} has caught up with the leader {}: {}",
        list(to),
        leader.node,
        states.join(", ")
    ))
}
