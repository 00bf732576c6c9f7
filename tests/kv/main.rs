//! `kv`, by the real program, on every engine. A scenario whose engine is missing shows as ignored.

mod backup;
mod bad_input;
mod by_hand;
mod moving;
mod secured;
mod serving;
mod site;
mod watching;

use libtest_mimic::{Arguments, Failed, Trial};

use site::Engine;

type Scenario = fn(Engine) -> Result<(), Failed>;

fn main() {
    let mut trials = bad_input::trials();
    trials.extend(secured::trials());
    trials.extend(backup::trials());
    trials.extend(serving::trials());
    let scenarios: [(&str, Scenario); 4] = [
        ("keys_by_hand", by_hand::keys),
        ("an_export_is_the_same_on_every_engine", moving::round_trip),
        ("an_import_overwrites_nothing_unless_told", moving::into_what_is_there),
        ("a_watch_outlives_its_server", watching::across_a_restart),
    ];
    for engine in Engine::ALL {
        for (name, scenario) in scenarios {
            let trial = Trial::test(format!("{}::{name}", engine.name()), move || scenario(engine));
            trials.push(trial.with_ignored_flag(!engine.is_there()));
        }
    }
    let mut arguments = Arguments::from_args();
    // Each scenario has servers of its own, and machines for tests are small.
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, trials).exit();
}
