//! Rolling upgrades: one container after the other is made anew on its volume, the leader's last.

use patroni_broker::broker::{BrokerError, Outcome, UpdateRequest};
use patroni_broker::cells::fake::{Call, Trouble};
use patroni_broker::model::{ContainerName, NodeId, Plan};
use serde_json::{Value, json};

use crate::cluster::{CELLS, NEWER, OTHER, failed, settings, upgrade};
use crate::dream::refused;
use crate::lab::{IMAGE, Lab};

/// What each node of `b1` is made from, by its cell, and which volume it has.
fn made(lab: &Lab) -> Vec<(String, String, u64)> {
    let record = lab.record("b1").unwrap().value;
    let of = |node: &patroni_broker::state::NodeRecord| {
        let volume = lab.engine.volume(&ContainerName::of(&node.node_id)).unwrap();
        (node.backend_id.to_string(), node.build.as_ref().unwrap().image.clone(), volume)
    };
    record.nodes.iter().map(of).collect()
}

fn images(lab: &Lab) -> Vec<String> {
    made(lab).into_iter().map(|(_, image, _)| image).collect()
}

fn volumes(lab: &Lab) -> Vec<u64> {
    made(lab).into_iter().map(|(.., volume)| volume).collect()
}

#[test]
fn a_cluster_is_upgraded_one_by_one() {
    let mut lab = Lab::clustered("c1@z1 c2@z2 c3@z3", 3);
    let (first, before) = (lab.node_on("c1"), volumes(&lab));
    lab.offer_upgrade(NEWER);
    assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded));
    assert_eq!(images(&lab), [NEWER; 3]);
    assert_eq!(volumes(&lab), before, "data were left behind");
    let leader = lab.patroni.leader("b1").unwrap();
    assert_eq!(lab.patroni.events("b1"), [format!("{first} > {leader}")]);
    assert_eq!(lab.patroni.fewest("b1"), 2, "more than one was down at a time");
    assert_eq!(lab.fetch("b1").unwrap().maintenance_version.as_deref(), Some("2.0.0"));
    lab.assert_as_recorded("upgraded");
    lab.assert_goes();
}

/// Its downtime is a restart, on its own data.
#[test]
fn a_cluster_of_one_is_upgraded_in_place() {
    let mut lab = Lab::clustered(CELLS, 1);
    let (first, before) = (lab.node_on("c1"), volumes(&lab));
    lab.offer_upgrade(NEWER);
    assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded));
    assert_eq!((images(&lab), volumes(&lab)), (vec![NEWER.to_owned()], before));
    assert_eq!(lab.patroni.leader("b1"), Some(first));
    lab.assert_as_recorded("upgraded");
}

/// Each container goes back to what it was, the one that refused and those that were made anew before.
#[test]
fn an_upgrade_that_fails_is_undone() {
    for cell in ["c1", "c2", "c3"] {
        let mut lab = Lab::clustered("c1@z1 c2@z2 c3@z3", 3);
        let before = made(&lab);
        lab.offer_upgrade(NEWER);
        lab.cell(cell).trouble(Call::Remake, Trouble::Refuse("no space left".to_owned()));
        let (description, usable, repeatable) = failed(lab.update(upgrade()).unwrap());
        assert!(description.contains("no space left"), "{cell}: {description}");
        assert_eq!((usable, repeatable), (Some(true), Some(true)), "{cell}");
        assert_eq!(made(&lab), before, "{cell}");
        assert_eq!(lab.fetch("b1").unwrap().maintenance_version.as_deref(), Some("1.0.0"));
        let events = lab.patroni.events("b1");
        assert!(events.iter().all(|event| !event.ends_with("lost")), "{cell}: {events:?}");
        assert!(lab.patroni.fewest("b1") >= 2, "{cell}");
        lab.assert_as_recorded(cell);
        // Asked for again, it goes well.
        assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded), "{cell}");
        assert_eq!(images(&lab), [NEWER; 3], "{cell}");
    }
}

/// A cluster of two whose plan's next version has other settings: one is new, one differs, and one is there no more.
fn with_other_settings() -> Lab {
    let mut lab = Lab::new(CELLS);
    lab.offer_updates();
    let parameters = |plan: &mut Plan, parameters: Value| {
        settings(plan).postgresql_parameters = parameters.as_object().unwrap().clone();
    };
    lab.change_plan(|plan| parameters(plan, json!({"max_connections": 100, "work_mem": "8MB"})));
    lab.cluster(2);
    lab.offer_upgrade(NEWER);
    lab.change_plan(|plan| {
        parameters(plan, json!({"max_connections": 200, "jit": false}));
        settings(plan).synchronous = true;
    });
    lab
}

#[test]
fn an_upgrade_brings_the_settings_of_its_version() {
    let lab = with_other_settings();
    let mut expected = lab.patroni.config("b1");
    assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded));
    expected["synchronous_mode"] = json!(true);
    expected["postgresql"]["parameters"] = json!({"max_connections": 200, "jit": false});
    assert_eq!(lab.patroni.config("b1"), expected);
    lab.assert_as_recorded("upgraded");
}

/// The catalog knows the new settings only by then, and the old ones stand in the cluster.
#[test]
fn an_upgrade_that_fails_leaves_the_settings_as_they_were() {
    let lab = with_other_settings();
    let (config, before) = (lab.patroni.config("b1"), made(&lab));
    lab.cell("c1").trouble(Call::Remake, Trouble::Refuse("no space left".to_owned()));
    let (description, usable, repeatable) = failed(lab.update(upgrade()).unwrap());
    assert!(description.contains("no space left"), "{description}");
    assert_eq!((usable, repeatable), (Some(true), Some(true)));
    assert_eq!((lab.patroni.config("b1"), made(&lab)), (config, before));
    let configured = lab.patroni.events("b1").iter().filter(|event| *event == "configure").count();
    assert_eq!(configured, 2, "it was configured, and back");
    lab.assert_as_recorded("undone");
}

