//! Changes of plan that fail: limits, settings and what the record says go back to what they were.

use std::sync::Arc;

use patroni_broker::broker::{LastOperation, Outcome};
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::model::ContainerName;
use patroni_broker::scheduler::Step;
use patroni_broker::state::{InstanceRecord, Instances, keys};
use serde_json::{Value, json};

use crate::cluster::{CELLS, failed, settings, to_plan};
use crate::lab::{Lab, until};

/// A cluster of two with settings of which `large` changes some, and lacks one.
fn configured() -> Lab {
    let mut lab = Lab::new(CELLS);
    lab.offer_updates();
    lab.change_plan(|plan| {
        let parameters = json!({"max_connections": 100, "work_mem": "8MB"});
        settings(plan).postgresql_parameters = parameters.as_object().unwrap().clone();
    });
    lab.cluster(2);
    lab.patroni.trouble(|troubles| {
        troubles.needs_restart = ["max_connections", "work_mem"].map(str::to_owned).into();
    });
    lab
}

/// What must be as it was: what the record says of the plan, how containers are made, and how Patroni is configured.
fn standing(lab: &Lab) -> (Value, Vec<Option<u64>>, Value) {
    let InstanceRecord { plan_id, parameters, maintenance_version, nodes, .. } =
        lab.record("b1").unwrap().value;
    let limit = |name: &ContainerName| lab.engine.spec(name).unwrap().memory_bytes;
    let limits = nodes.iter().map(|node| limit(&ContainerName::of(&node.node_id))).collect();
    let recorded = json!([plan_id, parameters, maintenance_version, nodes]);
    (recorded, limits, lab.patroni.config("b1"))
}

/// Nobody waits for a restart, and everybody runs.
fn assert_settled(lab: &Lab, what: &str) {
    let record = lab.record("b1").unwrap().value;
    for node in &record.nodes {
        let member = keys::member(&record.instance_id, &node.node_id);
        let member = lab.store.get(&member).unwrap().unwrap().value;
        let member: Value = serde_json::from_slice(&member).unwrap();
        assert_eq!((&member["state"], member.get("pending_restart")), (&json!("running"), None), "{what}");
    }
    lab.assert_as_recorded(what);
}

fn assert_goes_well_again(lab: &Lab, what: &str) {
    assert_eq!(lab.update(to_plan("large")), Ok(Outcome::Succeeded), "{what}");
    let parameters = &lab.patroni.config("b1")["postgresql"]["parameters"];
    assert_eq!(*parameters, json!({"max_connections": 200}), "{what}");
    assert_eq!(standing(lab).1, [Some(1 << 30); 2], "{what}");
    assert_settled(lab, what);
}

/// The first of the two to be made anew refuses, or the last one.
#[test]
fn a_container_that_is_not_made_anew_takes_all_back() {
    for cell in ["c2", "c1"] {
        let lab = configured();
        let before = standing(&lab);
        lab.cell(cell).trouble(Call::Remake, Trouble::Refuse("no space left".to_owned()));
        let (description, usable, repeatable) = failed(lab.update(to_plan("large")).unwrap());
        assert!(description.contains("no space left"), "{cell}: {description}");
        assert_eq!((usable, repeatable), (Some(true), Some(true)), "{cell}");
        assert_eq!(standing(&lab), before, "{cell}");
        let events = lab.patroni.events("b1");
        let configured = events.iter().filter(|event| *event == "configure").count();
        assert_eq!(configured, 2, "{cell}: it was configured, and back: {events:?}");
        assert!(events.iter().all(|event| !event.ends_with("lost")), "{cell}: {events:?}");
        assert!(lab.patroni.fewest("b1") >= 1, "{cell}");
        assert_settled(&lab, cell);
        assert_goes_well_again(&lab, cell);
    }
}

/// One that was made anew does not catch up in time.
#[test]
fn a_node_that_does_not_catch_up_takes_all_back() {
    let mut lab = configured();
    let before = standing(&lab);
    lab.cell("c2").holds.hold(Call::Remake);
    lab.begin(to_plan("large"));
    until("the first to be made anew", || (lab.cell("c2").holds.waiting(Call::Remake) == 1).then_some(()));
    lab.patroni.trouble(|troubles| troubles.held_back = ["c2".to_owned()].into());
    lab.cell("c2").holds.let_go(Call::Remake);
    until("it to be awaited", || {
        let operation = lab.record("b1")?.value.operation?;
        let is_remade =
            matches!(operation.steps.get(operation.done.checked_sub(1)?)?, Step::RemakeNode { .. });
        is_remade.then_some(())
    });
    lab.stop();
    let mut record = lab.record("b1").unwrap();
    record.value.operation.as_mut().unwrap().deadline_ms = 1;
    Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
    lab.start();
    until("it to be undone", || lab.record("b1")?.value.operation?.failure);
    lab.patroni.trouble(|troubles| troubles.held_back.clear());
    let LastOperation::Failed { instance_usable, update_repeatable, .. } = lab.settle("b1") else {
        panic!("it succeeded")
    };
    assert_eq!((instance_usable, update_repeatable), (Some(true), Some(true)));
    assert_eq!(standing(&lab), before);
    assert_settled(&lab, "undone");
    assert_goes_well_again(&lab, "again");
}
