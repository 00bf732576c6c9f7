//! Cells that take no new nodes.

use std::sync::Arc;
use std::thread;

use patroni_broker::broker::{BrokerError, CellStanding, Outcome};
use patroni_broker::cells::Cell;
use patroni_broker::model::CellGuid;
use patroni_broker::state::keys;
use storage::{Entry, Expect, Store};

use crate::cluster::{CELLS, alter_parameters};
use crate::gate::Gate;
use crate::lab::{Lab, order, until};

pub fn cell(raw: &str) -> CellGuid {
    CellGuid::parse(raw).unwrap()
}

impl Lab {
    /// The cells of an instance's nodes, sorted.
    pub fn cells_of(&self, instance: &str) -> Vec<String> {
        let record = self.record(instance).unwrap().value;
        let mut cells: Vec<String> = record.nodes.iter().map(|node| node.backend_id.to_string()).collect();
        cells.sort();
        cells
    }

    /// Clusters of two called `b1`, `b2` and so on, each with a node on `c1` and none on `c4`.
    pub fn around_c1(count: usize) -> Self {
        let lab = Self::new("c1@z1 c2@z2 c3@z2 c4@z1");
        lab.broker().cordon(&cell("c4")).unwrap();
        for number in 1..=count {
            lab.provision(order(&format!("b{number}"), "{}")).unwrap();
            lab.wait_until_indexed();
        }
        lab.broker().uncordon(&cell("c4")).unwrap();
        lab
    }

    /// Waits until the index of nodes, which follows the store, counts on each cell what stands there.
    pub fn wait_until_indexed(&self) {
        let standing = self.store.list(&keys::service_instances()).unwrap().entries;
        let is_counted = |guid: &CellGuid| {
            let here =
                |entry: &&Entry| entry.key.name() == "backend" && entry.value == guid.as_str().as_bytes();
            self.broker().cell(guid).unwrap().standing.nodes == standing.iter().filter(here).count()
        };
        until("the nodes to be counted", || {
            self.cells.iter().all(|cell| is_counted(&cell.site().guid)).then_some(())
        });
    }
}

