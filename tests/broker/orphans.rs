//! What a forced deprovision has left: nothing forgets it, whatever is cut off, lost or in the way.

use std::sync::Arc;
use std::time::Duration;

use patroni_broker::broker::{Accepted, BrokerError, Outcome};
use patroni_broker::cells::Cell;
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::model::{CellGuid, ContainerName, DriverKind};
use patroni_broker::state::{Instances, OrphanRecord, Orphans, keys};
use storage::embedded::{Embedded, Options};
use storage::{Clock, Expect, Key, Store, StoreError, SystemClock};

use crate::cancels::container;
use crate::dream::{accepted, departure};
use crate::fake_guests;
use crate::forced::{CELLS, claims, forced};
use crate::gate::{Gate, swift};
use crate::lab::{Lab, id, order, until};
use crate::lost_answers::{LostAnswers, insist};

/// A broker dies, and the store with it, before any of its writes; with the cell away and with the cell back by then.
#[test]
fn a_crash_anywhere_forgets_nothing() {
    for back in [false, true] {
        let gate = Gate::new();
        let mut lab = swift(Arc::clone(&gate) as Arc<dyn Store>);
        for before in 0.. {
            lab.provision(order("b1", "{}")).unwrap();
            lab.cell("c2").set_away(true);
            gate.fail_from("worker", before);
            lab.force("b1");
            let reached = until("the write or the end", || match (gate.at(), lab.record("b1")) {
                (Some(at), _) => Some(Some(at)),
                (None, Some(_)) => None,
                (None, None) => Some(None),
            });
            let what = format!("from write {before} on, {reached:?}, with the cell back: {back}");
            lab.stop();
            gate.open();
            lab.cell("c2").set_away(!back);
            lab.start();
            until(&format!("{what}: the instance to go"), || lab.record("b1").is_none().then_some(()));
            if !back {
                assert_eq!(lab.running(), ["c2"], "{what}");
                assert_eq!(lab.orphans().len(), 1, "{what}");
                assert_eq!(lab.claims("c2"), 2, "{what}");
                lab.cell("c2").set_away(false);
            }
            until(&format!("{what}: the container to go"), || {
                lab.engine.containers().is_empty().then_some(())
            });
            until(&format!("{what}: every key to go"), || lab.keys().is_empty().then_some(()));
            if reached.is_none() {
                assert!(before >= 10, "too few writes were tried: {before}");
                break;
            }
        }
    }
}

/// The sweep dies before any of its writes.
#[test]
fn a_crash_of_the_sweep_forgets_nothing() {
    let gate = Gate::new();
    let mut lab = swift(Arc::clone(&gate) as Arc<dyn Store>);
    for before in 0.. {
        lab.abandon();
        let orphan = lab.orphans().remove(0);
        lab.store.put(&keys::initialize(&id("b1")), b"late", None, Expect::Anything).unwrap();
        gate.fail_from("sweeps", before);
        lab.cell("c2").set_away(false);
        let key = keys::orphan(&orphan.node.backend_id, &orphan.node.node_id);
        let reached = until("the write or the end", || match (gate.at(), lab.store.get(&key).unwrap()) {
            (Some(at), _) => Some(Some(at)),
            (None, Some(_)) => None,
            (None, None) => Some(None),
        });
        let what = format!("from write {before} on: {reached:?}");
        lab.stop();
        gate.open();
        // What the reaper finds is old by now.
        lab.clock = Arc::new(Later(SystemClock));
        lab.start();
        until(&format!("{what}: every key to go"), || lab.keys().is_empty().then_some(()));
        assert_eq!(lab.engine.containers(), [], "{what}");
        lab.clock = Arc::new(SystemClock);
        lab.start();
        if reached.is_none() {
            assert!(before >= 4, "too few writes were tried: {before}");
            return;
        }
    }
}

/// Three minutes later.
pub struct Later(pub SystemClock);

impl Clock for Later {
    fn wall(&self) -> std::time::SystemTime {
        self.0.wall() + Duration::from_secs(180)
    }

    fn now(&self) -> std::time::Instant {
        self.0.now()
    }
}

