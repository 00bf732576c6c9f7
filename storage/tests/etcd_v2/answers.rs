//! What the etcd v2 client makes of answers that real servers give rarely: timeouts inside etcd, proxies' error pages,
//! redirects. Each server here says one thing only.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use storage::remote::{Reach, Timeouts};
use storage::{Deadline, EtcdV2, Expect, Key, Revision, Store};
use test_servers::StrangeServer;

use crate::support::{Sort, http, sort};

pub const TESTS: &[(&str, fn())] = &[
    ("answers_are_sorted_by_what_to_do_next", answers_are_sorted_by_what_to_do_next),
    (
        "what_etcd_cannot_hold_is_refused_before_it_is_sent",
        what_etcd_cannot_hold_is_refused_before_it_is_sent,
    ),
    (
        "a_server_that_says_nothing_costs_no_more_than_the_timeout",
        a_server_that_says_nothing_costs_no_more_than_the_timeout,
    ),
    ("a_watch_skips_nothing_that_is_on_its_way", a_watch_skips_nothing_that_is_on_its_way),
];

fn connect(endpoints: &[String]) -> EtcdV2 {
    let timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_millis(1500) };
    EtcdV2::connect(&Reach { timeouts, ..Reach::of(endpoints) }, None).unwrap()
}

fn answers_are_sorted_by_what_to_do_next() {
    let check = |name: &str, answer: &str, reads: Sort, writes: Sort| {
        let servers = [(); 2].map(|()| StrangeServer::start(answer).unwrap());
        let endpoints = servers.each_ref().map(StrangeServer::endpoint);
        let (store, at) = (connect(&endpoints), Key::parse("/a").unwrap());
        let put = store.put(&at, b"1", None, Expect::Absent);
        assert_eq!(sort(&put), writes, "{name}: put: {put:?}");
        let sent: usize = servers.iter().map(StrangeServer::requests).sum();
        assert_eq!(sent, 1, "{name}: a write was sent again");
        let delete = store.delete(&at, Expect::Unchanged(Revision(1)));
        assert_eq!(sort(&delete), writes, "{name}: delete: {delete:?}");
        assert_eq!(sort(&store.get(&at)), reads, "{name}: get");
        assert_eq!(sort(&store.list(&at)), reads, "{name}: list");
        assert!(store.check().is_err(), "{name}: check");
        let deadline = Deadline::after(Duration::from_millis(100));
        assert_eq!(sort(&store.watch(&at, Revision(1), deadline)), reads, "{name}: watch");
    };
    let (json, index) = ("Content-Type: application/json\r\n", "X-Etcd-Index: 7\r\n");
    let error = |status: &str, code: u32| {
        let body = format!(r#"{{"errorCode":{code},"message":"some words","cause":"x","index":7}}"#);
        http(status, &format!("{json}{index}"), &body)
    };
    let (unavailable, unknown) = (Sort::Unavailable, Sort::OutcomeUnknown);
    check("etcd timed out", &error("500 Internal Server Error", 300), unavailable, unknown);
    check("no leader", &error("503 Service Unavailable", 300), unavailable, unknown);
    check("proxy, gateway", &http("502 Bad Gateway", "", "<html>"), unavailable, unknown);
    check("proxy, page", &http("200 OK", "Content-Type: text/html\r\n", "<html>"), unavailable, unavailable);
    check("another server", &http("404 Not Found", "", "404 page not found"), unavailable, unavailable);
    check("its JSON", &http("404 Not Found", json, r#"{"error":"x"}"#), unavailable, unavailable);
    check("not let in", &http("401 Unauthorized", json, r#"{"message":"no"}"#), unavailable, unavailable);
    check("redirect", &http("307 Moved", "Location: http://127.0.0.1:1/\r\n", ""), unavailable, unavailable);
    check("half an answer", &http("201 Created", index, r#"{"action":"cre"#), unavailable, unknown);
    check("nothing", "", unavailable, unknown);
}

fn what_etcd_cannot_hold_is_refused_before_it_is_sent() {
    let server = StrangeServer::start("").unwrap();
    let store = connect(&[server.endpoint()]);
    let check = |at: &str, value: &[u8], expect, expected| {
        let put = store.put(&Key::parse(at).unwrap(), value, None, expect);
        assert_eq!(sort(&put), expected, "{at}: {put:?}");
    };
    check("/a", b"\xff", Expect::Anything, Sort::Corrupt);
    check("/a/_hidden/x", b"1", Expect::Anything, Sort::Corrupt);
    check("/a", b"1", Expect::Unchanged(Revision(0)), Sort::Conflict);
    assert_eq!(server.requests(), 0);
}

fn a_server_that_says_nothing_costs_no_more_than_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (store, at) = (connect(&[endpoint]), Key::parse("/a").unwrap());
    let begun = std::time::Instant::now();
    assert_eq!(sort(&store.get(&at)), Sort::Unavailable);
    assert_eq!(sort(&store.put(&at, b"1", None, Expect::Anything)), Sort::OutcomeUnknown);
    assert!(begun.elapsed() < Duration::from_secs(9));
}

/// The head of the answer says how far the store is, and a change from before may still be behind it: a watch that ends
/// between the two must begin there again.
fn a_watch_skips_nothing_that_is_on_its_way() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.read(&mut [0; 4096]));
            let head = "HTTP/1.1 200 OK\r\nX-Etcd-Index: 9\r\nTransfer-Encoding: chunked\r\n\r\n";
            drop(stream.write_all(head.as_bytes()));
            // Its change comes later, or never; the connection stays.
            std::mem::forget(stream);
        }
    });
    let (store, at) = (connect(&[endpoint]), Key::parse("/a").unwrap());
    let watch = |ms| store.watch(&at, Revision(5), Deadline::after(Duration::from_millis(ms))).unwrap();
    assert_eq!(watch(100).revision, Revision(5));
    assert_eq!(watch(0).revision, Revision(5));
    assert_eq!(watch(1500).revision, Revision(9), "by now it would have come");
}
