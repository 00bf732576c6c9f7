//! Every status of every endpoint that the specification has, and what of a request reaches the broker.

use std::time::Duration;

use patroni_broker::broker::{BrokerError, LastOperation, Outcome};
use patroni_broker::model::{PlanId, ServiceId};
use serde_json::Value;
use storage::StoreError;

use crate::bench::{Bench, ORDER};
use crate::client::{Answer, request};
use crate::desk::{Next, PASSWORD, whole_binding};

const INSTANCE: &str = "/v2/service_instances/b1";
const BINDING: &str = "/v2/service_instances/b1/service_bindings/x";
const POLL: &str = "accepts_incomplete=true";

fn text(text: &str) -> String {
    text.to_owned()
}

/// What every kind of refusal comes to, wherever it happens.
#[test]
fn refusals() {
    let bench = Bench::start();
    let check = |error: BrokerError, status: u16, key: &str| {
        bench.desk.next(Next::Fail(error.clone()));
        let answer = bench.ask(&format!("DELETE {INSTANCE}?{POLL}"), "");
        assert_eq!(answer.status, status, "{error:?}: {}", answer.body);
        if key.is_empty() {
            return assert_eq!(answer.body, "{}", "{error:?}");
        }
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(told["error"], key, "{error:?}");
        assert!(!told["description"].as_str().unwrap().is_empty(), "{error:?}");
        assert_eq!(told["instance_usable"], Value::Null, "{error:?}");
    };
    let reason = || text("this is why");
    check(BrokerError::UnknownService(ServiceId::parse("s").unwrap()), 400, "UnknownService");
    check(BrokerError::UnknownPlan(PlanId::parse("p").unwrap()), 400, "UnknownPlan");
    check(BrokerError::WrongPlan { reason: reason() }, 400, "WrongPlan");
    check(BrokerError::InvalidParameters { reason: reason() }, 400, "InvalidParameters");
    check(BrokerError::NotBindable, 400, "NotBindable");
    check(BrokerError::NotRotatable { reason: reason() }, 400, "NotRotatable");
    check(BrokerError::InstanceUnknown, 404, "InstanceNotFound");
    check(BrokerError::BindingUnknown, 404, "BindingNotFound");
    check(BrokerError::InstanceExists, 409, "InstanceExists");
    check(BrokerError::BindingExists, 409, "BindingExists");
    check(BrokerError::InstanceGone, 410, "");
    check(BrokerError::BindingGone, 410, "");
    check(BrokerError::Concurrency, 422, "ConcurrencyError");
    check(BrokerError::Store(StoreError::Conflict), 422, "ConcurrencyError");
    check(BrokerError::AsyncRequired, 422, "AsyncRequired");
    check(BrokerError::RequiresApp, 422, "RequiresApp");
    check(BrokerError::MaintenanceInfoConflict { reason: reason() }, 422, "MaintenanceInfoConflict");
    check(BrokerError::UpdateNotSupported { reason: reason() }, 422, "UpdateNotSupported");
    check(BrokerError::InstanceFailed { reason: reason() }, 422, "InstanceFailed");
    check(BrokerError::OperationFailed { reason: reason() }, 500, "OperationFailed");
    check(BrokerError::NoCapacity { reason: reason() }, 503, "NoCapacity");
    check(BrokerError::Busy, 503, "Busy");
}

/// An answer, its status and body checked.
#[track_caller]
fn told(bench: &Bench, next: Next, line: &str, body: &str, status: u16, expected: &str) -> Answer {
    bench.desk.next(next);
    let answer = bench.ask(line, body);
    assert_eq!((answer.status, answer.body.as_str()), (status, expected), "{line} {body}");
    answer
}