/// An orphan speaks for its ports, however old the claims are, and an unreadable one for all of its cell.
#[test]
fn its_ports_are_not_reaped() {
    let mut lab = Lab::new(CELLS);
    let node = lab.abandon();
    let unspoken = keys::cell_claims(&CellGuid::parse("c3").unwrap()).child("20021").unwrap();
    let claim = br#"{"instance": "b1", "claimed_ms": 1}"#;
    let garbled = keys::orphan(&CellGuid::parse("c1").unwrap(), &node.node_id);
    let spoken = keys::cell_claims(&CellGuid::parse("c1").unwrap()).child("20001").unwrap();
    lab.store.put(&garbled, b"{", None, Expect::Absent).unwrap();
    lab.store.put(&spoken, claim, None, Expect::Absent).unwrap();
    lab.clock = Arc::new(Later(SystemClock));
    lab.start();
    lab.store.put(&unspoken, claim, None, Expect::Absent).unwrap();
    until("the reaper", || lab.store.get(&unspoken).unwrap().is_none().then_some(()));
    assert_eq!(claims(&lab, &node), 2);
    assert!(lab.store.get(&spoken).unwrap().is_some());
    // One that nobody can read keeps nobody from being swept.
    lab.cell("c2").set_away(false);
    until("the orphan to go", || lab.orphans().is_empty().then_some(()));
    assert_eq!(lab.engine.containers(), []);
}

/// Somebody else makes that instance again at the moment of the sweep: its record is seen, or its lease.
#[test]
fn a_sweep_keeps_out_of_the_way() {
    let mut lab = Lab::new(CELLS);
    let node = lab.abandon();
    lab.store.put(&keys::initialize(&id("b1")), b"new", None, Expect::Anything).unwrap();
    lab.stop();
    lab.store.put(&keys::lease(&id("b1")), b"another", None, Expect::Absent).unwrap();
    lab.cell("c2").set_away(false);
    lab.start();
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    std::thread::sleep(lab.pace.sweep_every * 3);
    assert!(lab.store.get(&keys::initialize(&id("b1"))).unwrap().is_some(), "somebody was at work there");
    assert_eq!(lab.orphans().len(), 1);
    lab.store.delete(&keys::lease(&id("b1")), Expect::Anything).unwrap();
    until("the orphan to go", || lab.orphans().is_empty().then_some(()));
    until("its ports to be given back", || (claims(&lab, &node) == 0).then_some(()));
    lab.assert_nothing_left();
}

