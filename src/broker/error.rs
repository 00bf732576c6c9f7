//! The one domain error type: why a request was refused, sorted by what its sender should do.

use std::fmt;

use storage::StoreError;

use crate::model::{CellGuid, PlanId, ServiceId};
use crate::services::UpdateError;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerError {
    /// The catalog has no such service.
    UnknownService(ServiceId),
    /// The catalog has no such plan.
    UnknownPlan(PlanId),
    /// The plan is another service's, or not the instance's.
    WrongPlan {
        /// What does not fit, for the sender.
        reason: String,
    },
    /// A parameter is not what the plan takes.
    InvalidParameters {
        /// Names the parameter and what it may be.
        reason: String,
    },
    /// Another instance has that id.
    InstanceExists,
    /// There is no such instance, and there never was as far as is known.
    InstanceUnknown,
    /// There is no such instance (any more): deleting it is done.
    InstanceGone,
    /// Another binding has that id.
    BindingExists,
    /// There is no such binding (any more): deleting it is done.
    BindingGone,
    /// There is no such binding, or it is not finished yet.
    BindingUnknown,
    /// It takes a while, and the sender does not poll.
    AsyncRequired,
    /// The service can only be bound to an application.
    RequiresApp,
    /// The catalog offers another version than the sender has seen there.
    MaintenanceInfoConflict {
        /// Which one, for the sender.
        reason: String,
    },
    /// The change is none that can be made.
    UpdateNotSupported {
        /// Why, for the sender.
        reason: String,
    },
    /// The binding that was to be replaced is none, or its plan has no successors.
    NotRotatable {
        /// Why, for the sender.
        reason: String,
    },
    /// What the driver was asked to do failed; it says how.
    OperationFailed {
        /// For the sender.
        reason: String,
    },
    /// The service cannot be bound.
    NotBindable,
    /// The instance is not usable: its last operation failed.
    InstanceFailed {
        /// How it failed.
        reason: String,
    },
    /// There is no such cell.
    UnknownCell(CellGuid),
    /// A cell cannot be drained as things stand.
    DrainRefused {
        /// Why, for an operator.
        reason: String,
    },
    /// An operation on the instance is under way: try again when it has ended.
    Concurrency,
    /// No cell, no port: nothing the sender can mend.
    NoCapacity {
        /// What is missing, for an operator.
        reason: String,
    },
    /// The store failed; what was asked may be asked again.
    Store(StoreError),
    /// The broker is stopping or too busy: try again.
    Busy,
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownService(id) => write!(f, "there is no service {id} in the catalog"),
            Self::UnknownPlan(id) => write!(f, "there is no plan {id} in the catalog"),
            Self::UnknownCell(cell) => write!(f, "there is no cell {cell}"),
            Self::WrongPlan { reason }
            | Self::InvalidParameters { reason }
            | Self::NoCapacity { reason }
            | Self::DrainRefused { reason }
            | Self::MaintenanceInfoConflict { reason }
            | Self::UpdateNotSupported { reason }
            | Self::NotRotatable { reason }
            | Self::OperationFailed { reason } => f.write_str(reason),
            Self::AsyncRequired => {
                f.write_str("this takes a while: ask with accepts_incomplete=true, and poll")
            }
            Self::RequiresApp => f.write_str("this service can only be bound to an application"),
            Self::InstanceExists => {
                f.write_str("a service instance with this id exists with other attributes")
            }
            Self::InstanceUnknown => f.write_str("there is no such service instance, and no backup of one"),
            Self::InstanceGone => f.write_str("there is no such service instance"),
            Self::BindingExists => f.write_str("a binding with this id exists with other attributes"),
            Self::BindingGone | Self::BindingUnknown => f.write_str("there is no such binding"),
            Self::NotBindable => f.write_str("this service cannot be bound"),
            Self::InstanceFailed { reason } => write!(f, "the service instance is not usable: {reason}"),
            Self::Concurrency => f.write_str("another operation on this service instance is in progress"),
            Self::Store(error) => error.fmt(f),
            Self::Busy => f.write_str("the broker is busy or stopping; try again"),
        }
    }
}

impl std::error::Error for BrokerError {}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<UpdateError> for BrokerError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::NotSupported(error) => Self::UpdateNotSupported { reason: error.reason },
            UpdateError::Store(error) => Self::Store(error),
        }
    }
}

/// Why a broker cannot begin its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The store failed, or the system.
    Store(StoreError),
    /// The catalog is not one that can be offered.
    Catalog {
        /// What is wrong with it, for the operator.
        reason: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Catalog { reason } => write!(f, "the catalog cannot be offered: {reason}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
