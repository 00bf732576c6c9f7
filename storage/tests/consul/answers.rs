//! Answers that a real Consul gives rarely, and what stands between it and us gives in its place. Each server here says
//! one thing only.

use std::time::Duration;

use storage::consul::Token;
use storage::remote::{Reach, Timeouts};
use storage::{Consul, Deadline, Expect, Revision, Store, Ttl};
use test_servers::StrangeServer;

use crate::Test;
use crate::lab::key;
use crate::support::Sort::{self, Conflict, Corrupt, Fine, OutcomeUnknown, Unavailable};
use crate::support::{http, sort};

pub const TESTS: &[Test] = &[
    ("answers_are_sorted_by_what_to_do_next", answers_are_sorted_by_what_to_do_next),
    ("transactions_are_sorted_by_the_operation", transactions_are_sorted_by_the_operation),
    ("a_token_stays_in_its_header", a_token_stays_in_its_header),
    ("what_cannot_be_is_refused_before_it_is_sent", what_cannot_be_is_refused_before_it_is_sent),
];

const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_millis(1500) };
const JSON: &str = "Content-Type: application/json\r\n";
const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";
const INDEX: &str = "Content-Type: application/json\r\nX-Consul-Index: 7\r\n";

fn connect(endpoints: &[String]) -> Consul {
    let token = Token::parse("3f0cd05b-1c84-4e1c-b2bd-3a3b2f0f2a55").unwrap();
    Consul::connect(&Reach { timeouts: TIMEOUTS, ..Reach::of(endpoints) }, Some(token)).unwrap()
}

