//! What is said over HTTP, over real sockets, to a stand-in for the broker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod client;
mod desk;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use client::{Answer, Client, request};
use desk::Desk;
use patroni_broker::api::{Api, Server, Settings};
use patroni_broker::broker::Outcome;
use patroni_broker::model::{
    Catalog, DriverKind, PatroniPlan, Plan, PlanId, PlanSettings, Secret, Service, ServiceId,
};

const ORDER: &str = r#"{"service_id": "s1", "plan_id": "p1", "parameters": {"node-count": 2}}"#;

fn catalog() -> Catalog {
    let plan = Plan {
        id: PlanId::parse("p1").unwrap(),
        name: "cluster".to_owned(),
        description: "two nodes".to_owned(),
        free: true,
        maximum_polling_duration_s: 900,
        settings: PlanSettings::Patroni(PatroniPlan {
            image: "x".to_owned(),
            node_count: 2,
            synchronous: false,
            database: "postgres".to_owned(),
            ttl_s: 20,
            loop_wait_s: 3,
            retry_timeout_s: 8,
            memory_bytes: None,
            shm_bytes: 64 << 20,
        }),
    };
    let service = Service {
        id: ServiceId::parse("s1").unwrap(),
        name: "postgresql".to_owned(),
        driver: DriverKind::Patroni,
        description: "PostgreSQL".to_owned(),
        bindable: true,
        plan_updateable: true,
        tags: vec!["relational".to_owned()],
        plans: vec![plan],
    };
    Catalog { services: vec![service] }
}

struct Bench {
    desk: Arc<Desk>,
    server: Server,
}

impl Bench {
    fn start() -> Self {
        let desk = Arc::new(Desk::default());
        let settings = Settings {
            username: "platform".to_owned(),
            password: Secret::new("hunter2"),
            sync_timeout: Duration::from_secs(7),
        };
        let api = Api::new(Arc::clone(&desk) as Arc<_>, &catalog(), settings);
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), api).unwrap();
        Self { desk, server }
    }

    fn client(&self) -> Client {
        Client::connect(self.server.address())
    }

    fn ask(&self, line: &str, body: &str) -> Answer {
        self.client().ask(line, &[], body.as_bytes())
    }

    /// Asks, and compares the status and the body.
    #[track_caller]
    fn check(&self, line: &str, body: &str, status: u16, expected: &str) {
        let answer = self.ask(line, body);
        assert_eq!((answer.status, answer.body.as_str()), (status, expected), "{line} {body}");
        assert_eq!(answer.header("content-type"), "application/json", "{line}");
    }

    /// Asks, and compares the status and the error.
    #[track_caller]
    fn refused(&self, line: &str, body: &str, status: u16, error: &str, description: &str) {
        let answer = self.ask(line, body);
        assert_eq!(answer.status, status, "{line} {body}: {}", answer.body);
        let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(told["error"], error, "{line} {body}: {}", answer.body);
        let told = told["description"].as_str().unwrap();
        assert!(told.contains(description), "{line} {body}: {told}");
    }
}

#[test]
fn the_catalog_is_the_specifications() {
    let bench = Bench::start();
    let expected = concat!(
        r#"{"services":[{"id":"s1","name":"postgresql","description":"PostgreSQL","bindable":true,"#,
        r#""plan_updateable":true,"instances_retrievable":false,"bindings_retrievable":false,"tags":["relational"],"#,
        r#""plans":[{"id":"p1","name":"cluster","description":"two nodes","free":true,"#,
        r#""maximum_polling_duration":900}]}]}"#
    );
    bench.check("GET /v2/catalog", "", 200, expected);
    bench.check("GET http://broker.example/v2/catalog?x=y", "", 200, expected);
    let head = bench.client().ask("HEAD /v2/catalog", &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, expected.len().to_string().as_str()));
}

