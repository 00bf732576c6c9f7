//! What can be wrong with a store before anything is begun, told so that an operator knows what to do.

use std::fmt;

/// Why a store cannot be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No endpoint can be reached.
    NobodyAnswers {
        /// What came of each endpoint.
        reasons: String,
    },
    /// Whoever answers is not this engine.
    AnotherServer {
        /// Who was expected, such as `etcd`.
        expected: &'static str,
        /// What came of each endpoint.
        reasons: String,
    },
    /// It is this engine, but it does not serve what is needed.
    NotServed {
        /// What is missing, and the setting that brings it, such as "etcd's v2 API; start it with --enable-v2".
        what: &'static str,
        /// What was answered.
        reasons: String,
    },
    /// The user, password, token or client certificate is not accepted.
    NotLetIn {
        /// What was answered.
        reasons: String,
    },
    /// Who we are is known, and may not read and write here.
    NoPermission {
        /// To do what, such as "to write /broker".
        what: String,
        /// What was answered.
        reasons: String,
    },
    /// It answers, but has no leader, or no majority.
    NoQuorum {
        /// What was answered.
        reasons: String,
    },
}

impl Unusable {
    /// What was answered, or came of it.
    pub(super) fn reasons(&self) -> &str {
        match self {
            Self::NobodyAnswers { reasons }
            | Self::AnotherServer { reasons, .. }
            | Self::NotServed { reasons, .. }
            | Self::NotLetIn { reasons }
            | Self::NoPermission { reasons, .. }
            | Self::NoQuorum { reasons } => reasons,
        }
    }

    /// The same, of several endpoints.
    pub(super) fn with_reasons(mut self, all: String) -> Self {
        match &mut self {
            Self::NobodyAnswers { reasons }
            | Self::AnotherServer { reasons, .. }
            | Self::NotServed { reasons, .. }
            | Self::NotLetIn { reasons }
            | Self::NoPermission { reasons, .. }
            | Self::NoQuorum { reasons } => *reasons = all,
        }
        self
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyAnswers { reasons } => write!(f, "nobody answers: {reasons}"),
            Self::AnotherServer { expected, reasons } => {
                write!(f, "who answers there is not {expected}: {reasons}")
            }
            Self::NotServed { what, reasons } => write!(f, "it does not serve {what} ({reasons})"),
            Self::NotLetIn { reasons } => write!(f, "it does not let us in: {reasons}"),
            Self::NoPermission { what, reasons } => write!(f, "we have no permission {what}: {reasons}"),
            Self::NoQuorum { reasons } => {
                write!(f, "it has no leader or no majority of its members: {reasons}")
            }
        }
    }
}

impl std::error::Error for Unusable {}
