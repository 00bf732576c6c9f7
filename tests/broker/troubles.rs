//! Cells that refuse, keep silent or lose containers; a store that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use patroni_broker::broker::{Accepted, BrokerError, LastOperation, Outcome, ProvisionRequest};
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::cells::{Cell, ContainerState};
use patroni_broker::model::{ContainerName, PlanId};
use storage::embedded::{Embedded, Options};
use storage::{Changes, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};

use crate::dream::departure;
use crate::lab::{Lab, order, until};

const CELLS: &str = "c1@z1 c2@z1 c3@z2 c4@z2";

#[test]
fn a_cell_that_refuses_is_passed_over() {
    let lab = Lab::new(CELLS);
    lab.cell("c1").trouble(Call::Create, Trouble::Refuse("no space left".to_owned()));
    assert_eq!(lab.provision(order("b1", "{}")).unwrap(), Outcome::Succeeded);
    assert_eq!(lab.running(), ["c2", "c3"]);
    let record = lab.record("b1").unwrap().value;
    let passed = record.operation.unwrap().passed_over;
    assert!(passed[0].reason.contains("no space left"), "{passed:?}");
    assert_eq!(lab.claims("c1"), 0, "a refused node keeps its ports");
    assert!(record.owed.is_empty());
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

/// The Go ancestor minted a node's id inside the call to the cell and saved it after: a call that timed out made an
/// orphan.
#[test]
fn a_container_made_in_silence_is_swept() {
    for trouble in [Trouble::SilentWithEffect, Trouble::SilentWithoutEffect] {
        let lab = Lab::new(CELLS);
        lab.cell("c1").trouble(Call::Create, trouble.clone());
        assert_eq!(lab.provision(order("b1", "{}")).unwrap(), Outcome::Succeeded);
        until("what is owed to be swept", || lab.record("b1").unwrap().value.owed.is_empty().then_some(()));
        assert_eq!(lab.running(), ["c2", "c3"], "{trouble:?}");
        assert_eq!(lab.engine.containers().len(), 2, "{trouble:?}");
        assert_eq!(lab.claims("c1"), 0);
        lab.deprovision("b1").unwrap();
        lab.assert_nothing_left();
    }
}

#[test]
fn where_no_cell_is_left_the_order_is_undone() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.cell("c2").trouble(Call::Create, Trouble::Refuse("no space left".to_owned()));
    let Outcome::Failed { description, .. } = lab.provision(order("b1", "{}")).unwrap() else {
        panic!("it succeeded")
    };
    assert!(description.contains("no space left"), "{description}");
    lab.assert_nothing_left();
}

/// The container that was owed went while the order was undone, and yet kept the record for the sweep.
#[test]
fn what_is_undone_is_not_owed() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.cell("c2").trouble(Call::Create, Trouble::SilentWithEffect);
    let Outcome::Failed { .. } = lab.provision(order("b1", "{}")).unwrap() else { panic!("it succeeded") };
    assert!(lab.record("b1").is_none(), "its caller was told");
    lab.assert_nothing_left();
}

#[test]
fn an_image_that_there_is_not_fails_the_order() {
    let lab = Lab::new("c1@z1 c2@z2");
    let request = ProvisionRequest { plan: PlanId::parse("no-image").unwrap(), ..order("b1", "{}") };
    let Outcome::Failed { description, .. } = lab.provision(request.clone()).unwrap() else {
        panic!("it succeeded")
    };
    assert!(description.contains("nowhere/nothing:1"), "{description}");
    lab.assert_nothing_left();

    // Who polls finds the failure there, and takes it away.
    let polled = ProvisionRequest { accepts_incomplete: true, ..request };
    lab.broker().provision(polled).unwrap();
    let LastOperation::Failed { description, .. } = lab.settle("b1") else { panic!("it succeeded") };
    assert!(description.contains("nowhere/nothing:1"), "{description}");
    assert_eq!(lab.engine.containers(), []);
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}

#[test]
fn where_no_cell_answers_nothing_is_begun() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.cells.iter().for_each(|cell| cell.set_away(true));
    let error = lab.provision(order("b1", "{}")).unwrap_err();
    assert!(matches!(error, BrokerError::NoCapacity { .. }), "{error:?}");
    assert!(lab.broker().ready().is_err());
    lab.cells.iter().for_each(|cell| cell.set_away(false));
    lab.assert_nothing_left();
}

/// Once, a broker of nothing but dreams was never ready, since none of its cells answered.
#[test]
fn who_has_no_cells_needs_none() {
    let mut lab = Lab::new("c1@z1");
    lab.cells.clear();
    lab.start();
    assert_eq!(lab.broker().ready(), Ok(()));
    lab.broker().begin_stop();
    assert!(lab.broker().ready().is_err());
}

