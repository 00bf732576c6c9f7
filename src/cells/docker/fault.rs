//! Sorts dockworker's errors by who spoke: the engine said no, or nobody said anything that counts.

use std::error::Error;

use dockworker::errors::Error as DockworkerError;

use crate::cells::CellError;
use crate::model::CellGuid;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The engine said no, in these words.
    Said(String),
    /// It said nothing, or nothing that a Docker engine says: the call may have had its effect.
    Silent(String),
}

impl Fault {
    /// As an error of that cell.
    pub(super) fn on(self, cell: &CellGuid) -> CellError {
        let cell = cell.clone();
        match self {
            Self::Said(reason) => CellError::Refused { cell, reason },
            Self::Silent(reason) => CellError::NoAnswer { cell, reason },
        }
    }

    /// For calls that an engine in order does not refuse: one that does is as good as away.
    pub(super) fn into_silence(self) -> Self {
        match self {
            Self::Said(reason) | Self::Silent(reason) => Self::Silent(reason),
        }
    }
}

impl From<DockworkerError> for Fault {
    fn from(error: DockworkerError) -> Self {
        match error {
            DockworkerError::Docker(said) => Self::Said(said.message),
            DockworkerError::Json(error) => {
                Self::Silent(format!("the answer is not one of a Docker engine: {error}"))
            }
            // These keep their cause to themselves when asked for their source.
            DockworkerError::Hyper(error) => Self::Silent(whole(&error)),
            DockworkerError::Io(error) => Self::Silent(whole(&error)),
            DockworkerError::ConnectionRefused(error) | DockworkerError::ConnectionReset(error) => {
                Self::Silent(whole(error.as_ref()))
            }
            error => Self::Silent(whole(&error)),
        }
    }
}

/// An error and its causes in one line.
pub(super) fn whole(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Many libraries repeat the cause in their own words.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
