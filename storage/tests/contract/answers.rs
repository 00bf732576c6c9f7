//! Whoever answers in the engine's place: reads go on at the next endpoint, and no write is ever taken for done, or
//! sent twice.

use std::time::Duration;

use storage::{Changed, Deadline, Expect, Revision, Store};
use test_servers::{Mode, Proxy, StrangeServer};

use crate::Scenario;
use crate::bench::{Bench, HASTY, PATIENT, SLACK, Served};
use crate::say::{is_outage, key, within};

pub const SCENARIOS: &[Scenario] = &[
    ("strange_answers_are_no_answers", strange_answers_are_no_answers),
    ("broken_connections_are_no_answers", broken_connections_are_no_answers),
    ("a_redirect_leads_nowhere", a_redirect_leads_nowhere),
];

fn http(status: &str, headers: &str, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// What stands behind an endpoint is not the engine, and does not keep to HTTP either.
fn strange_answers_are_no_answers(bench: &mut Bench) {
    let json = "Content-Type: application/json\r\nX-Etcd-Index: 7\r\nX-Consul-Index: 7\r\n";
    let html = "<html><h1>It works!</h1></html>";
    let row = |name, status, headers, length, body: &str| (name, http(status, headers, length, body));
    let rows = [
        row("a page", "200 OK", "Content-Type: text/html\r\n", html.len(), html),
        row("an error page", "404 Not Found", "Content-Type: text/html\r\n", html.len(), html),
        row("a gateway", "502 Bad Gateway", "Content-Type: text/html\r\n", html.len(), html),
        row("busy", "503 Service Unavailable", "Retry-After: 1\r\n", 0, ""),
        row("a redirect", "307 Temporary Redirect", "Location: http://127.0.0.1:1/\r\n", 0, ""),
        row("a redirect for ever", "308 Permanent Redirect", "Location: /\r\n", 0, ""),
        row("a longer body promised", "200 OK", json, 900, "{}"),
        row("a shorter body promised", "200 OK", json, 3, r#"{"action":"set","succeeded":true}"#),
        row("cut in the middle", "200 OK", json, 90, r#"{"action":"set","node":{"key":"/a","va"#),
        row("no JSON", "200 OK", json, 13, "]}{!garbage\r\n"),
        row("other JSON", "200 OK", json, 15, r#"{"hello":"you"}"#),
        row("created, says nobody", "201 Created", "", 0, ""),
        row("no content", "204 No Content", json, 0, ""),
        ("no HTTP", "220 mail.example ESMTP ready\r\n".to_owned()),
        ("half a head", "HTTP/1.1 200 O".to_owned()),
        ("closed at once", String::new()),
    ];
    for (name, answer) in rows {
        let strange = StrangeServer::start(answer).unwrap();
        let served = bench.served();
        let alone = served.through(&[strange.address()], HASTY);
        alone_it_is_an_outage(name, &*alone, &|| strange.requests());
        let good = served.proxy();
        let both = || served.through(&[strange.address(), good.address()], PATIENT);
        the_next_one_serves(name, &both, &|| strange.requests(), &good);
    }
}

/// Tokens and passwords go to the endpoints and nowhere else, wherever they point.
fn a_redirect_leads_nowhere(bench: &mut Bench) {
    let served = bench.served();
    let good = served.proxy();
    for status in ["301 Moved Permanently", "303 See Other", "307 Temporary Redirect"] {
        let location = format!("Location: {}/\r\n", served.endpoint(good.address()));
        let strange = StrangeServer::start(http(status, &location, 0, "")).unwrap();
        let store = served.through(&[strange.address()], HASTY);
        alone_it_is_an_outage(status, &*store, &|| strange.requests());
        assert_eq!(good.requests().len(), 0, "{status}");
    }
}

/// The engine stands behind it, and the network between.
fn broken_connections_are_no_answers(bench: &mut Bench) {
    let straight = bench.store.clone();
    for mode in [Mode::Hang, Mode::Reset, Mode::Refuse, Mode::Truncate, Mode::LoseAnswers] {
        // An answer of nothing has no body that could be cut.
        straight.put(&key("/strange/x"), b"0", None, Expect::Anything).unwrap();
        let served: &Served = bench.served();
        let (bad, good) = (served.proxy(), served.proxy());
        let name = format!("{mode:?}");
        bad.set(mode).unwrap();
        let alone = served.through(&[bad.address()], HASTY);
        alone_it_is_an_outage(&name, &*alone, &|| bad.requests().len());
        let both = || served.through(&[bad.address(), good.address()], PATIENT);
        the_next_one_serves(&name, &both, &|| bad.requests().len(), &good);
    }
}

fn alone_it_is_an_outage(name: &str, store: &dyn Store, requests: &dyn Fn() -> usize) {
    let at = key("/strange/x");
    let longest = HASTY.total + SLACK;
    is_outage(name, &within(name, longest, || store.get(&at)), false);
    is_outage(name, &within(name, longest, || store.list(&key("/strange"))), false);
    let wait = Duration::from_millis(200);
    let watch = || store.watch(&key("/strange"), Revision(1), Deadline::after(wait));
    match within(name, longest + wait, watch) {
        // The head of an answer had come, and nothing else by the deadline.
        Ok(changes) if changes.what == Changed::Keys(Vec::new()) => assert_eq!(changes.revision, Revision(1)),
        outage => is_outage(name, &outage, false),
    }
    let once = |what: &str, write: &dyn Fn() -> Result<(), storage::StoreError>| {
        let before = requests();
        is_outage(&format!("{name}, {what}"), &within(name, longest, write), true);
        assert!(requests() <= before + 1, "{name}: a {what} was sent again");
    };
    once("put", &|| store.put(&at, b"1", None, Expect::Absent).map(drop));
    once("blind put", &|| store.put(&at, b"1", None, Expect::Anything).map(drop));
    once("compared put", &|| store.put(&at, b"1", None, Expect::Unchanged(Revision(1))).map(drop));
    once("delete", &|| store.delete(&at, Expect::Unchanged(Revision(1))));
}

fn the_next_one_serves(
    name: &str,
    both: &dyn Fn() -> std::sync::Arc<dyn Store>,
    requests: &dyn Fn() -> usize,
    good: &Proxy,
) {
    let (at, longest) = (key("/strange/x"), PATIENT.total + SLACK);
    let get = within(name, longest, || both().get(&at));
    assert!(get.is_ok(), "{name}: {get:?}");
    let list = within(name, longest, || both().list(&at));
    assert!(list.is_ok(), "{name}: {list:?}");
    let wait = Duration::from_millis(200);
    let after = list.unwrap().revision;
    let watch = || both().watch(&key("/strange"), after, Deadline::after(wait));
    let watch = within(name, longest + wait, watch);
    assert!(watch.is_ok(), "{name}: {watch:?}");
    let (before, there) = (requests(), good.requests().len());
    let put = within(name, longest, || both().put(&at, b"1", None, Expect::Anything));
    if requests() > before {
        is_outage(name, &put, true);
        assert_eq!(good.requests().len(), there, "{name}: what was sent to one was sent to the other");
    } else if put.is_err() {
        is_outage(name, &put, true);
    }
    // Who has not taken a write is not asked first again.
    let store = both();
    let tries = [(); 2].map(|()| within(name, longest, || store.put(&at, b"1", None, Expect::Anything)));
    assert!(tries[1].is_ok(), "{name}: {tries:?}");
}
