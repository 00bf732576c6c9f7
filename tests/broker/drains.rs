//! Cells that are emptied: everything moves elsewhere, a few at a time, whatever becomes of the broker.

use std::thread;
use std::time::Duration;

use patroni_broker::broker::{
    BrokerError, CellStanding, DrainRequest, DrainView, Drained, Fate, LastOperation, Outcome,
    ProvisionRequest,
};
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::state::{OperationKind, keys};

use crate::cordons::cell;
use crate::dream::{accepted, departure};
use crate::lab::{Lab, id, order, until};

/// Long enough for several rounds of the thread that drains.
const ROUNDS: Duration = Duration::from_millis(500);

fn wish(guid: &str, at_once: usize) -> DrainRequest {
    DrainRequest { cell: cell(guid), at_once: Some(at_once), dry_run: false }
}

impl Lab {
    fn drain(&self, guid: &str, at_once: usize) -> CellStanding {
        match self.broker().drain(&wish(guid, at_once)).unwrap() {
            Drained::Begun(standing) => standing,
            rehearsed @ Drained::Rehearsed { .. } => panic!("{rehearsed:?}"),
        }
    }

    fn standing(&self, guid: &str) -> CellStanding {
        self.broker().cell(&cell(guid)).unwrap().standing
    }

    fn drained(&self, guid: &str) -> DrainView {
        self.standing(guid).drain.unwrap()
    }

    fn wait_until_safe(&self, guid: &str) {
        until("the cell to be safe to reboot", || self.standing(guid).safe_to_reboot.then_some(()));
    }

    fn wait_until_stuck(&self, guid: &str) -> DrainView {
        until("the drain to end", || Some(self.drained(guid)).filter(|drain| drain.ended && drain.left > 0))
    }

    /// How many of `b1`, `b2` and so on are being updated.
    fn moving(&self, count: usize) -> usize {
        let is_moving = |number: &usize| {
            let record = self.record(&format!("b{number}")).unwrap().value;
            record.under_way().is_some_and(|operation| operation.kind == OperationKind::Update)
        };
        (1..=count).filter(is_moving).count()
    }

    /// Lets members on `c4` catch up, or not.
    fn hold_back(&self, holds: bool) {
        self.patroni.trouble(|troubles| {
            troubles.held_back = if holds { ["c4".to_owned()].into() } else { [].into() };
        });
    }

    fn containers_on(&self, guid: &str) -> usize {
        let is_there =
            |view: &&patroni_broker::cells::ContainerView| view.labels["patroni-broker.cell"] == guid;
        self.engine.containers().iter().filter(is_there).count()
    }
}

#[test]
fn a_cell_is_drained() {
    let lab = Lab::around_c1(3);
    let begun = lab.drain("c1", 2);
    assert!(begun.cordoned && !begun.safe_to_reboot, "{begun:?}");
    lab.wait_until_safe("c1");
    assert_eq!(
        (lab.cells_of("b1"), lab.cells_of("b2")),
        (vec!["c2".to_owned(), "c4".to_owned()], vec!["c3".to_owned(), "c4".to_owned()])
    );
    assert_eq!((lab.containers_on("c1"), lab.containers_on("c4"), lab.claims("c1")), (0, 3, 0));
    for instance in ["b1", "b2", "b3"] {
        let said = LastOperation::Succeeded { description: "master running; replicas running".to_owned() };
        assert_eq!(lab.settle(instance), said, "{instance}");
        let events = lab.patroni.events(instance);
        assert!(events.iter().all(|event| !event.ends_with("lost")), "{events:?}");
    }
    until("the drain to be over", || lab.drained("c1").moving.is_empty().then_some(()));
    let expected =
        DrainView { at_once: 2, left: 0, moving: vec![], waiting: vec![], stuck: [].into(), ended: true };
    assert_eq!(lab.drained("c1"), expected);
    // It stays empty until it is uncordoned.
    lab.provision(order("b4", "{}")).unwrap();
    assert!(lab.standing("c1").safe_to_reboot);
    assert!(!lab.broker().uncordon(&cell("c1")).unwrap().safe_to_reboot);
    for instance in ["b1", "b2", "b3", "b4"] {
        lab.deprovision(instance).unwrap();
    }
    lab.assert_nothing_left();
}

