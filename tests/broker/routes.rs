//! Success is said only after every router leads to the instance.

use patroni_broker::broker::{LastOperation, Outcome};
use patroni_broker::model::InstanceId;
use patroni_broker::state::keys;
use storage::Expect;

use crate::lab::{Lab, order, until};

const FAR: u64 = 1 << 40;

fn report(lab: &Lab, host: &str, value: &str) {
    lab.store.put(&keys::routers().child(host).unwrap(), value.as_bytes(), None, Expect::Anything).unwrap();
}

/// The fake's members call one of themselves the leader, and take no lock.
fn lead(lab: &Lab) {
    let leader = keys::leader(&InstanceId::parse("b1").unwrap());
    lab.store.put(&leader, b"n1", None, Expect::Anything).unwrap();
}

fn await_the_wait(lab: &Lab) {
    until("the route to be waited for", || {
        let operation = lab.record("b1").unwrap().value.operation.unwrap();
        (operation.done + 1 == operation.steps.len()).then_some(())
    });
    let LastOperation::InProgress { .. } = lab.poll("b1").unwrap() else {
        panic!("it has ended without a route")
    };
}

fn forget_routers(lab: &Lab) {
    for entry in lab.store.list(&keys::routers()).unwrap().entries {
        lab.store.delete(&entry.key, Expect::Anything).unwrap();
    }
}

#[test]
fn a_router_that_lags_is_waited_for() {
    let lab = Lab::new("c1@z1 c2@z2");
    report(&lab, "r1", &FAR.to_string());
    report(&lab, "r2", "1");
    lab.broker().provision(order("b1", "{}")).unwrap();
    await_the_wait(&lab);
    lead(&lab);
    await_the_wait(&lab);
    report(&lab, "r2", &FAR.to_string());
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
}

/// A cluster of one calls itself the leader before it has the lock, and a router waits only for who has it: its port
/// refused for a second after success had been said.
#[test]
fn a_leader_that_has_no_lock_yet_is_waited_for() {
    let lab = Lab::new("c1@z1 c2@z2");
    report(&lab, "r1", &FAR.to_string());
    lab.broker().provision(order("b1", "{}")).unwrap();
    await_the_wait(&lab);
    lead(&lab);
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
}

/// A router left out a port that something else had on its host, reported the revision as applied, and the broker said
/// success though no route existed.
#[test]
fn a_port_that_a_router_cannot_have_fails_the_order() {
    let lab = Lab::new("c1@z1 c2@z2");
    report(&lab, "r1", &FAR.to_string());
    report(&lab, "r2", &format!("{FAR} b0 b1"));
    let Outcome::Failed { description, .. } = lab.provision(order("b1", "{}")).unwrap() else {
        panic!("it succeeded")
    };
    assert!(description.contains("port 30000") && description.contains("r2"), "{description}");
    // The next order gets another port.
    forget_routers(&lab);
    lab.provision(order("b2", "{}")).unwrap();
    assert_eq!(lab.record("b2").unwrap().value.allocated_port, Some(30001));
    lab.deprovision("b2").unwrap();
    lab.assert_nothing_left();
}
