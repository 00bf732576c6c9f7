//! Waiting for the operator, or the service manager, to say that it is enough, or that something has changed.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// SIGTERM and SIGINT. From when this exists, neither ends the process by itself.
pub(super) struct StopSignals {
    signals: Signals,
}

impl StopSignals {
    /// Register before anything is started that must be stopped in order.
    pub(super) fn register() -> std::io::Result<Self> {
        Ok(Self { signals: Signals::new([SIGTERM, SIGINT])? })
    }

    /// Blocks until one of them comes, and says which.
    pub(super) fn wait(&mut self) -> &'static str {
        match self.signals.forever().next() {
            Some(SIGINT) => "SIGINT",
            _ => "SIGTERM",
        }
    }
}

/// SIGHUP beside those of [`StopSignals`], for who can take on a changed configuration.
pub(super) struct Signalled {
    signals: Signals,
}

/// What is wanted of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// To end; the signal's name.
    Stop(&'static str),
    /// To read the configuration anew.
    Reload,
}

impl Signalled {
    /// As [`StopSignals::register`].
    pub(super) fn register() -> std::io::Result<Self> {
        Ok(Self { signals: Signals::new([SIGTERM, SIGINT, SIGHUP])? })
    }

    /// Blocks until one of them comes. Several of one kind that come meanwhile may be one.
    pub(super) fn wait(&mut self) -> Wanted {
        match self.signals.forever().next() {
            Some(SIGHUP) => Wanted::Reload,
            Some(SIGINT) => Wanted::Stop("SIGINT"),
            _ => Wanted::Stop("SIGTERM"),
        }
    }
}