/// It may have been made anew all the same: it is looked at again.
#[test]
fn a_silent_cell_is_asked_again() {
    for trouble in [Trouble::SilentWithEffect, Trouble::SilentWithoutEffect] {
        let mut lab = Lab::clustered(CELLS, 2);
        let before = volumes(&lab);
        lab.offer_upgrade(NEWER);
        lab.cell("c2").trouble(Call::Remake, trouble.clone());
        assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded), "{trouble:?}");
        assert_eq!((images(&lab), volumes(&lab)), (vec![NEWER.to_owned(); 2], before), "{trouble:?}");
        lab.assert_as_recorded(&format!("{trouble:?}"));
    }
}

/// Who leads just before its container is stopped is found out then, whatever the plan believes.
#[test]
fn a_leader_is_not_made_anew_while_it_leads() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.offer_upgrade(NEWER);
    assert_eq!(lab.update(upgrade()), Ok(Outcome::Succeeded));
    let record = lab.record("b1").unwrap().value;
    let steps = record.operation.unwrap().steps;
    for (done, step) in steps.iter().enumerate() {
        let patroni_broker::scheduler::Step::RemakeNode { node, .. } = step else { continue };
        // Back to just before it, with its old container, and with that node as the leader.
        lab.rewind("b1", done);
        let name = ContainerName::of(node);
        let mut old = lab.engine.spec(&name).unwrap();
        old.image = IMAGE.to_owned();
        let on = lab.record("b1").unwrap().value.node(node).unwrap().backend_id.to_string();
        patroni_broker::cells::Cell::remake(lab.cell(&on), &old, std::time::Duration::ZERO).unwrap();
        crate::lab::until("it to run again", || (lab.patroni.leader("b1").as_ref()?.len() > 1).then_some(()));
        std::thread::sleep(std::time::Duration::from_millis(100));
        lab.patroni.fail_over("b1", node.as_str());
        let before = lab.patroni.events("b1").len();
        lab.start();
        lab.settle("b1");
        let events = lab.patroni.events("b1").split_off(before);
        assert!(events[0].starts_with(&format!("{node} > ")), "{events:?}");
        assert!(events.iter().all(|event| !event.ends_with("lost")), "{events:?}");
        assert_eq!(images(&lab), [NEWER; 2]);
    }
}

#[test]
fn another_postgresql_is_refused_at_once() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.offer_upgrade(OTHER);
    let (record, keys, before) = (lab.record("b1").unwrap().revision, lab.settled_keys(), made(&lab));
    for rehearse in [true, false] {
        match refused(lab.update(UpdateRequest { rehearse, ..upgrade() })) {
            BrokerError::UpdateNotSupported { reason } => {
                assert!(reason.contains("PostgreSQL 18"), "{reason}")
            }
            error => panic!("{error:?}"),
        }
    }
    assert_eq!((lab.record("b1").unwrap().revision, lab.keys(), made(&lab)), (record, keys, before));
}

/// Where no cell has both images when it is asked for, the first step finds it out, before anything is touched.
#[test]
fn another_postgresql_is_refused_when_it_is_seen() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.offer_upgrade(OTHER);
    let before = made(&lab);
    lab.cell("c2").trouble(Call::ImageEnvironment, Trouble::SilentWithoutEffect);
    let (description, usable, repeatable) = failed(lab.update(upgrade()).unwrap());
    assert!(description.contains("PostgreSQL 18"), "{description}");
    assert_eq!((usable, repeatable), (Some(true), Some(false)));
    assert_eq!(made(&lab), before);
    assert_eq!(lab.patroni.fewest("b1"), 2);
    lab.assert_as_recorded("refused");
}

#[test]
fn an_image_that_there_is_not_touches_nothing() {
    let mut lab = Lab::clustered(CELLS, 2);
    lab.offer_upgrade("nowhere/nothing:1");
    let before = made(&lab);
    let (description, usable, repeatable) = failed(lab.update(upgrade()).unwrap());
    assert!(description.contains("nowhere/nothing:1"), "{description}");
    assert_eq!((usable, repeatable), (Some(true), Some(true)));
    assert_eq!((made(&lab), lab.patroni.fewest("b1")), (before, 2));
}

/// While the cluster is between two images its members may do what they need, and afterwards no more.
#[test]
fn rights_follow_a_cluster_that_moves() {
    let mut lab = Lab::isolated(CELLS);
    lab.offer_updates();
    lab.provision(crate::lab::order("b1", "{}")).unwrap();
    lab.offer_upgrade(NEWER);
    let moves = crate::cluster::alter_parameters(r#"{"cells": ["c3", "c4"]}"#);
    assert_eq!(
        lab.update(UpdateRequest { parameters: moves.parameters, ..upgrade() }),
        Ok(Outcome::Succeeded)
    );
    let writes = lab.guests.guest("b1").unwrap().rights.write;
    let members: Vec<NodeId> =
        lab.record("b1").unwrap().value.nodes.iter().map(|node| node.node_id.clone()).collect();
    let mut may: Vec<String> =
        writes.iter().map(ToString::to_string).filter(|key| key.contains("/members/")).collect();
    let mut expected: Vec<String> =
        members.iter().map(|node| format!("/service/b1/members/{node}")).collect();
    may.sort();
    expected.sort();
    assert_eq!(may, expected);
    assert_eq!(lab.guests.breaches(), Vec::<String>::new());
    lab.assert_as_recorded("moved and upgraded");
    lab.assert_goes();
}
