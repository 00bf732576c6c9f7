//! Why a router cannot start, and why HAProxy did not do as it was told.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a router did not start: an operator has to act.
#[derive(Debug)]
pub enum RouterError {
    /// There is no such program, or it cannot be run.
    NoHaproxy {
        /// What was tried.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It runs, and is older than what the router knows how to drive, or something else altogether.
    UnfitHaproxy {
        /// What was tried.
        program: PathBuf,
        /// What it calls itself.
        version: String,
    },
    /// The directory cannot be made or written.
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory's path is too long for sockets in it.
    LongDirectory {
        /// Which.
        path: PathBuf,
    },
    /// Another router drives HAProxy from this directory.
    Busy {
        /// Which.
        path: PathBuf,
    },
    /// The address to listen on is none.
    Listen {
        /// What was configured.
        listen: String,
    },
    /// The router's name is not one segment of a key.
    Host {
        /// What was configured.
        host: String,
    },
    /// The system has no thread to give.
    Thread(io::Error),
}

impl fmt::Display for RouterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHaproxy { program, source } => write!(
                f,
                "the router cannot run {}: {source}; install the package haproxy (apt-get install haproxy)",
                program.display()
            ),
            Self::UnfitHaproxy { program, version } => write!(
                f,
                "the router needs HAProxy 2.6 or later, and {} says {version:?}; \
                 install the package haproxy of Debian 12 or later",
                program.display()
            ),
            Self::Directory { path, source } => {
                write!(f, "the router cannot write in {}: {source}", path.display())
            }
            Self::LongDirectory { path } => {
                write!(f, "the router's directory {} is too long a path for sockets in it", path.display())
            }
            Self::Busy { path } => write!(f, "another router is at work in {}", path.display()),
            Self::Listen { listen } => {
                write!(f, "the router cannot listen on {listen:?}: it is no IPv4 or IPv6 address")
            }
            Self::Host { host } => write!(f, "{host:?} cannot be a router's name"),
            Self::Thread(source) => write!(f, "the router has no thread: {source}"),
        }
    }
}

impl std::error::Error for RouterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoHaproxy { source, .. } | Self::Directory { source, .. } | Self::Thread(source) => {
                Some(source)
            }
            _ => None,
        }
    }
}

/// Why a configuration was not taken over; the one before it is in force.
#[derive(Debug)]
pub enum ApplyError {
    /// HAProxy says that it is wrong, or cannot start with it: the same one need not be tried again soon.
    Refused {
        /// HAProxy's words.
        reason: String,
    },
    /// A file, a process or the socket failed: try again.
    Failed(io::Error),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reason } => write!(f, "HAProxy refuses the configuration: {reason}"),
            Self::Failed(source) => write!(f, "HAProxy could not be reached: {source}"),
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<io::Error> for ApplyError {
    fn from(source: io::Error) -> Self {
        Self::Failed(source)
    }
}
