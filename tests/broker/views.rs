//! What operators see.

use std::time::{Duration, Instant};

use patroni_broker::broker::{BrokerError, ProvisionRequest, UpdateRequest};
use patroni_broker::model::Catalog;
use patroni_broker::state::keys;
use serde_json::json;
use storage::Expect;

use crate::dream::{bind, change, change_parameters, dream, given, map};
use crate::lab::{Lab, app_password, binding, id, order};

#[test]
fn instances_are_listed_without_secrets() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    let named = ProvisionRequest {
        context: map(r#"{"instance_name": "mine"}"#),
        organization_guid: "org".to_owned(),
        space_guid: "space".to_owned(),
        ..dream("a1", r#"{"token": "hunter2"}"#)
    };
    lab.provision(named).unwrap();
    // What nobody can read keeps nobody from seeing the others.
    lab.store.put(&keys::record(&id("a2")), b"{", None, Expect::Absent).unwrap();
    let views = json!(lab.broker().instances().unwrap());
    let names: Vec<_> = views.as_array().unwrap().iter().map(|view| view["instance_id"].clone()).collect();
    assert_eq!(names, ["a1", "b1"]);
    let told = |path: &str| views.pointer(path).unwrap_or_else(|| panic!("{path}: {views}")).clone();
    let check = |path: &str, expected: serde_json::Value| assert_eq!(told(path), expected, "{path}");
    check("/0/service_name", json!("the dream"));
    check("/0/plan_name", json!("the small"));
    check("/0/name", json!("mine"));
    check("/0/organization_guid", json!("org"));
    check("/0/space_guid", json!("space"));
    check("/0/maintenance_version", json!("1.0.0"));
    check("/0/nodes", json!([]));
    check("/0/public_port", json!(null));
    check("/0/operation/kind", json!("provision"));
    check("/0/operation/state", json!("succeeded"));
    check("/0/operation/description", json!("dreaming"));
    check("/1/name", json!(null));
    check("/1/public_port", json!(30000));
    check("/1/operation/steps", told("/1/operation/steps_done"));
    check("/1/nodes/0/cell", json!("c1"));
    check("/1/nodes/1/ports/0", json!("10.0.0.1:20010"));
    assert_eq!(views.pointer("/1/nodes/0/role"), None);
    assert_eq!(views.pointer("/1/bindings"), None);
    let record = lab.record("b1").unwrap().value;
    for secret in record.secrets() {
        assert!(!views.to_string().contains(secret.expose()));
    }
    assert!(!views.to_string().contains("hunter2"));
    lab.catalog = Catalog::default();
    lab.start();
    let views = json!(lab.broker().instances().unwrap());
    assert_eq!(views.pointer("/0/plan_name"), Some(&json!(null)));
    assert_eq!(views.pointer("/0/plan_id"), Some(&json!("small")));
}

#[test]
fn an_instance_is_seen_with_its_bindings_and_members() {
    let lab = Lab::dreaming("{}");
    lab.provision(order("b1", "{}")).unwrap();
    lab.broker().bind(binding("b1")).unwrap_or_else(|error| panic!("{error}"));
    for name in ["y", "x"] {
        given(lab.broker().bind(bind("d1", name, "{}")));
    }
    let view = json!(lab.broker().instance(&id("b1")).unwrap());
    assert_eq!(view["bindings"], json!(["x"]));
    let mut roles: Vec<_> =
        view["nodes"].as_array().unwrap().iter().map(|node| node["role"].as_str()).collect();
    roles.sort_unstable();
    assert_eq!(roles, [Some("master"), Some("replica")]);
    assert_eq!(view.pointer("/nodes/0/state"), Some(&json!("running")));
    assert!(!view.to_string().contains(app_password(&lab.record("b1").unwrap().value).expose()));
    let node = lab.record("b1").unwrap().value.nodes[1].node_id.clone();
    lab.patroni.silence("b1");
    lab.store.delete(&keys::member(&id("b1"), &node), Expect::Anything).unwrap();
    let view = json!(lab.broker().instance(&id("b1")).unwrap());
    assert_eq!(
        (view.pointer("/nodes/1/role"), view.pointer("/nodes/1/state")),
        (None, Some(&json!("stopped")))
    );
    assert_eq!(json!(lab.broker().instance(&id("d1")).unwrap())["bindings"], json!(["x", "y"]));
    assert_eq!(lab.broker().instance(&id("d2")).err(), Some(BrokerError::InstanceUnknown));
}

#[test]
fn an_updates_standing_is_seen() {
    let lab = Lab::dreaming("{}");
    let sleepy = change_parameters("d1", r#"{"asynchronous": true, "delay_ms": 60000}"#);
    lab.broker().update(UpdateRequest { accepts_incomplete: true, ..sleepy }).unwrap();
    let view = json!(lab.broker().instance(&id("d1")).unwrap());
    assert_eq!(view.pointer("/operation/kind"), Some(&json!("update")));
    assert_eq!(view.pointer("/operation/state"), Some(&json!("in progress")));
    assert_eq!(
        (view.pointer("/operation/steps_done"), view.pointer("/operation/steps")),
        (Some(&json!(0)), Some(&json!(1)))
    );
    assert_eq!(lab.broker().update(change("d1")), Err(BrokerError::Concurrency));
}

#[test]
fn cells_are_asked_at_once() {
    let lab = Lab::new("c1@z1 c2@z2 c3@z3");
    lab.provision(order("b1", r#"{"cells": ["c1", "c2"]}"#)).unwrap();
    lab.cell("c2").set_away(true);
    let begun = Instant::now();
    let views = crate::lab::until("the nodes to be counted", || {
        let views = json!(lab.broker().cells().unwrap());
        let is_counted = |at: &str| views.pointer(at) == Some(&json!(1));
        (is_counted("/0/nodes") && is_counted("/1/nodes")).then_some(views)
    });
    assert!(begun.elapsed() < Duration::from_secs(20));
    let seen: Vec<_> = views
        .as_array()
        .unwrap()
        .iter()
        .map(|view| {
            (view["guid"].as_str().unwrap(), view["up"] == json!(true), view["nodes"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(seen, [("c1", true, 1), ("c2", false, 1), ("c3", true, 0)]);
    assert!(views[1]["reason"].as_str().unwrap().contains("c2"), "{views}");
    assert_eq!(views[0].get("reason"), None);
    assert_eq!((&views[0]["availability_zone"], &views[0]["host"]), (&json!("z1"), &json!("10.0.0.1")));
}
