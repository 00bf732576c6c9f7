//! A restart that settings wait for.

use super::{Steering, not_now};
use crate::model::NodeId;
use crate::patroni::RestError;
use crate::services::MemberError;

/// What Patroni says when PostgreSQL did not start again: not of one that is still starting.
const FAILED: &str = "restart failed";

impl Steering<'_> {
    /// Restarts a node's PostgreSQL, if its settings wait for that. Patroni starts a replica with no less than what it has
    /// heard that its leader has: what was lowered reaches it only once it has heard of the leader's restart, so that one
    /// may be too early.
    pub(in super::super) fn restart_if_pending(&self, node: &NodeId) -> Result<(), MemberError> {
        let door = self.door_of(node)?;
        let failed = |error| MemberError::NotNow { reason: format!("node {node}: {error}") };
        let status = self.api.status(&door).map_err(failed)?;
        if status.pending_restart {
            self.api.restart(&door).map_err(|error| match &error {
                // With these settings it will not start at the next try either.
                RestError::Refused { reason } if reason.contains(FAILED) => {
                    MemberError::Refused { reason: format!("node {node}: {error}") }
                }
                _ => failed(error),
            })?;
            if self.api.status(&door).map_err(failed)?.pending_restart && !self.leader_waits()? {
                return not_now(format!("node {node}: its settings wait for another restart"));
            }
        } else if status.server_version.is_none() {
            return not_now(format!("node {node}: PostgreSQL does not run"));
        }
        Ok(())
    }

    /// Whether the leader's own settings wait for a restart.
    fn leader_waits(&self) -> Result<bool, MemberError> {
        let sight = self.look()?;
        let Some(leader) = sight.leader() else { return not_now("nobody leads".to_owned()) };
        match self.api.status(&self.door_of(&leader.node)?) {
            Ok(status) => Ok(status.pending_restart),
            Err(error) => not_now(format!("the leader {}: {error}", leader.node)),
        }
    }
}
