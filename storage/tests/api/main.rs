//! The embedded store's HTTP API beside real etcd's: the same requests to both, and the answers compared. Then what
//! only ours has: it asks for a password, parks watches, bounds bodies, and ends cleanly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broken;
mod client;
mod etcd;
mod service;
mod watching;

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
    let mut trials = vec![
        test("answers_are_those_of_etcd", etcd::answers_are_those_of_etcd)
            .with_ignored_flag(!etcd_is_installed()),
    ];
    for (name, run) in [service::TESTS, watching::TESTS, broken::TESTS].concat() {
        trials.push(test(name, run));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
