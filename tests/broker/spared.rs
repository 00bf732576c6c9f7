//! What is not touched while something else is not well: never more than one node of a cluster is down, and nothing is
//! taken for ours that is not. Found by a reader.

use std::sync::Arc;

use patroni_broker::broker::{Accepted, BrokerError, LastOperation, Outcome, UpdateRequest};
use patroni_broker::model::{NodeId, PatroniPlan, Plan, PlanId};
use patroni_broker::state::{Instances, keys};

use crate::cluster::{CELLS, NEWER, alter_parameters, failed, settings, to_plan, upgrade};
use crate::dream::refused;
use crate::lab::{Lab, id, until};

const THREE: &str = "c1@z1 c2@z2 c3@z3";

fn grown(nodes: usize) -> UpdateRequest {
    alter_parameters(&format!(r#"{{"node-count": {nodes}}}"#))
}

impl Lab {
    /// Lets the member on that cell fall back, and waits until that is known.
    fn fall_back(&self, cell: &str) {
        let key = keys::member(&id("b1"), &NodeId::parse(&self.node_on(cell)).unwrap());
        let entry = || self.store.get(&key).unwrap().map(|entry| entry.value);
        let before = entry();
        self.patroni.trouble(|troubles| troubles.held_back.extend([cell.to_owned()]));
        until("the member to fall back", || (entry() != before).then_some(()));
    }

    /// The cell whose node goes, and that of the other replica, when a cluster of three shrinks by one.
    fn going_and_staying(&self) -> (&'static str, &'static str) {
        let request = UpdateRequest { rehearse: true, ..grown(2) };
        let Ok(Accepted::Rehearsed { steps }) = self.broker().update(request) else {
            panic!("it was not rehearsed")
        };
        let goes = |cell: &str| steps.iter().any(|step| step.ends_with(&format!("from cell {cell}")));
        if goes("c2") { ("c2", "c3") } else { ("c3", "c2") }
    }
}

/// The only replica that was well was stopped to be made anew, while the other one was down.
#[test]
fn an_upgrade_waits_for_who_is_not_well() {
    let mut lab = Lab::clustered(THREE, 3);
    lab.offer_upgrade(NEWER);
    lab.change_plan(|plan| plan.maximum_polling_duration_s = 2);
    lab.fall_back("c3");
    let before = lab.record("b1").unwrap().value.nodes;
    let (description, usable, repeatable) = failed(lab.update(upgrade()).unwrap());
    assert!(description.contains("on cell c3 must run and catch up first"), "{description}");
    assert_eq!((usable, repeatable), (Some(true), Some(true)));
    assert_eq!(lab.patroni.fewest("b1"), 3, "one was stopped");
    assert_eq!(lab.record("b1").unwrap().value.nodes.len(), before.len());
    lab.patroni.trouble(|troubles| troubles.held_back.clear());
    lab.change_plan(|plan| plan.maximum_polling_duration_s = 60);
    assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded));
    assert_eq!(lab.patroni.fewest("b1"), 2);
    lab.assert_as_recorded("upgraded");
}

/// The cluster would have been left with its leader alone. Nor is the node taken away by the undoing, once the other
/// one is well again: the user is told that nothing has come of it.
#[test]
fn a_cluster_does_not_shrink_to_who_is_not_well() {
    let mut lab = Lab::clustered(THREE, 3);
    lab.change_plan(|plan| plan.maximum_polling_duration_s = 2);
    let (going, staying) = lab.going_and_staying();
    lab.fall_back(staying);
    let (description, usable, _) = failed(lab.update(grown(2)).unwrap());
    let waits_for = format!("on cell {staying} must run and catch up first");
    assert!(description.contains(&waits_for), "{description}");
    assert_eq!((usable, lab.running()), (Some(true), ["c1", "c2", "c3"].map(str::to_owned).into()));
    lab.patroni.trouble(|troubles| troubles.held_back.clear());
    lab.change_plan(|plan| plan.maximum_polling_duration_s = 60);
    assert_eq!(lab.running(), ["c1", "c2", "c3"], "{going} was taken away all the same");
    assert_eq!(lab.update(grown(2)), Ok(Outcome::Succeeded));
    assert_eq!(lab.running(), ["c1", staying]);
}

