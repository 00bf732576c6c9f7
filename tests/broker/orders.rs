//! Orders: what is made, what is refused, who wins.

use std::sync::{Arc, Barrier};
use std::thread;

use patroni_broker::broker::{Accepted, BrokerError, LastOperation, Outcome, ProvisionRequest};
use patroni_broker::model::PlanId;
use patroni_broker::state::keys;
use storage::Expect;

use crate::dream::departure;
use crate::lab::{Lab, order};

const CELLS: &str = "c1@z1 c2@z1 c3@z2 c4@z2";

#[test]
fn an_order_is_made_and_given_back() {
    let lab = Lab::new(CELLS);
    assert_eq!(lab.provision(order("b1", "{}")).unwrap(), Outcome::Succeeded);
    assert_eq!(lab.running(), ["c1", "c3"]);
    let record = lab.record("b1").unwrap().value;
    assert_eq!(record.allocated_port, Some(30000));
    let said = LastOperation::Succeeded { description: "master running; replicas running".to_owned() };
    assert_eq!(lab.settle("b1"), said);
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
    assert_eq!(lab.deprovision("b1"), Err(BrokerError::InstanceGone));
}

#[test]
fn the_same_order_again_is_no_conflict_and_another_is() {
    let lab = Lab::new(CELLS);
    lab.patroni.silence("b1");
    let first = lab.broker().provision(order("b1", "{}")).unwrap();
    let Accepted::Running { operation, .. } = &first else { panic!("{first:?}") };
    assert_eq!(lab.broker().provision(order("b1", "{}")).unwrap(), first);
    assert_eq!(lab.broker().provision(order("b1", r#"{"node-count": 3}"#)), Err(BrokerError::InstanceExists));
    lab.patroni.silent.lock().unwrap().clear();
    lab.wait(&crate::lab::id("b1"), operation);
    assert_eq!(lab.broker().provision(order("b1", "{}")).unwrap(), Accepted::Already);
    assert_eq!(lab.broker().provision(order("b1", r#"{"node-count": 3}"#)), Err(BrokerError::InstanceExists));
    assert_eq!(lab.running().len(), 2);
}

/// An instance that goes is not there to be ordered.
#[test]
fn one_operation_at_a_time() {
    let lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.cell("c1").set_away(true);
    let going = lab.broker().deprovision(departure("b1", true)).unwrap();
    assert_eq!(lab.broker().provision(order("b1", "{}")), Err(BrokerError::Concurrency));
    assert_eq!(lab.broker().deprovision(departure("b1", true)).unwrap(), going);
    lab.cell("c1").set_away(false);
    assert_eq!(lab.deprovision("b1"), Ok(Outcome::Succeeded));
    lab.assert_nothing_left();
}

/// Eight callers want what four public ports can serve: those who lose the race find the ports taken by the others'
/// attempts at the very same order. One of them once recorded an order whose claims it had just given back.
#[test]
fn of_many_callers_one_makes_it() {
    let lab = Arc::new(Lab::new(CELLS));
    for round in 0..10 {
        let barrier = Arc::new(Barrier::new(8));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (lab, barrier) = (Arc::clone(&lab), Arc::clone(&barrier));
                thread::spawn(move || {
                    barrier.wait();
                    lab.provision(order("b1", "{}"))
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), Ok(Outcome::Succeeded), "round {round}");
        }
        let record = lab.record("b1").unwrap().value;
        assert_eq!((record.nodes.len(), lab.running().len()), (2, 2), "round {round}");
        let public = keys::public_claims().child(&record.allocated_port.unwrap().to_string()).unwrap();
        assert!(lab.store.get(&public).unwrap().is_some(), "round {round}: the public port is not claimed");
        let claims: usize = ["c1", "c2", "c3", "c4"].iter().map(|cell| lab.claims(cell)).sum();
        assert_eq!(claims, 4, "round {round}");
        assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
        lab.assert_nothing_left();
    }
}

#[test]
fn refusals_leave_nothing() {
    let check = |what: &str, request: ProvisionRequest, expected: &dyn Fn(&BrokerError) -> bool| {
        let lab = Lab::new(CELLS);
        let error = lab.provision(request).unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
        lab.assert_nothing_left();
    };
    let invalid = |error: &BrokerError| matches!(error, BrokerError::InvalidParameters { .. });
    check("no node", order("b1", r#"{"node-count": 0}"#), &invalid);
    check("five nodes on four cells", order("b1", r#"{"node-count": 5}"#), &invalid);
    check("an unknown cell", order("b1", r#"{"cells": ["c9"], "node-count": 1}"#), &invalid);
    let other = ProvisionRequest { plan: PlanId::parse("nope").unwrap(), ..order("b1", "{}") };
    check("an unknown plan", other, &|error| matches!(error, BrokerError::UnknownPlan(_)));
}

/// Another attempt at the same order, by a broker that died on the way, holds a port, and the others are taken: what
/// was given back was once recorded all the same, as an instance without a node.
#[test]
fn an_attempt_that_comes_to_nothing_is_not_waited_for_for_ever() {
    let lab = Lab::new(CELLS);
    for (port, instance) in [(30000, "b1"), (30001, "x1"), (30002, "x2"), (30003, "x3")] {
        let key = keys::public_claims().child(&port.to_string()).unwrap();
        let claim =
            serde_json::json!({"instance": instance, "claimed_ms": u64::MAX, "write_id": "another's"});
        lab.store.put(&key, claim.to_string().as_bytes(), None, Expect::Absent).unwrap();
    }
    let error = lab.provision(order("b1", "{}")).unwrap_err();
    assert!(matches!(error, BrokerError::NoCapacity { .. }), "{error:?}");
    assert!(lab.record("b1").is_none());
    assert_eq!(["c1", "c2", "c3", "c4"].iter().map(|cell| lab.claims(cell)).sum::<usize>(), 0);
}

#[test]
fn exhausted_ports_refuse_and_take_nothing() {
    let lab = Lab::new(CELLS);
    for instance in ["b1", "b2", "b3", "b4"] {
        lab.provision(order(instance, r#"{"node-count": 1}"#)).unwrap();
    }
    let claims: usize = ["c1", "c2", "c3", "c4"].iter().map(|cell| lab.claims(cell)).sum();
    let error = lab.provision(order("b5", r#"{"node-count": 1}"#)).unwrap_err();
    assert!(matches!(error, BrokerError::NoCapacity { .. }), "{error:?}");
    assert_eq!(["c1", "c2", "c3", "c4"].iter().map(|cell| lab.claims(cell)).sum::<usize>(), claims);
    // A freed port is given out again.
    lab.deprovision("b2").unwrap();
    lab.provision(order("b5", r#"{"node-count": 1}"#)).unwrap();
    assert_eq!(lab.record("b5").unwrap().value.allocated_port, Some(30001));
}
