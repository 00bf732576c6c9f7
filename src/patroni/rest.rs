//! A member's REST API, as far as the broker uses it.

use std::fmt;

use serde_json::Value;

use crate::model::{NodeId, Secret};

/// Where a member's REST API is, and who may change something there.
#[derive(Clone, Debug)]
pub struct Door {
    /// `host:port`.
    pub address: String,
    /// The user, and his password.
    pub user: Option<(String, Secret)>,
}

/// What a member says of itself when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether its settings wait for a restart of PostgreSQL.
    pub pending_restart: bool,
    /// PostgreSQL's own number of its version, such as 150018; none while it does not run.
    pub server_version: Option<u32>,
    /// The names of those that stream from it now, by PostgreSQL's own word; nobody where it does not lead.
    pub streaming: Vec<String>,
    /// When it last heard from the store, in seconds since 1970 by its own clock.
    pub store_seen_s: Option<u64>,
}

/// Members' REST APIs. Every call blocks, with a deadline of its own.
pub trait RestApi: Send + Sync {
    /// `GET /patroni`.
    ///
    /// # Errors
    /// [`RestError::NoAnswer`].
    fn status(&self, door: &Door) -> Result<Status, RestError>;

    /// `POST /switchover`: returns when the candidate leads, or why it does not.
    ///
    /// # Errors
    /// [`RestError::Refused`] when it says that it did not, or not yet; [`RestError::NoAnswer`] when it may have.
    fn switch_over(&self, door: &Door, leader: &NodeId, candidate: &NodeId) -> Result<(), RestError>;

    /// `PATCH /config`: members follow within their next loop.
    ///
    /// # Errors
    /// As [`RestApi::switch_over`].
    fn patch_config(&self, door: &Door, patch: &Value) -> Result<(), RestError>;

    /// `POST /restart`, if its settings wait for that: returns when PostgreSQL runs again.
    ///
    /// # Errors
    /// As [`RestApi::switch_over`].
    fn restart(&self, door: &Door) -> Result<(), RestError>;
}

/// Why a member did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestError {
    /// No answer came: it may have happened all the same.
    NoAnswer {
        /// For people.
        reason: String,
    },
    /// It said no, or that it did not come about in its time.
    Refused {
        /// Patroni's words.
        reason: String,
    },
}

impl fmt::Display for RestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { reason } => write!(f, "Patroni does not answer: {reason}"),
            Self::Refused { reason } => write!(f, "Patroni refuses: {reason}"),
        }
    }
}

impl std::error::Error for RestError {}
