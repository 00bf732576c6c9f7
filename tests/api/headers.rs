//! What the specification's headers do, and what the access log says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use patroni_broker::api::Settings;

use crate::bench::{Bench, ORDER, catalog, settings};
use crate::client::basic;
use crate::journal;

#[test]
fn versions() {
    let check = |required: bool, line: &str, header: &str, status: u16| {
        let bench = Bench::start_with(&catalog(), Settings { require_api_version: required, ..settings() });
        bench.desk.set_ready(true);
        let answer = bench.client().ask(line, &[header, &basic("admin", "hunter2")], b"");
        assert_eq!(answer.status, status, "{line} {header}: {}", answer.body);
        if status == 412 {
            assert!(answer.body.contains("UnsupportedApiVersion"), "{}", answer.body);
            assert!(answer.body.contains("2.0 to 2.17"), "what is spoken is not said: {}", answer.body);
        }
    };
    let version = |version: &str| format!("X-Broker-API-Version: {version}");
    for fine in ["2.17", "2.0", "2.13", "2.99"] {
        check(true, "GET /v2/catalog", &version(fine), 200);
    }
    for wrong in ["1.0", "3.0", "2", "two", "", "2.17.0"] {
        check(false, "GET /v2/catalog", &version(wrong), 412);
        check(false, "DELETE /v2/service_instances/b1", &version(wrong), 412);
        for line in ["GET /livez", "GET /readyz", "GET /metrics", "GET /admin/cells"] {
            check(true, line, &version(wrong), 200);
        }
    }
    check(false, "GET /v2/catalog", "X-Nothing: to see", 200);
    check(true, "GET /v2/catalog", "X-Nothing: to see", 400);
    check(true, "GET /admin/cells", "X-Nothing: to see", 200);
    // Who is not known is told that first.
    let bench = Bench::start();
    let answer =
        bench.client().ask("GET /v2/catalog", &["Authorization: x", "X-Broker-API-Version: 1.0"], b"");
    assert_eq!(answer.status, 401);
}

#[test]
fn ids_of_requests() {
    let bench = Bench::start();
    let check = |headers: &[&str], identity: &str, request_id: Option<&str>| {
        for line in ["GET /v2/catalog", "GET /v2/service_instances/b9", "GET /nowhere"] {
            let answer = bench.client().ask(line, headers, b"");
            assert_eq!(answer.header("x-broker-api-request-identity"), identity, "{line} {headers:?}");
            let found = answer.header("x-request-id");
            match request_id {
                Some(expected) => assert_eq!(found, expected, "{line} {headers:?}"),
                None => assert_eq!(found.len(), 33, "{line} {headers:?}: an id of ours: {found}"),
            }
        }
    };
    let identity = |id: &str| format!("X-Broker-API-Request-Identity: {id}");
    check(&[], "", None);
    check(&[&identity("e26cee84")], "e26cee84", Some("e26cee84"));
    check(&["X-Request-ID: a"], "", Some("a"));
    check(&["X-Correlation-ID: a"], "", Some("a"));
    check(&["X-Vcap-Request-Id: a", "X-Correlation-ID: b"], "", Some("a"));
    check(&["X-Request-ID: a", &identity("b")], "b", Some("b"));
    check(&[&identity(&"x".repeat(256))], &"x".repeat(256), Some(&"x".repeat(256)));
    // What is no line of visible characters does not go back.
    check(&[&identity(&"x".repeat(257))], "", None);
    check(&[&identity("a b")], "", None);
    check(&[&identity("a\tb"), "X-Request-ID: c"], "", Some("c"));
    check(&[&identity("")], "", None);
    // A parked request's answer has it as well, and so have a bug's and a body's that is too large.
    let put = |id: &str, body: &[u8]| {
        let mut client = bench.client();
        let line = format!("PUT /v2/service_instances/{id}");
        client.send(&crate::client::request(&line, &[&identity("parked")], body));
        client
    };
    let mut client = put("b1", ORDER.as_bytes());
    bench.desk.parked("b1");
    bench.desk.end("b1", &patroni_broker::broker::Outcome::Succeeded);
    assert_eq!(client.answer(false).header("x-broker-api-request-identity"), "parked");
    let bug = br#"{"service_id": "s1", "plan_id": "p1", "parameters": {"panic": true}}"#;
    assert_eq!(put("b2", bug).answer(false).header("x-broker-api-request-identity"), "parked");
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(put("b2", &large).answer(false).header("x-request-id"), "parked");
}

