//! How often is looked and how long is waited. Injected, so that tests need not wait as long as operators may.

use std::time::Duration;

/// How often is looked and how long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often pending operations are looked for, and a step that could not be done is tried again. Defaults to 2 s.
    pub scan_every: Duration,
    /// How often containers owed for removal are tried again. Defaults to 10 s.
    pub sweep_every: Duration,
    /// How often claims, and the store's guests, are compared with records. Defaults to 10 min.
    pub reap_every: Duration,
    /// How old a note of a pending operation must be before it is taken for a leftover: longer than a request takes
    /// from its note to its record. Defaults to 60 s.
    pub leftover_after: Duration,
    /// How often the containers of members that do not run are looked at. Defaults to 1 s.
    pub look_every: Duration,
    /// How long the mark of a first start may stand with nobody at work on it. Defaults to 10 s.
    pub stalled_after: Duration,
    /// How long a router may say that it cannot have a port before that fails the order: it tries again every 5 s.
    /// Defaults to 12 s.
    pub route_refused_after: Duration,
    /// How often cells and store are looked at for the metrics, while somebody scrapes them. Defaults to 15 s.
    pub observe_every: Duration,
    /// How long one watch of where nodes are waits: also how soon its end is noticed when the broker stops. Defaults to 1 s.
    pub watch_for: Duration,
    /// How long a worker may take to leave its step when the broker stops. Defaults to 8 s.
    pub farewell: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            scan_every: Duration::from_secs(2),
            sweep_every: Duration::from_secs(10),
            reap_every: Duration::from_secs(600),
            leftover_after: Duration::from_secs(60),
            look_every: Duration::from_secs(1),
            stalled_after: Duration::from_secs(10),
            route_refused_after: Duration::from_secs(12),
            observe_every: Duration::from_secs(15),
            watch_for: Duration::from_secs(1),
            farewell: Duration::from_secs(8),
        }
    }
}