/// The Go ancestor reported a failed removal as success and deleted the record: containers leaked.
#[test]
fn an_instance_does_not_go_before_its_containers() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.cell("c2").set_away(true);
    let Accepted::Running { .. } = lab.broker().deprovision(departure("b1", true)).unwrap() else {
        panic!("it is gone")
    };
    until("the silence to be told", || match lab.poll("b1").unwrap() {
        LastOperation::InProgress { description, .. } => description.contains("c2").then_some(()),
        ended => panic!("{ended:?}"),
    });
    assert_eq!(lab.running(), ["c2"]);
    lab.cell("c2").set_away(false);
    until("the instance to go", || lab.record("b1").is_none().then_some(()));
    lab.assert_nothing_left();
}

#[test]
fn a_member_that_dies_while_it_starts_is_made_again() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.broker().provision(order("b1", "{}")).unwrap();
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    // It died while it bootstrapped: the mark stands, empty, and nobody is at it.
    lab.store.put(&Key::parse("/service/b1/initialize").unwrap(), b"", None, Expect::Absent).unwrap();
    let node = lab.record("b1").unwrap().value.nodes[0].node_id.clone();
    lab.engine.crash(&ContainerName::of(&node), 1);
    until("the mark to be cleared", || {
        let key = Key::parse("/service/b1/initialize").unwrap();
        lab.store.get(&key).unwrap().is_none().then_some(())
    });
    lab.patroni.silent.lock().unwrap().clear();
    let said = LastOperation::Succeeded { description: "master running; replicas running".to_owned() };
    assert_eq!(lab.settle("b1"), said);
    assert_eq!(lab.engine.containers().len(), 2);
}

/// What it holds may be the only data: its volume must not go.
#[test]
fn a_member_that_dies_with_data_is_started_again() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.engine.add_image(crate::lab::IMAGE, &["up"]);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.broker().provision(order("b1", "{}")).unwrap();
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    lab.store.put(&Key::parse("/service/b1/initialize").unwrap(), b"7", None, Expect::Absent).unwrap();
    let node = lab.record("b1").unwrap().value.nodes[0].clone();
    let name = ContainerName::of(&node.node_id);
    lab.engine.crash(&name, 1);
    until("it to run again", || (lab.running().len() == 2).then_some(()));
    assert_eq!(lab.cell(node.backend_id.as_str()).log_tail(&name, 9).unwrap(), ["up", "up"]);
}

#[test]
fn a_member_that_dies_again_and_again_fails_the_order() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    let request = ProvisionRequest { accepts_incomplete: true, ..order("b1", "{}") };
    lab.broker().provision(request).unwrap();
    let ended = until("the order to fail", || {
        for view in lab.engine.containers() {
            if view.state == ContainerState::Running {
                lab.engine.crash(&view.name, 1);
            }
        }
        match lab.poll("b1").unwrap() {
            LastOperation::InProgress { .. } => None,
            ended => Some(ended),
        }
    });
    let LastOperation::Failed { description, .. } = ended else { panic!("{ended:?}") };
    assert!(description.contains("does not stay up"), "{description}");
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

/// A store that can be taken away.
struct Outage {
    store: Embedded,
    away: AtomicBool,
}

impl Outage {
    fn check(&self) -> Result<&Embedded, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { engine: "test", reason: "it is away".to_owned() });
        }
        Ok(&self.store)
    }
}

impl Store for Outage {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.check()?.get(key)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.check()?.list(prefix)
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        self.check()?.put(key, value, ttl, expect)
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.check()?.refresh(key, ttl, held)
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.check()?.delete(key, expect)
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.check()?.watch(prefix, after, deadline)
    }
}

/// The Go ancestor read "the store does not answer" as "the instance does not exist": an outage permitted provisioning
/// it again.
#[test]
fn an_outage_is_not_an_absence() {
    let store = Arc::new(Outage {
        store: Embedded::in_memory(Options::default()).unwrap(),
        away: AtomicBool::new(false),
    });
    let lab = Lab::on(Arc::clone(&store) as Arc<dyn Store>, "c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    store.away.store(true, Ordering::SeqCst);
    let outage = |error: &BrokerError| matches!(error, BrokerError::Store(StoreError::Unavailable { .. }));
    assert!(outage(&lab.provision(order("b1", "{}")).unwrap_err()));
    assert!(outage(&lab.deprovision("b1").unwrap_err()));
    assert!(outage(&lab.poll("b1").unwrap_err()));
    store.away.store(false, Ordering::SeqCst);
    assert_eq!(lab.broker().provision(order("b1", "{}")).unwrap(), Accepted::Already);
    assert_eq!(lab.running().len(), 2);
}