#[test]
fn who_may_ask() {
    let bench = Bench::start();
    let check = |line: &str, authorization: &str, status: u16| {
        let mut client = bench.client();
        client.send(format!("{line} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n").as_bytes());
        let answer = client.answer(false);
        assert_eq!(answer.status, status, "{line} {authorization}");
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401, "{line} {authorization}");
    };
    check("GET /v2/catalog", "Authorization: Basic cGxhdGZvcm06aHVudGVyMg==\r\n", 200);
    check("GET /v2/catalog", "AUTHORIZATION: basic cGxhdGZvcm06aHVudGVyMg==\r\n", 200);
    check("GET /v2/catalog", "", 401);
    check("GET /v2/catalog", "Authorization: Basic cGxhdGZvcm06aHVudGVy\r\n", 401);
    check("GET /v2/catalog", "Authorization: Bearer cGxhdGZvcm06aHVudGVyMg==\r\n", 401);
    // Who is not known learns nothing of what there is.
    check("GET /nowhere", "", 401);
    check("POST /v2/catalog", "", 401);
    check("PUT /v2/service_instances/b1", "", 401);
    check("GET /livez", "", 200);
    check("GET /readyz", "", 503);
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
    let credentials = r#"{"credentials":{"uri":"postgres://u:p@h:30000/postgres"}}"#;
    bench.check(&format!("PUT {binding}"), ORDER, 201, credentials);
    bench.check(&format!("PUT {binding}"), ORDER, 200, credentials);
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
    bad("PUT /v2/service_instances/", ORDER, "an instance id must be");
    bad(&format!("PUT /v2/service_instances/{}", "x".repeat(65)), ORDER, "an instance id must be");
    bad("PUT /v2/service_instances/%zz", ORDER, "a broken escape");
    bad("PUT /v2/service_instances/%ff", ORDER, "a broken escape");
    bad("PUT /v2/service_instances/b1/service_bindings/a%20b", ORDER, "a binding id must be");
    bad("DELETE /v2/service_instances/b1?plan_id=%2F", "", "a plan id must be");
    bad("DELETE /v2/service_instances/b1?plan_id=%", "", "a broken escape");
    let unknown = r#"{"service_id": "s1", "plan_id": "unknown"}"#;
    bench.refused(put, unknown, 400, "UnknownPlan", "no plan unknown");
    bench.refused("PATCH /v2/service_instances/b1", ORDER, 422, "UpdateNotSupported", "cannot be updated");
    bench.refused("GET /", "", 404, "NotFound", "nothing");
    bench.refused("GET /v2/catalog/", "", 404, "NotFound", "nothing");
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
    check("POST /v2/catalog", "GET");
    check("DELETE /v2/catalog", "GET");
    check("GET /v2/service_instances/b1", "PUT, PATCH, DELETE");
    check("BREW /v2/service_instances/b1", "PUT, PATCH, DELETE");
    check("put /v2/service_instances/b1", "PUT, PATCH, DELETE");
    check("POST /v2/service_instances/b1/last_operation", "GET");
    check("GET /v2/service_instances/b1/service_bindings/x", "PUT, DELETE");
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
fn sizes() {
    let bench = Bench::start();
    let line = |id: &str| format!("PUT /v2/service_instances/{id}?accepts_incomplete=true");
    let padded = |length: usize| format!("{ORDER}{}", " ".repeat(length - ORDER.len()));
    assert_eq!(bench.ask(&line("a"), &padded(1 << 20)).status, 202);
    bench.refused(&line("b"), &padded((1 << 20) + 1), 413, "BodyTooLarge", "1048576");
    let chunked = |body: &str, id: &str| {
        let mut client = bench.client();
        client.send(&request(&line(id), &["Transfer-Encoding: chunked"], b""));
        for part in body.as_bytes().chunks(60_000) {
            client.send(format!("{:x}\r\n", part.len()).as_bytes());
            client.send(part);
            client.send(b"\r\n");
        }
        client.send(b"0\r\n\r\n");
        client.answer(false).status
    };
    assert_eq!(chunked(&padded(1 << 20), "c"), 202);
    assert_eq!(chunked(&padded((1 << 20) + 1), "d"), 413);
    // Who announces too much is told before sending it, and who is not known before sending anything.
    let mut client = bench.client();
    client.send(&request(&line("e"), &["Content-Length: 2000000", "Expect: 100-continue"], b""));
    assert_eq!(client.answer(false).status, 413);
    let mut client = bench.client();
    client.send(b"PUT /v2/service_instances/f HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n");
    assert_eq!(client.answer(false).status, 401);
    assert_eq!(bench.desk.orders(), 2);
}

/// tiny_http reserves memory for the whole of a body that it discards: a length of a terabyte ended the process.
#[test]
fn a_terabyte_is_announced() {
    let bench = Bench::start();
    for length in ["1000000000000", "18446744073709551615", "99999999999999999999999"] {
        let mut client = bench.client();
        let header = format!("Content-Length: {length}");
        client.send(&request("PUT /v2/service_instances/a", &[&header], b""));
    }
    assert_eq!(bench.ask("GET /v2/catalog", "").status, 200);
}

