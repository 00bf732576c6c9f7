//! What every cell does, checked over the fake and, where one answers, over a real Docker engine; and what the Docker
//! cell does when its engine misbehaves.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is to do")]

mod bench;
mod contract;
mod faults;
mod half_way;
mod live;
mod tls;
mod troubles;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let engine = live::engine();
    let mut trials = Vec::new();
    for &(name, check) in contract::SCENARIOS {
        trials.push(trial(format!("fake::{name}"), move || check(&bench::fake())));
        trials.push(
            trial(format!("docker::{name}"), move || check(&live::bench()))
                .with_ignored_flag(engine.is_none()),
        );
    }
    for &(name, check) in live::SCENARIOS.iter().chain(half_way::SCENARIOS) {
        trials.push(
            trial(format!("docker::{name}"), move || check(&live::bench()))
                .with_ignored_flag(engine.is_none()),
        );
    }
    for &(name, check) in faults::SCENARIOS {
        trials.push(trial(format!("faults::{name}"), check));
    }
    for &(name, check) in troubles::SCENARIOS {
        trials.push(trial(format!("troubles::{name}"), check));
    }
    let missing = tls::missing();
    trials.push(
        trial("tls::keys_of_every_kind".to_owned(), tls::keys_of_every_kind).with_ignored_flag(missing),
    );
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: String, check: impl FnOnce() + Send + 'static) -> Trial {
    // A scenario that panics is a scenario that failed: libtest-mimic sees to it.
    Trial::test(name, move || {
        check();
        Ok(())
    })
}
