//! The router with a real HAProxy, in front of stand-ins for PostgreSQL and Patroni.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is to do")]

mod adoption;
mod failover;
mod faults;
mod reloads;
mod shaky;
mod site;
mod stand_in;

use std::process::Command;

use libtest_mimic::{Arguments, Trial};

/// A scenario panics when it fails.
type Scenario = (&'static str, fn());

fn main() {
    let arguments = Arguments::from_args();
    let missing = Command::new("haproxy").arg("-v").output().is_err();
    let scenarios =
        [failover::SCENARIOS, adoption::SCENARIOS, faults::SCENARIOS, reloads::SCENARIOS].concat();
    let trials = scenarios.into_iter().map(|(name, check)| {
        let trial = Trial::test(name, move || {
            check();
            Ok(())
        });
        trial.with_ignored_flag(missing)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
