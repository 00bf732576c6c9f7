//! What users do, from the first order to the last, and what they are told when something is wrong.

use std::time::Duration;

use patroni_broker::broker::Outcome;

use crate::bench::{Bench, ORDER};
use crate::client::request;
use crate::desk::PASSWORD;

#[test]
fn the_ancestors_session() {
    let bench = Bench::start();
    let order = format!("{}, \"accepts_incomplete\": true}}", &ORDER[..ORDER.len() - 1]);
    bench.check("PUT /v2/service_instances/b2", &order, 202, r#"{"operation":"op-b2"}"#);
    let poll = "GET /v2/service_instances/b2/last_operation";
    bench.check(poll, "", 200, r#"{"state":"in progress","description":"members stopped, stopped"}"#);
    bench.refused("DELETE /v2/service_instances/b2", "", 422, "ConcurrencyError", "in progress");
    bench.desk.end("b2", &Outcome::Succeeded);
    bench.check(poll, "", 200, r#"{"state":"succeeded","description":"master running; replicas running"}"#);
    bench.check("PUT /v2/service_instances/b2", &order, 200, "{}");
    bench.refused("PUT /v2/service_instances/b2", "{}", 409, "InstanceExists", "exists");
    bench.refused("PUT /v2/service_instances/b9", "{}", 404, "InstanceNotFound", "no backup");
    let other = r#"{"service_id": "s1", "plan_id": "p2"}"#;
    bench.refused("PUT /v2/service_instances/b2", other, 409, "InstanceExists", "other attributes");

    let binding = "/v2/service_instances/b2/service_bindings/test";
    let credentials = format!("{{\"credentials\":{{\"uri\":\"postgres://u:{PASSWORD}@h:30000/postgres\"}}}}");
    bench.check(&format!("PUT {binding}"), ORDER, 201, &credentials);
    bench.check(&format!("PUT {binding}"), ORDER, 200, &credentials);
    let other = r#"{"service_id": "s1", "plan_id": "p1", "bind_resource": {"app_guid": "a"}}"#;
    bench.refused(&format!("PUT {binding}"), other, 409, "BindingExists", "other attributes");
    bench.check(&format!("DELETE {binding}?service_id=s1&plan_id=p1"), "", 200, "{}");
    bench.check(&format!("DELETE {binding}"), "", 410, "{}");

    let delete = "DELETE /v2/service_instances/b2?accepts_incomplete=true&service_id=s1&plan_id=p1";
    bench.check(delete, "", 202, r#"{"operation":"op-b2"}"#);
    bench.desk.end("b2", &Outcome::Succeeded);
    bench.check(delete, "", 410, "{}");
    bench.check(poll, "", 410, "{}");
}

#[test]
fn where_accepts_incomplete_may_stand() {
    let bench = Bench::start();
    let body = |flag: &str| format!("{}, \"accepts_incomplete\": {flag}}}", &ORDER[..ORDER.len() - 1]);
    let running = |id: &str| format!("{{\"operation\":\"op-{id}\"}}");
    let put = |id: &str, query: &str| format!("PUT /v2/service_instances/{id}{query}");
    bench.check(&put("a", "?accepts_incomplete=true"), ORDER, 202, &running("a"));
    bench.check(&put("b", ""), &body("true"), 202, &running("b"));
    bench.check(&put("c", "?accepts_incomplete=true"), &body("false"), 202, &running("c"));
    bench.check(&put("d", "?accepts_incomplete=false"), &body("true"), 202, &running("d"));
    bench.refused(
        &put("e", "?accepts_incomplete=yes"),
        ORDER,
        400,
        "BadRequest",
        "accepts_incomplete must be",
    );
    bench.refused(&put("e", ""), &body("\"true\""), 400, "BadRequest", "accepts_incomplete must be");
    bench.refused("DELETE /v2/service_instances/a?accepts_incomplete=1", "", 400, "BadRequest", "accepts_in");
    assert_eq!(bench.desk.orders(), 4);
}

#[test]
fn what_is_wrong_is_said() {
    let bench = Bench::start();
    let put = "PUT /v2/service_instances/b1";
    let bad = |line: &str, body: &str, description: &str| {
        bench.refused(line, body, 400, "BadRequest", description);
    };
    bad(put, "", "a body is required");
    bad(put, " \n", "a body is required");
    bad(put, "{\"service_id\": ", "not JSON");
    bad(put, "service_id=s1", "not JSON");
    bad(put, "[]", "must be a JSON object");
    bad(put, "null", "must be a JSON object");
    bad(put, &"[".repeat(100_000), "not JSON");
    bad(put, r#"{"service_id": "s1"}"#, "plan_id is required");
    bad(put, r#"{"plan_id": "p1"}"#, "service_id is required");
    bad(put, r#"{"service_id": 1, "plan_id": "p1"}"#, "service_id must be a text");
    bad(put, r#"{"service_id": "a/b", "plan_id": "p1"}"#, "a service id must be");
    bad(put, r#"{"service_id": "s1", "plan_id": "p1", "parameters": []}"#, "parameters must be an object");
    bad(put, r#"{"service_id": "s1", "plan_id": "p1", "context": 3}"#, "context must be an object");
    bad("PUT /v2/service_instances/b1/service_bindings/x", "{}", "service_id is required");
    bad("PUT /v2/service_instances/a%2Fb", ORDER, "an instance id must be");
    bad("PUT /v2/service_instances/..", ORDER, "an instance id must be");
    bad("PUT /v2/service_instances//", ORDER, "an instance id must be");
    bad(&format!("PUT /v2/service_instances/{}", "x".repeat(65)), ORDER, "an instance id must be");
    bad("PUT /v2/service_instances/%zz", ORDER, "a broken escape");
    bad("PUT /v2/service_instances/%ff", ORDER, "a broken escape");
    bad("PUT /v2/service_instances/b1/service_bindings/a%20b", ORDER, "a binding id must be");
    bad("DELETE /v2/service_instances/b1?plan_id=%2F", "", "a plan id must be");
    bad("DELETE /v2/service_instances/b1?plan_id=%", "", "a broken escape");
    for route in [
        "GET /v2/service_instances/b1",
        "DELETE /v2/service_instances/b1",
        "GET /v2/service_instances/b1/last_operation",
        "GET /v2/service_instances/b1/service_bindings/x",
        "DELETE /v2/service_instances/b1/service_bindings/x",
        "GET /v2/service_instances/b1/service_bindings/x/last_operation",
    ] {
        bad(&format!("{route}?service_id="), "", "service_id must not be empty");
        bad(&format!("{route}?plan_id="), "", "plan_id must not be empty");
        bad(&format!("{route}?service_id=a%2Fb"), "", "service_id: a service id must be");
    }
    bad("GET /v2/service_instances/b1/last_operation?operation=", "", "operation must not be empty");
    bad("DELETE /v2/service_instances/b1?accepts_incomplete=", "", "accepts_incomplete must not be empty");
    let unknown = r#"{"service_id": "s1", "plan_id": "unknown"}"#;
    bench.refused(put, unknown, 400, "UnknownPlan", "no plan unknown");
    bench.refused("GET /", "", 404, "NotFound", "nothing");
    bench.refused("GET /v2/catalog//", "", 404, "NotFound", "nothing");
    bench.refused("PUT /v2/service_instances/", ORDER, 404, "NotFound", "nothing");
    bench.refused("OPTIONS /nowhere", "", 404, "NotFound", "nothing");
    bench.refused("GET /v2/service_instances/b1/last_operation/x", "", 404, "NotFound", "nothing");
    assert_eq!(bench.desk.orders(), 0);
}

#[test]
fn methods() {
    let bench = Bench::start();
    let check = |line: &str, allowed: &str| {
        let answer = bench.ask(line, "");
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{line}");
    };
    check("POST /v2/catalog", "GET, HEAD, OPTIONS");
    check("DELETE /v2/catalog/", "GET, HEAD, OPTIONS");
    check("POST /v2/service_instances/b1", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
    check("BREW /v2/service_instances/b1", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
    check("put /v2/service_instances/b1", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
    check("POST /v2/service_instances/b1/last_operation", "GET, HEAD, OPTIONS");
    check("PATCH /v2/service_instances/b1/service_bindings/x", "GET, HEAD, PUT, DELETE, OPTIONS");
    let answer = bench.ask("OPTIONS /v2/service_instances/b1", "");
    assert_eq!((answer.status, answer.header("allow")), (200, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"));
}

#[test]
fn any_content_type() {
    let bench = Bench::start();
    let check = |id: &str, header: &str| {
        let line = format!("PUT /v2/service_instances/{id}?accepts_incomplete=true");
        let answer = bench.client().ask(&line, &[header], ORDER.as_bytes());
        assert_eq!(answer.status, 202, "{header}: {}", answer.body);
    };
    check("a", "Content-Type: application/json");
    check("b", "Content-Type: application/x-www-form-urlencoded");
    check("c", "Content-Type: nonsense");
    check("d", "X-Nothing: to see");
}

#[test]
fn the_end_of_an_operation_is_waited_for() {
    let bench = Bench::start();
    let check = |id: &str, outcome: &Outcome, status: u16, expected: &str| {
        let mut client = bench.client();
        client.send(&request(&format!("PUT /v2/service_instances/{id}"), &[], ORDER.as_bytes()));
        assert_eq!(bench.desk.parked(id), Duration::from_secs(7));
        bench.desk.end(id, outcome);
        let answer = client.answer(false);
        assert_eq!(answer.status, status, "{id}: {}", answer.body);
        assert!(answer.body.contains(expected), "{id}: {}", answer.body);
    };
    check("a", &Outcome::Succeeded, 201, "{}");
    let failed = Outcome::Failed {
        description: "no cell answers".to_owned(),
        instance_usable: None,
        update_repeatable: None,
    };
    check("b", &failed, 500, r#"{"error":"OperationFailed","description":"no cell answers"}"#);
    check(
        "c",
        &Outcome::StillRunning,
        504,
        "goes on; to see how it stands, GET /v2/service_instances/c/last_op",
    );
    check("d", &Outcome::Stopping, 503, "resumed");

    let mut client = bench.client();
    client.send(&request("DELETE /v2/service_instances/a", &[], b""));
    bench.desk.parked("a");
    bench.desk.end("a", &Outcome::Succeeded);
    let answer = client.answer(false);
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));

    let mut client = bench.client();
    client.send(&request("PUT /v2/service_instances/e", &[], ORDER.as_bytes()));
    bench.desk.parked("e");
    bench.desk.forget_parked();
    assert_eq!(client.answer(false).status, 503, "whom the broker forgets is answered all the same");
}

#[test]
fn ready_when_the_broker_is() {
    let bench = Bench::start();
    bench.desk.set_ready(true);
    bench.check("GET /readyz", "", 200, r#"{"status":"ready"}"#);
    let bench = Bench::start();
    let answer = bench.ask("GET /readyz", "");
    assert_eq!(answer.status, 503);
    assert!(!answer.body.contains("cellar"), "the reason is for the log: {}", answer.body);
}