/// Heads as no door lets them through: a door may be replaced, and this does not rely on it.
#[test]
fn no_header_breaks_out_of_its_line() {
    use patroni_broker::api::{Api, Head, Verdict};
    let api = Api::new(std::sync::Arc::new(crate::desk::Desk::default()), &catalog(), settings());
    for id in ["a\r\nSet-Cookie: b", "a\nb", "a\0", "a\u{1b}[1m", "ä", "a\u{2028}b"] {
        let head =
            Head::new("GET", "/nowhere", &[("X-Broker-API-Request-Identity", id), ("X-Request-ID", id)]);
        let Verdict::Answer(response, _) = api.admit(&head) else { panic!("{id:?}") };
        for (name, value) in &response.headers {
            assert!(value.is_ascii() && !value.contains(char::is_control), "{id:?}: {name}: {value:?}");
        }
    }
}

#[test]
fn the_access_log() {
    journal::begin();
    let bench = Bench::start();
    let originating =
        |json: &str| format!("X-Broker-API-Originating-Identity: cloudfoundry {}", STANDARD.encode(json));
    let check = |id: &str, line: &str, headers: &[&str], parts: &[&str]| {
        let named = format!("X-Request-ID: {id}");
        let mut headers = headers.to_vec();
        headers.push(&named);
        bench.client().ask(line, &headers, b"");
        let logged = journal::line(&format!("request_id={id};"));
        assert!(logged.starts_with("access: "), "{logged}");
        // However long it took: a number of milliseconds.
        let (before, after) = logged.split_once("duration_ms=").unwrap();
        let (took, after) = after.split_once(';').unwrap();
        took.parse::<u64>().unwrap();
        let logged = format!("{before}duration_ms=N;{after}");
        for part in parts {
            assert!(logged.contains(part), "{part} is not in {logged}");
        }
    };
    check(
        "log-1",
        "GET /v2/service_instances/b1?plan_id=p1",
        &[&originating(r#"{"user_id": "683e", "email": "x@example.org"}"#), "X-Correlation-ID: c7"],
        &[
            "GET /v2/service_instances/b1 404 ",
            " request_id=log-1; traces=c7;",
            " method=GET; path=/v2/service_instances/b1; route=/v2/service_instances/:instance_id; status=404;",
            " duration_ms=N; user=platform; originating=cloudfoundry/683e; address=127.0.0.1;",
        ],
    );
    check(
        "log-2",
        "GET /nowhere",
        &["Authorization: Basic x"],
        &[" 401 ", "user=-; originating=-; ", "route=; "],
    );
    let admin = basic("viewer", "hunter2");
    check("log-3", "GET /v2/service_instances/b1", &[&admin], &[" 403 ", "user=viewer; "]);
    check(
        "log-4",
        "GET /livez",
        &["X-Broker-API-Originating-Identity: nonsense"],
        &["originating=unreadable; "],
    );
    let huge = format!("{{\"user_id\": \"{}\"}}", "oversized".repeat(400));
    check(
        "log-5",
        "GET /v2/catalog",
        &[&originating(&huge)],
        &[" 200 ", "originating=cloudfoundry/oversized"],
    );
    let injected = r#"{"user_id": "a\r\naccess: GET /forged"}"#;
    check(
        "log-6",
        "GET /v2/catalog",
        &[&originating(injected)],
        &[r"originating=cloudfoundry/a\r\naccess: GET"],
    );
    let wrong = basic("platform", "my-other-password");
    check("log-7", "GET /v2/catalog", &[&wrong], &[" 401 ", "user=-; "]);
    check("log-8", &format!("GET /v2/{}", "y".repeat(2000)), &[], &[" 404 "]);
    for line in journal::everything() {
        for secret in
            ["hunter2", "my-other", &wrong[21..], "x@example.org", "plan_id=", &"oversized".repeat(22), "\n"]
        {
            assert!(!line.contains(secret), "{secret:?} is in {line}");
        }
        assert!(line.len() < 4000, "{line}");
    }
}