/// Never more than was asked for, also where several brokers see to it, and those whose turn has not come are not touched.
#[test]
fn so_many_at_once() {
    let lab = Lab::around_c1(4);
    let _other = lab.another("other").unwrap();
    lab.hold_back(true);
    lab.drain("c1", 2);
    until("two to move", || (lab.moving(4) == 2 && lab.containers_on("c4") == 2).then_some(()));
    thread::sleep(ROUNDS);
    assert_eq!((lab.moving(4), lab.drained("c1").moving.len(), lab.containers_on("c4")), (2, 2, 2));
    assert_eq!(lab.drained("c1").left, 4);
    lab.drain("c1", 3);
    until("three to move", || (lab.moving(4) == 3).then_some(()));
    thread::sleep(ROUNDS);
    assert_eq!(lab.moving(4), 3);
    lab.hold_back(false);
    lab.wait_until_safe("c1");
    assert_eq!(lab.containers_on("c4"), 4);
}

#[test]
fn a_drain_goes_on_where_it_was_cut_off() {
    let mut lab = Lab::around_c1(3);
    lab.hold_back(true);
    lab.drain("c1", 1);
    until("one to move", || (lab.moving(3) == 1).then_some(()));
    lab.start();
    thread::sleep(ROUNDS);
    assert_eq!(lab.moving(3), 1);
    lab.stop();
    lab.hold_back(false);
    lab.start();
    lab.wait_until_safe("c1");
    // A broker that died after it had said that it would move one, and before it did.
    lab.broker().uncordon(&cell("c1")).unwrap();
    lab.stop();
    let record = r#"{"since_ms": 1, "drain": {"at_once": 1, "moving": {"b1": null}}}"#;
    lab.store.put(&keys::cordon(&cell("c4")), record.as_bytes(), None, storage::Expect::Absent).unwrap();
    lab.start();
    lab.wait_until_safe("c4");
    assert_eq!(lab.containers_on("c4"), 0);
}

#[test]
fn an_uncordoned_cell_is_not_drained_further() {
    let lab = Lab::around_c1(3);
    lab.hold_back(true);
    lab.drain("c1", 1);
    until("one to move", || (lab.moving(3) == 1).then_some(()));
    lab.broker().uncordon(&cell("c1")).unwrap();
    lab.hold_back(false);
    until("it to have moved", || (lab.moving(3) == 0).then_some(()));
    thread::sleep(ROUNDS);
    assert_eq!((lab.moving(3), lab.containers_on("c1"), lab.containers_on("c4")), (0, 2, 1));
    assert_eq!(lab.standing("c1").drain, None);
}

/// What was under way when it was uncordoned was not counted by the next drain: twice as many moved as were asked for.
#[test]
fn a_drain_counts_what_one_before_it_has_begun() {
    let lab = Lab::around_c1(4);
    lab.hold_back(true);
    lab.drain("c1", 2);
    until("two to move", || (lab.moving(4) == 2).then_some(()));
    let before =
        until("both to be noted", || Some(lab.drained("c1").moving).filter(|moving| moving.len() == 2));
    lab.broker().uncordon(&cell("c1")).unwrap();
    lab.drain("c1", 2);
    until("both to be counted", || (lab.drained("c1").moving == before).then_some(()));
    thread::sleep(ROUNDS);
    assert_eq!((lab.moving(4), lab.drained("c1").moving), (2, before));
    lab.hold_back(false);
    lab.wait_until_safe("c1");
    assert_eq!(lab.drained("c1").stuck, [].into());
}

