//! Random sequences of requests against a model of the specification: one caller with restarts of the broker in between,
//! and several callers at once. A sequence that is answered wrongly is shrunk, and printed as something to type.
//!
//! The seed is fixed; with `PATRONI_BROKER_TEST_ALL=1` there are many more cases, of a new seed each time. What once
//! failed is kept in `regressions/` and tried first.

mod bindings;
mod calls;
mod history;
mod instances;
mod known;
mod model;
mod site;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};

use calls::{Call, INSTANCES, Step, What, Which};
use history::{Event, is_explained};
use model::{Exchange, Model, unique};
use site::{Reply, Site};

/// Longer than any operation of a case takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the seeds of what failed are kept.
macro_rules! regressions {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/regressions/", $name, ".txt")
    };
}

fn runner(cases: u32, regressions: &'static str) -> TestRunner {
    let all = std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some();
    let config = Config {
        cases: if all { cases * 5 } else { cases },
        max_shrink_iters: 400,
        max_shrink_time: 40_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..Config::default()
    };
    if all {
        return TestRunner::new(config);
    }
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[17; 32]))
}

/// Says what failed, with the shrunk case's own words.
fn report<T>(result: Result<(), TestError<T>>) {
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(TestError::Abort(reason)) => panic!("no case: {reason}"),
    }
}

/// Each case has ids of its own, so that one broker serves all of them.
fn prefix() -> String {
    static CASES: AtomicUsize = AtomicUsize::new(0);
    format!("c{}-", CASES.fetch_add(1, Ordering::SeqCst))
}

/// What was accepted last, of instances and of bindings.
type Operations = BTreeMap<(u8, Option<u8>), String>;

fn note(operations: &mut Operations, call: &Call, reply: &Reply) {
    if let (202, Some(id)) = (reply.status, reply.text("operation")) {
        operations.insert((call.instance, call.what.binding()), id.to_owned());
    }
}

fn asked_for<'a>(operations: &'a Operations, call: &Call) -> Option<&'a str> {
    match call.what {
        What::Poll { which } | What::PollBinding { which, .. } => match which {
            Which::Last => None,
            Which::Accepted => operations.get(&(call.instance, call.what.binding())).map(String::as_str),
            Which::Never => Some("never"),
        },
        _ => None,
    }
}

fn ask(site: &Site, prefix: &str, call: &Call, operation: Option<&str>, script: &mut String) -> Reply {
    let request = call.request(prefix, operation);
    let body = request.body.as_ref().map(ToString::to_string).unwrap_or_default();
    let reply = site.ask(request.method, &request.target, &[], body.as_bytes());
    let _ = writeln!(script, "{request}\n    # {} {}", reply.status, reply.body);
    reply
}

fn in_sequence(site: &mut Site, steps: &[Step]) -> Result<(), TestCaseError> {
    let prefix = prefix();
    let mut script = String::new();
    let mut states: BTreeMap<u8, Vec<Model>> =
        (0..INSTANCES).map(|instance| (instance, vec![Model::default()])).collect();
    let mut operations = Operations::new();
    for (number, step) in steps.iter().enumerate() {
        let call = match step {
            Step::Restart => {
                site.restart();
                script += "# the broker is restarted\n";
                continue;
            }
            Step::Settle(instance) => {
                settle(site, &prefix, *instance).map_err(|reason| fail(&script, &reason))?;
                let _ = writeln!(script, "# until nothing of {prefix}{instance} is in progress");
                continue;
            }
            Step::Ask(call) => call,
        };
        let operation = asked_for(&operations, call).map(str::to_owned);
        let reply = ask(site, &prefix, call, operation.as_deref(), &mut script);
        let before = states.remove(&call.instance).unwrap_or_default();
        let exchange = Exchange { number, call, operation: operation.as_deref(), reply: &reply };
        let after = before.iter().flat_map(|state| state.after(&exchange));
        let after = unique(after.flat_map(|state| state.finished(number)).collect());
        if after.is_empty() {
            return Err(fail(&script, &format!("the last answer is wrong; before it: {before:#?}")));
        }
        states.insert(call.instance, after);
        note(&mut operations, call, &reply);
    }
    Ok(())
}

