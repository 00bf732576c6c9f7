//! The journal: an operation goes on from wherever it was cut off, and every step may run twice.

use std::sync::Arc;

use patroni_broker::broker::LastOperation;
use patroni_broker::scheduler;
use patroni_broker::state::{Instances, OperationState, keys};
use storage::Expect;

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
            lab.engine.lose(&patroni_broker::model::ContainerName::of(node));
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

/// A broker died after it claimed ports and before it wrote its record: the claims are old, and nobody speaks for them.
#[test]
fn claims_without_a_record_are_reaped() {
    let mut lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.stop();
    let claim = br#"{"instance": "ghost", "claimed_ms": 1}"#;
    for key in [keys::public_claims(), keys::cell_claims(&"c2".to_owned().try_into().unwrap())] {
        lab.store.put(&key.child("20019").unwrap(), claim, None, Expect::Absent).unwrap();
    }
    let ghosts = |lab: &Lab| lab.keys().iter().filter(|key| key.ends_with("/20019")).count();
    assert_eq!(ghosts(&lab), 2);
    lab.start();
    until("the claims to be reaped", || (ghosts(&lab) == 0).then_some(()));
    assert_eq!(lab.claims("c1") + lab.claims("c3"), 4, "claims of a live instance were reaped");
}