#[test]
fn provisioning() {
    let bench = Bench::start();
    let put = |query: &str| format!("PUT {INSTANCE}{query}");
    let poll = put("?accepts_incomplete=true");
    told(&bench, Next::Usual, &poll, ORDER, 202, r#"{"operation":"op-b1"}"#);
    told(&bench, Next::Usual, &poll, ORDER, 202, r#"{"operation":"op-b1"}"#);
    bench.refused(&poll, r#"{"service_id": "s1", "plan_id": "p2"}"#, 409, "InstanceExists", "attributes");
    bench.desk.end("b1", &Outcome::Succeeded);
    told(&bench, Next::Usual, &poll, ORDER, 200, "{}");
    told(&bench, Next::Usual, &put(""), ORDER, 200, "{}");
    let check = |body: &str, status: u16, error: &str, description: &str| {
        bench.refused(&poll, body, status, error, description);
    };
    check("{\"service_id\": \"s1\"}", 400, "BadRequest", "plan_id is required");
    let with = |fields: &str| format!("{}, {fields}}}", &ORDER[..ORDER.len() - 1]);
    check(&with(r#""maintenance_info": {}"#), 400, "BadRequest", "maintenance_info.version is required");
    check(
        &with(r#""maintenance_info": {"version": 2}"#),
        400,
        "BadRequest",
        "maintenance_info.version must be a text",
    );
    check(&with(r#""organization_guid": 3"#), 400, "BadRequest", "organization_guid must be a text");
    check(&with(r#""space_guid": {}"#), 400, "BadRequest", "space_guid must be a text");
    for error in [BrokerError::AsyncRequired, BrokerError::Concurrency, BrokerError::InstanceGone] {
        let (status, key) = match error {
            BrokerError::AsyncRequired => (422, "AsyncRequired"),
            BrokerError::Concurrency => (422, "ConcurrencyError"),
            _ => (404, "InstanceNotFound"),
        };
        bench.desk.next(Next::Fail(error));
        check(ORDER, status, key, "");
    }
}

/// What the broker is asked, as far as the request says it.
#[test]
fn what_reaches_the_broker() {
    let bench = Bench::start();
    bench.provisioned("b1");
    let check = |line: &str, body: &str, parts: &[&str]| {
        bench.desk.heard();
        let answer = bench.ask(line, body);
        let heard = bench.desk.heard();
        for part in parts {
            assert!(heard.contains(part), "{line} {body}: {}: {part} is not in {heard}", answer.status);
        }
        assert!(!parts.is_empty() || heard.is_empty(), "{line}: {heard}");
    };
    let put = "PUT /v2/service_instances/b2?accepts_incomplete=true";
    check(
        put,
        r#"{"service_id": "s1", "plan_id": "p1", "context": {"organization_guid": "o", "space_guid": 3},
            "parameters": null, "maintenance_info": {"version": "1.0.0", "description": 7}, "x-unknown": []}"#,
        &[
            "organization_guid: \"o\", space_guid: \"\", parameters: {}",
            "maintenance_version: Some(\"1.0.0\")",
            "accepts_incomplete: true",
        ],
    );
    check(
        put,
        r#"{"service_id": "s1", "plan_id": "p1", "organization_guid": "a", "space_guid": null,
            "context": null, "maintenance_info": null}"#,
        &["organization_guid: \"a\", space_guid: \"\"", "context: {}, maintenance_version: None"],
    );
    check("PUT /v2/service_instances/b3", r#"{"parameters": {"a": 1}}"#, &["InstanceId(\"b3\")"]);
    check(
        "PUT /v2/service_instances/b3",
        r#"{"service_id": null, "plan_id": null}"#,
        &["InstanceId(\"b3\")"],
    );
    check("PUT /v2/service_instances/b%2D3%7e", "{}", &["InstanceId(\"b-3~\")"]);

    let patch = "PATCH /v2/service_instances/b1?accepts_incomplete=true";
    check(
        patch,
        r#"{"service_id": "s1"}"#,
        &["plan: None, parameters: None, context: None, maintenance_version: None, previous: \
           PreviousValues { service: None, plan: None, maintenance_version: None }, accepts_incomplete: true"],
    );
    check(
        patch,
        r#"{"service_id": "s1", "plan_id": null, "parameters": null, "context": null, "previous_values": null}"#,
        &["plan: None, parameters: None, context: None, maintenance_version: None"],
    );
    check(
        patch,
        r#"{"service_id": "s1", "plan_id": "p2", "parameters": {}, "context": {"a": 1},
            "maintenance_info": {"version": "2.0.0"}, "previous_values": {"service_id": "s1", "plan_id": "p1",
            "organization_id": 3, "space_id": [], "maintenance_info": {"version": "1.0.0"}}}"#,
        &[
            "plan: Some(PlanId(\"p2\")), parameters: Some({}), context: Some({\"a\": Number(1)})",
            "maintenance_version: Some(\"2.0.0\"), previous: PreviousValues { service: Some(ServiceId(\"s1\")), \
             plan: Some(PlanId(\"p1\")), maintenance_version: Some(\"1.0.0\") }",
        ],
    );
    let hints = "?service_id=s1&plan_id=p1";
    let believed = "service: Some(ServiceId(\"s1\")), plan: Some(PlanId(\"p1\"))";
    check(&format!("GET {INSTANCE}{hints}"), "", &["FetchRequest", believed]);
    check(&format!("GET {INSTANCE}"), "", &["FetchRequest", "service: None, plan: None"]);
    check(&format!("GET {BINDING}{hints}"), "", &["BindingId(\"x\")", believed]);
    check(
        &format!("GET {INSTANCE}/last_operation{hints}&operation=op%20%2F1"),
        "",
        &["binding: None, operation: Some(\"op /1\")", believed],
    );
    check(
        &format!("GET {BINDING}/last_operation"),
        "",
        &["binding: Some(BindingId(\"x\")), operation: None, service: None, plan: None"],
    );
    let bind = format!("PUT {BINDING}?{POLL}");
    check(
        &bind,
        r#"{"service_id": "s1", "plan_id": "p1", "app_guid": "a", "context": {"b": 1}, "parameters": {"c": 2}}"#,
        &[
            "parameters: {\"c\": Number(2)}, bind_resource: {\"app_guid\": String(\"a\")}, context: {\"b\": Number(1)}",
            "predecessor: None, accepts_incomplete: true",
        ],
    );
    check(
        &bind,
        r#"{"service_id": "s1", "plan_id": "p1", "app_guid": "a", "bind_resource": {"app_guid": "b"}}"#,
        &["bind_resource: {\"app_guid\": String(\"b\")}"],
    );
    check(
        &bind,
        r#"{"predecessor_binding_id": "w"}"#,
        &["service: None, plan: None", "predecessor: Some(BindingId(\"w\"))"],
    );
    check(
        &bind,
        r#"{"predecessor_binding_id": "w", "service_id": "s1", "plan_id": "p1"}"#,
        &[believed, "predecessor: Some(BindingId(\"w\"))"],
    );
    check(&bind, r#"{"predecessor_binding_id": "w", "plan_id": 1}"#, &[]);
    check(&bind, r#"{"predecessor_binding_id": ""}"#, &[]);
    check(&bind, r#"{"plan_id": "p1"}"#, &[]);
    check(&format!("DELETE {BINDING}{hints}&{POLL}"), "", &[believed, "accepts_incomplete: true"]);
    check(&format!("DELETE {INSTANCE}{hints}"), "", &[believed, "accepts_incomplete: false"]);
}

#[test]
fn fetching() {
    let bench = Bench::start();
    bench.refused(&format!("GET {INSTANCE}"), "", 404, "InstanceNotFound", "");
    let body = concat!(
        r#"{"service_id": "s1", "plan_id": "p1", "parameters": {"a": 1}, "#,
        r#""maintenance_info": {"version": "1.0.0"}}"#
    );
    bench.ask(&format!("PUT {INSTANCE}?{POLL}"), body);
    bench.refused(&format!("GET {INSTANCE}"), "", 422, "ConcurrencyError", "");
    bench.desk.end("b1", &Outcome::Succeeded);
    let expected = concat!(
        r#"{"service_id":"s1","plan_id":"p1","dashboard_url":"https://d.example/b","parameters":{"a":1},"#,
        r#""maintenance_info":{"version":"1.0.0"},"metadata":{"labels":{"a":"b"}}}"#
    );
    bench.check(&format!("GET {INSTANCE}"), "", 200, expected);
    bench.check(&format!("GET {INSTANCE}/"), "", 200, expected);
    let head = bench.client().ask(&format!("HEAD {INSTANCE}"), &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, expected.len().to_string().as_str()));
    bench.provisioned("b2");
    let expected = r#"{"service_id":"s1","plan_id":"p1","parameters":{"node-count":2}}"#;
    bench.check("GET /v2/service_instances/b2", "", 200, expected);
    bench.desk.next(Next::Fail(BrokerError::InstanceGone));
    bench.refused(&format!("GET {INSTANCE}"), "", 404, "InstanceNotFound", "");
}

#[test]
fn updating() {
    let bench = Bench::start();
    let patch = format!("PATCH {INSTANCE}");
    let poll = format!("{patch}?{POLL}");
    let body = r#"{"service_id": "s1", "plan_id": "p2"}"#;
    bench.refused(&poll, body, 404, "InstanceNotFound", "");
    bench.provisioned("b1");
    told(&bench, Next::Usual, &poll, r#"{"service_id": "s1", "context": {"a": 1}}"#, 200, "{}");
    told(&bench, Next::Usual, &poll, body, 202, r#"{"operation":"op-b1"}"#);
    let check = |body: &str, description: &str| bench.refused(&poll, body, 400, "BadRequest", description);
    check("", "a body is required");
    check("{}", "service_id is required");
    check(r#"{"service_id": null}"#, "service_id is required");
    check(r#"{"service_id": "s1", "plan_id": 7}"#, "plan_id must be a text");
    check(r#"{"service_id": "s1", "plan_id": ""}"#, "plan_id: a plan id must be");
    check(r#"{"service_id": "s1", "parameters": "x"}"#, "parameters must be an object");
    check(r#"{"service_id": "s1", "previous_values": []}"#, "previous_values must be an object");
    check(
        r#"{"service_id": "s1", "previous_values": {"plan_id": 1}}"#,
        "previous_values.plan_id must be a text",
    );
    check(
        r#"{"service_id": "s1", "previous_values": {"maintenance_info": {}}}"#,
        "previous_values.maintenance_info.version is required",
    );
    let conflict = BrokerError::MaintenanceInfoConflict { reason: text("1.0.1 is offered") };
    bench.desk.next(Next::Fail(conflict));
    bench.refused(&poll, body, 422, "MaintenanceInfoConflict", "1.0.1 is offered");
    let expected = r#"{"error":"UpdateNotSupported","description":"no","update_repeatable":false}"#;
    let no = BrokerError::UpdateNotSupported { reason: text("no") };
    told(&bench, Next::Fail(no), &poll, body, 422, expected);

    // A synchronous one that fails says whether the instance can be used, and whether to try again.
    let mut client = bench.client();
    client.send(&request(&patch, &[], body.as_bytes()));
    bench.desk.parked("b1");
    bench.desk.end("b1", &failed(Some(true), Some(false)));
    let answer = client.answer(false);
    let expected = concat!(
        r#"{"error":"OperationFailed","description":"no cell answers","instance_usable":true,"#,
        r#""update_repeatable":false}"#
    );
    assert_eq!((answer.status, answer.body.as_str()), (500, expected));
    let mut client = bench.client();
    client.send(&request(&patch, &[], body.as_bytes()));
    bench.desk.parked("b1");
    bench.desk.end("b1", &Outcome::Succeeded);
    let answer = client.answer(false);
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
}

fn failed(instance_usable: Option<bool>, update_repeatable: Option<bool>) -> Outcome {
    Outcome::Failed { description: text("no cell answers"), instance_usable, update_repeatable }
}

#[test]
fn deprovisioning() {
    let bench = Bench::start();
    let delete = format!("DELETE {INSTANCE}?{POLL}");
    told(&bench, Next::Usual, &delete, "", 410, "{}");
    bench.ask(&format!("PUT {INSTANCE}?{POLL}"), ORDER);
    bench.refused(&delete, "", 422, "ConcurrencyError", "");
    bench.desk.end("b1", &Outcome::Succeeded);
    bench.desk.next(Next::Fail(BrokerError::AsyncRequired));
    bench.refused(&format!("DELETE {INSTANCE}"), "", 422, "AsyncRequired", "accepts_incomplete=true");
    told(&bench, Next::Usual, &delete, "", 202, r#"{"operation":"op-b1"}"#);
    told(&bench, Next::Usual, &delete, "", 202, r#"{"operation":"op-b1"}"#);
    bench.desk.end("b1", &Outcome::Succeeded);
    told(&bench, Next::Usual, &delete, "", 410, "{}");
}

#[test]
fn polling() {
    let bench = Bench::start();
    let check = |path: &str, stand: LastOperation, expected: &str, retry_after: &str| {
        let line = format!("GET {path}/last_operation");
        let answer = told(&bench, Next::Poll(stand), &line, "", 200, expected);
        assert_eq!(answer.header("retry-after"), retry_after, "{line}");
    };
    let going = |wait_ms: Option<u64>| LastOperation::InProgress {
        description: text("a"),
        retry_after: wait_ms.map(Duration::from_millis),
    };
    let progress = r#"{"state":"in progress","description":"a"}"#;
    for path in [INSTANCE, BINDING] {
        check(path, going(None), progress, "");
        check(path, going(Some(0)), progress, "1");
        check(path, going(Some(2001)), progress, "3");
        let done = |description: &str| LastOperation::Succeeded { description: text(description) };
        check(path, done("b"), r#"{"state":"succeeded","description":"b"}"#, "");
        check(path, done(""), r#"{"state":"succeeded"}"#, "");
    }
    let failed = |instance_usable: Option<bool>, update_repeatable: Option<bool>| LastOperation::Failed {
        description: text("c"),
        instance_usable,
        update_repeatable,
    };
    check(INSTANCE, failed(None, None), r#"{"state":"failed","description":"c"}"#, "");
    check(
        INSTANCE,
        failed(Some(false), Some(true)),
        r#"{"state":"failed","description":"c","instance_usable":false,"update_repeatable":true}"#,
        "",
    );
    // A binding's must not have them.
    check(BINDING, failed(Some(false), Some(true)), r#"{"state":"failed","description":"c"}"#, "");
    let refused = |path: &str, error: BrokerError, status: u16| {
        bench.desk.next(Next::Fail(error.clone()));
        let answer = bench.ask(&format!("GET {path}/last_operation"), "");
        assert_eq!(answer.status, status, "{path} {error:?}");
    };
    refused(INSTANCE, BrokerError::InstanceUnknown, 404);
    refused(INSTANCE, BrokerError::InstanceGone, 410);
    refused(BINDING, BrokerError::BindingUnknown, 404);
    refused(BINDING, BrokerError::BindingGone, 410);
}

#[test]
fn binding() {
    let bench = Bench::start();
    let put = format!("PUT {BINDING}");
    let poll = format!("{put}?{POLL}");
    bench.refused(&put, ORDER, 404, "InstanceNotFound", "");
    bench.provisioned("b1");
    let credentials = format!("\"credentials\":{{\"uri\":\"postgres://u:{PASSWORD}@h:30000/postgres\"}}");
    let whole = format!(
        "{{\"metadata\":{{\"attributes\":{{\"of\":\"the driver\"}},\"expires_at\":\"2019-12-31T23:59:59.0Z\",\"renew_before\":\"2019-12-31T23:59:00.2Z\"}},\
         {credentials},\"endpoints\":[{{\"host\":\"h\",\"ports\":[\"5432\",\"5433\"],\"protocol\":\"tcp\"}}]"
    );
    let answer = told(&bench, Next::Bind(whole_binding()), &put, ORDER, 201, &format!("{whole}}}"));
    assert_eq!(answer.header("cache-control"), "no-store");
    told(&bench, Next::Bind(whole_binding()), &poll, ORDER, 200, &format!("{whole}}}"));
    let fetch = format!("GET {BINDING}");
    let expected = format!("{whole},\"parameters\":{{\"role\":\"reader\"}}}}");
    let answer = told(&bench, Next::Bind(whole_binding()), &fetch, "", 200, &expected);
    assert_eq!(answer.header("cache-control"), "no-store");
    told(&bench, Next::Usual, &fetch, "", 200, &format!("{{{credentials},\"parameters\":{{}}}}"));
    bench.refused("GET /v2/service_instances/b1/service_bindings/y", "", 404, "BindingNotFound", "");
    bench.desk.next(Next::Fail(BrokerError::BindingGone));
    bench.refused(&fetch, "", 404, "BindingNotFound", "");

    let later = "PUT /v2/service_instances/b1/service_bindings/y";
    let operation = r#"{"operation":"op-y"}"#;
    told(&bench, Next::Soon, &format!("{later}?{POLL}"), ORDER, 202, operation);
    bench.desk.next(Next::Soon);
    bench.refused(later, ORDER, 422, "AsyncRequired", "");
    for (error, status, key) in [
        (BrokerError::RequiresApp, 422, "RequiresApp"),
        (BrokerError::Concurrency, 422, "ConcurrencyError"),
        (BrokerError::AsyncRequired, 422, "AsyncRequired"),
        (BrokerError::BindingExists, 409, "BindingExists"),
        (BrokerError::NotBindable, 400, "NotBindable"),
        (BrokerError::InstanceGone, 404, "InstanceNotFound"),
    ] {
        bench.desk.next(Next::Fail(error));
        bench.refused(&put, ORDER, status, key, "");
    }
    let check = |body: &str, description: &str| bench.refused(&put, body, 400, "BadRequest", description);
    check(r#"{"plan_id": "p1"}"#, "service_id is required");
    check(r#"{"service_id": "s1", "plan_id": "p1", "app_guid": 1}"#, "app_guid must be a text");
    check(r#"{"service_id": "s1", "plan_id": "p1", "bind_resource": 1}"#, "bind_resource must be an object");
    check(r#"{"predecessor_binding_id": 7}"#, "predecessor_binding_id must be a text");
    check(r#"{"predecessor_binding_id": "a/b"}"#, "predecessor_binding_id: a binding id must be");
    check(r#"{"predecessor_binding_id": "w", "service_id": 1}"#, "service_id must be a text");

    let delete = format!("DELETE {BINDING}");
    bench.desk.next(Next::Fail(BrokerError::Concurrency));
    bench.refused(&delete, "", 422, "ConcurrencyError", "");
    told(&bench, Next::Usual, &delete, "", 200, "{}");
    told(&bench, Next::Usual, &delete, "", 410, "{}");
    told(&bench, Next::Usual, &put, ORDER, 201, &format!("{{{credentials}}}"));
    let operation = r#"{"operation":"op-x"}"#;
    told(&bench, Next::Soon, &format!("{delete}?{POLL}"), "", 202, operation);
}

/// Who polls is spared it where an operation ends soon, and polls where it does not.
#[test]
fn what_ends_soon() {
    let bench = Bench::start();
    let check = |id: &str, outcome: &Outcome, status: u16, expected: &str| {
        let mut client = bench.client();
        bench.desk.next(Next::Soon);
        client.send(&request(&format!("PUT /v2/service_instances/{id}?{POLL}"), &[], ORDER.as_bytes()));
        assert_eq!(bench.desk.parked(id), Duration::from_secs(7), "no longer than anybody");
        bench.desk.end(id, outcome);
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.body.as_str()), (status, expected), "{id}");
    };
    check("a", &Outcome::Succeeded, 201, "{}");
    check("b", &Outcome::StillRunning, 202, r#"{"operation":"op-b"}"#);
    check("c", &Outcome::Stopping, 202, r#"{"operation":"op-c"}"#);
    let description = r#"{"error":"OperationFailed","description":"no cell answers"}"#;
    check("d", &failed(None, None), 500, description);
    // Where all seats are taken, he polls.
    let mut clients: Vec<_> = (0..256).map(|_| bench.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&request(&format!("PUT /v2/service_instances/i{number}"), &[], ORDER.as_bytes()));
        bench.desk.parked(&format!("i{number}"));
    }
    let line = format!("PUT /v2/service_instances/e?{POLL}");
    told(&bench, Next::Soon, &line, ORDER, 202, r#"{"operation":"op-e"}"#);
}
