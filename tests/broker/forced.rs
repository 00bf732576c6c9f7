//! A forced deprovision: what stands on a cell that does not answer is left there, remembered, and removed when the cell
//! answers.

use std::sync::Arc;

use patroni_broker::broker::{DeprovisionRequest, LastOperation, Outcome, ProvisionRequest};
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::model::OperationId;
use patroni_broker::state::{NodeRecord, OrphanRecord, Orphans, keys};
use storage::Expect;

use crate::dream::{accepted, departure, dream};
use crate::lab::{Lab, id, order, until};

pub const CELLS: &str = "c1@z1 c2@z2 c3@z1";

pub fn forced(instance: &str) -> DeprovisionRequest {
    DeprovisionRequest { force: true, ..departure(instance, true) }
}

impl Lab {
    pub fn force(&self, instance: &str) -> OperationId {
        accepted(self.broker().deprovision(forced(instance))).0
    }

    pub fn orphans(&self) -> Vec<OrphanRecord> {
        let orphans = Orphans::new(Arc::clone(&self.store)).list().unwrap();
        orphans.into_iter().map(|orphan| orphan.value).collect()
    }

    pub fn record_on(&self, instance: &str, cell: &str) -> NodeRecord {
        let nodes = self.record(instance).unwrap().value.nodes;
        nodes.into_iter().find(|node| node.backend_id.as_str() == cell).unwrap()
    }

    /// An instance of two nodes, of which one is on a cell that does not answer any more, and which goes by force.
    pub fn abandon(&self) -> NodeRecord {
        self.provision(order("b1", "{}")).unwrap();
        let node = self.record_on("b1", "c2");
        self.cell("c2").set_away(true);
        let operation = self.force("b1");
        assert_eq!(self.wait(&id("b1"), &operation), Outcome::Succeeded);
        assert!(self.record("b1").is_none());
        node
    }
}

/// The claims on a node's ports.
pub fn claims(lab: &Lab, node: &NodeRecord) -> usize {
    let claim = |host: u16| keys::cell_claims(&node.backend_id).child(&host.to_string()).unwrap();
    node.ports.iter().filter(|port| lab.store.get(&claim(port.host)).unwrap().is_some()).count()
}

#[test]
fn what_is_left_is_remembered_and_swept() {
    let lab = Lab::new(CELLS);
    let node = lab.abandon();
    assert_eq!(lab.running(), ["c2"]);
    let orphans = lab.orphans();
    assert_eq!(orphans.len(), 1, "{orphans:?}");
    assert_eq!((&orphans[0].node, orphans[0].instance_id.as_str()), (&node, "b1"));
    assert!(orphans[0].reason.contains("c2") && orphans[0].removed_ms.is_none(), "{orphans:?}");
    assert_eq!(lab.claims("c2"), 2, "its ports are in use");
    // The public port is given back: nothing leads there any more.
    assert_eq!(lab.keys().iter().filter(|key| key.contains("/ports/public")).count(), 0);
    lab.cell("c2").set_away(false);
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    lab.assert_nothing_left();
}

