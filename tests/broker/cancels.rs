//! A deprovision while a provision is under way: it takes its place, whatever that is at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use patroni_broker::broker::{
    Accepted, BrokerError, LastOperation, Outcome, PollRequest, ProvisionRequest, UpdateRequest,
};
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::cells::{Cell, ContainerSpec};
use patroni_broker::model::{ContainerName, OperationId};
use patroni_broker::scheduler::Step;
use patroni_broker::state::{OperationState, keys};
use storage::embedded::{Embedded, Options};
use storage::{Expect, Store, SystemClock};

use crate::cluster::CELLS;
use crate::dream::{accepted, change_parameters, departure, dream};
use crate::gate::{Gate, swift};
use crate::lab::{Lab, id, order, poll, until};
use crate::orphans::Later;

/// What must be told at once is told within this time.
pub const AT_ONCE: Duration = Duration::from_secs(20);

fn polled(instance: &str) -> ProvisionRequest {
    ProvisionRequest { accepts_incomplete: true, ..order(instance, "{}") }
}

/// Somebody who waits for that operation.
pub fn waiter(lab: &Lab, instance: &str, operation: &OperationId) -> Receiver<Outcome> {
    let (told, outcome) = channel();
    let then = move |outcome| drop(told.send(outcome));
    lab.broker().when_done(&id(instance), operation, Duration::from_secs(60), Box::new(then));
    outcome
}

pub fn told(lab: &Lab, instance: &str, operation: &OperationId) -> Result<LastOperation, BrokerError> {
    let request = PollRequest { operation: Some(operation.to_string()), ..poll(instance) };
    lab.broker().last_operation(&request)
}

pub fn is_ended(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { description, .. } if description == "ended by a deprovision")
}

/// How the deprovision was taken, and that everybody was told what became of what it took the place of.
pub fn assert_cancelled(
    lab: &Lab,
    operation: &OperationId,
    waits: &Receiver<Outcome>,
    what: &str,
) -> OperationId {
    let (deprovision, _) = accepted(lab.broker().deprovision(departure("b1", true)));
    let outcome = waits.recv_timeout(AT_ONCE).unwrap_or_else(|_| panic!("{what}: nobody was told"));
    assert!(is_ended(&outcome), "{what}: {outcome:?}");
    let by_id = told(lab, "b1", operation).unwrap();
    let LastOperation::Failed { description, .. } = &by_id else { panic!("{what}: {by_id:?}") };
    assert_eq!(description, "ended by a deprovision", "{what}");
    let last = lab.poll("b1").unwrap();
    assert!(matches!(&last, LastOperation::InProgress { .. }), "{what}: {last:?}");
    // Once more is the same.
    assert_eq!(accepted(lab.broker().deprovision(departure("b1", true))).0, deprovision, "{what}");
    deprovision
}

pub fn assert_goes(lab: &Lab, what: &str) {
    until(&format!("{what}: the instance to go"), || lab.record("b1").is_none().then_some(()));
    assert_eq!(lab.engine.containers(), [], "{what}");
    until(&format!("{what}: every key to go"), || lab.keys().is_empty().then_some(()));
    assert_eq!(lab.engine.containers(), [], "{what}");
}

/// Between any two writes of the worker: in the middle of each step, before and after it is recorded, and while what
/// failed is undone.
#[test]
fn a_provision_is_cancelled_between_any_two_writes() {
    for restarts in [false, true] {
        let gate = Gate::new();
        let mut lab = swift(Arc::clone(&gate) as Arc<dyn Store>);
        for before in 0.. {
            gate.close("worker", None, before);
            let (operation, _) = accepted(lab.broker().provision(polled("b1")));
            let waits = waiter(&lab, "b1", &operation);
            let reached = until("the write or the end", || match (gate.at(), lab.poll("b1").unwrap()) {
                (Some(at), _) => Some(Some(at)),
                (None, LastOperation::InProgress { .. }) => None,
                (None, _) => Some(None),
            });
            let what = format!("before write {before}, {reached:?}, with a restart: {restarts}");
            if reached.is_none() {
                assert!(before >= 8, "too few writes were tried: {before}");
                gate.open();
                assert_eq!(lab.deprovision("b1"), Ok(Outcome::Succeeded));
                break;
            }
            if matches!(told(&lab, "b1", &operation).unwrap(), LastOperation::InProgress { .. }) {
                assert_cancelled(&lab, &operation, &waits, &what);
            } else {
                // It had ended, and only the note is left to be cleared.
                accepted(lab.broker().deprovision(departure("b1", true)));
                assert_eq!(waits.recv_timeout(AT_ONCE), Ok(Outcome::Succeeded), "{what}");
            }
            gate.open();
            if restarts {
                lab.start();
            }
            assert_goes(&lab, &what);
        }
    }
}