#[test]
fn where_nothing_can_go_nothing_is_begun() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", r#"{"node-count": 1}"#)).unwrap();
    assert_eq!(lab.cells_of("b1"), ["c1"]);
    lab.wait_until_indexed();
    lab.broker().cordon(&cell("c2")).unwrap();
    for dry_run in [false, true] {
        let request = DrainRequest { dry_run, ..wish("c1", 1) };
        let error = lab.broker().drain(&request).unwrap_err();
        let expected = "cell c1 cannot be drained: no other cell takes new nodes, and it has those of b1";
        assert_eq!(error, BrokerError::DrainRefused { reason: expected.to_owned() });
        assert!(!lab.standing("c1").cordoned, "a refusal leaves nothing");
    }
    // An empty one bothers nobody.
    assert!(lab.drain("c2", 1).safe_to_reboot);
    let request = DrainRequest { dry_run: true, ..wish("c9", 1) };
    assert_eq!(lab.broker().drain(&request).unwrap_err(), BrokerError::UnknownCell(cell("c9")));
}

/// A move is no upgrade, whatever the catalog offers by then, and says nothing that its user has not said.
#[test]
fn what_moves_stays_what_it_is() {
    let mut lab = Lab::new("c1@z1 c2@z2 c3@z2 c4@z1");
    lab.offer_updates();
    let context = serde_json::from_str(r#"{"instance_name": "mine"}"#).unwrap();
    lab.provision(ProvisionRequest { context, ..order("b1", "{}") }).unwrap();
    lab.offer_upgrade(crate::cluster::NEWER);
    let before = lab.record("b1").unwrap().value;
    let leaves: &str = &before.nodes[0].backend_id.to_string();
    lab.wait_until_indexed();
    lab.drain(leaves, 1);
    lab.wait_until_safe(leaves);
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    let after = lab.record("b1").unwrap().value;
    assert!(after.nodes.len() == 2 && after.nodes.iter().all(|node| node.backend_id.as_str() != leaves));
    assert!(after.nodes.iter().all(|node| node.build == before.nodes[0].build), "{:?}", after.nodes);
    assert_eq!((after.plan_id, after.parameters), (before.plan_id, before.parameters));
    assert_eq!((after.context, after.maintenance_version), (before.context, before.maintenance_version));
    lab.assert_as_recorded("moved");
}

/// Those whose users named the cell stay, and keep nobody else; they are tried again when somebody asks for it.
#[test]
fn who_cannot_be_moved_is_stuck() {
    let lab = Lab::new("c1@z1 c2@z2 c3@z2 c4@z1");
    lab.provision(order("b2", r#"{"cells": ["c1", "c2", "c4"]}"#)).unwrap();
    lab.provision(order("b1", r#"{"cells": ["c1", "c2"]}"#)).unwrap();
    assert_eq!(lab.cells_of("b2"), ["c1", "c2"]);
    lab.wait_until_indexed();
    lab.drain("c1", 1);
    let drain = lab.wait_until_stuck("c1");
    assert_eq!((drain.left, drain.stuck.keys().collect::<Vec<_>>()), (1, vec![&id("b1")]));
    assert!(drain.stuck[&id("b1")].ends_with("; it was ordered for cells c1, c2"), "{drain:?}");
    assert_eq!(
        (lab.cells_of("b1"), lab.cells_of("b2")),
        (vec!["c1".to_owned(), "c2".to_owned()], vec!["c2".to_owned(), "c4".to_owned()])
    );
    assert!(!lab.standing("c1").safe_to_reboot);
    let tried = lab.record("b1").unwrap().revision;
    thread::sleep(ROUNDS);
    assert_eq!(lab.record("b1").unwrap().revision, tried, "it was tried again");
    // Its user lets it go.
    let update = crate::cluster::alter_parameters(r#"{"cells": ["c2", "c3"]}"#);
    assert_eq!(lab.update(update), Ok(Outcome::Succeeded));
    lab.wait_until_safe("c1");
}

#[test]
fn a_move_that_fails_is_stuck_until_it_is_asked_for_again() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", r#"{"node-count": 1}"#)).unwrap();
    lab.wait_until_indexed();
    lab.cell("c2").trouble(Call::Create, Trouble::Refuse("the disk is full".to_owned()));
    lab.drain("c1", 1);
    let drain = lab.wait_until_stuck("c1");
    assert!(drain.stuck[&id("b1")].contains("the disk is full"), "{drain:?}");
    assert_eq!(lab.cells_of("b1"), ["c1"]);
    let tried = lab.record("b1").unwrap().revision;
    thread::sleep(ROUNDS);
    assert_eq!(lab.record("b1").unwrap().revision, tried, "it was tried again");
    lab.drain("c1", 1);
    lab.wait_until_safe("c1");
    assert_eq!(lab.cells_of("b1"), ["c2"]);
}

/// What an instance's user does with it comes first, and is no failure.
#[test]
fn who_is_busy_is_moved_later() {
    let lab = Lab::clustered("c1@z1 c2@z2 c3@z2 c4@z1", 1);
    lab.hold_back(true);
    lab.begin(crate::cluster::alter_parameters(r#"{"cells": ["c1", "c4"], "node-count": 2}"#));
    lab.drain("c1", 1);
    thread::sleep(ROUNDS);
    let drain = lab.drained("c1");
    assert_eq!((drain.moving, drain.waiting), (vec![], vec![id("b1")]));
    let told = lab.broker().drain(&DrainRequest { dry_run: true, ..wish("c1", 1) }).unwrap();
    let Drained::Rehearsed { moves, .. } = told else { panic!("{told:?}") };
    assert!(matches!(moves[0].fate, Fate::Waits(_)), "{moves:?}");
    lab.hold_back(false);
    // Its user named the cell by then.
    let drain = lab.wait_until_stuck("c1");
    assert!(drain.stuck.contains_key(&id("b1")), "{drain:?}");
}

/// A cell was never safe while an instance went whose other node was on a dead cell, and nobody was told who was waited for.
#[test]
fn who_goes_is_waited_for_by_name_until_it_is_gone_from_the_cell() {
    let lab = Lab::around_c1(1);
    lab.cell("c1").holds.hold(Call::Remove);
    lab.cell("c2").set_away(true);
    accepted(lab.broker().deprovision(departure("b1", true)));
    lab.drain("c1", 1);
    until("the removal", || (lab.cell("c1").holds.waiting(Call::Remove) > 0).then_some(()));
    thread::sleep(ROUNDS);
    let drain = lab.drained("c1");
    assert_eq!((drain.left, drain.waiting, drain.ended), (1, vec![id("b1")], false));
    lab.cell("c1").holds.let_go(Call::Remove);
    lab.wait_until_safe("c1");
    let expected =
        DrainView { at_once: 1, left: 0, moving: vec![], waiting: vec![], stuck: [].into(), ended: true };
    assert_eq!((lab.drained("c1"), lab.moving(1)), (expected, 0));
    assert!(lab.record("b1").unwrap().value.under_way().is_some(), "its other node went as well");
    lab.broker().cordon(&cell("c2")).unwrap();
    assert!(!lab.standing("c2").safe_to_reboot);
    lab.cell("c2").set_away(false);
    lab.wait_until_safe("c2");
}

/// A cell that is dead is drained as far as that goes; it is safe when what is left on it is gone.
#[test]
fn a_silent_cell_is_drained() {
    let lab = Lab::around_c1(1);
    let leader = lab.record("b1").unwrap().value.nodes[1].node_id.to_string();
    lab.patroni.fail_over("b1", &leader);
    lab.cell("c1").set_away(true);
    lab.drain("c1", 1);
    until("it to have moved", || (lab.drained("c1").left == 0 && lab.moving(1) == 0).then_some(()));
    let standing = lab.standing("c1");
    assert_eq!((standing.owed, standing.safe_to_reboot), (Some(1), false), "{standing:?}");
    lab.cell("c1").set_away(false);
    lab.wait_until_safe("c1");
    assert_eq!(lab.containers_on("c1"), 0);
}

#[test]
fn a_rehearsal_changes_nothing() {
    let lab = Lab::new("c1@z1 c2@z2 c3@z2 c4@z1");
    lab.provision(order("b1", r#"{"node-count": 1}"#)).unwrap();
    lab.provision(order("b2", r#"{"cells": ["c1", "c2"]}"#)).unwrap();
    lab.wait_until_indexed();
    let (keys, containers) = (lab.settled_keys(), lab.engine.containers());
    let request = DrainRequest { dry_run: true, ..wish("c1", 1) };
    let Drained::Rehearsed { moves, left_off } = lab.broker().drain(&request).unwrap() else {
        panic!("it has begun")
    };
    assert_eq!((moves.len(), left_off), (2, 0));
    let node = lab.record("b1").unwrap().value.nodes[0].node_id.clone();
    let Fate::Steps(steps) = &moves[0].fate else { panic!("{moves:?}") };
    assert!(steps.contains(&"add node new-1 on cell c3".to_owned()), "{steps:?}");
    assert!(steps.contains(&format!("retire node {node} from cell c1")), "{steps:?}");
    let Fate::Stuck(reason) = &moves[1].fate else { panic!("{moves:?}") };
    assert!(reason.contains("ordered for cells c1, c2"), "{reason}");
    assert_eq!((lab.keys(), lab.engine.containers()), (keys, containers));
    assert!(!lab.standing("c1").cordoned);
}

/// One that nobody can read keeps nobody else on the cell.
#[test]
fn an_unreadable_record_is_stuck() {
    let lab = Lab::around_c1(2);
    lab.store.put(&keys::record(&id("b1")), b"{", None, storage::Expect::Anything).unwrap();
    let request = DrainRequest { dry_run: true, ..wish("c1", 1) };
    let Drained::Rehearsed { moves, .. } = lab.broker().drain(&request).unwrap() else {
        panic!("it has begun")
    };
    let [Fate::Stuck(reason), Fate::Steps(_)] = [&moves[0].fate, &moves[1].fate] else { panic!("{moves:?}") };
    assert!(reason.contains("is not a record"), "{reason}");
    lab.drain("c1", 1);
    let drain = lab.wait_until_stuck("c1");
    assert_eq!(drain.stuck.keys().collect::<Vec<_>>(), [&id("b1")]);
    assert!(drain.stuck[&id("b1")].contains("is not a record"), "{drain:?}");
    assert_eq!(lab.cells_of("b2"), ["c3", "c4"]);
}

/// Where nothing goes well nothing more is tried, and the record stays within what a store takes.
#[test]
fn after_so_many_that_are_stuck_a_drain_is_given_up() {
    let lab = Lab::around_c1(1);
    let stuck: Vec<String> = (100..200).map(|number| format!(r#""x{number}": "as before""#)).collect();
    let drain = format!(r#"{{"at_once": 2, "stuck": {{{}}}}}"#, stuck.join(", "));
    let record = format!(r#"{{"since_ms": 1, "drain": {drain}}}"#);
    lab.store.put(&keys::cordon(&cell("c1")), record.as_bytes(), None, storage::Expect::Absent).unwrap();
    thread::sleep(ROUNDS);
    assert_eq!((lab.moving(1), lab.drained("c1").ended), (0, true));
    assert_eq!(lab.cells_of("b1"), ["c1", "c2"]);
    lab.drain("c1", 2);
    lab.wait_until_safe("c1");
}
