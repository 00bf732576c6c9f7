//! A restart that settings wait for.

use super::{Steering, not_now};
use crate::model::NodeId;
use crate::services::MemberError;

impl Steering<'_> {
    /// Restarts a node's PostgreSQL, if its settings wait for that.
    pub(in super::super) fn restart_if_pending(&self, node: &NodeId) -> Result<(), MemberError> {
        let door = self.door_of(node)?;
        let failed = |error| MemberError::NotNow { reason: format!("node {node}: {error}") };
        let status = self.api.status(&door).map_err(failed)?;
        if status.pending_restart {
            self.api.restart(&door).map_err(failed)?;
        } else if status.server_version.is_none() {
            return not_now(format!("node {node}: PostgreSQL does not run"));
        }
        Ok(())
    }
}
