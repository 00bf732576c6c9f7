//! What the engine over etcd's v3 API does beside the contract: tokens, leases, streams, users and roles, and the answers
//! of strange servers. Scenarios that need a real etcd show as ignored where there is none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod bench;
mod check;
mod engine;
mod guests;
mod leases;
#[path = "../support/answers.rs"]
mod support;
mod tokens;
mod watch;

use libtest_mimic::{Arguments, Trial};

/// A name, and what is done.
type Scenario = (&'static str, fn());

fn main() {
    let mut arguments = Arguments::from_args();
    // Most of them wait for something most of the time.
    arguments.test_threads.get_or_insert(6);
    let missing = !test_servers::etcd_is_installed();
    let mut trials = Vec::new();
    for (group, scenarios, real) in [
        ("answers", answers::SCENARIOS, false),
        ("check", check::SCENARIOS, true),
        ("engine", engine::SCENARIOS, true),
        ("guests", guests::SCENARIOS, true),
        ("leases", leases::SCENARIOS, true),
        ("tokens", tokens::SCENARIOS, true),
        ("watch", watch::SCENARIOS, true),
    ] {
        for &(name, scenario) in scenarios {
            let run = move || {
                scenario();
                Ok(())
            };
            trials.push(Trial::test(format!("{group}::{name}"), run).with_ignored_flag(real && missing));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
