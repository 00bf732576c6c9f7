//! Why a step did not end well, sorted by what the worker does next.

use std::fmt;

use storage::StoreError;

use super::BrokerError;
use crate::cells::CellError;
use crate::model::NodeId;

/// Why a step did not end well.
#[derive(Debug)]
pub(super) enum StepError {
    /// It never will: undo the operation, and say this to the user.
    Failed(String),
    /// The same, and it would fail again if it were asked for again.
    Refused(String),
    /// Its cell does not remove the node's container now, and nobody needs to wait for that: note down that it is owed
    /// for removal, and go on.
    Owe(String),
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
    /// There is nothing to do before this time, in milliseconds since 1970: put the operation aside until then.
    NotBefore(u64),
    /// The store failed: leave the operation to be resumed.
    Store(StoreError),
    /// The broker stops, or another has the lease: leave the operation alone.
    Abandoned,
    /// Another operation has taken its operation's place: go on with that one.
    Superseded,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) | Self::Refused(reason) | Self::Owe(reason) | Self::Later(reason) => {
                f.write_str(reason)
            }
            Self::PassOver { node, reason, .. } => write!(f, "node {node}: {reason}"),
            Self::NotBefore(_) => f.write_str("it is not time yet"),
            Self::Store(error) => error.fmt(f),
            Self::Abandoned => f.write_str("the broker stops, or another one performs it"),
            Self::Superseded => f.write_str("another operation has taken its place"),
        }
    }
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

#[cfg(test)]
mod tests {
    use storage::{Key, StoreError};

    use super::StepError;
    use crate::cells::CellError;
    use crate::model::{CellGuid, NodeId};

    #[test]
    fn an_operator_reads_words() {
        let check = |error: StepError, expected: &str| assert_eq!(error.to_string(), expected);
        let reason = CellError::NoAnswer { cell: CellGuid::parse("c1").unwrap(), reason: "away".to_owned() };
        let node = NodeId::parse("n1").unwrap();
        check(StepError::Failed("no image".to_owned()), "no image");
        check(
            StepError::PassOver { node, may_exist: true, reason },
            "node n1: cell c1 does not answer: away",
        );
        check(
            StepError::Store(StoreError::OutcomeUnknown { key: Key::parse("/a").unwrap() }),
            "no answer came for the write of /a; it may have landed",
        );
        check(StepError::Abandoned, "the broker stops, or another one performs it");
    }
}
