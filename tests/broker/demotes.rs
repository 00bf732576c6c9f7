//! Clusters that are led from a cell, and are to be led from another one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use patroni_broker::broker::{Demotion, DrainRequest, Drained};
use patroni_broker::state::keys;

use crate::cluster::alter_parameters;
use crate::cordons::cell;
use crate::lab::{Lab, id, order, until};

impl Lab {
    fn node_of(&self, instance: &str, guid: &str) -> String {
        let record = self.record(instance).unwrap().value;
        record.nodes.iter().find(|node| node.backend_id.as_str() == guid).unwrap().node_id.to_string()
    }

    fn led_from(&self, instance: &str, guid: &str) {
        self.wait_until_free(instance);
        self.patroni.fail_over(instance, &self.node_of(instance, guid));
        let view = || self.broker().instance(&id(instance)).unwrap();
        until("it to lead", || {
            let leads = |node: &patroni_broker::broker::NodeView| node.role.as_deref() == Some("master");
            view().nodes.iter().any(|node| leads(node) && node.cell == guid).then_some(())
        });
    }

    /// Waits until whoever performed the last operation has let the instance go: its end is told before.
    pub fn wait_until_free(&self, instance: &str) {
        let lease = keys::lease(&id(instance));
        until("the lease to go", || self.store.get(&lease).unwrap().is_none().then_some(()));
    }

    /// What a demotion says, as `b1: from > to`, or `b1: from stays, why`, the nodes by their cells.
    fn demoted(&self, guid: &str) -> Vec<String> {
        let say = |demotion: &Demotion| {
            let record = self.record(demotion.instance_id.as_str()).unwrap().value;
            let on = |node: &Option<patroni_broker::model::NodeId>| {
                let found = node.as_ref().and_then(|node| record.node(node));
                found.map_or_else(|| "?".to_owned(), |node| node.backend_id.to_string())
            };
            let (instance, from) = (&demotion.instance_id, on(&demotion.from));
            match &demotion.kept {
                Some(kept) => format!("{instance}: {from} stays, {kept}"),
                None => format!("{instance}: {from} > {}", on(&demotion.to)),
            }
        };
        self.broker().demote(&cell(guid)).unwrap().iter().map(say).collect()
    }
}

#[test]
fn a_cell_gives_the_lead_away() {
    let lab = Lab::around_c1(3);
    lab.led_from("b1", "c1");
    lab.led_from("b2", "c3");
    lab.led_from("b3", "c1");
    let containers = lab.engine.containers();
    assert_eq!(lab.demoted("c1"), ["b1: c1 > c2", "b3: c1 > c2"]);
    assert_eq!(lab.engine.containers(), containers, "nothing moves");
    assert_eq!(lab.demoted("c1"), Vec::<String>::new(), "nothing is led from there any more");
    let leader = lab.patroni.leader("b1").unwrap();
    assert_eq!(leader, lab.node_of("b1", "c2"));
    // Nobody is kept from anything afterwards.
    assert!(lab.deprovision("b1").is_ok());
}

#[test]
fn who_stays_is_told() {
    let lab = Lab::clustered("c1@z1 c2@z2 c3@z2 c4@z1", 2);
    lab.provision(order("b2", r#"{"node-count": 1, "cells": ["c1"]}"#)).unwrap();
    lab.wait_until_free("b2");
    lab.wait_until_indexed();
    lab.led_from("b1", "c1");
    lab.patroni.trouble(|troubles| troubles.refuses = true);
    let told = lab.demoted("c1");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("b1: c1 stays, ") && told[0].contains("the fake says no"), "{told:?}");
    assert_eq!(told[1], "b2: c1 stays, it is the only node of its cluster");
    lab.patroni.trouble(|troubles| troubles.refuses = false);

    // One that is worked at is left alone.
    lab.patroni.trouble(|troubles| troubles.held_back = ["c3", "c4"].map(str::to_owned).into());
    lab.begin(alter_parameters(r#"{"node-count": 3}"#));
    until("a third node to run", || (lab.running().len() == 4).then_some(()));
    assert_eq!(lab.demoted("c1")[0], "b1: c1 stays, an operation on it is under way");
    lab.patroni.trouble(|troubles| troubles.held_back.clear());
    lab.settle("b1");
    lab.wait_until_free("b1");
    assert_eq!(lab.demoted("c1")[0].split(" > ").next(), Some("b1: c1"));
}

/// Every later demotion and rehearsal was told that another one goes on.
#[test]
fn a_demotion_that_panics_is_in_nobodys_way() {
    let lab = Lab::around_c1(4);
    let all = ["b1", "b2", "b3", "b4"];
    all.into_iter().for_each(|instance| lab.led_from(instance, "c1"));
    lab.patroni.trouble(|troubles| troubles.panics = true);
    // As many as there are threads that demote: the caller's has one of them.
    assert!(catch_unwind(AssertUnwindSafe(|| lab.demoted("c1"))).is_err());
    lab.patroni.trouble(|troubles| troubles.panics = false);
    assert_eq!(lab.demoted("c1").len(), 4);
    let rehearsal = DrainRequest { cell: cell("c1"), at_once: None, dry_run: true };
    assert!(matches!(lab.broker().drain(&rehearsal), Ok(Drained::Rehearsed { .. })));
}

/// The next to be drained need not be handed over twice.
#[test]
fn who_stays_goes_before_who_goes_next() {
    let lab = Lab::clustered("c1@z1 c2@z2 c3@z3", 3);
    lab.led_from("b1", "c1");
    lab.broker().cordon(&cell("c2")).unwrap();
    assert_eq!(lab.demoted("c1"), ["b1: c1 > c3"]);
    lab.led_from("b1", "c1");
    lab.broker().cordon(&cell("c3")).unwrap();
    let told = lab.demoted("c1");
    assert!(["b1: c1 > c2", "b1: c1 > c3"].contains(&told[0].as_str()), "{told:?}");
}
