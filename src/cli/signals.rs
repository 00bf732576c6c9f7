//! Waiting for the operator, or the service manager, to say that it is enough.

use signal_hook::consts::{SIGINT, SIGTERM};
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