/// A broker dies at any step of what it makes, with its effects or without, and the deprovision comes before another one
/// has resumed it.
#[test]
fn a_provision_that_a_crash_cut_off_is_cancelled() {
    let mut lab = swift(Arc::new(Embedded::in_memory(Options::default()).unwrap()));
    for done in 0.. {
        for effects in [true, false] {
            let what = format!("at step {done}, with effects: {effects}");
            lab.provision(order("b1", "{}")).unwrap();
            let steps = lab.record("b1").unwrap().value.operation.unwrap().steps;
            if done > steps.len() {
                return;
            }
            lab.rewind("b1", done);
            // Nobody resumes it.
            lab.store.put(&keys::lease(&id("b1")), b"another", None, Expect::Absent).unwrap();
            for step in steps[done..].iter().filter(|_| !effects) {
                let Step::AddNode { node, .. } = step else { continue };
                lab.engine.lose(&ContainerName::of(node));
            }
            lab.start();
            let operation = lab.record("b1").unwrap().value.operation.unwrap().id;
            let waits = waiter(&lab, "b1", &operation);
            assert_cancelled(&lab, &operation, &waits, &what);
            lab.store.delete(&keys::lease(&id("b1")), Expect::Anything).unwrap();
            assert_goes(&lab, &what);
        }
    }
}

/// The store is away from any write of the deprovision on, and the broker dies.
#[test]
fn a_crash_after_the_cancel_changes_nothing() {
    let gate = Gate::new();
    let mut lab = swift(Arc::clone(&gate) as Arc<dyn Store>);
    for before in 0.. {
        lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
        accepted(lab.broker().provision(polled("b1")));
        until("the wait for members", || {
            let operation = lab.record("b1")?.value.operation?;
            matches!(operation.steps.get(operation.done)?, Step::AwaitMembers { .. }).then_some(())
        });
        gate.fail_from("worker", before);
        accepted(lab.broker().deprovision(departure("b1", true)));
        let reached = until("the write or the end", || match (gate.at(), lab.record("b1")) {
            (Some(at), _) => Some(Some(at)),
            (None, Some(_)) => None,
            (None, None) => Some(None),
        });
        lab.stop();
        gate.open();
        lab.start();
        assert_goes(&lab, &format!("from write {before} on, {reached:?}"));
        if reached.is_none() {
            assert!(before >= 12, "too few writes were tried: {before}");
            return;
        }
    }
}

/// Getting an image may take minutes: the container is not made after that.
#[test]
fn a_node_is_not_made_once_its_image_has_come() {
    let lab = Lab::new(CELLS);
    lab.cell("c1").holds.hold(Call::EnsureImage);
    lab.cell("c1").trouble(Call::Create, Trouble::Refuse("it was asked to all the same".to_owned()));
    let (operation, _) = accepted(lab.broker().provision(polled("b1")));
    until("the image to be asked for", || {
        (lab.cell("c1").holds.waiting(Call::EnsureImage) > 0).then_some(())
    });
    let waits = waiter(&lab, "b1", &operation);
    assert_cancelled(&lab, &operation, &waits, "while the image comes");
    lab.cell("c1").holds.let_go(Call::EnsureImage);
    assert_goes(&lab, "while the image comes");
    // The trouble is still there to be had.
    let refused = lab.cell("c1").create(&container("n1"));
    assert!(refused.is_err(), "a container was made for an instance that goes");
}

