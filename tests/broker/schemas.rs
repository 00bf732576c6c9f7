//! Parameters are held against the driver's schemas and the site's: both must accept.

use patroni_broker::broker::{BindRequest, BrokerError, StartError, UpdateRequest};
use serde_json::json;

use crate::dream::{bind, change_parameters, dream, given, refused};
use crate::lab::{Lab, order};

const SECRET: &str = "hunter2";

/// Nobody may read a password in a message, which ends up in logs and on screens.
fn assert_names(what: &str, error: &BrokerError, place: &str) {
    let BrokerError::InvalidParameters { reason } = error else { panic!("{what}: {error:?}") };
    assert!(reason.starts_with(place) && !reason.contains(SECRET), "{what}: {reason}");
}

#[test]
fn what_is_wrong_is_named() {
    let lab = Lab::dreaming("{}");
    let check = |parameters: &str, place: &str| {
        let error = refused(lab.provision(order("b1", parameters)));
        assert_names(parameters, &error, place);
        assert!(lab.record("b1").is_none(), "{parameters}");
    };
    check(r#"{"node-count": "hunter2"}"#, "parameters.node-count: ");
    check(r#"{"node-count": 0}"#, "parameters.node-count: ");
    check(r#"{"cells": ["c1", "c1"]}"#, "parameters.cells: ");
    check(r#"{"cells": ["c1", {"a": "hunter2"}]}"#, "parameters.cells[1]: ");
    check(r#"{"node_count": "hunter2"}"#, "parameters: ");
    let dreams = r#"{"delay_ms": "hunter2"}"#;
    assert_names("an order", &refused(lab.provision(dream("d2", dreams))), "parameters.delay_ms: ");
    assert_names("an update", &refused(lab.update(change_parameters("d1", dreams))), "parameters.delay_ms: ");
    assert_names("a binding", &refused(lab.broker().bind(bind("d1", "x", dreams))), "parameters.delay_ms: ");
}

#[test]
fn the_sites_schemas_narrow() {
    let mut lab = Lab::new("c1@z1 c2@z2 c3@z3");
    let narrow = |name: &str| {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {name: {"const": 1}},
        });
        Some(schema)
    };
    let plan = &mut lab.catalog.services[1].plans[0].schemas;
    (plan.create, plan.update, plan.bind) = (narrow("created"), narrow("updated"), narrow("bound"));
    lab.catalog.services[0].plans[0].schemas.create =
        Some(json!({"properties": {"node-count": {"maximum": 2}, "mine": {"type": "string"}}}));
    lab.start();
    assert_names(
        "an order",
        &refused(lab.provision(dream("d1", r#"{"created": "hunter2"}"#))),
        "parameters.created: ",
    );
    // The driver's holds beside it.
    assert_names(
        "a delay",
        &refused(lab.provision(dream("d1", r#"{"delay_ms": -1}"#))),
        "parameters.delay_ms: ",
    );
    lab.provision(dream("d1", r#"{"created": 1, "updated": 2, "bound": 2}"#)).unwrap();
    let update = |parameters: &str| -> UpdateRequest { change_parameters("d1", parameters) };
    assert_names("an update", &refused(lab.update(update(r#"{"updated": 2}"#))), "parameters.updated: ");
    lab.update(update(r#"{"updated": 1, "created": 2}"#)).unwrap();
    let binding = |parameters: &str| -> BindRequest { bind("d1", "x", parameters) };
    assert_names("a binding", &refused(lab.broker().bind(binding(r#"{"bound": 2}"#))), "parameters.bound: ");
    given(lab.broker().bind(binding(r#"{"bound": 1, "updated": 2}"#)));
    // What the site allows and the driver does not know is refused all the same.
    assert_names(
        "a third node",
        &refused(lab.provision(order("b1", r#"{"node-count": 3}"#))),
        "parameters.node-count: ",
    );
    assert_names(
        "an own one",
        &refused(lab.provision(order("b1", r#"{"mine": "hunter2"}"#))),
        "parameters: ",
    );
    lab.provision(order("b1", r#"{"node-count": 1}"#)).unwrap();
}

#[test]
fn the_catalog_says_what_holds() {
    let mut lab = Lab::new("c1@z1");
    let site = json!({"type": "object", "maxProperties": 1});
    lab.catalog.services[1].plans[0].schemas.update = Some(site.clone());
    lab.start();
    let mut told = 0;
    for plan in lab.broker().catalog().services.iter().flat_map(|service| &service.plans) {
        let schemas = [&plan.schemas.create, &plan.schemas.update, &plan.schemas.bind];
        for schema in schemas.into_iter().flatten() {
            told += 1;
            if *schema != site {
                // OSB 2.17, "Input Parameters Schema Object".
                assert!(schema["$schema"].is_string(), "{schema}");
                assert!(schema.to_string().len() < 64 * 1024);
            }
        }
    }
    assert_eq!(told, 3 * 6);
    assert_eq!(lab.broker().catalog().services[1].plans[0].schemas.update, Some(site));
}

#[test]
fn a_broker_does_not_start_on_what_is_no_schema() {
    let mut lab = Lab::new("c1@z1");
    lab.catalog.services[1].plans[1].schemas.bind = Some(json!({"type": "nothing"}));
    let Err(StartError::Catalog { reason }) = lab.try_start() else { panic!("it started") };
    assert!(reason.contains("bind") && reason.contains("large"), "{reason}");
}