/// Its member is cut off from nobody but the broker, and goes on writing.
#[test]
fn what_its_member_wrote_goes_too() {
    let lab = Lab::new(CELLS);
    lab.provision(order("b10", r#"{"node-count": 1, "cells": ["c1"]}"#)).unwrap();
    let others = lab.store.list(&keys::scope(&id("b10"))).unwrap().entries.len();
    let node = lab.abandon();
    let written = [
        keys::initialize(&id("b1")),
        keys::leader(&id("b1")),
        keys::member(&id("b1"), &node.node_id),
        keys::scope(&id("b1")).child("config").unwrap(),
    ];
    for key in &written {
        lab.store.put(key, b"late", None, Expect::Anything).unwrap();
    }
    lab.cell("c2").set_away(false);
    until("its keys to go", || {
        lab.store.list(&keys::scope(&id("b1"))).unwrap().entries.is_empty().then_some(())
    });
    assert_eq!(
        lab.store.list(&keys::scope(&id("b10"))).unwrap().entries.len(),
        others,
        "of another instance"
    );
    lab.deprovision("b10").unwrap();
    lab.assert_nothing_left();
}

/// An instance of that id was ordered again before the cell came back: its keys and its guest are its own.
#[test]
fn the_same_id_ordered_again_is_left_alone() {
    let lab = Lab::isolated(CELLS);
    let node = lab.abandon();
    assert_eq!(lab.guests.names(), Vec::<String>::new(), "its member could write");
    assert_eq!(lab.provision(order("b1", "{}")), Ok(Outcome::Succeeded));
    assert!(lab.record("b1").unwrap().value.nodes.iter().all(|node| node.backend_id.as_str() != "c2"));
    let of_instance = || {
        let keys = lab.keys();
        let noted = |key: &String| {
            key.contains("/orphans/") || key.contains("/pending/") || key.contains("/cell/c2/")
        };
        keys.into_iter().filter(|key| !noted(key)).collect::<Vec<_>>()
    };
    let before = of_instance();
    lab.cell("c2").set_away(false);
    until("the orphan to go", || lab.orphans().is_empty().then_some(()));
    assert_eq!(of_instance(), before);
    until("its ports to be given back", || (claims(&lab, &node) == 0).then_some(()));
    assert_eq!(lab.guests.names(), ["b1"]);
    assert_eq!(lab.running(), ["c1", "c3"]);
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

/// It even stands on the cell that came back, beside the orphan, with ports of its own.
#[test]
fn the_same_id_on_the_same_cell_keeps_its_ports() {
    let lab = Lab::isolated("c1@z1 c2@z2");
    lab.abandon();
    lab.cell("c2").holds.hold(Call::Remove);
    lab.cell("c2").set_away(false);
    until("the sweep", || (lab.cell("c2").holds.waiting(Call::Remove) > 0).then_some(()));
    // The container itself is none of the new instance's: it is not waited for.
    assert_eq!(lab.provision(order("b1", "{}")), Ok(Outcome::Succeeded));
    let new = lab.record_on("b1", "c2");
    lab.cell("c2").holds.let_go(Call::Remove);
    until("the orphan to go", || lab.orphans().is_empty().then_some(()));
    until("its ports to be given back", || (lab.claims("c2") == 2).then_some(()));
    assert_eq!(claims(&lab, &new), 2);
    assert_eq!(lab.running(), ["c1", "c2"]);
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

/// Where the store's access is shared, the orphan's member writes where the new instance's are to: they wait for its end,
/// and for the end of what it wrote, and an order that cannot wait longer says so and leaves nothing.
#[test]
fn the_same_id_waits_for_a_member_that_writes() {
    let mut lab = Lab::new(CELLS);
    let old = lab.abandon();
    lab.catalog.services[0].plans[0].maximum_polling_duration_s = 1;
    lab.start();
    let waits = format!("node {} of an earlier instance", old.node_id);
    let told = lab.provision(order("b1", r#"{"cells": ["c1", "c3"]}"#)).unwrap();
    assert!(matches!(&told, Outcome::Failed { description, .. } if description.contains(&waits)), "{told:?}");
    assert_eq!((lab.running(), lab.record("b1").is_none()), (vec!["c2".to_owned()], true));
    lab.catalog.services[0].plans[0].maximum_polling_duration_s = 60;
    lab.start();
    accepted(lab.broker().provision(ProvisionRequest { accepts_incomplete: true, ..order("b1", "{}") }));
    until("it to wait", || match lab.poll("b1").unwrap() {
        LastOperation::InProgress { description, .. } => description.contains(&waits).then_some(()),
        ended => panic!("{ended:?}"),
    });
    until("the old member to write", || lab.store.get(&keys::initialize(&id("b1"))).unwrap().map(drop));
    lab.cell("c2").set_away(false);
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    // They began anew, and not as members of a cluster whose data are nowhere.
    let events = lab.patroni.events("b1");
    assert!(!events.contains(&"all data lost".to_owned()), "{events:?}");
    until("the orphan to go", || lab.orphans().is_empty().then_some(()));
    assert_eq!(lab.running().len(), 2);
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

#[test]
fn where_every_cell_answers_force_is_nothing_else() {
    let lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    let operation = lab.force("b1");
    assert_eq!(lab.wait(&id("b1"), &operation), Outcome::Succeeded);
    assert_eq!(lab.orphans(), []);
    lab.assert_nothing_left();
    lab.provision(dream("d1", "{}")).unwrap();
    let operation = lab.force("d1");
    assert_eq!(lab.wait(&id("d1"), &operation), Outcome::Succeeded);
    lab.assert_nothing_left();
}

/// A deprovision that waits for a silent cell does not any more once it is forced, and whoever waits for it is answered.
#[test]
fn one_that_is_stuck_is_forced() {
    let lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.cell("c2").set_away(true);
    let (stuck, _) = accepted(lab.broker().deprovision(departure("b1", true)));
    until("the silence to be told", || match lab.poll("b1").unwrap() {
        LastOperation::InProgress { description, .. } => description.contains("c2").then_some(()),
        ended => panic!("{ended:?}"),
    });
    // Without force it waits, however often it is asked for.
    assert_eq!(accepted(lab.broker().deprovision(departure("b1", true))).0, stuck);
    assert!(!lab.record("b1").unwrap().value.operation.unwrap().forced);
    assert_eq!(lab.force("b1"), stuck);
    assert_eq!(lab.wait(&id("b1"), &stuck), Outcome::Succeeded);
    assert_eq!(lab.orphans().len(), 1);
    lab.cell("c2").set_away(false);
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    lab.assert_nothing_left();
}

/// The request comes while the worker is inside the call that the cell does not answer.
#[test]
fn one_that_hangs_is_forced() {
    let lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.cell("c2").holds.hold(Call::Remove);
    let (stuck, _) = accepted(lab.broker().deprovision(departure("b1", true)));
    until("the removal", || (lab.cell("c2").holds.waiting(Call::Remove) > 0).then_some(()));
    lab.cell("c2").trouble(Call::Remove, Trouble::SilentWithoutEffect);
    assert_eq!(lab.force("b1"), stuck);
    assert_eq!(lab.force("b1"), stuck);
    lab.cell("c2").holds.let_go(Call::Remove);
    assert_eq!(lab.wait(&id("b1"), &stuck), Outcome::Succeeded);
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    lab.assert_nothing_left();
}

/// It says what it leaves, as long as it can be asked.
#[test]
fn it_says_what_it_leaves() {
    let lab = Lab::isolated(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    let node = lab.record_on("b1", "c2").node_id;
    lab.cell("c2").set_away(true);
    lab.guests.set_trouble(Some(crate::fake_guests::Trouble::Away));
    lab.force("b1");
    until("what is left to be told", || match lab.poll("b1").unwrap() {
        LastOperation::InProgress { description, .. } => {
            description.contains(&format!("node {node} on cell c2")).then_some(())
        }
        ended => panic!("{ended:?}"),
    });
    lab.guests.set_trouble(None);
    until("the instance to go", || lab.record("b1").is_none().then_some(()));
    lab.cell("c2").set_away(false);
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    lab.assert_nothing_left();
}

/// A provision whose cell falls silent is forced away.
#[test]
fn a_provision_is_forced_away() {
    let lab = Lab::new(CELLS);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    accepted(lab.broker().provision(ProvisionRequest { accepts_incomplete: true, ..order("b1", "{}") }));
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    lab.cell("c2").set_away(true);
    let operation = lab.force("b1");
    assert_eq!(lab.wait(&id("b1"), &operation), Outcome::Succeeded);
    assert_eq!(lab.running(), ["c2"]);
    lab.cell("c2").set_away(false);
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    lab.assert_nothing_left();
}

/// The cell has left the configuration: what stands there stays remembered until it is configured again, over restarts.
#[test]
fn a_cell_that_is_not_configured_is_silent() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    let gone = lab.cells.pop().unwrap();
    lab.start();
    let operation = lab.force("b1");
    assert_eq!(lab.wait(&id("b1"), &operation), Outcome::Succeeded);
    std::thread::sleep(lab.pace.sweep_every * 3);
    assert_eq!(lab.orphans().len(), 1);
    assert!(lab.orphans()[0].reason.contains("not in the configuration"), "{:?}", lab.orphans());
    assert_eq!(lab.running(), ["c2"]);
    lab.cells.push(gone);
    lab.start();
    until("the container to go", || lab.engine.containers().is_empty().then_some(()));
    lab.assert_nothing_left();
}
