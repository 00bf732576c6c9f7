//! The embedded store's HTTP API beside a real etcd's: generated requests, valid and broken, to both, and the answers
//! compared; watchers; TTLs that run out; and others' clients.
//!
//! `PATRONI_BROKER_TEST_ALL=1` sends hundreds of thousands instead of some thousand, and `DIFFERENTIAL_SEED` begins
//! elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clients;
mod expiry;
mod generator;
mod peer;
mod raw;
mod sequences;
mod watchers;

use libtest_mimic::{Arguments, Trial};
use test_servers::etcd_is_installed;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, run) in [sequences::TESTS, expiry::TESTS, watchers::TESTS].concat() {
        let trial = Trial::test(name, move || {
            run();
            Ok(())
        });
        trials.push(trial.with_ignored_flag(!etcd_is_installed()));
    }
    for (name, is_installed, run) in clients::TESTS {
        let trial = Trial::test(*name, move || {
            run();
            Ok(())
        });
        trials.push(trial.with_ignored_flag(!etcd_is_installed() || !is_installed()));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
