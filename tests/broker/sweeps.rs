//! What is swept and put right when a cell answers, which keeps nobody waiting, however long it takes.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use patroni_broker::broker::{LastOperation, Outcome, ProvisionRequest};
use patroni_broker::cells::Cell;
use patroni_broker::cells::fake::{Call, FakeCell, Trouble};
use patroni_broker::model::{ContainerName, NodeId};
use patroni_broker::state::keys;
use storage::Store;

use crate::cluster::{NEWER, failed, upgrade};
use crate::cordons::cell;
use crate::dream::{accepted, departure};
use crate::forced::CELLS;
use crate::gate::Gate;
use crate::lab::{IMAGE, Lab, id, order, until};

impl Lab {
    /// Waits until a call of that kind waits on a cell.
    fn wait_until_held(&self, cell: &str, call: Call) {
        until("the call", || (self.cell(cell).holds.waiting(call) > 0).then_some(()));
    }
}

/// One thread looked after both: while it waited for a cell, or for members to hand over, nobody went on with operations.
#[test]
fn an_operation_does_not_wait_for_a_sweep() {
    let lab = Lab::new(CELLS);
    lab.provision(order("b2", r#"{"node-count": 1, "cells": ["c3"]}"#)).unwrap();
    lab.abandon();
    lab.cell("c2").holds.hold(Call::Remove);
    lab.cell("c2").set_away(false);
    lab.wait_until_held("c2", Call::Remove);
    lab.cell("c3").set_away(true);
    accepted(lab.broker().deprovision(departure("b2", true)));
    until("it to wait for its cell", || match lab.poll("b2").unwrap() {
        LastOperation::InProgress { description, .. } => description.contains("c3").then_some(()),
        ended => panic!("{ended:?}"),
    });
    lab.cell("c3").set_away(false);
    until("the instance to go", || lab.record("b2").is_none().then_some(()));
    assert_eq!(lab.cell("c2").holds.waiting(Call::Remove), 1);
    lab.cell("c2").holds.let_go(Call::Remove);
    until("the orphan to go", || lab.orphans().is_empty().then_some(()));
    lab.assert_nothing_left();
}

/// Deletes `b1` while somebody else has its lease, who lets it go after that.
fn goes_before_the_next_scan(lab: &Lab, let_go: impl FnOnce()) {
    until("the lease to be taken", || lab.store.get(&keys::lease(&id("b1"))).unwrap().map(drop));
    accepted(lab.broker().deprovision(departure("b1", true)));
    // A worker finds it taken.
    thread::sleep(Duration::from_millis(200));
    let_go();
    until("the instance to go", || lab.record("b1").is_none().then_some(()));
    lab.assert_nothing_left();
}

/// A lab that scans once, and then not as long as a test takes.
fn seldom(cells: &str) -> Lab {
    seldom_on(Lab::new(cells))
}

fn seldom_on(mut lab: Lab) -> Lab {
    lab.pace.scan_every = Duration::from_secs(300);
    lab.start();
    lab
}

/// Whoever found the lease taken waited for the next scan.
#[test]
fn a_sweep_calls_back_who_came_meanwhile() {
    let lab = seldom(CELLS);
    lab.cell("c1").trouble(Call::Create, Trouble::SilentWithEffect);
    lab.cell("c1").holds.hold(Call::Remove);
    lab.provision(order("b1", "{}")).unwrap();
    lab.wait_until_held("c1", Call::Remove);
    goes_before_the_next_scan(&lab, || lab.cell("c1").holds.let_go(Call::Remove));
}

#[test]
fn a_sweep_of_orphans_calls_back_who_came_meanwhile() {
    let gate = Gate::new();
    let lab = seldom_on(Lab::on(Arc::clone(&gate) as Arc<dyn Store>, CELLS));
    let node = lab.abandon();
    gate.close("sweeps", Some(keys::backend(&id("b1"), &node.node_id)), 0);
    lab.cell("c2").set_away(false);
    until("the sweep", || gate.at());
    accepted(lab.broker().provision(ProvisionRequest { accepts_incomplete: true, ..order("b1", "{}") }));
    // A worker finds the lease taken.
    thread::sleep(Duration::from_millis(200));
    gate.open();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_eq!(lab.deprovision("b1"), Ok(Outcome::Succeeded));
    lab.assert_nothing_left();
}

#[test]
fn a_demotion_calls_back_who_came_meanwhile() {
    let lab = seldom("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.patroni.fail_over("b1", &lab.node_on("c1"));
    lab.wait_until_free("b1");
    lab.wait_until_indexed();
    // Long enough to see its lease.
    lab.patroni.trouble(|troubles| troubles.takes = Duration::from_secs(5));
    thread::scope(|scope| {
        let demotion = scope.spawn(|| lab.broker().demote(&cell("c1")).unwrap());
        goes_before_the_next_scan(&lab, || assert_eq!(demotion.join().unwrap().len(), 1));
    });
}

/// A cluster of two whose replica on `c2` was stopped to be made anew, when the engine there hung: neither the upgrade nor
/// its undoing got an answer.
fn left_down() -> (Lab, ContainerName) {
    let mut lab = Lab::clustered("c1@z1 c2@z2", 2);
    lab.offer_upgrade(NEWER);
    lab.change_plan(|plan| plan.maximum_polling_duration_s = 1);
    let node = lab.node_on("c2");
    let name = ContainerName::of(&NodeId::parse(&node).unwrap());
    lab.cell("c2").holds.hold(Call::Remake);
    lab.begin(upgrade());
    lab.wait_until_held("c2", Call::Remake);
    lab.engine.crash(&name, 0);
    lab.cell("c2").set_away(true);
    lab.cell("c2").holds.let_go(Call::Remake);
    let LastOperation::Failed { description, instance_usable, .. } = lab.settle("b1") else {
        panic!("it went well")
    };
    let down = format!("node {node} on cell c2 may be down until its cell answers");
    assert!(description.ends_with(&down), "{description}");
    assert_eq!((instance_usable, lab.running()), (Some(true), vec!["c1".to_owned()]));
    // Whichever broker there is by then looks after it.
    lab.change_plan(|plan| plan.maximum_polling_duration_s = 60);
    (lab, name)
}

/// The engine does what it was asked while nobody heard of it.
fn make_late(lab: &Lab, name: &ContainerName) {
    let behind = FakeCell::new(lab.cell("c2").site().clone(), Arc::clone(&lab.engine));
    let mut spec = lab.engine.spec(name).unwrap();
    spec.image = NEWER.to_owned();
    behind.remake(&spec, Duration::ZERO).unwrap();
}

/// Nobody looked at it ever again.
#[test]
fn who_was_left_down_is_put_right_when_its_cell_answers() {
    for made_late in [false, true] {
        let (lab, name) = left_down();
        let volume = lab.engine.volume(&name);
        if made_late {
            make_late(&lab, &name);
        }
        lab.cell("c2").set_away(false);
        lab.settled_keys();
        lab.assert_as_recorded(&format!("made late: {made_late}"));
        assert_eq!(lab.engine.volume(&name), volume);
        assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded));
        lab.assert_as_recorded("upgraded");
        lab.assert_goes();
    }
}

/// An engine that says no lets the old container run again, and its undoing finds that: who runs is not stopped again and
/// again to be made what the engine refuses.
#[test]
fn who_was_refused_is_left_alone() {
    let mut lab = Lab::clustered("c1@z1", 1);
    lab.offer_upgrade(NEWER);
    for _ in 0..4 {
        lab.cell("c1").trouble(Call::Remake, Trouble::Refuse("no space left".to_owned()));
    }
    let (description, usable, _) = failed(lab.update(upgrade()).unwrap());
    assert!(description.ends_with("no space left"), "{description}");
    assert_eq!((usable, lab.running()), (Some(true), vec!["c1".to_owned()]));
    assert!(!lab.record("b1").unwrap().value.waits_for_cells());
    lab.settled_keys();
    lab.assert_goes();
}

#[test]
fn who_cannot_be_made_what_it_was_stays_as_it_is() {
    let (lab, name) = left_down();
    make_late(&lab, &name);
    lab.cell("c2").trouble(Call::Remake, Trouble::Refuse("no space left".to_owned()));
    lab.cell("c2").set_away(false);
    lab.settled_keys();
    assert_eq!(lab.engine.spec(&name).unwrap().image, NEWER);
    assert_eq!(lab.running(), ["c1", "c2"]);
    lab.assert_goes();
}

/// The update was asked for again as soon as the cell answered, before anything was swept, and waited in vain for the
/// node's Patroni.
#[test]
fn who_was_left_down_is_revived_by_the_next_update() {
    let (mut lab, _) = left_down();
    lab.pace.sweep_every = Duration::from_secs(300);
    lab.stop();
    lab.cell("c2").holds.hold(Call::Ping);
    lab.start();
    // The first sweep finds the cell silent, and there is no other.
    lab.wait_until_held("c2", Call::Ping);
    lab.cell("c2").holds.let_go(Call::Ping);
    lab.wait_until_free("b1");
    lab.cell("c2").set_away(false);
    assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded));
    assert!(!lab.record("b1").unwrap().value.waits_for_cells());
    lab.assert_as_recorded("upgraded");
    lab.assert_goes();
}

/// It takes nobody down, and may be the only one that is left.
#[test]
fn who_was_left_down_does_not_wait_for_the_others() {
    let (lab, name) = left_down();
    let other = ContainerName::of(&NodeId::parse(&lab.node_on("c1")).unwrap());
    lab.engine.crash(&other, 1);
    lab.cell("c1").set_away(true);
    lab.cell("c2").set_away(false);
    until("it to run", || (lab.running() == ["c2"]).then_some(()));
    assert_eq!(lab.engine.spec(&name).unwrap().image, IMAGE);
    lab.cell("c1").set_away(false);
    lab.assert_goes();
}

/// What is to go stays down, however its end has gone so far.
#[test]
fn who_is_given_back_is_not_put_right() {
    let (mut lab, _) = left_down();
    lab.change_plan(|plan| plan.maximum_polling_duration_s = 1);
    assert!(matches!(lab.deprovision("b1"), Ok(Outcome::Failed { .. })));
    lab.cell("c2").set_away(false);
    thread::sleep(lab.pace.sweep_every * 4);
    assert_eq!(lab.running(), [""; 0]);
    lab.assert_goes();
}
