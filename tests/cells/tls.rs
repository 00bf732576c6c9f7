//! An engine behind TLS.

/// Whether this machine lacks what the scenario needs.
pub fn missing() -> bool {
    true
}

pub fn keys_of_every_kind() {}
