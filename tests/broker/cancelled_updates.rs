//! A deprovision while an update is under way: it takes its place, whatever that is at.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use patroni_broker::broker::{LastOperation, Outcome, UpdateRequest};
use patroni_broker::cells::fake::Call;
use patroni_broker::model::OperationId;
use patroni_broker::scheduler::Step;
use patroni_broker::state::{Instances, keys};
use storage::embedded::{Embedded, Options};
use storage::{Expect, Store};

use crate::cancels::{AT_ONCE, assert_cancelled, assert_goes, is_ended, told, waiter};
use crate::cluster::{CELLS, NEWER, alter_parameters, to_plan, upgrade};
use crate::dream::accepted;
use crate::gate::{Gate, swift};
use crate::lab::{Lab, id, order, until};

/// What is changed of a cluster of two, with what an operator does before.
type Alteration = (&'static str, fn(&mut Lab), fn() -> UpdateRequest);

const ALTERATIONS: [Alteration; 5] = [
    ("grow", |_| {}, || alter_parameters(r#"{"node-count": 3}"#)),
    ("shrink", |_| {}, || alter_parameters(r#"{"node-count": 1}"#)),
    ("move", |_| {}, || alter_parameters(r#"{"cells": ["c3", "c4"]}"#)),
    ("change of plan", |_| {}, || to_plan("large")),
    ("upgrade", |lab| lab.offer_upgrade(NEWER), upgrade),
];

/// Begins it, and tells which operation it is and who waits for it.
fn begin(lab: &Lab, request: UpdateRequest) -> (OperationId, Receiver<Outcome>) {
    let (operation, _) = accepted(lab.broker().update(UpdateRequest { accepts_incomplete: true, ..request }));
    let waits = waiter(lab, "b1", &operation);
    (operation, waits)
}

/// Between any two writes of the worker, in each kind of update.
#[test]
fn an_update_is_cancelled_between_any_two_writes() {
    for (name, prepare, request) in ALTERATIONS {
        let gate = Gate::new();
        let mut lab = swift(Arc::clone(&gate) as Arc<dyn Store>);
        lab.offer_updates();
        let catalog = lab.catalog.clone();
        for before in 0.. {
            assert_eq!(lab.provision(order("b1", "{}")), Ok(Outcome::Succeeded), "{name}");
            prepare(&mut lab);
            gate.close("worker", None, before);
            let (operation, waits) = begin(&lab, request());
            let reached = until("the write or the end", || match (gate.at(), lab.poll("b1").unwrap()) {
                (Some(at), _) => Some(Some(at)),
                (None, LastOperation::InProgress { .. }) => None,
                (None, _) => Some(None),
            });
            let what = format!("{name}, before write {before}, {reached:?}");
            let ended = !matches!(told(&lab, "b1", &operation).unwrap(), LastOperation::InProgress { .. });
            if reached.is_none() || ended {
                gate.open();
                assert_eq!(waits.recv_timeout(AT_ONCE), Ok(Outcome::Succeeded), "{what}");
                assert_eq!(lab.deprovision("b1"), Ok(Outcome::Succeeded), "{what}");
                assert!(before >= 3, "too few writes were tried: {before}");
                assert_goes(&lab, &what);
                break;
            }
            assert_cancelled(&lab, &operation, &waits, &what);
            let told = told(&lab, "b1", &operation);
            let Ok(LastOperation::Failed { instance_usable, update_repeatable, .. }) = told else {
                panic!("{what}: {told:?}")
            };
            assert_eq!((instance_usable, update_repeatable), (Some(false), Some(false)), "{what}");
            gate.open();
            assert_goes(&lab, &what);
            if lab.catalog != catalog {
                lab.catalog = catalog.clone();
                lab.start();
            }
        }
    }
}

/// A broker dies at any step of an update, with its effects, and the deprovision comes before another one has resumed it.
#[test]
fn an_update_that_a_crash_cut_off_is_cancelled() {
    for (name, prepare, request) in ALTERATIONS {
        let mut lab = swift(Arc::new(Embedded::in_memory(Options::default()).unwrap()));
        lab.offer_updates();
        let catalog = lab.catalog.clone();
        for done in 0.. {
            let what = format!("{name}, at step {done}");
            lab.provision(order("b1", "{}")).unwrap();
            prepare(&mut lab);
            let before = lab.record("b1").unwrap().value;
            assert_eq!(lab.update(request()), Ok(Outcome::Succeeded), "{what}");
            let steps = lab.record("b1").unwrap().value.operation.unwrap().steps;
            if done > steps.len() {
                break;
            }
            lab.rewind("b1", done);
            // What it was when it was cut off: those that go were there yet.
            let mut record = lab.record("b1").unwrap();
            let gone = before.nodes.iter().filter(|node| record.value.node(&node.node_id).is_none());
            let gone: Vec<_> = gone.cloned().collect();
            record.value.nodes.extend(gone);
            Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
            lab.store.put(&keys::lease(&id("b1")), b"another", None, Expect::Absent).unwrap();
            lab.start();
            let operation = lab.record("b1").unwrap().value.operation.unwrap().id;
            let waits = waiter(&lab, "b1", &operation);
            assert_cancelled(&lab, &operation, &waits, &what);
            lab.store.delete(&keys::lease(&id("b1")), Expect::Anything).unwrap();
            assert_goes(&lab, &what);
            if lab.catalog != catalog {
                lab.catalog = catalog.clone();
                lab.start();
            }
        }
    }
}

/// A container is being made anew while its instance goes: what comes of it is removed.
#[test]
fn a_container_that_is_made_anew_goes() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.offer_upgrade(NEWER);
    for cell in ["c1", "c2"] {
        lab.cell(cell).holds.hold(Call::Remake);
    }
    let (operation, waits) = begin(&lab, upgrade());
    let held = until("a container to be made anew", || {
        ["c1", "c2"].into_iter().find(|cell| lab.cell(cell).holds.waiting(Call::Remake) > 0)
    });
    assert_cancelled(&lab, &operation, &waits, held);
    for cell in ["c1", "c2"] {
        lab.cell(cell).holds.let_go(Call::Remake);
    }
    assert_goes(&lab, held);
}

/// An update waits for a new member that says nothing: it is not waited for any more.
#[test]
fn an_update_that_waits_ends_soon() {
    let lab = Lab::clustered(CELLS, 1);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    let (operation, waits) = begin(&lab, alter_parameters(r#"{"node-count": 2}"#));
    until("the wait", || {
        let operation = lab.record("b1")?.value.operation?;
        matches!(operation.steps.get(operation.done)?, Step::AwaitNodes { .. }).then_some(())
    });
    let begun = Instant::now();
    assert_eq!(lab.deprovision("b1"), Ok(Outcome::Succeeded));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let outcome = waits.recv_timeout(AT_ONCE).unwrap();
    assert!(is_ended(&outcome), "{operation}: {outcome:?}");
    lab.assert_nothing_left();
}
