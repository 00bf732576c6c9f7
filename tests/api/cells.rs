//! What operators ask of cells and of instances that are not theirs: routes, who may, and refusals.

use patroni_broker::broker::BrokerError;
use serde_json::Value;

use crate::bench::{Bench, ORDER};
use crate::client::{Answer, basic};
use crate::desk::Next;

fn ask(bench: &Bench, user: &str, line: &str, body: &str) -> Answer {
    bench.client().ask(line, &[&basic(user, "hunter2")], body.as_bytes())
}

#[track_caller]
fn refused(bench: &Bench, line: &str, body: &str, status: u16, error: &str, description: &str) {
    let answer = ask(bench, "admin", line, body);
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, told["error"].as_str().unwrap()), (status, error), "{line} {body}: {told}");
    assert!(told["description"].as_str().unwrap().contains(description), "{line} {body}: {told}");
}

const DRAINING: &str = concat!(
    r#""nodes":3,"cordoned":true,"cordoned_since_ms":1577836799000,"drain":{"at_once":2,"left":2,"moving":["b1"],"#,
    r#""waiting":["b3"],"stuck":{"b2":"it is pinned"},"ended":false},"owed":1,"safe_to_reboot":false"#
);

#[test]
fn what_is_said_of_cells() {
    let bench = Bench::start();
    let check = |line: &str, body: &str, status: u16, expected: &str, heard: &str| {
        let answer = ask(&bench, "admin", line, body);
        assert_eq!((answer.status, answer.body.as_str()), (status, expected), "{line} {body}");
        assert_eq!(bench.desk.heard(), heard, "{line} {body}");
    };
    let whole = format!(r#"{{"guid":"c1","availability_zone":"z1","host":"10.0.0.7","up":true,{DRAINING}}}"#);
    check("GET /admin/cells/c1", "", 200, &whole, r#"("cell", CellGuid("c1"))"#);
    let cordoned = r#"{"guid":"c1","nodes":3,"cordoned":true,"cordoned_since_ms":1577836799000,"owed":1,"safe_to_reboot":false}"#;
    check("POST /admin/cells/c1/cordon", "", 200, cordoned, r#"("cordon", CellGuid("c1"))"#);
    let open = r#"{"guid":"c1","nodes":3,"cordoned":false,"safe_to_reboot":false}"#;
    check("POST /admin/cells/c1/uncordon", "", 200, open, r#"("uncordon", CellGuid("c1"))"#);
    let demoted = concat!(
        r#"{"service_instances":[{"instance_id":"b1","from":"n1","to":"n2"},"#,
        r#"{"instance_id":"b2","from":"n1","kept":"it is the only node"}]}"#
    );
    check("POST /admin/cells/c1/demote", "", 200, demoted, r#"("demote", CellGuid("c1"))"#);

    let drained = |at_once: &str, dry_run: bool| {
        format!("DrainRequest {{ cell: CellGuid(\"c1\"), at_once: {at_once}, dry_run: {dry_run} }}")
    };
    let line = "POST /admin/cells/c1/drain";
    let begun = format!(r#"{{"guid":"c1",{DRAINING}}}"#);
    check(line, "", 202, &begun, &drained("None", false));
    check(line, "{}", 202, &begun, &drained("None", false));
    check(line, r#"{"at_once": 64, "dry_run": false}"#, 202, &begun, &drained("Some(64)", false));
    let rehearsed = concat!(
        r#"{"dry_run":true,"service_instances":[{"instance_id":"b1","steps":["add node new-1 on cell c2"]},"#,
        r#"{"instance_id":"b2","stuck":"it is pinned"},{"instance_id":"b3","waits":"it is busy"}],"left_off":1}"#
    );
    check(line, r#"{"dry_run": true}"#, 200, rehearsed, &drained("None", true));
    bench.desk.next(Next::Soon);
    let answer = ask(&bench, "admin", line, "");
    assert_eq!(answer.status, 200, "what is safe to reboot already: {}", answer.body);
}

#[test]
fn bad_requests_for_cells() {
    let bench = Bench::start();
    for what in ["cordon", "uncordon", "drain", "demote"] {
        let line = format!("POST /admin/cells/c9/{what}");
        refused(&bench, &line, "", 404, "CellNotFound", "there is no cell c9");
    }
    refused(&bench, "GET /admin/cells/c9", "", 404, "CellNotFound", "there is no cell c9");
    refused(&bench, "GET /admin/cells/a%2Fb", "", 400, "BadRequest", "a cell's guid must be");
    refused(&bench, "GET /admin/cells/c1/cordon", "", 405, "MethodNotAllowed", "POST");
    refused(&bench, "POST /admin/cells/c1", "", 405, "MethodNotAllowed", "GET");
    refused(&bench, "POST /admin/cells/c1/dance", "", 404, "NotFound", "");

    let drain = |body: &str, description: &str| {
        refused(&bench, "POST /admin/cells/c1/drain", body, 400, "BadRequest", description);
    };
    drain(r#"{"at_once": 0}"#, "at_once must be a whole number from 1 to 64");
    drain(r#"{"at_once": 65}"#, "at_once must be a whole number from 1 to 64");
    drain(r#"{"at_once": -1}"#, "at_once must be");
    drain(r#"{"at_once": 1.5}"#, "at_once must be");
    drain(r#"{"at_once": "2"}"#, "at_once must be");
    drain(r#"{"dry_run": "yes"}"#, "dry_run must be true or false");
    // Ignored, it would have begun what was only to be rehearsed.
    drain(r#"{"dry-run": true}"#, "dry-run is no field of this; at_once, dry_run are");
    drain("[]", "the body must be a JSON object");
    drain("{", "the body is not JSON");

    let reason =
        "cell c1 cannot be drained: no other cell takes new nodes, and it has those of b1".to_owned();
    bench.desk.next(Next::Fail(BrokerError::DrainRefused { reason }));
    refused(&bench, "POST /admin/cells/c1/drain", "", 422, "DrainRefused", "no other cell takes new nodes");
    bench.desk.next(Next::Fail(BrokerError::Busy));
    refused(&bench, "POST /admin/cells/c1/demote", "", 503, "Busy", "");
}

/// Viewers look, platforms order; what moves other people's instances is for admins.
#[test]
fn who_may_do_what_to_cells() {
    let bench = Bench::start();
    bench.provisioned("b1");
    let check = |line: &str, platform: u16, viewer: u16, admin: u16| {
        for (user, status) in [("platform", platform), ("viewer", viewer), ("nobody", 401), ("admin", admin)]
        {
            let answer = ask(&bench, user, line, "");
            assert_eq!(answer.status, status, "{user} {line}: {}", answer.body);
        }
    };
    check("GET /admin/cells/c1", 403, 200, 200);
    check("POST /admin/cells/c1/cordon", 403, 403, 200);
    check("POST /admin/cells/c1/uncordon", 403, 403, 200);
    check("POST /admin/cells/c1/drain", 403, 403, 202);
    check("POST /admin/cells/c1/demote", 403, 403, 200);
    check("DELETE /admin/service_instances/b1?accepts_incomplete=true&force=true", 403, 403, 202);
}

#[test]
fn an_admin_deletes_by_force() {
    let bench = Bench::start();
    let check = |line: &str, force: bool| {
        bench.provisioned("b1");
        let answer = ask(&bench, "admin", &format!("DELETE {line}"), "");
        assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"operation":"op-b1"}"#), "{line}");
        let heard = bench.desk.heard();
        assert!(heard.contains(&format!("force: {force}")), "{line}: {heard}");
        bench.desk.end("b1", &patroni_broker::broker::Outcome::Succeeded);
    };
    check("/admin/service_instances/b1?accepts_incomplete=true&force=true", true);
    check("/admin/service_instances/b1?accepts_incomplete=true&force=false", false);
    check("/admin/service_instances/b1?accepts_incomplete=true", false);
    // What platforms ask for is never by force.
    check("/v2/service_instances/b1?accepts_incomplete=true&force=true", false);
    let path = "DELETE /admin/service_instances/b1";
    assert_eq!(ask(&bench, "admin", path, "").status, 410);
    refused(&bench, &format!("{path}?force=yes"), "", 400, "BadRequest", "force must be true or false");
    refused(&bench, &format!("{path}?force="), "", 400, "BadRequest", "force must not be empty");
}

#[test]
fn an_admin_rehearses_an_update() {
    let bench = Bench::start();
    bench.provisioned("b1");
    let line = "PATCH /v2/service_instances/b1";
    let body = |parameters: &str| ORDER.replace(r#"{"node-count": 2}"#, parameters);
    let check = |parameters: &str, rehearse: bool, left: &str| {
        let answer = ask(&bench, "admin", &format!("{line}?accepts_incomplete=true"), &body(parameters));
        let heard = bench.desk.heard();
        assert!(heard.contains(&format!("rehearse: {rehearse}")), "{parameters}: {heard}");
        assert!(heard.contains(&format!("parameters: {left}, context")), "{parameters}: {heard}");
        if rehearse {
            let expected = r#"{"dry_run":true,"steps":["add node new-1 on cell c2"]}"#;
            assert_eq!((answer.status, answer.body.as_str()), (200, expected), "{parameters}");
        }
    };
    check(r#"{"dry-run": true, "node-count": 3}"#, true, r#"Some({"node-count": Number(3)})"#);
    check(r#"{"dry-run": true}"#, true, "None");
    check(r#"{"dry-run": false, "node-count": 3}"#, false, r#"Some({"node-count": Number(3)})"#);
    check("{}", false, "Some({})");
    refused(
        &bench,
        line,
        &body(r#"{"dry-run": "yes"}"#),
        400,
        "BadRequest",
        "parameters.dry-run must be true or",
    );

    // Who waits for the end of an update is answered at once.
    let answer = ask(&bench, "admin", line, &body(r#"{"dry-run": true}"#));
    assert_eq!(answer.status, 200, "{}", answer.body);
    bench.desk.heard();
    let answer = ask(&bench, "platform", line, &body(r#"{"dry-run": true, "node-count": 3}"#));
    assert!(answer.status == 403 && answer.body.contains("is for admins"), "{}", answer.body);
    assert_eq!(bench.desk.heard(), "", "the broker was asked");
}
