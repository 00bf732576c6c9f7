//! Rehearsals: they say what would be done, and do nothing of it.

use patroni_broker::broker::{Accepted, BrokerError, UpdateRequest};
use patroni_broker::model::PatroniPlan;

use crate::cluster::{CELLS, NEWER, OTHER, alter, alter_parameters, settings, to_plan, upgrade};
use crate::dream::{change, change_parameters};
use crate::lab::Lab;

fn rehearsed(lab: &Lab, request: UpdateRequest) -> Vec<String> {
    let (before, keys, containers) =
        (lab.record("b1").map(|record| record.revision), lab.settled_keys(), lab.engine.containers());
    let told = lab.broker().update(UpdateRequest { rehearse: true, ..request });
    assert_eq!(lab.record("b1").map(|record| record.revision), before);
    assert_eq!((lab.keys(), lab.engine.containers()), (keys, containers));
    match told {
        Ok(Accepted::Rehearsed { steps }) => steps,
        told => panic!("{told:?}"),
    }
}

#[test]
fn a_rehearsal_says_the_steps_of_a_cluster() {
    let lab = Lab::clustered(CELLS, 2);
    let (first, second) = (lab.node_on("c1"), lab.node_on("c2"));
    let check = |request: UpdateRequest, expected: &[String]| {
        assert_eq!(rehearsed(&lab, request.clone()), expected, "{request:?}");
    };
    check(alter(), &[]);
    check(alter_parameters(r#"{"node-count": 2}"#), &[]);
    let image = crate::lab::IMAGE;
    check(
        alter_parameters(r#"{"cells": ["c3", "c4"]}"#),
        &[
            format!("check the image {image} on c3, c4"),
            "add node new-1 on cell c3".to_owned(),
            "add node new-2 on cell c4".to_owned(),
            "await that new-1, new-2 run and have caught up".to_owned(),
            format!("let one of new-1, new-2, {first} lead"),
            format!("retire node {second} from cell c2"),
            "let one of new-1, new-2 lead".to_owned(),
            format!("retire node {first} from cell c1"),
            "await that new-1, new-2 run and have caught up".to_owned(),
        ],
    );
}

/// What changes is said, and nothing else of a plan that differs in little.
#[test]
fn a_rehearsal_says_what_another_plan_changes() {
    let mut lab = Lab::clustered(CELLS, 2);
    let (first, second) = (lab.node_on("c1"), lab.node_on("c2"));
    let image = crate::lab::IMAGE;
    let expected = |settings: &[String], changes: &str| {
        let remade = |node: &str, cell: &str, other: &str| {
            [
                format!("let one of {other} lead"),
                format!("make node {node} on cell {cell} anew ({changes})"),
                format!("await that {first}, {second} run and have caught up"),
            ]
        };
        let steps =
            [format!("check the image {image} on c2, c1")].into_iter().chain(settings.first().cloned());
        let steps = steps.chain(remade(&second, "c2", &first)).chain(remade(&first, "c1", &second));
        steps.chain(settings.iter().skip(1).cloned()).collect::<Vec<String>>()
    };
    let restart = |node: &str| format!("restart node {node} if its settings wait for that");
    let configured = [
        "change the cluster's settings (postgresql.parameters.max_connections unset → 200, \
         synchronous_mode false → true)"
            .to_owned(),
        restart(&first),
        restart(&second),
        restart(&first),
        restart(&second),
        format!("await that {first}, {second} run and have caught up"),
    ];
    let limit = "memory no limit → 1024 MiB";
    assert_eq!(rehearsed(&lab, to_plan("large")), expected(&configured, limit));
    // Only its memory is another one.
    let now = settings(&mut lab.catalog.services[0].plans[0]).clone();
    let large = lab.catalog.services[0].plans.iter_mut().find(|plan| plan.id.as_str() == "large").unwrap();
    *settings(large) = PatroniPlan { memory_bytes: Some(1 << 30), ..now };
    lab.start();
    assert_eq!(rehearsed(&lab, to_plan("large")), expected(&[], limit));
    lab.offer_upgrade(NEWER);
    assert!(
        rehearsed(&lab, upgrade())
            .contains(&format!("make node {first} on cell c1 anew (image {image} → {NEWER})"))
    );
}

/// What would be refused is refused, and what is done is what was rehearsed.
#[test]
fn a_rehearsal_is_refused_as_the_update_would_be() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.offer_upgrade(OTHER);
    let told = lab.broker().update(UpdateRequest { rehearse: true, ..upgrade() });
    assert!(matches!(told, Err(BrokerError::UpdateNotSupported { .. })), "{told:?}");
}

#[test]
fn a_rehearsal_says_the_steps_of_a_dream() {
    let lab = Lab::dreaming("{}");
    let request =
        UpdateRequest { rehearse: true, ..change_parameters("d1", r#"{"delay_ms": 5, "fail": "update"}"#) };
    match lab.broker().update(request) {
        Ok(Accepted::Rehearsed { steps }) => {
            assert_eq!(steps.len(), 2);
            assert_eq!(steps[0], "wait 5 ms");
        }
        told => panic!("{told:?}"),
    }
    assert!(lab.fetch("d1").unwrap().parameters.is_empty());
    let renamed = UpdateRequest {
        rehearse: true,
        context: Some(crate::dream::map(r#"{"instance_name": "n"}"#)),
        ..change("d1")
    };
    assert_eq!(lab.broker().update(renamed), Ok(Accepted::Rehearsed { steps: Vec::new() }));
    assert!(lab.record("d1").unwrap().value.context.is_empty());
}
