//! Points at which a test makes the broker die, as `kill -9` would. Only debug builds have them.
//!
//! A point is written `<operation kind>:<step index>:<moment>`, so that a test derives every point from the recorded
//! plan and a new step is covered the day it is written.

#[cfg(debug_assertions)]
pub(super) fn point(kind: &str, step: usize, moment: &str) {
    use std::sync::LazyLock;

    static POINT: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("PATRONI_BROKER_CRASH_POINT").ok());
    if POINT.as_deref() == Some(format!("{kind}:{step}:{moment}").as_str()) {
        log::error!("dying at {kind}:{step}:{moment}, as told");
        if let Err(error) = signal_hook::low_level::raise(9) {
            log::error!("cannot die: {error}");
        }
    }
}

#[cfg(not(debug_assertions))]
pub(super) fn point(_kind: &str, _step: usize, _moment: &str) {}
