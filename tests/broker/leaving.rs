//! Cells that are to leave the configuration: not while anything of an instance is there, or is about to be.

use patroni_broker::broker::{BrokerError, Outcome};
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::model::{CellGuid, NodeId};
use patroni_broker::state::keys;
use storage::Expect;

use crate::lab::{Lab, id, order, until};

fn guid(raw: &str) -> CellGuid {
    CellGuid::parse(raw).unwrap()
}

/// What keeps the cell, or nothing.
fn kept_by(lab: &Lab, cell: &str) -> String {
    lab.broker().let_go(&guid(cell)).err().unwrap_or_default()
}

#[test]
fn a_cell_with_nodes_stays() {
    let lab = Lab::new("c1@z1 c2@z2 c3@z3");
    lab.provision(order("b1", r#"{"cells": ["c1", "c2"]}"#)).unwrap();
    lab.provision(order("b2", r#"{"cells": ["c1", "c2"]}"#)).unwrap();
    for cell in ["c1", "c2"] {
        assert_eq!(kept_by(&lab, cell), "it has 2 nodes, of 2 instances (b1, b2)");
    }
    assert_eq!(kept_by(&lab, "c3"), "");
    // Asking alone keeps nothing away.
    lab.provision(order("b3", r#"{"cells": ["c3"], "node-count": 1}"#)).unwrap();
    assert_eq!(kept_by(&lab, "c3"), "it has 1 node, of 1 instance (b3)");
    for instance in ["b1", "b2", "b3"] {
        assert_eq!(lab.deprovision(instance).unwrap(), Outcome::Succeeded);
    }
    for cell in ["c1", "c2", "c3"] {
        assert_eq!(kept_by(&lab, cell), "");
    }
}

/// A cell that refuses is passed over; one that says nothing may have the container all the same.
#[test]
fn a_cell_with_a_container_that_is_owed_stays() {
    let lab = Lab::new("c1@z1 c2@z2 c3@z3");
    lab.cell("c1").trouble(Call::Create, Trouble::SilentWithEffect);
    for _ in 0..40 {
        lab.cell("c1").trouble(Call::Remove, Trouble::SilentWithoutEffect);
    }
    lab.provision(order("b1", "{}")).unwrap();
    assert_eq!(kept_by(&lab, "c1"), "it has 1 node owed for removal, of 1 instance (b1)");
    until("what is owed to be swept", || kept_by(&lab, "c1").is_empty().then_some(()));
}

/// What there is between an order's choice and its record, and after an instance was removed by force.
#[test]
fn what_only_keys_tell_of_keeps_a_cell() {
    let lab = Lab::new("c1@z1 c2@z2");
    let check = |key, value: &[u8], expected: &str| {
        lab.store.put(&key, value, None, Expect::Absent).unwrap();
        assert_eq!(kept_by(&lab, "c1"), expected);
        assert_eq!(kept_by(&lab, "c2"), "");
        lab.store.delete(&key, Expect::Anything).unwrap();
        assert_eq!(kept_by(&lab, "c1"), "");
    };
    let orphan = keys::orphan(&guid("c1"), &NodeId::parse("n1").unwrap());
    check(orphan, b"{}", "it has 1 container of instances that were removed by force");
    let claim = keys::cell_claims(&guid("c1")).child("20009").unwrap();
    let claimed = br#"{"instance": "b9", "claimed_ms": 99999999999999, "write_id": "x"}"#;
    check(claim.clone(), claimed, "it has ports claimed for 1 instance (b9)");
    check(
        claim.clone(),
        b"?",
        "it cannot be told what is on it: the store needs an operator: /broker/ports/cell/c1/20009 is not a claim",
    );
}

#[test]
fn nothing_is_placed_on_a_cell_that_leaves() {
    let lab = Lab::new("c1@z1 c2@z2");
    let on_c1 = || lab.provision(order("b1", r#"{"cells": ["c1"], "node-count": 1}"#));
    let leaving = lab.broker().let_go(&guid("c1")).unwrap_or_else(|reason| panic!("{reason}"));
    let refused = on_c1().unwrap_err();
    assert!(matches!(refused, BrokerError::NoCapacity { .. }), "{refused:?}");
    assert!(lab.record("b1").is_none());
    assert_eq!(lab.claims("c1"), 0);
    lab.assert_nothing_left();
    drop(leaving);
    assert_eq!(on_c1().unwrap(), Outcome::Succeeded);
    assert_eq!(lab.record("b1").unwrap().value.instance_id, id("b1"));
}
