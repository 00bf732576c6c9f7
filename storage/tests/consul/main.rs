//! What is particular to Consul: sessions, watching without a history, guests, and answers of servers that are not well.
//! What it has in common with every engine is in `contract`. Where no Consul is installed, what needs one shows as
//! ignored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod check;
mod guests;
mod lab;
mod sessions;
#[path = "../support/answers.rs"]
mod support;
mod watch;

use libtest_mimic::{Arguments, Trial};

type Test = (&'static str, fn());

fn main() {
    let mut arguments = Arguments::from_args();
    // Most of them wait for something most of the time.
    arguments.test_threads.get_or_insert(6);
    let installed = test_servers::consul_is_installed();
    let live = [sessions::TESTS, watch::TESTS, guests::TESTS, check::TESTS];
    let mut trials = Vec::new();
    for (tests, needs_it) in live.map(|tests| (tests, true)).into_iter().chain([(answers::TESTS, false)]) {
        for &(name, test) in tests {
            let run = move || {
                test();
                Ok(())
            };
            trials.push(Trial::test(name, run).with_ignored_flag(needs_it && !installed));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