/// What waits notices within about a second, with minutes left to wait.
#[test]
fn a_wait_ends_soon() {
    let lab = Lab::new(CELLS);
    let check = |what: &str| {
        let waits_since = until("the wait", || {
            let operation = lab.record("b1")?.value.operation?;
            let waits =
                matches!(operation.steps.get(operation.done)?, Step::AwaitMembers { .. } | Step::AwaitRoute);
            let leased = lab.store.get(&keys::lease(&id("b1"))).unwrap().is_some();
            (waits && leased).then(Instant::now)
        });
        assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded, "{what}");
        assert!(waits_since.elapsed() < AT_ONCE, "{what}: {:?}", waits_since.elapsed());
        lab.assert_nothing_left();
    };
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    accepted(lab.broker().provision(polled("b1")));
    check("for members");
    lab.patroni.silent.lock().unwrap().clear();
    let router = keys::router("r1").unwrap();
    lab.store.put(&router, b"0", None, Expect::Absent).unwrap();
    accepted(lab.broker().provision(polled("b1")));
    until("the wait for the router", || {
        let operation = lab.record("b1")?.value.operation?;
        matches!(operation.steps.get(operation.done)?, Step::AwaitRoute).then_some(())
    });
    let begun = Instant::now();
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    lab.store.delete(&router, Expect::Anything).unwrap();
    lab.assert_nothing_left();
}

/// A caller whose request another broker holds is told too.
#[test]
fn who_waits_elsewhere_is_told() {
    let mut lab = Lab::new(CELLS);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.cell("c1").holds.hold(Call::Remove);
    let (operation, _) = accepted(lab.broker().provision(polled("b1")));
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    let elsewhere = lab.another("beside").unwrap();
    let (told, outcome) = channel();
    let then = move |outcome| drop(told.send(outcome));
    elsewhere.when_done(&id("b1"), &operation, Duration::from_secs(60), Box::new(then));
    accepted(lab.broker().deprovision(departure("b1", true)));
    let outcome = outcome.recv_timeout(AT_ONCE).unwrap();
    assert!(is_ended(&outcome), "{outcome:?}");
    drop(elsewhere);
    lab.cell("c1").holds.let_go(Call::Remove);
    until("the instance to go", || lab.record("b1").is_none().then_some(()));
    lab.start();
    lab.assert_nothing_left();
}

/// The worker's last write comes first, or second.
#[test]
fn the_last_step_and_the_cancel_race() {
    let gate = Gate::new();
    let lab = swift(Arc::clone(&gate) as Arc<dyn Store>);
    let record = keys::record(&id("b1"));
    let lab = &lab;
    // The deprovision has read what is under way, and its write comes after the end.
    gate.close("canceller", Some(record.clone()), 0);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    let (operation, _) = accepted(lab.broker().provision(polled("b1")));
    let waits = waiter(lab, "b1", &operation);
    thread::scope(|scope| {
        let canceller = thread::Builder::new().name("canceller".to_owned());
        let canceller =
            canceller.spawn_scoped(scope, || lab.broker().deprovision(departure("b1", true))).unwrap();
        until("the canceller to write", || gate.at());
        lab.patroni.silent.lock().unwrap().clear();
        assert_eq!(waits.recv_timeout(AT_ONCE), Ok(Outcome::Succeeded));
        gate.open();
        accepted(canceller.join().unwrap());
    });
    assert_goes(lab, "the end first");
    // The worker is about to record the end.
    let writes = lab.provision_writes(&gate);
    gate.close("worker", Some(record), writes - 1);
    let (operation, _) = accepted(lab.broker().provision(polled("b1")));
    let waits = waiter(lab, "b1", &operation);
    until("the worker to write", || gate.at());
    let standing = lab.record("b1").unwrap().value.operation.unwrap();
    assert_eq!(standing.done, standing.steps.len(), "it was not the last write");
    assert_cancelled(lab, &operation, &waits, "the cancel first");
    gate.open();
    assert_goes(lab, "the cancel first");
}

