//! The contract of [`storage::Store`]: one table of scenarios, run over every engine. A row names scenario and engine;
//! rows whose engine is missing on this machine show as ignored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod bench;
mod cluster;
mod concurrency;
mod endpoints;
mod entries;
#[path = "../support/history.rs"]
mod history;
mod input;
#[path = "../support/linearizability.rs"]
mod linearizability;
mod live;
mod lost;
mod outage;
mod say;
mod ttl;
mod watch;

use libtest_mimic::{Arguments, Trial};

use bench::{Bench, ENGINES, Runs};

type Scenario = (&'static str, fn(&mut Bench));

/// Of every engine.
const CORE: &[&[Scenario]] = &[entries::SCENARIOS, ttl::SCENARIOS, watch::SCENARIOS, input::SCENARIOS];
/// Of several callers at the same time.
const CONCURRENT: &[&[Scenario]] = &[concurrency::SCENARIOS];
/// Of several servers that are one store.
const CLUSTER: &[&[Scenario]] = &[cluster::SCENARIOS];
/// Of those over a network.
const SERVED: &[&[Scenario]] =
    &[lost::SCENARIOS, answers::SCENARIOS, endpoints::SCENARIOS, outage::SCENARIOS];

/// Of those in processes of their own.
const APART: &[&[Scenario]] = &[outage::PAUSES];

const THREADS: usize = 6;

fn main() {
    let mut arguments = Arguments::from_args();
    // Most of them wait for something most of the time.
    arguments.test_threads.get_or_insert(THREADS);
    let mut trials = Vec::new();
    for engine in ENGINES {
        let scenarios = match engine.runs {
            Runs::InProcess => vec![CORE, CONCURRENT],
            Runs::Served => vec![CORE, CONCURRENT, SERVED],
            Runs::Everything => vec![CORE, CONCURRENT, SERVED, APART],
            Runs::Core => vec![CORE],
            Runs::Cluster => vec![CONCURRENT, CLUSTER],
        };
        for &(name, scenario) in scenarios.into_iter().flatten().copied().flatten() {
            let run = move || {
                scenario(&mut (engine.make)());
                Ok(())
            };
            let name = format!("{}::{name}", engine.name);
            trials.push(Trial::test(name, run).with_ignored_flag(!(engine.is_installed)()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
