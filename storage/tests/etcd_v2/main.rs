//! What is the etcd v2 client's own, beyond the contract: how it sorts answers, and why an etcd can't be used.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod check;
#[path = "../support/answers.rs"]
mod support;

use libtest_mimic::{Arguments, Trial};
use test_servers::etcd_is_installed;

fn main() {
    let arguments = Arguments::from_args();
    let test = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let mut trials: Vec<Trial> = answers::TESTS.iter().map(|(name, run)| test(name, *run)).collect();
    for (name, run) in check::TESTS {
        trials.push(test(name, *run).with_ignored_flag(!etcd_is_installed()));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