fn fail(script: &str, reason: &str) -> TestCaseError {
    TestCaseError::fail(format!("these calls:\n\n{script}\n{reason}"))
}

/// Waits until no operation of the instance, or of a binding of it, is in progress.
fn settle(site: &Site, prefix: &str, instance: u8) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let instance = format!("/v2/service_instances/{prefix}{instance}");
    let mut paths = vec![format!("{instance}/last_operation")];
    paths.extend((0..calls::BINDINGS).map(|id| format!("{instance}/service_bindings/x{id}/last_operation")));
    for path in paths {
        while site.ask("GET", &path, &[], b"").text("state") == Some("in progress") {
            if Instant::now() > deadline {
                return Err(format!("in progress for {PATIENCE:?}: {path}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

#[test]
fn one_caller_and_restarts() {
    let mut runner = runner(300, regressions!("one_caller"));
    let site = Mutex::new(Site::start(PATIENCE));
    report(runner.run(&calls::sequence(25), |steps| {
        in_sequence(&mut site.lock().unwrap_or_else(PoisonError::into_inner), &steps)
    }));
}

/// A few calls of each caller, after a first order that has come to something or not, or whose broker was restarted.
fn callers() -> impl Strategy<Value = (Step, bool, Vec<Vec<Call>>, bool)> {
    let about_one = || calls::call().prop_map(|call| Call { instance: 0, ..call });
    let caller = prop::collection::vec(about_one(), 1..5);
    (calls::first(), any::<bool>(), prop::collection::vec(caller, 2..4), prop::bool::weighted(0.3))
}

fn at_once(
    site: &RwLock<Site>,
    first: &Step,
    settled: bool,
    callers: &[Vec<Call>],
    restarted: bool,
) -> Result<(), TestCaseError> {
    let prefix = prefix();
    let moments = AtomicUsize::new(0);
    let operations = Mutex::new(Operations::new());
    let done = Mutex::new(Vec::new());
    let look = || site.read().unwrap_or_else(PoisonError::into_inner);
    let perform = |call: &Call| {
        let lock = || operations.lock().unwrap_or_else(PoisonError::into_inner);
        let operation = asked_for(&lock(), call).map(str::to_owned);
        let mut script = String::new();
        let asked = moments.fetch_add(1, Ordering::SeqCst);
        let reply = ask(&look(), &prefix, call, operation.as_deref(), &mut script);
        let answered = moments.fetch_add(1, Ordering::SeqCst);
        note(&mut lock(), call, &reply);
        let event = Event { call: call.clone(), operation, reply, asked, answered };
        done.lock().unwrap_or_else(PoisonError::into_inner).push((event, script));
    };
    if let Step::Ask(call) = first {
        perform(call);
    }
    if restarted {
        site.write().unwrap_or_else(PoisonError::into_inner).restart();
    }
    if settled {
        settle(&look(), &prefix, 0).map_err(|reason| fail("", &reason))?;
    }
    thread::scope(|scope| {
        for calls in callers {
            scope.spawn(|| calls.iter().for_each(perform));
        }
    });
    settle(&look(), &prefix, 0).map_err(|reason| fail("", &reason))?;
    // What has come of it is part of what must be explained.
    let last = |what| Call { instance: 0, what, accepts_incomplete: false };
    perform(&last(What::Poll { which: Which::Last }));
    perform(&last(What::Fetch { offer: None }));
    for binding in 0..calls::BINDINGS {
        perform(&last(What::FetchBinding { binding }));
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(event, _)| event.asked);
    let mut script = String::new();
    if restarted {
        script += "# the broker is restarted after the first\n";
    }
    for (event, line) in &done {
        let _ = write!(script, "# asked at {}, answered at {}\n{line}", event.asked, event.answered);
    }
    let events: Vec<Event> = done.into_iter().map(|(event, _)| event).collect();
    if is_explained(&events) {
        Ok(())
    } else {
        Err(fail(&script, "no order of these calls explains their answers"))
    }
}

#[test]
fn several_callers() {
    let mut runner = runner(150, regressions!("several_callers"));
    let site = RwLock::new(Site::start(PATIENCE));
    report(runner.run(&callers(), |(first, settled, callers, restarted)| {
        at_once(&site, &first, settled, &callers, restarted)
    }));
}