impl Lab {
    /// How often the worker writes the record of a cluster that is made.
    fn provision_writes(&self, gate: &Gate) -> i64 {
        gate.close("worker", Some(keys::record(&id("b1"))), 1_000);
        self.provision(order("b1", "{}")).unwrap();
        let writes = 1_000 - gate.before.load(Ordering::SeqCst);
        gate.open();
        self.deprovision("b1").unwrap();
        self.assert_nothing_left();
        writes
    }
}

/// A provision that has failed is being undone: that goes on as a deprovision, and its caller hears why it failed.
#[test]
fn what_is_being_undone_is_cancelled_too() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.cell("c2").trouble(Call::Create, Trouble::Refuse("no space left".to_owned()));
    lab.cell("c1").holds.hold(Call::Remove);
    let (operation, _) = accepted(lab.broker().provision(polled("b1")));
    let waits = waiter(&lab, "b1", &operation);
    until("the undoing", || (lab.cell("c1").holds.waiting(Call::Remove) > 0).then_some(()));
    accepted(lab.broker().deprovision(departure("b1", true)));
    let outcome = waits.recv_timeout(AT_ONCE).unwrap();
    assert!(
        matches!(&outcome, Outcome::Failed { description, .. } if description.contains("no space left")),
        "{outcome:?}"
    );
    lab.cell("c1").holds.let_go(Call::Remove);
    assert_goes(&lab, "while it was undone");
}

/// A caller who does not poll is answered when all is gone.
#[test]
fn callers_that_wait_are_answered_alike() {
    let lab = Arc::new(Lab::new(CELLS));
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    let making = thread::spawn({
        let lab = Arc::clone(&lab);
        move || lab.provision(order("b1", "{}"))
    });
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    assert_eq!(lab.deprovision("b1"), Ok(Outcome::Succeeded));
    let made = making.join().unwrap().unwrap();
    assert!(is_ended(&made), "{made:?}");
    assert_eq!(lab.deprovision("b1"), Err(BrokerError::InstanceGone));
    lab.assert_nothing_left();
}

/// The engine makes a container long after it was asked to, when it has been removed already.
#[test]
fn a_container_that_comes_late_is_removed() {
    let mut lab = Lab::new(CELLS);
    // The container comes before the sweep that looks once more.
    lab.pace.sweep_every = Duration::from_secs(3);
    lab.start();
    lab.cell("c1").holds.hold(Call::EnsureImage);
    accepted(lab.broker().provision(polled("b1")));
    until("the image to be asked for", || {
        (lab.cell("c1").holds.waiting(Call::EnsureImage) > 0).then_some(())
    });
    let node =
        lab.record("b1").unwrap().value.nodes.iter().find(|node| node.backend_id.as_str() == "c1").cloned();
    let node = node.unwrap();
    let (deprovision, _) = accepted(lab.broker().deprovision(departure("b1", true)));
    lab.cell("c1").holds.let_go(Call::EnsureImage);
    assert_eq!(lab.wait(&id("b1"), &deprovision), Outcome::Succeeded);
    let orphan = keys::orphan(&node.backend_id, &node.node_id);
    assert!(lab.store.get(&orphan).unwrap().is_some(), "nobody would look once more");
    lab.cell("c1").create(&container(node.node_id.as_str())).unwrap();
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    lab.assert_nothing_left();
}

/// A node's container, as far as it matters here.
pub fn container(node: &str) -> ContainerSpec {
    ContainerSpec {
        name: ContainerName::of(&node.to_owned().try_into().unwrap()),
        image: crate::lab::IMAGE.to_owned(),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        ports: Vec::new(),
        files: Vec::new(),
        memory_bytes: None,
        shm_bytes: 0,
        stop_timeout: Duration::ZERO,
    }
}