/// One cell that keeps silent keeps no other from being swept, nor one guest that cannot be dismissed.
#[test]
fn orphans_do_not_wait_for_each_other() {
    let lab = Lab::isolated("c1@z1 c2@z2 c3@z3");
    for (instance, cell) in [("b1", "c1"), ("b2", "c2"), ("b3", "c3")] {
        let parameters = format!(r#"{{"node-count": 1, "cells": ["{cell}"]}}"#);
        lab.provision(order(instance, &parameters)).unwrap();
    }
    lab.cells.iter().for_each(|cell| cell.set_away(true));
    for instance in ["b1", "b2", "b3"] {
        let operation = lab.force(instance);
        assert_eq!(lab.wait(&id(instance), &operation), Outcome::Succeeded);
    }
    assert_eq!(lab.orphans().len(), 3);
    lab.guests.trouble(fake_guests::Trouble::Refuses);
    lab.cell("c2").set_away(false);
    lab.cell("c3").set_away(false);
    until("two of them to go", || (lab.orphans().len() == 1).then_some(()));
    assert_eq!(lab.running(), ["c1"]);
    lab.cell("c1").set_away(false);
    until("the last to go", || lab.orphans().is_empty().then_some(()));
    lab.assert_nothing_left();
}

#[test]
fn an_orphan_is_changed_by_who_has_read_it() {
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let mut lab = Lab::on(Arc::clone(&store), CELLS);
    lab.abandon();
    let orphans = Orphans::new(store);
    lab.stop();
    let orphan = orphans.list().unwrap().remove(0);
    orphans.note_removed(orphan, 1).unwrap();
    // What was read before is not what stands there now.
    let orphan = orphans.list().unwrap().remove(0);
    orphans.note_removed(orphan.clone(), 2).unwrap();
    assert_eq!(orphans.note_removed(orphan.clone(), 3), Err(StoreError::Conflict));
    assert_eq!(orphans.forget(&orphan), Err(StoreError::Conflict));
    // Remembered once more it stays as it is.
    let again = OrphanRecord { removed_ms: None, ..orphan.value };
    orphans.remember(again).unwrap();
    assert_eq!(orphans.list().unwrap()[0].value.removed_ms, Some(2));
}

/// An answer about an orphan is lost.
#[test]
fn any_answer_may_be_lost() {
    lose_each_answer(true);
}

#[test]
fn any_write_may_be_lost() {
    lose_each_answer(false);
}

fn lose_each_answer(lands: bool) {
    let store = LostAnswers::new();
    let lab = swift(Arc::clone(&store) as Arc<dyn Store>);
    for before in 0.. {
        store.lose(before, lands);
        abandon_and_return(&lab, &format!("write {before}, which lands: {lands}"));
        if !store.was_lost() {
            assert!(before >= 35, "too few writes were tried: {before}");
            return;
        }
    }
}

fn abandon_and_return(lab: &Lab, what: &str) {
    assert_eq!(insist_on_order(lab), Outcome::Succeeded, "{what}");
    lab.settle("b1");
    lab.cell("c2").set_away(true);
    let gone = insist(|| match lab.broker().deprovision(forced("b1"))? {
        Accepted::Running { operation, .. } => Ok(lab.wait(&id("b1"), &operation)),
        told => panic!("{told:?}"),
    });
    assert!(matches!(gone, Ok(Outcome::Succeeded) | Err(BrokerError::InstanceGone)), "{what}: {gone:?}");
    until("the record to go", || lab.record("b1").is_none().then_some(()));
    assert_eq!(lab.running(), ["c2"], "{what}");
    lab.cell("c2").set_away(false);
    until(what, || lab.engine.containers().is_empty().then_some(()));
    // A claim that could not be given back is reaped, minutes later.
    let claims = |key: &String| key.contains("/ports/cell/c2/");
    let left = until(what, || Some(lab.keys()).filter(|keys| keys.iter().all(claims)));
    for key in left {
        // The answer that is lost may be the one to this.
        let key = Key::parse(&key).unwrap();
        until(what, || lab.store.delete(&key, Expect::Anything).ok());
    }
}

fn insist_on_order(lab: &Lab) -> Outcome {
    insist(|| lab.provision(order("b1", "{}"))).unwrap()
}

/// A container that has been made for a node that is owed, late, after its instance went: it is looked for once more.
#[test]
fn what_was_owed_is_looked_for_once_more() {
    let mut lab = Lab::new(CELLS);
    // The container comes between two sweeps.
    lab.pace.sweep_every = Duration::from_secs(3);
    lab.start();
    lab.cell("c1").trouble(Call::Create, Trouble::SilentWithoutEffect);
    lab.provision(order("b1", "{}")).unwrap();
    let owed = until("the node to be owed", || lab.record("b1").unwrap().value.owed.into_iter().next());
    // The sweep has looked, and has found nothing yet.
    let noted = until("a look", || {
        let record = lab.record("b1").unwrap().value;
        Some(record.owed.first().is_none_or(|owed| owed.removed_ms.is_some())).filter(|looked| *looked)
    });
    assert!(noted);
    let name = ContainerName::of(&owed.node.node_id);
    if lab.record("b1").unwrap().value.owed.is_empty() {
        panic!("one look was taken for enough");
    }
    lab.cell("c1").create(&container(owed.node.node_id.as_str())).unwrap();
    until("the container to go", || {
        lab.engine.containers().iter().all(|view| view.name != name).then_some(())
    });
    until("it to be owed no more", || lab.record("b1").unwrap().value.owed.is_empty().then_some(()));
    assert_eq!(lab.claims("c1"), 0);
    assert_eq!(lab.running().len(), 2);
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

/// The operation was cut off between its orphan and its end: the orphan is its own until the record is gone.
#[test]
fn an_orphan_whose_record_stands_is_left_to_its_operation() {
    let mut lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    let node = lab.record_on("b1", "c2");
    lab.cell("c2").set_away(true);
    accepted(lab.broker().deprovision(departure("b1", true)));
    until("the other container to go", || (lab.running() == ["c2"]).then_some(()));
    lab.stop();
    lab.store.put(&keys::lease(&id("b1")), b"another", None, Expect::Anything).unwrap();
    let orphan = OrphanRecord {
        write_id: String::new(),
        instance_id: id("b1"),
        driver: DriverKind::Patroni,
        node: node.clone(),
        reason: "as told".to_owned(),
        since_ms: 1,
        removed_ms: None,
    };
    Orphans::new(Arc::clone(&lab.store)).remember(orphan).unwrap();
    lab.cell("c2").set_away(false);
    lab.start();
    std::thread::sleep(lab.pace.sweep_every * 3);
    assert_eq!(lab.running(), ["c2"], "its own operation removes it");
    assert!(Instances::new(Arc::clone(&lab.store)).load(&id("b1")).unwrap().is_some());
    let lease: Key = keys::lease(&id("b1"));
    lab.store.delete(&lease, Expect::Anything).unwrap();
    until("the instance to go", || lab.record("b1").is_none().then_some(()));
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    lab.assert_nothing_left();
}
