//! Why a step did not end well, sorted by what the worker does next.

use storage::StoreError;

use super::BrokerError;
use crate::cells::CellError;
use crate::model::NodeId;

/// Why a step did not end well.
#[derive(Debug)]
pub(super) enum StepError {
    /// It never will: undo the operation, and say this to the user.
    Failed(String),
    /// The cell will not take the node: try another.
    PassOver {
        /// Which node.
        node: NodeId,
        /// Whether its container may exist all the same.
        may_exist: bool,
        /// Why.
        reason: CellError,
    },
    /// It may go well later: perform it again after a while.
    Later(String),
    /// The store failed: leave the operation to be resumed.
    Store(StoreError),
    /// The broker stops, or another has the lease: leave the operation alone.
    Abandoned,
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BrokerError> for StepError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Store(error) => Self::Store(error),
            error => Self::Failed(error.to_string()),
        }
    }
}
