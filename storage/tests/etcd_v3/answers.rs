//! Answers that real servers give rarely: timeouts inside etcd, proxies' error pages, redirects. Each server here says one
//! thing only.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use storage::remote::{Reach, Timeouts};
use storage::{EtcdV3, Expect, Key, Revision, Store, Ttl};
use test_servers::StrangeServer;

use crate::Scenario;
use crate::bench::{credentials, within};
use crate::support::{Sort, http, sort};

pub const SCENARIOS: &[Scenario] = &[
    ("are_sorted_by_what_to_do_next", are_sorted_by_what_to_do_next),
    ("nothing_is_told_of_a_password_that_comes_back", nothing_is_told_of_a_password_that_comes_back),
    ("that_never_come_cost_no_more_than_the_timeout", that_never_come_cost_no_more_than_the_timeout),
];

const JSON: &str = "Content-Type: application/json\r\n";

fn connect(endpoints: &[String]) -> EtcdV3 {
    let timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_millis(1500) };
    EtcdV3::connect(&Reach { timeouts, ..Reach::of(endpoints) }, None).unwrap()
}

fn are_sorted_by_what_to_do_next() {
    let check = |name: &str, answer: &str, reads: Sort, writes: Sort| {
        let servers = [StrangeServer::start(answer).unwrap(), StrangeServer::start(answer).unwrap()];
        let endpoints = servers.each_ref().map(StrangeServer::endpoint);
        let (store, at) = (connect(&endpoints), Key::parse("/a").unwrap());
        let put = store.put(&at, b"1", None, Expect::Absent);
        assert_eq!(sort(&put), writes, "{name}: put: {put:?}");
        let sent: usize = servers.iter().map(StrangeServer::requests).sum();
        assert_eq!(sent, 1, "{name}: a write was sent again");
        let delete = store.delete(&at, Expect::Unchanged(Revision(1)));
        assert_eq!(sort(&delete), writes, "{name}: delete: {delete:?}");
        // Without a lease there is no write.
        let put = store.put(&at, b"1", Some(Ttl::seconds(5)), Expect::Absent);
        assert_eq!(sort(&put), Sort::Unavailable, "{name}: put with a TTL: {put:?}");
        assert_eq!(sort(&store.refresh(&at, Ttl::seconds(5), Revision(5))), reads, "{name}: refresh");
        assert_eq!(sort(&store.get(&at)), reads, "{name}: get");
        assert_eq!(sort(&store.list(&at)), reads, "{name}: list");
        for wait in [0, 100] {
            let watch = store.watch(&at, Revision(1), within(wait));
            assert_eq!(sort(&watch), reads, "{name}: watch: {watch:?}");
        }
        assert!(store.check().is_err(), "{name}: check");
    };
    let error = |status: &str, code: u32| {
        let body = format!(r#"{{"error":"some words","message":"some words","code":{code}}}"#);
        http(status, JSON, &body)
    };
    let wrapped = |name: &str| {
        let body = format!(r#"{{"error":{{"{name}":14,"http_code":503,"message":"some words"}}}}"#);
        http("200 OK", JSON, &body)
    };
    let (unavailable, unknown) = (Sort::Unavailable, Sort::OutcomeUnknown);
    check("request timed out", &error("503 Service Unavailable", 14), unavailable, unknown);
    check("unknown", &error("500 Internal Server Error", 2), unavailable, unknown);
    check("deadline exceeded", &error("504 Gateway Timeout", 4), unavailable, unknown);
    check("data loss", &error("500 Internal Server Error", 15), unavailable, unknown);
    check("no space", &error("429 Too Many Requests", 8), unavailable, unavailable);
    check("no space, older", &error("503 Service Unavailable", 8), unavailable, unavailable);
    check("not permitted", &error("403 Forbidden", 7), unavailable, unavailable);
    check("not let in", &error("401 Unauthorized", 16), unavailable, unavailable);
    check("old users", &error("400 Bad Request", 3), unavailable, unavailable);
    check("in a stream", &wrapped("grpc_code"), unavailable, unknown);
    check("in a stream of 3.6", &wrapped("code"), unavailable, unknown);
    check("proxy, gateway", &http("502 Bad Gateway", "", "<html>"), unavailable, unknown);
    check("proxy, page", &http("200 OK", "Content-Type: text/html\r\n", "<html>"), unavailable, unavailable);
    check("another server", &http("404 Not Found", "", "404 page not found"), unavailable, unavailable);
    check("its JSON", &http("404 Not Found", JSON, r#"{"error":"x"}"#), unavailable, unavailable);
    check("its JSON, fine", &http("200 OK", JSON, r#"{"succeeded":true}"#), unavailable, unavailable);
    check("redirect", &http("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""), unavailable, unavailable);
    check("half an answer", &http("200 OK", JSON, r#"{"header":{"cluster"#), unavailable, unknown);
    check("no JSON at all", &http("200 OK", JSON, "<html>"), unavailable, unknown);
    let longer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n{JSON}\r\n{{\"header\":{{\"cluster_id\":\"1\"}}}}"
    );
    check("shorter than it says", &longer, unavailable, unknown);
    check("nothing", "", unavailable, unknown);
}

/// A server that sends back what it was sent.
fn nothing_is_told_of_a_password_that_comes_back() {
    let body = r#"{"error":"hush","message":"no: {\"password\":\"hush\"}","code":CODE}"#;
    for code in ["2", "3", "7", "9", "12", "14", "16"] {
        let server =
            StrangeServer::start(http("400 Bad Request", JSON, &body.replace("CODE", code))).unwrap();
        let store =
            EtcdV3::connect(&Reach::of(&[server.endpoint()]), Some(credentials("u", "hush"))).unwrap();
        let at = Key::parse("/a").unwrap();
        if code == "9" {
            // It says that nobody is asked for a password, and so none was sent with the next request.
            continue;
        }
        let told = format!("{:?} {:?}", store.get(&at).unwrap_err(), store.check().unwrap_err());
        assert!(!told.contains("hush"), "{code}: {told}");
    }
}

fn that_never_come_cost_no_more_than_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (store, at) = (connect(&[endpoint]), Key::parse("/a").unwrap());
    let begun = Instant::now();
    assert_eq!(sort(&store.get(&at)), Sort::Unavailable);
    assert_eq!(sort(&store.put(&at, b"1", None, Expect::Anything)), Sort::OutcomeUnknown);
    assert_eq!(sort(&store.watch(&at, Revision(1), within(0))), Sort::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(12));
    assert!(store.check().unwrap_err().to_string().starts_with("nobody answers"));
}