#[test]
fn a_connection_is_kept_and_its_answers_come_at_once() {
    let bench = Bench::start();
    let mut client = bench.client();
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(client.ask("GET /v2/catalog", &[], b"").status, 200);
    }
    // With Nagle's algorithm in the way each would take 40 ms.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let answer = client.ask("GET /v2/catalog", &["Connection: close"], b"");
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    assert!(client.is_closed());
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
    let failed = Outcome::Failed { description: "no cell answers".to_owned() };
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

/// tiny_http took one idle thread for two of the connections that came in a burst, and did not look at the second
/// before another one ended: here, never. See `nudge`.
#[test]
fn who_waits_holds_no_worker() {
    let bench = Bench::start();
    let mut clients: Vec<Client> = (0..100).map(|_| bench.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&request(&format!("PUT /v2/service_instances/i{number}"), &[], ORDER.as_bytes()));
        bench.desk.parked(&format!("i{number}"));
    }
    assert_eq!(bench.ask("GET /v2/catalog", "").status, 200);
    for (number, client) in clients.iter_mut().enumerate() {
        bench.desk.end(&format!("i{number}"), &Outcome::Succeeded);
        assert_eq!(client.answer(false).status, 201);
    }
}

#[test]
fn only_so_many_may_wait() {
    let bench = Bench::start();
    let mut clients: Vec<Client> = (0..256).map(|_| bench.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&request(&format!("PUT /v2/service_instances/i{number}"), &[], ORDER.as_bytes()));
        bench.desk.parked(&format!("i{number}"));
    }
    bench.refused("PUT /v2/service_instances/late", ORDER, 503, "Busy", "try again");
    assert_eq!(bench.desk.orders(), 256, "the order that could not be waited for was not placed");
    bench.check("PUT /v2/service_instances/x?accepts_incomplete=true", ORDER, 202, r#"{"operation":"op-x"}"#);
}

/// Two synchronous orders on one connection, the second of which ends first: its answer waits for the first one's,
/// which the broker's own thread must still be able to give.
#[test]
fn answers_keep_the_order_of_their_requests() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.send(&request("PUT /v2/service_instances/a", &[], ORDER.as_bytes()));
    bench.desk.parked("a");
    client.send(&request("PUT /v2/service_instances/b", &[], ORDER.as_bytes()));
    bench.desk.parked("b");
    bench.desk.end("b", &Outcome::Succeeded);
    bench.desk.end("a", &Outcome::Failed { description: "first".to_owned() });
    assert_eq!(client.answer(false).status, 500);
    assert_eq!(client.answer(false).status, 201);
}

#[test]
fn a_bug_costs_one_answer() {
    let bench = Bench::start();
    let body = r#"{"service_id": "s1", "plan_id": "p1", "parameters": {"panic": true}}"#;
    for _ in 0..40 {
        bench.refused("PUT /v2/service_instances/b1", body, 500, "InternalError", "its log says more");
    }
    assert_eq!(bench.ask("GET /v2/catalog", "").status, 200);
}

/// A platform that had died in the middle of a request kept the broker from stopping, for ever.
#[test]
fn a_stop_does_not_wait_for_a_body_that_does_not_come() {
    let mut bench = Bench::start();
    let mut client = bench.client();
    // A shorter one is waited for before anybody is asked to read it.
    let whole = request("PUT /v2/service_instances/a", &[], &[b' '; 4096]);
    client.send(&whole[..whole.len() - 1]);
    thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    bench.server.stop();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_stop_finishes_what_is_in_flight() {
    let mut bench = Bench::start();
    let address = bench.server.address();
    let mut client = bench.client();
    client.send(&request("PUT /v2/service_instances/a", &[], ORDER.as_bytes()));
    bench.desk.parked("a");
    bench.server.stop();
    assert!(!bench.server.wait_for_parked(Duration::from_millis(50)), "it is not answered yet");
    bench.desk.end("a", &Outcome::Stopping);
    assert_eq!(client.answer(false).status, 503);
    assert!(bench.server.wait_for_parked(Duration::from_secs(5)));
    // The listener goes shortly after.
    let refuses = || std::net::TcpStream::connect(address).is_err();
    for _ in 0..100 {
        if refuses() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it still listens");
}
