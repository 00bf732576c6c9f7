//! One suite for all engines.
fn main() {}