fn answers_are_sorted_by_what_to_do_next() {
    let check = |name: &str, answer: &str, reads: Sort, writes: Sort| {
        let servers = [(); 2].map(|()| StrangeServer::start(answer).unwrap());
        let endpoints = servers.each_ref().map(StrangeServer::endpoint);
        let (store, at) = (connect(&endpoints), key("/a"));
        let put = store.put(&at, b"1", None, Expect::Absent);
        assert_eq!(sort(&put), writes, "{name}: put: {put:?}");
        let sent: usize = servers.iter().map(StrangeServer::requests).sum();
        assert_eq!(sent, 1, "{name}: a write was sent again");
        let delete = store.delete(&at, Expect::Unchanged(Revision(1)));
        assert_eq!(sort(&delete), writes, "{name}: delete: {delete:?}");
        // Without a session nothing was written, whatever became of the session.
        let held = store.put(&at, b"1", Some(Ttl::seconds(10)), Expect::Absent);
        assert_eq!(sort(&held), Unavailable, "{name}: put with a TTL: {held:?}");
        assert_eq!(sort(&store.get(&at)), reads, "{name}: get");
        assert_eq!(sort(&store.list(&at)), reads, "{name}: list");
        assert_eq!(sort(&store.refresh(&at, Ttl::seconds(9), Revision(7))), Unavailable, "{name}: refresh");
        assert!(store.check().is_err(), "{name}: check");
        let deadline = Deadline::after(Duration::from_millis(100));
        assert_eq!(sort(&store.watch(&at, Revision(7), deadline)), reads, "{name}: watch");
    };
    let text = |status: &str, body: &str| http(status, TEXT, body);
    check("no leader", &text("500 Internal Server Error", "No cluster leader"), Unavailable, OutcomeUnknown);
    check("no server", &text("503 Service Unavailable", ""), Unavailable, OutcomeUnknown);
    check("too many", &text("429 Too Many Requests", ""), Unavailable, Unavailable);
    check("forbidden", &text("403 Forbidden", "Permission denied"), Unavailable, Unavailable);
    check("no ACLs", &text("401 Unauthorized", "ACL support disabled"), Unavailable, Unavailable);
    check("too large", &text("413 Request Entity Too Large", ""), Unavailable, Unavailable);
    check("a gateway's", &http("502 Bad Gateway", "", "<html>"), Unavailable, OutcomeUnknown);
    check("a page", &http("200 OK", "Content-Type: text/html\r\n", "<html>"), Unavailable, Unavailable);
    check("another server", &http("404 Not Found", "", "404 page not found"), Unavailable, Unavailable);
    check(
        "a redirect",
        &http("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""),
        Unavailable,
        Unavailable,
    );
    check("another's JSON", &http("409 Conflict", JSON, r#"{"error":"x"}"#), Unavailable, Unavailable);
    check("half an answer", &http("200 OK", INDEX, r#"{"Results":[{"#), Unavailable, OutcomeUnknown);
    check("no entries", &http("200 OK", INDEX, "{}"), Unavailable, OutcomeUnknown);
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n";
    let short = format!("{short}{INDEX}\r\n{{\"Results\":[],\"Errors\":null}}");
    check("a length that lies", &short, Unavailable, OutcomeUnknown);
    check("nothing", "", Unavailable, OutcomeUnknown);
}

fn transactions_are_sorted_by_the_operation() {
    let errors =
        |failed: &str| http("409 Conflict", JSON, &format!(r#"{{"Results":null,"Errors":[{failed}]}}"#));
    let op = |at: usize| format!(r#"{{"OpIndex":{at},"What":"key exists"}}"#);
    let check = |name: &str, answer: &str, expect: Expect, expected: Sort| {
        let server = StrangeServer::start(answer).unwrap();
        let store = connect(&[server.endpoint()]);
        assert_eq!(sort(&store.put(&key("/a"), b"1", None, expect)), expected, "{name}");
    };
    let held = Expect::Unchanged(Revision(3));
    check("the check", &errors(&op(0)), Expect::Absent, Conflict);
    check("the check", &errors(&op(0)), held, Conflict);
    check("all", &errors(&format!("{},{},{}", op(0), op(1), op(2))), held, Unavailable);
    check("the deletion", &errors(&format!("{},{}", op(1), op(2))), held, Unavailable);
    check("the deletion", &errors(&op(0)), Expect::Anything, Unavailable);
    check("none", &errors(""), Expect::Anything, Unavailable);
    let done = |results: &str| http("200 OK", JSON, &format!(r#"{{"Results":[{results}],"Errors":null}}"#));
    check("done", &done(r#"{"KV":{"ModifyIndex":9}}"#), held, Fine);
    check("done, it says not when", &done(""), held, OutcomeUnknown);
}

/// A server that echoes its request, as some that help with debugging do.
fn a_token_stays_in_its_header() {
    let secret = "3f0cd05b-1c84-4e1c-b2bd-3a3b2f0f2a55";
    let server = StrangeServer::start(http("500 x", TEXT, &format!("you sent {secret}"))).unwrap();
    let (store, at) = (connect(&[server.endpoint()]), key("/a"));
    let said = format!(
        "{:?} {:?} {:?} {:?} {store:?} {:?}",
        store.get(&at),
        store.put(&at, b"1", Some(Ttl::seconds(10)), Expect::Anything),
        store.check(),
        store.refresh(&at, Ttl::seconds(10), Revision(1)),
        store.client_access(),
    );
    assert!(!said.contains(secret), "{said}");
}

fn what_cannot_be_is_refused_before_it_is_sent() {
    let server = StrangeServer::start("").unwrap();
    let store = connect(&[server.endpoint()]);
    let large = vec![0; storage::MAX_VALUE_BYTES + 1];
    let put = |at: &str, value: &[u8], ttl, expect| sort(&store.put(&key(at), value, ttl, expect));
    assert_eq!(put("/a", &large, None, Expect::Anything), Corrupt);
    assert_eq!(put("/", b"1", None, Expect::Anything), Corrupt);
    assert_eq!(put("/a", b"1", Some(Ttl::seconds(86_401)), Expect::Anything), Corrupt);
    assert_eq!(put("/a", b"1", None, Expect::Unchanged(Revision(0))), Conflict);
    assert_eq!(sort(&store.delete(&key("/a"), Expect::Unchanged(Revision(0)))), Conflict);
    assert_eq!(sort(&store.delete(&key("/a"), Expect::Absent)), Conflict);
    assert_eq!(server.requests(), 0);
}
