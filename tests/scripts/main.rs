//! The scripts for people who run a platform, as they are called.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod broker;
mod cloudfoundry;
mod test_broker;