/// A dream waits in no worker: what is put aside is cancelled as well, whether it comes to be or changes.
#[test]
fn a_dream_is_cancelled() {
    let lab = Lab::new(CELLS);
    let slow = r#"{"delay_ms": 600000, "fail": "deprovision"}"#;
    let request = ProvisionRequest { accepts_incomplete: true, ..dream("b1", slow) };
    // One that is to take its time to go as well goes when that is over.
    let (operation, _) = accepted(lab.broker().provision(request));
    let waits = waiter(&lab, "b1", &operation);
    let (deprovision, _) = accepted(lab.broker().deprovision(departure("b1", true)));
    assert!(is_ended(&waits.recv_timeout(AT_ONCE).unwrap()));
    let steps = lab.record("b1").unwrap().value.operation.unwrap().steps;
    assert!(!steps.iter().any(|step| matches!(step, Step::Fail { .. })), "it never came to be: {steps:?}");
    assert_eq!(lab.record("b1").unwrap().value.operation.unwrap().id, deprovision);

    lab.broker().provision(ProvisionRequest { accepts_incomplete: true, ..dream("d2", "{}") }).unwrap();
    lab.settle("d2");
    let slowly = change_parameters("d2", r#"{"a": 1, "delay_ms": 600000}"#);
    let (operation, _) = accepted(lab.broker().update(UpdateRequest { accepts_incomplete: true, ..slowly }));
    let waits = waiter(&lab, "d2", &operation);
    let begun = Instant::now();
    assert_eq!(lab.deprovision("d2"), Ok(Outcome::Succeeded));
    assert!(begun.elapsed() < AT_ONCE);
    let Outcome::Failed { description, instance_usable, update_repeatable } =
        waits.recv_timeout(AT_ONCE).unwrap()
    else {
        panic!("it succeeded")
    };
    assert_eq!(description, "ended by a deprovision");
    assert_eq!((instance_usable, update_repeatable), (Some(false), Some(false)));
    assert_eq!(lab.broker().update(change_parameters("d2", "{}")), Err(BrokerError::InstanceUnknown));
}

/// There never was an instance, also when it cannot go either.
#[test]
fn what_was_cancelled_never_was() {
    let mut lab = Lab::new(CELLS);
    let slow = ProvisionRequest { accepts_incomplete: true, ..dream("d1", r#"{"delay_ms": 90000}"#) };
    accepted(lab.broker().provision(slow));
    accepted(lab.broker().deprovision(departure("d1", true)));
    assert_eq!(lab.fetch("d1"), Err(BrokerError::InstanceUnknown));
    // Longer than its plan lets an operation take.
    lab.clock = Arc::new(Later(SystemClock));
    lab.start();
    let ended = lab.settle("d1");
    assert!(matches!(ended, LastOperation::Failed { instance_usable: Some(false), .. }), "{ended:?}");
    assert_eq!(lab.fetch("d1"), Err(BrokerError::InstanceUnknown));
}

/// What is looked for once more has given its ports back: another instance of that id has them by then.
#[test]
fn the_same_id_ordered_at_once_keeps_its_ports() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    accepted(lab.broker().provision(polled("b1")));
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    assert_eq!(lab.deprovision("b1"), Ok(Outcome::Succeeded));
    lab.patroni.silent.lock().unwrap().clear();
    assert_eq!(lab.provision(order("b1", "{}")), Ok(Outcome::Succeeded));
    let is_orphan = |key: &String| key.contains("/orphans/");
    until("the orphans to go", || (!lab.keys().iter().any(is_orphan)).then_some(()));
    assert_eq!((lab.claims("c1"), lab.claims("c2")), (2, 2));
    assert_eq!(lab.running(), ["c1", "c2"]);
    assert_eq!(lab.deprovision("b1"), Ok(Outcome::Succeeded));
    lab.assert_nothing_left();
}

/// Whoever believes the instance to be something else cancels nothing.
#[test]
fn a_mistaken_deprovision_cancels_nothing() {
    let lab = Lab::new(CELLS);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    accepted(lab.broker().provision(polled("b1")));
    let mut request = departure("b1", true);
    request.plan = Some(crate::dream::plan("small"));
    assert!(matches!(lab.broker().deprovision(request), Err(BrokerError::WrongPlan { .. })));
    assert_eq!(lab.record("b1").unwrap().value.operation.unwrap().state, OperationState::InProgress);
    lab.patroni.silent.lock().unwrap().clear();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_eq!(lab.broker().provision(order("b1", "{}")), Ok(Accepted::Already));
}
