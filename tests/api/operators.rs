//! What operators see: instances, cells, metrics. No secret is in any of it, nor in the log.

use patroni_broker::api::Settings;
use patroni_broker::broker::BrokerError;

use crate::bench::{Bench, ORDER, catalog, settings};
use crate::client::{Answer, basic};
use crate::desk::{Next, PASSWORD};
use crate::journal;

fn ask(bench: &Bench, user: &str, line: &str) -> Answer {
    bench.client().ask(line, &[&basic(user, "hunter2")], b"")
}

#[test]
fn how_things_stand() {
    journal::begin();
    let bench = Bench::start();
    let body = ORDER.replace("\"node-count\": 2", &format!("\"token\": \"{PASSWORD}\""));
    bench.ask("PUT /v2/service_instances/b1?accepts_incomplete=true", &body);
    let bound = bench.ask("PUT /v2/service_instances/b1/service_bindings/x", ORDER);
    assert!(bound.body.contains(PASSWORD));
    let check = |line: &str, expected: &str| {
        for user in ["admin", "viewer"] {
            let answer = ask(&bench, user, line);
            assert_eq!((answer.status, answer.body.as_str()), (200, expected), "{user} {line}");
            assert_eq!(answer.header("content-type"), "application/json");
            assert!(!answer.body.contains(PASSWORD), "{line}");
        }
    };
    let instance = |node: &str, rest: &str| {
        format!(
            "{{\"instance_id\":\"b1\",\"service_id\":\"s1\",\"service_name\":\"postgresql\",\"plan_id\":\"p1\",\
             \"plan_name\":null,\"name\":null,\"organization_guid\":\"\",\"space_guid\":\"\",\
             \"public_port\":30000,\"nodes\":[{{\"node_id\":\"n1\",\"cell\":\"c1\",\
             \"ports\":[\"10.0.0.7:20000\"]{node}}}],\"operation\":{{\"id\":\"op-b1\",\"kind\":\"provision\",\
             \"state\":\"in progress\",\"description\":\"members stopped\",\"steps_done\":1,\"steps\":4,\
             \"started_ms\":1577836799000}},\"maintenance_version\":null{rest}}}"
        )
    };
    let listed = instance("", "");
    check("GET /admin/service_instances", &format!("{{\"service_instances\":[{listed}]}}"));
    check(
        "GET /admin/service_instances/b1",
        &instance(",\"role\":\"leader\",\"state\":\"running\"", ",\"bindings\":[\"x\"]"),
    );
    check(
        "GET /admin/cells/",
        concat!(
            r#"{"cells":[{"guid":"c1","availability_zone":"z1","host":"10.0.0.7","up":false,"#,
            r#""reason":"it does not answer","nodes":3,"cordoned":false,"safe_to_reboot":false}]}"#
        ),
    );
    let answer = ask(&bench, "viewer", "GET /admin/service_instances/b2");
    assert_eq!(answer.status, 404, "{}", answer.body);
    bench.desk.next(Next::Fail(BrokerError::Busy));
    let answer = ask(&bench, "viewer", "GET /admin/cells");
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    let head = ask(&bench, "viewer", "HEAD /admin/cells");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for line in journal::everything() {
        assert!(!line.contains(PASSWORD) && !line.contains("hunter2"), "{line}");
    }
}

#[test]
fn metrics() {
    let bench = Bench::start();
    let answer = ask(&bench, "viewer", "GET /metrics");
    assert_eq!((answer.status, answer.body.as_str()), (200, "up 1\n"));
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let types = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type")).count();
    assert_eq!(types, 1);
    let check = |open: bool, header: &str, status: u16| {
        let bench = Bench::start_with(&catalog(), Settings { open_metrics: open, ..settings() });
        assert_eq!(bench.client().ask("GET /metrics", &[header], b"").status, status, "{open} {header}");
    };
    check(false, "Authorization: x", 401);
    check(true, "Authorization: x", 200);
    check(true, &basic("admin", "wrong"), 200);
    check(false, &basic("platform", "hunter2"), 403);
    check(true, &basic("platform", "hunter2"), 200);
}
