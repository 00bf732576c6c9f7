//! Clusters that grow, shrink, move and change their plan: their leader is never lost, and what fails is undone.

use std::sync::Arc;

use patroni_broker::broker::{BrokerError, LastOperation, Outcome, UpdateRequest};
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::model::{CellGuid, NodeId};
use patroni_broker::scheduler::Step;
use patroni_broker::state::{Instances, OperationState, OwedRemoval, keys};
use serde_json::json;
use storage::Expect;

use crate::cluster::{CELLS, alter, alter_parameters, failed, settings, to_plan};
use crate::dream::refused;
use crate::lab::{Lab, id, order, until};

fn grown(nodes: usize) -> UpdateRequest {
    alter_parameters(&format!(r#"{{"node-count": {nodes}}}"#))
}

fn moved(cells: &str) -> UpdateRequest {
    let cells: Vec<&str> = cells.split(' ').collect();
    alter_parameters(&json!({ "cells": cells }).to_string())
}

#[test]
fn a_cluster_grows_and_shrinks() {
    let lab = Lab::clustered(CELLS, 1);
    assert_eq!(lab.placed(), ["c1"]);
    let check = |nodes: usize, placed: &[&str]| {
        assert_eq!(lab.update(grown(nodes)), Ok(Outcome::Succeeded), "{nodes}");
        assert_eq!(lab.placed(), placed);
        assert_eq!(lab.fetch("b1").unwrap().parameters["node-count"], nodes);
        lab.assert_as_recorded(&format!("{nodes} nodes"));
    };
    check(3, &["c1", "c2", "c3"]);
    check(2, &["c1", "c2"]);
    check(1, &["c1"]);
    check(4, &["c1", "c2", "c3", "c4"]);
    assert_eq!(lab.patroni.events("b1"), Vec::<String>::new(), "somebody else led");
    let said = LastOperation::Succeeded {
        description: "master running; replicas running, running, running".to_owned(),
    };
    assert_eq!(lab.poll("b1").unwrap(), said);
    lab.assert_goes();
}

/// Whoever leads by then stays, wherever the cluster began.
#[test]
fn the_leader_is_not_shrunk_away() {
    for cell in ["c1", "c2", "c3"] {
        let lab = Lab::clustered("c1@z1 c2@z2 c3@z3", 3);
        lab.patroni.fail_over("b1", &lab.node_on(cell));
        assert_eq!(lab.update(grown(1)), Ok(Outcome::Succeeded), "{cell}");
        assert_eq!(lab.placed(), [cell]);
        assert_eq!(lab.patroni.events("b1"), Vec::<String>::new(), "{cell}");
        lab.assert_as_recorded(cell);
    }
}

#[test]
fn a_cluster_moves() {
    let lab = Lab::clustered(CELLS, 2);
    let (first, second) = (lab.node_on("c1"), lab.node_on("c2"));
    assert_eq!(lab.update(moved("c3 c4")), Ok(Outcome::Succeeded));
    assert_eq!(lab.placed(), ["c3", "c4"]);
    let leader = lab.patroni.leader("b1").unwrap();
    assert_eq!(lab.patroni.events("b1"), [format!("{first} > {leader}")], "{first} led, not {second}");
    assert!(lab.patroni.fewest("b1") >= 2);
    lab.assert_as_recorded("moved");
    // Half of it goes back.
    assert_eq!(lab.update(moved("c1 c4")), Ok(Outcome::Succeeded));
    let mut placed = lab.placed();
    placed.sort();
    assert_eq!(placed, ["c1", "c4"]);
    lab.assert_as_recorded("half of it moved");
    lab.assert_goes();
}

/// A move of a cluster of one has two nodes for a while.
#[test]
fn a_cluster_of_one_moves() {
    let lab = Lab::clustered(CELLS, 1);
    let first = lab.node_on("c1");
    assert_eq!(lab.update(moved("c3")), Ok(Outcome::Succeeded));
    let leader = lab.patroni.leader("b1").unwrap();
    assert_eq!(lab.patroni.events("b1"), [format!("{first} > {leader}")]);
    assert_eq!((lab.led_on().as_str(), lab.patroni.fewest("b1")), ("c3", 1));
    lab.assert_as_recorded("moved");
}

/// Nobody is taken away before the new ones have caught up, and who leads by then is found out then.
#[test]
fn a_leader_that_changes_in_the_middle_is_not_lost() {
    let lab = Lab::clustered(CELLS, 2);
    let (first, second) = (lab.node_on("c1"), lab.node_on("c2"));
    lab.patroni.trouble(|troubles| troubles.held_back = ["c3", "c4"].map(str::to_owned).into());
    lab.begin(moved("c3 c4"));
    until("the new nodes to run", || (lab.running().len() == 4).then_some(()));
    // They run, and lag: for a while nothing more happens.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(lab.running(), ["c1", "c2", "c3", "c4"]);
    lab.patroni.fail_over("b1", &second);
    lab.patroni.trouble(|troubles| troubles.held_back.clear());
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_eq!(lab.placed(), ["c3", "c4"]);
    let events = lab.patroni.events("b1");
    assert!(events.iter().all(|event| !event.ends_with("lost")), "{events:?}");
    assert!(events[0].starts_with(&second) && !events[0].starts_with(&first), "{events:?}");
    lab.assert_as_recorded("moved");
}

/// A leader that will not hand over holds the move up, and is never taken away.
#[test]
fn who_refuses_to_hand_over_is_waited_for() {
    let lab = Lab::clustered(CELLS, 2);
    lab.patroni.trouble(|troubles| troubles.refuses = true);
    lab.begin(moved("c3 c4"));
    until("the refusal to be told", || match lab.poll("b1").unwrap() {
        LastOperation::InProgress { description, .. } => {
            description.contains("the fake says no").then_some(())
        }
        ended => panic!("{ended:?}"),
    });
    assert_eq!(lab.running(), ["c1", "c3", "c4"]);
    lab.patroni.trouble(|troubles| troubles.refuses = false);
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_eq!(lab.patroni.events("b1").len(), 1);
    lab.assert_as_recorded("moved");
}

#[test]
fn a_cell_that_refuses_a_new_node_is_passed_over() {
    for trouble in
        [Trouble::Refuse("full".to_owned()), Trouble::SilentWithEffect, Trouble::SilentWithoutEffect]
    {
        let lab = Lab::clustered(CELLS, 1);
        lab.cell("c2").trouble(Call::Create, trouble.clone());
        assert_eq!(lab.update(grown(2)), Ok(Outcome::Succeeded), "{trouble:?}");
        assert_eq!(lab.placed(), ["c1", "c4"], "{trouble:?}");
        until("what is owed to be swept", || lab.record("b1").unwrap().value.owed.is_empty().then_some(()));
        lab.assert_as_recorded(&format!("{trouble:?}"));
        lab.assert_goes();
    }
}

/// What was asked for counts, also for the replacement: no other cell is taken than those that were named.
#[test]
fn a_replacement_is_on_a_cell_that_was_named() {
    let lab = Lab::clustered(CELLS, 1);
    lab.cell("c3").trouble(Call::Create, Trouble::Refuse("full".to_owned()));
    assert_eq!(lab.update(moved("c3 c4")), Ok(Outcome::Succeeded));
    assert_eq!(lab.placed(), ["c4"]);
    lab.cell("c3").trouble(Call::Create, Trouble::Refuse("full".to_owned()));
    let told = lab.update(moved("c3")).unwrap();
    let (description, usable, repeatable) = failed(told);
    assert!(description.contains("full"), "{description}");
    assert_eq!((usable, repeatable), (Some(true), Some(true)));
    assert_eq!(lab.placed(), ["c4"]);
    assert_eq!(lab.fetch("b1").unwrap().parameters["cells"], json!(["c3", "c4"]));
    lab.assert_as_recorded("undone");
}

/// New nodes that do not catch up in time are taken away again, and all is as it was.
#[test]
fn what_does_not_come_about_is_undone() {
    let check = |what: &str, request: UpdateRequest| {
        let mut lab = Lab::clustered(CELLS, 2);
        lab.change_plan(|plan| plan.maximum_polling_duration_s = 1);
        let before = lab.record("b1").unwrap().value;
        lab.patroni.trouble(|troubles| troubles.held_back = ["c3", "c4"].map(str::to_owned).into());
        let (description, usable, repeatable) = failed(lab.update(request.clone()).unwrap());
        assert!(description.contains("not ready in time"), "{what}: {description}");
        assert_eq!((usable, repeatable), (Some(true), Some(true)), "{what}");
        let after = lab.record("b1").unwrap().value;
        assert_eq!((&after.nodes, &after.parameters), (&before.nodes, &before.parameters), "{what}");
        assert_eq!(lab.patroni.events("b1"), Vec::<String>::new(), "{what}");
        lab.assert_as_recorded(what);
        // It can be asked for again, and goes well by then.
        lab.patroni.trouble(|troubles| troubles.held_back.clear());
        lab.change_plan(|plan| plan.maximum_polling_duration_s = 60);
        assert_eq!(lab.update(request), Ok(Outcome::Succeeded), "{what}");
        lab.assert_as_recorded(what);
        lab.assert_goes();
    };
    check("growing", grown(3));
    check("moving", moved("c3 c4"));
}

/// A new node had taken over when the rest failed: it hands over before it goes. The update's time is over by then, and
/// its undoing has its own.
#[test]
fn a_new_leader_hands_over_before_it_is_undone() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.patroni.trouble(|troubles| troubles.held_back = ["c3".to_owned()].into());
    lab.begin(moved("c3 c4"));
    until("the new nodes to run", || (lab.running().len() == 4).then_some(()));
    lab.stop();
    let mut record = lab.record("b1").unwrap();
    record.value.operation.as_mut().unwrap().deadline_ms = 1;
    Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
    let new = lab.node_on("c4");
    lab.patroni.fail_over("b1", &new);
    lab.patroni.trouble(|troubles| troubles.refuses = true);
    lab.start();
    until("the undoing to wait", || match lab.poll("b1").unwrap() {
        LastOperation::InProgress { .. } => {
            lab.record("b1").unwrap().value.operation?.description.contains("the fake says no").then_some(())
        }
        ended => panic!("{ended:?}"),
    });
    lab.patroni.trouble(|troubles| troubles.refuses = false);
    let LastOperation::Failed { instance_usable, .. } = lab.settle("b1") else { panic!("it succeeded") };
    assert_eq!(instance_usable, Some(true));
    assert_eq!(lab.placed(), ["c1", "c2"]);
    let events = lab.patroni.events("b1");
    assert!(events.len() == 1 && events[0].starts_with(&format!("{new} > ")), "{events:?}");
    lab.assert_as_recorded("undone");
}

/// Whose cell does not answer is taken out all the same, and its container when the cell is back.
#[test]
fn a_node_on_a_silent_cell_is_owed() {
    let lab = Lab::clustered(CELLS, 2);
    lab.cell("c2").set_away(true);
    let owed = lab.node_on("c2");
    assert_eq!(lab.update(grown(1)), Ok(Outcome::Succeeded));
    let record = lab.record("b1").unwrap().value;
    assert_eq!((record.nodes.len(), record.owed.len()), (1, 1));
    assert_eq!(lab.running(), ["c1", "c2"]);
    // Where it runs yet no new node comes, since its ports would be mixed up with that one's.
    let named = lab.update(alter_parameters(r#"{"node-count": 2, "cells": ["c1", "c2"]}"#));
    assert!(matches!(refused(named), BrokerError::NoCapacity { reason } if reason.contains(&owed)));
    // It has become the leader meanwhile: it is not swept before another one leads.
    lab.patroni.fail_over("b1", &owed);
    lab.patroni.trouble(|troubles| troubles.refuses = true);
    lab.cell("c2").set_away(false);
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(lab.running(), ["c1", "c2"], "the leader was swept");
    lab.patroni.trouble(|troubles| troubles.refuses = false);
    until("what is owed to be swept", || lab.record("b1").unwrap().value.owed.is_empty().then_some(()));
    assert_eq!(lab.patroni.events("b1"), [format!("{owed} > {}", lab.node_on("c1"))]);
    lab.assert_as_recorded("swept");
    lab.assert_goes();
}

/// Its limits are its containers', its settings Patroni's.
#[test]
fn a_cluster_changes_its_plan() {
    let lab = Lab::clustered(CELLS, 2);
    lab.patroni.trouble(|troubles| troubles.needs_restart = ["max_connections".to_owned()].into());
    let (first, second) = (lab.node_on("c1"), lab.node_on("c2"));
    assert_eq!(lab.update(to_plan("large")), Ok(Outcome::Succeeded));
    let record = lab.record("b1").unwrap().value;
    assert_eq!(record.plan_id.as_str(), "large");
    for node in &record.nodes {
        assert_eq!(node.plan_id.as_str(), "large");
        assert_eq!(node.build.as_ref().unwrap().memory_bytes, Some(1 << 30));
        let spec = lab.engine.spec(&patroni_broker::model::ContainerName::of(&node.node_id)).unwrap();
        assert_eq!(spec.memory_bytes, Some(1 << 30));
    }
    let config = lab.patroni.config("b1");
    assert_eq!(config["synchronous_mode"], true);
    assert_eq!(config["postgresql"]["parameters"], json!({"max_connections": 200}));
    let events = lab.patroni.events("b1");
    // Who is made anew with the settings waits for no restart.
    assert_eq!(events, ["configure".to_owned(), format!("{first} > {second}")]);
    assert_eq!(lab.patroni.fewest("b1"), 1);
    lab.assert_as_recorded("another plan");
    // And back: what the other plan set is unset.
    assert_eq!(lab.update(to_plan("cluster")), Ok(Outcome::Succeeded));
    assert_eq!(lab.patroni.config("b1")["postgresql"]["parameters"], json!({}));
    lab.assert_as_recorded("the first plan");
    lab.assert_goes();
}

/// Where nobody is made anew, who waits for a restart is restarted: the replica before the leader.
#[test]
fn a_cluster_changes_its_settings() {
    let mut lab = Lab::clustered(CELLS, 2);
    let large = lab.catalog.services[0].plans.iter_mut().find(|plan| plan.id.as_str() == "large").unwrap();
    settings(large).memory_bytes = None;
    lab.start();
    lab.patroni.trouble(|troubles| troubles.needs_restart = ["max_connections".to_owned()].into());
    let (first, second) = (lab.node_on("c1"), lab.node_on("c2"));
    assert_eq!(lab.update(to_plan("large")), Ok(Outcome::Succeeded));
    let expected = ["configure".to_owned(), format!("restart {second}"), format!("restart {first}")];
    assert_eq!(lab.patroni.events("b1"), expected);
    lab.assert_as_recorded("other settings");
}

/// One after the other asks for the same, while it is done.
#[test]
fn the_same_request_again_is_the_same_operation() {
    let lab = Lab::clustered(CELLS, 1);
    lab.patroni.trouble(|troubles| troubles.held_back = ["c2".to_owned()].into());
    let request = UpdateRequest { accepts_incomplete: true, ..grown(2) };
    let first = lab.broker().update(request.clone()).unwrap();
    until("the new node to run", || (lab.running().len() == 2).then_some(()));
    assert_eq!(lab.broker().update(request.clone()).unwrap(), first);
    assert_eq!(lab.broker().update(grown(3)), Err(BrokerError::Concurrency));
    assert_eq!(
        lab.broker().update(UpdateRequest { rehearse: true, ..request.clone() }),
        Err(BrokerError::Concurrency)
    );
    lab.patroni.trouble(|troubles| troubles.held_back.clear());
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_eq!(lab.broker().update(request), Ok(patroni_broker::broker::Accepted::Already));
    lab.assert_as_recorded("grown");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let lab = Lab::clustered(CELLS, 2);
    let (record, keys) = (lab.record("b1").unwrap().revision, lab.settled_keys());
    let check = |what: &str, request: UpdateRequest, expected: &dyn Fn(&BrokerError) -> bool| {
        for rehearse in [true, false] {
            let error = refused(lab.update(UpdateRequest { rehearse, ..request.clone() }));
            assert!(expected(&error), "{what}: {error:?}");
            assert_eq!(lab.record("b1").unwrap().revision, record, "{what}");
            assert_eq!(lab.keys(), keys, "{what}");
        }
    };
    let invalid = |part: &'static str| move |error: &BrokerError| matches!(error, BrokerError::InvalidParameters { reason } if reason.contains(part));
    check("no nodes", grown(0), &invalid("node-count"));
    check("an unknown cell", moved("c1 nowhere"), &invalid("nowhere"));
    check("fewer cells than nodes", moved("c3"), &invalid("c3"));
    check("more nodes than cells", grown(5), &invalid("c1, c2, c3, c4"));
    check("an unknown parameter", alter_parameters(r#"{"nodes": 3}"#), &invalid("nodes"));
    lab.cells.iter().for_each(|cell| cell.set_away(true));
    let silent =
        |error: &BrokerError| matches!(error, BrokerError::NoCapacity { reason } if reason.contains("c3"));
    check("silent cells", moved("c3 c4"), &silent);
    lab.cells.iter().for_each(|cell| cell.set_away(false));
    lab.assert_as_recorded("as it was");
}

/// Whatever is said that is so already is noted down at once.
#[test]
fn what_is_so_already_is_no_operation() {
    let lab = Lab::clustered(CELLS, 2);
    for request in [alter(), grown(2), moved("c1 c2"), moved("c4 c2 c1")] {
        let told = lab.broker().update(request.clone());
        assert_eq!(told, Ok(patroni_broker::broker::Accepted::Already), "{request:?}");
    }
    assert_eq!(lab.fetch("b1").unwrap().parameters["cells"], json!(["c4", "c2", "c1"]));
    lab.assert_as_recorded("as it was");
}

/// An update cannot mend what its order or an earlier update left unusable.
#[test]
fn what_is_not_usable_is_not_updated() {
    let mut lab = Lab::clustered(CELLS, 1);
    // Its only leader goes in the middle, with its data.
    lab.patroni.trouble(|troubles| troubles.held_back = ["c2".to_owned()].into());
    lab.begin(grown(2));
    until("the new node to run", || (lab.running().len() == 2).then_some(()));
    lab.cell("c1").set_away(true);
    let node = NodeId::parse(&lab.node_on("c1")).unwrap();
    lab.patroni.silence("b1");
    lab.engine.lose(&patroni_broker::model::ContainerName::of(&node));
    lab.overdue();
    until("the update to be undone", || lab.record("b1").unwrap().value.operation?.failure);
    lab.overdue();
    let LastOperation::Failed { instance_usable, .. } = lab.settle("b1") else { panic!("it succeeded") };
    assert_eq!(instance_usable, Some(false));
    assert!(matches!(refused(lab.update(grown(3))), BrokerError::InstanceFailed { .. }));
    lab.cell("c1").set_away(false);
    assert_eq!(lab.deprovision(id("b1").as_str()).unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
    lab.patroni.silent.lock().unwrap().clear();
    lab.provision(order("b1", "{}")).unwrap();
}

/// Another node took over between the step that let one of the others lead and the one that takes it away.
#[test]
fn a_leader_is_not_retired() {
    let mut lab = Lab::clustered(CELLS, 2);
    let (first, second) = (lab.node_on("c1"), lab.node_on("c2"));
    assert_eq!(lab.update(grown(3)), Ok(Outcome::Succeeded));
    lab.stop();
    let mut record = lab.record("b1").unwrap();
    let operation = record.value.operation.as_mut().unwrap();
    let leader = NodeId::parse(&first).unwrap();
    operation.steps = vec![Step::RetireNode { node: leader, cell: CellGuid::parse("c1").unwrap() }];
    (operation.done, operation.state) = (0, OperationState::InProgress);
    Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
    lab.store.put(&keys::pending(&id("b1")), b"0", None, Expect::Anything).unwrap();
    lab.start();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    let events = lab.patroni.events("b1");
    assert!(events.len() == 1 && events[0].starts_with(&format!("{first} > ")), "{events:?} with {second}");
    assert_eq!(lab.placed().len(), 2);
    lab.assert_as_recorded("retired");
}

/// A broker died after it had given the ports back and before it recorded that: they are another node's by then.
#[test]
fn ports_are_given_back_once() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.stop();
    let mut record = lab.record("b1").unwrap();
    let mut gone = record.value.nodes[0].clone();
    gone.node_id = NodeId::parse("gone").unwrap();
    record.value.owed.push(OwedRemoval { node: gone, reason: "it was silent".to_owned(), removed_ms: None });
    Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
    lab.store.put(&keys::pending(&id("b1")), b"0", None, Expect::Anything).unwrap();
    lab.start();
    until("what is owed to be swept", || lab.record("b1").unwrap().value.owed.is_empty().then_some(()));
    lab.assert_as_recorded("swept");
}
