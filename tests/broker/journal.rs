//! The journal: an operation goes on from wherever it was cut off, and every step may run twice.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use patroni_broker::broker::LastOperation;
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::model::{ContainerName, PlanSettings};
use patroni_broker::scheduler;
use patroni_broker::state::{Instances, OperationState, keys};
use storage::{Expect, Key};

use crate::lab::{Lab, id, order, until};

const CELLS: &str = "c1@z1 c2@z1 c3@z2 c4@z2";

/// Rewinds a finished provision to each of its steps, as a broker that died before it recorded the step leaves it, and
/// starts another broker: the effects of the later steps are there already.
#[test]
fn every_step_of_a_provision_may_run_twice() {
    let mut lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    let before = lab.engine.containers();
    let steps = lab.record("b1").unwrap().value.operation.unwrap().steps.len();
    for done in 0..=steps {
        lab.rewind("b1", done);
        lab.start();
        let said = LastOperation::Succeeded { description: "master running; replicas running".to_owned() };
        assert_eq!(lab.settle("b1"), said, "from step {done}");
        assert_eq!(lab.engine.containers(), before, "from step {done}");
    }
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

/// The same for a deprovision, of which any part of the effects may be there.
#[test]
fn every_step_of_a_deprovision_may_run_twice() {
    let steps = 5;
    for done in 0..steps {
        let mut lab = Lab::new(CELLS);
        lab.provision(order("b1", "{}")).unwrap();
        lab.stop();
        let mut record = lab.record("b1").unwrap();
        let containers = record.value.containers();
        let operation = record.value.operation.as_mut().unwrap();
        operation.kind = patroni_broker::state::OperationKind::Deprovision;
        operation.steps = scheduler::deprovision(&containers);
        assert_eq!(operation.steps.len(), steps);
        (operation.done, operation.state) = (0, OperationState::InProgress);
        // The first `done` steps' containers are gone already, unrecorded.
        for (node, _) in containers.iter().take(done) {
            lab.engine.lose(&ContainerName::of(node));
        }
        Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
        lab.store.put(&keys::pending(&id("b1")), b"0", None, Expect::Anything).unwrap();
        lab.start();
        until("the instance to go", || lab.record("b1").is_none().then_some(()));
        lab.assert_nothing_left();
    }
}

/// A broker that stops in the middle of a wait leaves the operation, and the next one ends it.
#[test]
fn a_wait_is_resumed() {
    let mut lab = Lab::new(CELLS);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.broker().provision(order("b1", "{}")).unwrap();
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    lab.stop();
    lab.patroni.silent.lock().unwrap().clear();
    lab.start();
    let said = LastOperation::Succeeded { description: "master running; replicas running".to_owned() };
    assert_eq!(lab.settle("b1"), said);
    assert_eq!(lab.running().len(), 2);
}

/// Another broker has the lease: it performs the operation, and nobody else until the lease is free.
#[test]
fn one_broker_performs_an_operation() {
    let lab = Lab::new(CELLS);
    lab.store.put(&keys::lease(&id("b1")), b"another", None, Expect::Absent).unwrap();
    lab.broker().provision(order("b1", "{}")).unwrap();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(lab.record("b1").unwrap().value.operation.unwrap().done, 0);
    lab.store.delete(&keys::lease(&id("b1")), Expect::Anything).unwrap();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
}

/// The worker that ended one operation removed the note of the next, which was about to be recorded: a broker that died
/// then would never have found it.
#[test]
fn a_note_is_removed_by_whom_it_concerns() {
    let mut lab = Lab::new(CELLS);
    // The fresh ones stay fresh.
    lab.pace.leftover_after = Duration::from_secs(60);
    lab.start();
    let note = |instance: &str| lab.store.get(&keys::pending(&id(instance))).unwrap();
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.broker().provision(order("b1", "{}")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    for (instance, written) in [("b1", now), ("fresh", now), ("old", 1)] {
        let value = format!("{written} deprovision-next");
        lab.store.put(&keys::pending(&id(instance)), value.as_bytes(), None, Expect::Anything).unwrap();
    }
    lab.patroni.silent.lock().unwrap().clear();
    lab.settle("b1");
    until("the old note to go", || note("old").is_none().then_some(()));
    thread::sleep(Duration::from_millis(500));
    assert!(
        note("b1").is_some() && note("fresh").is_some(),
        "a note went before its record could be written"
    );
}

/// A record that nobody can read kept every other operation from being resumed.
#[test]
fn a_corrupt_record_harms_no_other() {
    let mut lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.rewind("b1", 2);
    lab.store.put(&keys::record(&id("a1")), b"{", None, Expect::Absent).unwrap();
    lab.store.put(&keys::pending(&id("a1")), b"0", None, Expect::Absent).unwrap();
    lab.start();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
}

/// A broker died in the middle of an order, and a member that holds the data by now ended before the next one came: its
/// volume must not be made anew.
#[test]
fn a_member_with_data_is_started_again() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    let node = lab.record("b1").unwrap().value.nodes[0].node_id.clone();
    lab.rewind("b1", 1);
    lab.engine.crash(&ContainerName::of(&node), 1);
    lab.cell("c1").trouble(Call::Create, Trouble::Refuse("it is made anew".to_owned()));
    lab.start();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_eq!(lab.record("b1").unwrap().value.nodes[0].node_id, node);
}

/// A container that is not as it is asked for is made anew: here the plan has changed while the order was made.
#[test]
fn a_container_of_another_make_is_made_anew() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    let node = lab.record("b1").unwrap().value.nodes[0].node_id.clone();
    lab.rewind("b1", 1);
    let PlanSettings::Patroni(settings) = &mut lab.catalog.services[0].plans[0].settings else {
        panic!("it is a cluster's")
    };
    // As what it is made stands in the record; what it is told does not.
    (settings.memory_bytes, settings.ttl_s) = (Some(1 << 30), 25);
    lab.start();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    let spec = lab.engine.spec(&ContainerName::of(&node)).unwrap();
    assert!(spec.env["BROKER_SETTINGS"].contains("\"ttl\":25"), "{:?}", spec.env);
    assert_eq!(spec.memory_bytes, None);
}

/// A broker died after it claimed ports and before it wrote its record: the claims are old, and nobody speaks for them.
#[test]
fn claims_without_a_record_are_reaped() {
    let mut lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.stop();
    let claim = |prefix: Key, port: &str, instance: &str, claimed_ms: u128| {
        let claim = format!(r#"{{"instance": "{instance}", "claimed_ms": {claimed_ms}}}"#);
        lab.store.put(&prefix.child(port).unwrap(), claim.as_bytes(), None, Expect::Absent).unwrap();
    };
    let cell = |guid: &str| keys::cell_claims(&guid.to_owned().try_into().unwrap());
    claim(keys::public_claims(), "20019", "ghost", 1);
    claim(cell("c2"), "20019", "ghost", 1);
    // Of a live instance, whose record does not name it: the very port that it has on another cell.
    claim(cell("c4"), "20000", "b1", 1);
    // Its record comes yet.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    claim(cell("c2"), "20018", "coming", now);
    let ghosts = |lab: &Lab| lab.keys().iter().filter(|key| key.ends_with("/20019")).count();
    assert_eq!((ghosts(&lab), lab.claims("c4")), (2, 1));
    lab.start();
    until("the claims to be reaped", || (ghosts(&lab) + lab.claims("c4") == 0).then_some(()));
    assert_eq!(lab.claims("c2"), 1, "a claim was reaped before its record could be written");
    assert_eq!(lab.claims("c1") + lab.claims("c3"), 4, "claims of a live instance were reaped");
}
