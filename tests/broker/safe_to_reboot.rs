//! When a cell may be rebooted: what nobody would see in the index of nodes counts as well.

use patroni_broker::broker::CellStanding;
use patroni_broker::model::NodeId;
use patroni_broker::state::keys;
use storage::{Expect, Key};

use crate::cordons::cell;
use crate::lab::{Lab, id, order, until};

impl Lab {
    fn put(&self, key: &Key, value: &str) {
        self.store.put(key, value.as_bytes(), None, Expect::Anything).unwrap();
    }

    fn cordoned(&self, guid: &str) -> CellStanding {
        self.broker().cordon(&cell(guid)).unwrap()
    }
}

/// An order that chose the cell a moment before it was cordoned is in the record before it is in the index.
#[test]
fn what_is_about_to_come() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", r#"{"node-count": 1}"#)).unwrap();
    lab.settled_keys();
    let node = lab.record("b1").unwrap().value.nodes[0].node_id.clone();
    lab.store.delete(&keys::backend(&id("b1"), &node), Expect::Anything).unwrap();
    until("the index to know of none", || (lab.cordoned("c1").nodes == 0).then_some(()));
    assert!(!lab.cordoned("c1").safe_to_reboot, "its ports are claimed");
    for claim in lab.store.list(&keys::cell_claims(&cell("c1"))).unwrap().entries {
        lab.store.delete(&claim.key, Expect::Anything).unwrap();
    }
    assert!(lab.cordoned("c1").safe_to_reboot, "nobody says that something is under way");
    lab.put(&keys::pending(&id("b1")), &format!("{} x", u64::MAX));
    assert!(!lab.cordoned("c1").safe_to_reboot);
    assert!(lab.cordoned("c2").safe_to_reboot, "it is on another cell");
}

#[test]
fn what_nobody_can_read() {
    let lab = Lab::new("c1@z1 c2@z2");
    assert!(lab.cordoned("c1").safe_to_reboot);
    lab.put(&keys::record(&id("b9")), "{");
    lab.put(&keys::pending(&id("b9")), &format!("{} x", u64::MAX));
    assert!(!lab.cordoned("c1").safe_to_reboot, "it may be there");
}

#[test]
fn what_was_left_by_force() {
    let lab = Lab::new("c1@z1 c2@z2");
    let orphan = keys::orphan(&cell("c1"), &NodeId::parse("n1").unwrap());
    lab.put(&orphan, "{}");
    let standing = lab.cordoned("c1");
    assert_eq!((standing.owed, standing.safe_to_reboot), (Some(1), false));
    assert!(lab.cordoned("c2").safe_to_reboot);
    lab.store.delete(&orphan, Expect::Anything).unwrap();
    assert!(lab.cordoned("c1").safe_to_reboot);
}