#[test]
fn a_cordoned_cell_takes_no_new_nodes() {
    let mut lab = Lab::new(CELLS);
    let standing = lab.broker().cordon(&cell("c1")).unwrap();
    let since = standing.cordoned_since_ms;
    assert!(standing.cordoned && standing.drain.is_none() && since.is_some(), "{standing:?}");
    assert!(standing.safe_to_reboot, "nothing is there, and nothing comes");
    lab.provision(order("b1", "{}")).unwrap();
    assert_eq!(lab.cells_of("b1"), ["c2", "c3"]);
    // By a broker that starts after it as well, and said twice it is the same cordon.
    lab.start();
    assert_eq!(lab.broker().cordon(&cell("c1")).unwrap().cordoned_since_ms, since);
    let error = lab.provision(order("b2", r#"{"cells": ["c1", "c2"]}"#)).unwrap_err();
    let BrokerError::InvalidParameters { reason } = error else { panic!("{error:?}") };
    assert!(reason.contains("c1") && reason.contains("cordoned"), "{reason}");
    assert!(lab.record("b2").is_none());
    assert_eq!(lab.claims("c1"), 0);
    let error = lab.provision(order("b2", r#"{"node-count": 4}"#)).unwrap_err();
    assert!(matches!(error, BrokerError::InvalidParameters { .. }), "{error:?}");

    let standing = lab.broker().uncordon(&cell("c1")).unwrap();
    assert_eq!(standing, CellStanding::default());
    assert_eq!(lab.broker().uncordon(&cell("c1")).unwrap(), standing);
    assert_eq!(lab.provision(order("b2", r#"{"cells": ["c1", "c2"]}"#)).unwrap(), Outcome::Succeeded);
}

/// A cell may be cordoned and found empty after it was chosen and before anything there is claimed.
#[test]
fn a_cell_that_was_cordoned_since_it_was_chosen_takes_no_node() {
    let gate = Gate::new();
    let mut lab = Lab::on(Arc::clone(&gate) as Arc<dyn Store>, "c1@z1 c2@z2 c3@z3");
    lab.offer_updates();
    let lab = Arc::new(lab);
    let cordoned_meanwhile = |guid: &str, ask: fn(&Lab) -> Result<Outcome, BrokerError>| {
        gate.close("asking", None, 0);
        let asking = thread::Builder::new().name("asking".to_owned());
        let asking = asking.spawn({
            let lab = Arc::clone(&lab);
            move || ask(&lab)
        });
        until("the first claim", || gate.at());
        assert!(lab.broker().cordon(&cell(guid)).unwrap().safe_to_reboot);
        gate.open();
        let refusal = BrokerError::NoCapacity { reason: format!("cell {guid} has been cordoned") };
        assert_eq!(asking.unwrap().join().unwrap(), Err(refusal));
        assert_eq!(lab.claims(guid), 0);
        assert!(lab.broker().cell(&cell(guid)).unwrap().standing.safe_to_reboot);
        lab.broker().uncordon(&cell(guid)).unwrap();
    };
    cordoned_meanwhile("c1", |lab| lab.provision(order("b1", r#"{"node-count": 1, "cells": ["c1"]}"#)));
    lab.assert_nothing_left();

    lab.cluster(2);
    let (revision, keys) = (lab.record("b1").unwrap().revision, lab.settled_keys());
    let grow = |lab: &Lab| lab.update(alter_parameters(r#"{"node-count": 3}"#));
    cordoned_meanwhile("c3", grow);
    assert_eq!((lab.record("b1").unwrap().revision, lab.keys()), (revision, keys));
    assert_eq!(grow(&lab), Ok(Outcome::Succeeded));
    lab.assert_as_recorded("grown");
}

/// What is on a cell stays, and is no reason against the cordon.
#[test]
fn what_is_on_a_cordoned_cell_stays() {
    let lab = Lab::clustered(CELLS, 2);
    let standing = lab.broker().cordon(&cell("c1")).unwrap();
    assert_eq!((standing.nodes, standing.safe_to_reboot), (1, false));
    assert_eq!(lab.update(alter_parameters(r#"{"node-count": 3}"#)), Ok(Outcome::Succeeded));
    assert_eq!(lab.cells_of("b1"), ["c1", "c2", "c3"]);
    let views = lab.broker().cells().unwrap();
    let cordoned: Vec<bool> = views.iter().map(|view| view.standing.cordoned).collect();
    assert_eq!(cordoned, [true, false, false, false]);
    assert_eq!(lab.broker().cell(&cell("c1")).unwrap().standing.nodes, 1);
    lab.broker().uncordon(&cell("c1")).unwrap();
    lab.assert_goes();
}

#[test]
fn a_cell_that_there_is_not() {
    let mut lab = Lab::new(CELLS);
    let unknown = || BrokerError::UnknownCell(cell("c9"));
    assert_eq!(lab.broker().cordon(&cell("c9")).unwrap_err(), unknown());
    assert_eq!(lab.broker().uncordon(&cell("c9")).unwrap_err(), unknown());
    assert_eq!(lab.broker().demote(&cell("c9")).unwrap_err(), unknown());
    assert_eq!(lab.broker().cell(&cell("c9")).unwrap_err(), unknown());
    // One that has left the configuration leaves no cordon for ever.
    lab.broker().cordon(&cell("c4")).unwrap();
    lab.cells.pop();
    lab.start();
    assert!(!lab.broker().uncordon(&cell("c4")).unwrap().cordoned);
    assert_eq!(lab.broker().uncordon(&cell("c4")).unwrap_err(), BrokerError::UnknownCell(cell("c4")));
    lab.assert_nothing_left();
}

/// Whoever cannot read why a cell is cordoned does not take it for one that is not.
#[test]
fn a_record_that_nobody_can_read_cordons() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.store.put(&keys::cordon(&cell("c1")), b"{", None, Expect::Absent).unwrap();
    lab.provision(order("b1", r#"{"node-count": 1}"#)).unwrap();
    assert_eq!(lab.cells_of("b1"), ["c2"]);
    assert!(lab.broker().cell(&cell("c1")).unwrap().standing.cordoned);
    lab.broker().uncordon(&cell("c1")).unwrap();
    lab.provision(order("b2", r#"{"node-count": 2}"#)).unwrap();
    assert_eq!(lab.cells_of("b2"), ["c1", "c2"]);
}