/// The other one is well again while the update is undone: what the update has not come to is not begun by its undoing.
#[test]
fn an_undoing_does_not_take_away_what_was_not_touched() {
    let lab = Lab::clustered(THREE, 3);
    let (going, staying) = lab.going_and_staying();
    lab.fall_back(staying);
    lab.begin(grown(2));
    until("the update to wait", || {
        let operation = lab.record("b1").unwrap().value.operation?;
        operation.description.contains("must run and catch up first").then_some(())
    });
    let mut lab = lab;
    lab.stop();
    let mut record = lab.record("b1").unwrap();
    record.value.operation.as_mut().unwrap().deadline_ms = 1;
    Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
    lab.start();
    until("the update to fail", || {
        let operation = lab.record("b1").unwrap().value.operation?;
        (operation.failure.is_some() || !operation.is_under_way()).then_some(())
    });
    lab.patroni.trouble(|troubles| troubles.held_back.clear());
    assert!(matches!(lab.settle("b1"), LastOperation::Failed { instance_usable: Some(true), .. }));
    assert_eq!(lab.running(), ["c1", "c2", "c3"], "the node on {going} was taken away");
    lab.assert_as_recorded("undone");
}

/// Settings that take a restart wait for who is not well, and so do limits that take another container, where no setting
/// changes that would have waited before.
#[test]
fn a_change_of_plan_waits_for_who_is_not_well() {
    let check = |change: fn(&mut PatroniPlan)| {
        let mut lab = Lab::clustered(THREE, 3);
        let mut other =
            Plan { id: PlanId::parse("other").unwrap(), ..lab.catalog.services[0].plans[0].clone() };
        change(settings(&mut other));
        lab.catalog.services[0].plans.push(other);
        lab.start();
        lab.patroni.trouble(|troubles| troubles.needs_restart = ["max_connections".to_owned()].into());
        let down = lab.node_on("c3");
        lab.fall_back("c3");
        lab.begin(to_plan("other"));
        let waits_for = format!("node {down} on cell c3 must run and catch up first");
        until("the update to wait", || {
            let operation = lab.record("b1").unwrap().value.under_way()?.clone();
            (operation.description == waits_for).then_some(())
        });
        let touched = |event: &String| event != "configure" && !event.contains(&down);
        let touched: Vec<String> = lab.patroni.events("b1").into_iter().filter(touched).collect();
        assert_eq!((touched, lab.patroni.fewest("b1")), (vec![], 3), "another one was stopped");
        lab.patroni.trouble(|troubles| troubles.held_back.clear());
        assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
        lab.assert_as_recorded("another plan");
    };
    check(|plan| {
        plan.postgresql_parameters.insert("max_connections".to_owned(), 200.into());
    });
    check(|plan| plan.memory_bytes = Some(1 << 30));
}

/// A replica that ran, and only seemed far behind, was taken for one that is down already: the leader was left alone.
#[test]
fn who_seems_to_be_behind_is_up() {
    let mut lab = Lab::clustered(THREE, 3);
    lab.offer_upgrade(NEWER);
    lab.change_plan(|plan| plan.maximum_polling_duration_s = 2);
    ["c2", "c3"].into_iter().for_each(|cell| lab.fall_back(cell));
    for update in [upgrade(), grown(2)] {
        let (description, usable, _) = failed(lab.update(update).unwrap());
        assert!(description.contains("must run and catch up first"), "{description}");
        // Neither was begun, in the update or in its undoing.
        assert!(!description.contains("may be down"), "{description}");
        assert_eq!((usable, lab.patroni.fewest("b1")), (Some(true), 3), "one was stopped: {description}");
    }
    assert_eq!(lab.running(), ["c1", "c2", "c3"]);
}

/// Its containers have other names: each would have been taken for one that was never made.
#[test]
fn what_an_ancestor_made_is_not_changed() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.stop();
    let mut record = lab.record("b1").unwrap();
    record.value.format = 0;
    Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
    lab.start();
    for update in [grown(1), grown(3), alter_parameters(r#"{"cells": ["c3", "c4"]}"#)] {
        match refused(lab.update(update)) {
            BrokerError::UpdateNotSupported { reason } => assert!(reason.contains("ancestor"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lab.running(), ["c1", "c2"]);
}
