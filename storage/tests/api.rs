//! The embedded store's HTTP API beside real etcd's: the same requests to both, and the answers compared. Then what
//! only ours has: it asks for a password, parks watches, bounds bodies, and ends cleanly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::iter;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use storage::embedded::Options;
use storage::embedded::http::{Access, Server, ServerOptions};
use storage::{Embedded, Expect, Key, Store};
use test_servers::{Etcd, EtcdOptions, etcd_is_installed};

fn main() {
    let arguments = Arguments::from_args();
    let test = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let trials = vec![
        test("answers_are_those_of_etcd", answers_are_those_of_etcd).with_ignored_flag(!etcd_is_installed()),
        test("nobody_comes_in_without_the_password", nobody_comes_in_without_the_password),
        test(
            "watches_hold_no_worker_and_end_with_the_server",
            watches_hold_no_worker_and_end_with_the_server,
        ),
        test("no_connection_of_a_burst_is_forgotten", no_connection_of_a_burst_is_forgotten),
        test("a_watch_is_over_after_the_longest_wait", a_watch_is_over_after_the_longest_wait),
        test("a_large_body_is_refused", a_large_body_is_refused),
        test("a_terabyte_is_announced", a_terabyte_is_announced),
        test("strangers_and_refused_bodies_hold_no_worker", strangers_and_refused_bodies_hold_no_worker),
        test("a_body_that_breaks_off_is_not_written", a_body_that_breaks_off_is_not_written),
        test("who_does_not_read_holds_up_nobody", who_does_not_read_holds_up_nobody),
        test("what_patroni_asks_first", what_patroni_asks_first),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Every request is made of both, in order. `+3` stands for the index three changes after the start.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("GET", "/a", ""),
    ("PUT", "/a", "value=1"),
    ("PUT", "/a", "value=2"),
    ("PUT", "/a", "value=3&prevExist=false"),
    ("PUT", "/zz/y", "value=3&prevExist=true"),
    ("PUT", "/a", "value=3&prevExist=true"),
    ("PUT", "/a", "value=3&prevValue=9"),
    ("PUT", "/a", "value=3&prevIndex=999"),
    ("PUT", "/a", "value=4&prevValue=3"),
    ("PUT", "/a", "value=5&prevIndex=+4"),
    ("PUT", "/a", "value=6&prevIndex=+5&prevValue=5"),
    ("PUT", "/a", "value=6&prevIndex=0"),
    ("PUT", "/a", "value=6&prevValue="),
    ("PUT", "/zz", "value=3&prevValue=2"),
    ("PUT", "/zz", "value=3&prevIndex=2"),
    ("PUT", "/a/b", "value=3"),
    ("GET", "/a/b", ""),
    ("DELETE", "/a/b", ""),
    ("PUT", "/d/e", "value=3"),
    ("PUT", "/d/f/g/", "value=3"),
    ("PUT", "/d", "value=3"),
    ("PUT", "/d", "dir=true"),
    ("PUT", "/d", "dir=true&prevExist=true&ttl=100"),
    ("PUT", "/d", "dir=true&prevExist=true&ttl="),
    ("PUT", "/d", "value=1&prevExist=true"),
    ("PUT", "/d", "value=1&prevExist=false"),
    ("PUT", "/d", "value=1&prevValue=1"),
    ("PUT", "/d", "value=1&prevIndex=1"),
    ("PUT", "/d2", "dir=true"),
    ("PUT", "/d3", "dir=true&prevExist=false"),
    ("PUT", "/d3", "dir=true&prevExist=false"),
    ("GET", "", ""),
    ("GET", "/", ""),
    ("GET", "/d", ""),
    ("GET", "/d/?recursive=true&sorted=true&quorum=true", ""),
    ("GET", "/?recursive=true", ""),
    ("GET", "/d2", ""),
    ("PUT", "/t", "value=1&ttl=100"),
    ("GET", "/t", ""),
    ("PUT", "/t", "value=1&ttl=100&prevExist=true"),
    ("PUT", "/t", "value=1&ttl=200&prevValue=1"),
    ("PUT", "/t", "refresh=true&ttl=100&value=x"),
    ("PUT", "/t", "refresh=true"),
    ("PUT", "/nt", "refresh=true&ttl=100&prevExist=true"),
    ("PUT", "/nt", "refresh=true&ttl=100"),
    ("PUT", "/t", "refresh=true&ttl=100&prevIndex=1"),
    ("PUT", "/t", "value=1&ttl=abc"),
    ("PUT", "/t", "value=1&ttl=-1"),
    ("PUT", "/t", "value=1&prevExist=maybe"),
    ("PUT", "/t", "value=1&prevIndex=x"),
    ("PUT", "/t", "value=1&wait=true"),
    ("GET", "/t?recursive=maybe", ""),
    ("GET", "/t?wait=maybe", ""),
    ("GET", "/t?wait=true&waitIndex=x", ""),
    ("GET", "/a?wait=true&waitIndex=+1", ""),
    ("GET", "/a?wait=true&waitIndex=+2", ""),
    ("GET", "/?wait=true&waitIndex=+1&recursive=true", ""),
    ("GET", "/d?wait=true&waitIndex=+1&recursive=true", ""),
    ("DELETE", "/nope", ""),
    ("DELETE", "/d", ""),
    ("DELETE", "/d?dir=true", ""),
    ("DELETE", "/d2?dir=true", ""),
    ("DELETE", "/a?prevValue=9", ""),
    ("DELETE", "/a?prevIndex=9999", ""),
    ("DELETE", "/a?prevValue=", ""),
    ("DELETE", "/d?recursive=true&prevValue=1", ""),
    ("DELETE", "/a?prevValue=6", ""),
    ("DELETE", "/t", ""),
    ("DELETE", "/d/?recursive=true", ""),
    ("GET", "/d/e?wait=true&waitIndex=+18", ""),
    ("DELETE", "/?recursive=true", ""),
    ("PUT", "/", "value=1"),
    ("POST", "/q?ttl=100", "value=1"),
    ("PUT", "/qq?value=fromquery", ""),
    ("PUT", "/sp%20ace%2Bx", "value=a+b%26%C3%A4"),
    ("PATCH", "/q", "value=1"),
    ("GET", "/d3?recursive=true", ""),
];

fn answers_are_those_of_etcd() {
    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let (server, _store) = serve(|_| {});
    let (theirs, ours) = (Peer::new(etcd.address()), Peer::new(server.address()));
    for (method, target, form) in REQUESTS {
        let (expected, found) = (theirs.ask(method, target, form), ours.ask(method, target, form));
        assert_eq!(found, expected, "{method} {target} {form}: ours is on the left");
    }
}

/// One of the two that are compared.
struct Peer {
    address: SocketAddr,
    start: u64,
}

impl Peer {
    fn new(address: SocketAddr) -> Self {
        let answer = send(address, "GET", "/v2/keys/", "", None);
        Self { address, start: answer.index.unwrap() }
    }

    /// Status and body, with indices counted from the start, and without what is bound to differ.
    fn ask(&self, method: &str, target: &str, form: &str) -> (u16, Option<u64>, Value) {
        let absolute = |text: &str| match text.split_once("ndex=+") {
            Some((before, after)) => {
                let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                let index = self.start + after[..digits].parse::<u64>().unwrap();
                format!("{before}ndex={index}{}", &after[digits..])
            }
            None => text.to_owned(),
        };
        let target = format!("/v2/keys{}", absolute(target));
        let answer = send(self.address, method, &target, &absolute(form), None);
        let mut body = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
        self.normalise(&mut body);
        (answer.status, answer.index.map(|index| index.saturating_sub(self.start)), body)
    }

    fn normalise(&self, value: &mut Value) {
        let Value::Object(fields) = value else { return };
        fields.remove("expiration");
        if fields.get("errorCode") == Some(&Value::from(101)) {
            fields.remove("cause");
        }
        for (name, field) in fields.iter_mut() {
            match name.as_str() {
                "modifiedIndex" | "createdIndex" | "index" => {
                    let index = field.as_u64().unwrap();
                    *field = Value::from(index.saturating_sub(self.start));
                }
                // The name that POST gives is the index.
                "key" if field.as_str().is_some_and(|key| key.starts_with("/q/0")) => *field = Value::Null,
                "node" | "prevNode" => self.normalise(field),
                "nodes" => {
                    let nodes = field.as_array_mut().unwrap();
                    nodes.iter_mut().for_each(|node| self.normalise(node));
                    nodes.sort_by_key(|node| node["key"].to_string());
                }
                _ => {}
            }
        }
    }
}

struct Answered {
    status: u16,
    index: Option<u64>,
    headers: ureq::http::HeaderMap,
    body: String,
}

fn send(address: SocketAddr, method: &str, target: &str, form: &str, who: Option<&str>) -> Answered {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build();
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{target}"))
        .header("Content-Type", "application/x-www-form-urlencoded");
    if let Some(who) = who {
        request = request.header("Authorization", who);
    }
    let agent = config.new_agent();
    let answered = if form.is_empty() {
        agent.run(request.body(()).unwrap())
    } else {
        agent.run(request.body(form.to_owned()).unwrap())
    };
    let mut answered = answered.unwrap();
    let body = answered.body_mut().read_to_string().unwrap();
    let headers = answered.headers().clone();
    let index = headers.get("X-Etcd-Index").map(|index| index.to_str().unwrap().parse().unwrap());
    Answered { status: answered.status().as_u16(), index, headers, body }
}

/// Our API over a store in memory, open to everybody unless `change` says otherwise.
fn serve(change: impl FnOnce(&mut ServerOptions)) -> (Server, Arc<Embedded>) {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let mut options = ServerOptions::basic("", "");
    options.access = Access::NoAuth;
    change(&mut options);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (Server::start(Arc::clone(&store), listener, options).unwrap(), store)
}

fn nobody_comes_in_without_the_password() {
    let (server, store) = serve(|options| *options = ServerOptions::basic("u", "p:w"));
    let check = |method: &str, target: &str, who: Option<&str>, status: u16| {
        let form = if method == "PUT" { "value=1" } else { "" };
        let answer = send(server.address(), method, target, form, who);
        assert_eq!(answer.status, status, "{method} {target} {who:?}");
        assert_eq!(answer.headers.contains_key("WWW-Authenticate"), status == 401);
        if status == 401 {
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["errorCode"], 110);
        }
    };
    for target in ["/v2/keys/", "/v2/keys/a", "/v2/machines", "/v2/members", "/version", "/health", "/nope"] {
        check("GET", target, None, 401);
        check("GET", target, Some("Basic dTpwOg=="), 401);
    }
    check("PUT", "/v2/keys/a", None, 401);
    check("DELETE", "/v2/keys/a", Some("Basic Og=="), 401);
    assert_eq!(store.get(&Key::parse("/a").unwrap()), Ok(None));
    check("PUT", "/v2/keys/a", Some("Basic dTpwOnc="), 201);
    check("GET", "/v2/machines", Some("Basic dTpwOnc="), 200);
    let access = server.client_access();
    assert_eq!((access.username.as_deref(), access.password.as_deref()), (Some("u"), Some("p:w")));
}

fn watches_hold_no_worker_and_end_with_the_server() {
    let (server, store) = serve(|options| options.limits.workers = 2);
    let address = server.address();
    let watch =
        || thread::spawn(move || send(address, "GET", "/v2/keys/w?wait=true&recursive=true", "", None));
    let watchers: Vec<_> = (0..20).map(|_| watch()).collect();
    thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    assert_eq!(send(address, "PUT", "/v2/keys/other", "value=1", None).status, 201);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(watchers.iter().all(|watcher| !watcher.is_finished()), "a foreign change ended a watch");
    store.put(&Key::parse("/w/x").unwrap(), b"1", None, Expect::Absent).unwrap();
    for watcher in watchers {
        let answer = watcher.join().unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["node"]["key"]), (200, &Value::from("/w/x")));
        assert_eq!(answer.headers["X-Raft-Term"], "1");
    }
    let last = watch();
    thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    server.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(2), "shutting down waited for a watch");
    let answer = last.join().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(store.get(&Key::parse("/w/x").unwrap()).unwrap().is_some(), "the store goes on");
}

/// Two connections of a burst were once left to one idle thread, which did not look at the second before the first
/// one ended: Patroni lost its lease while it waited.
fn no_connection_of_a_burst_is_forgotten() {
    let (server, store) = serve(|_| {});
    for round in 0..10 {
        let arrived = Barrier::new(50);
        let asked: Vec<(usize, Raw)> = thread::scope(|scope| {
            let ask = |number: usize| {
                let target = if number.is_multiple_of(2) { "/version" } else { "/v2/keys/w?wait=true" };
                arrived.wait();
                let mut raw = Raw::connect(server.address());
                let begun = Instant::now();
                raw.send(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
                // Of a watch, the head.
                assert_eq!(raw.head().0, 200);
                assert!(begun.elapsed() < Duration::from_secs(3), "{target} waited {:?}", begun.elapsed());
                (number, raw)
            };
            let asking: Vec<_> = (0..50).map(|number| scope.spawn(move || ask(number))).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        store.put(&Key::parse("/w").unwrap(), round.to_string().as_bytes(), None, Expect::Anything).unwrap();
        for (_, mut watcher) in asked.into_iter().filter(|(number, _)| !number.is_multiple_of(2)) {
            assert!(watcher.chunk().contains(&format!("\"value\":\"{round}\"")));
        }
    }
}

/// A connection on which nothing is sent or read but what a test says.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer in time");
        line.trim_end().to_owned()
    }

    /// The status, and the length if it is told.
    fn head(&mut self) -> (u16, usize) {
        let status = self.line().split(' ').nth(1).expect("a status line").parse().unwrap();
        let headers: Vec<String> =
            iter::from_fn(|| Some(self.line()).filter(|line| !line.is_empty())).collect();
        let length = headers.iter().find_map(|header| header.strip_prefix("Content-Length: "));
        (status, length.map_or(0, |length| length.parse().unwrap()))
    }

    /// The one chunk of a watch's answer, without what JSON has no use for.
    fn chunk(&mut self) -> String {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; length];
        self.0.read_exact(&mut chunk).unwrap();
        String::from_utf8(chunk).unwrap()
    }
}

fn a_watch_is_over_after_the_longest_wait() {
    let (server, _store) = serve(|options| options.longest_wait = Duration::from_millis(200));
    let begun = Instant::now();
    let answer = send(server.address(), "GET", "/v2/keys/w?wait=true", "", None);
    assert_eq!((answer.status, answer.body.as_str(), answer.index), (200, "", Some(0)));
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

fn a_large_body_is_refused() {
    let (server, store) = serve(|_| {});
    let check = |bytes: usize, status: u16| {
        let form = format!("value={}", "x".repeat(bytes - "value=".len()));
        assert_eq!(send(server.address(), "PUT", "/v2/keys/a", &form, None).status, status, "{bytes}");
    };
    check((1 << 20) + 1, 413);
    assert_eq!(store.get(&Key::parse("/a").unwrap()), Ok(None));
    check(1 << 20, 201);
}

/// Memory was once reserved for the whole of a body that was to be discarded: a length of a terabyte ended the process.
fn a_terabyte_is_announced() {
    let (server, _store) = serve(|options| options.limits.workers = 1);
    for length in ["1000000000000", "18446744073709551615", "99999999999999999999999"] {
        let mut raw = Raw::connect(server.address());
        raw.send(&format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
    }
    assert_eq!(send(server.address(), "GET", "/version", "", None).status, 200);
}

fn strangers_and_refused_bodies_hold_no_worker() {
    let (server, _store) = serve(|options| {
        *options = ServerOptions::basic("u", "p:w");
        options.limits.workers = 1;
    });
    let check = |headers: &str, status: u16| {
        let mut raw = Raw::connect(server.address());
        raw.send(&format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
        assert_eq!(raw.head().0, status, "{headers}");
        raw
    };
    let _silent = [
        check("Content-Length: 5000\r\n", 401),
        check("Content-Length: 5000000\r\n", 401),
        check("Authorization: Basic dTpwOnc=\r\nContent-Length: 5000000\r\n", 413),
    ];
    let _upgrading = check("Authorization: Basic dTpwOnc=\r\nConnection: upgrade\r\n", 201);
    assert_eq!(send(server.address(), "GET", "/version", "", Some("Basic dTpwOnc=")).status, 200);
}

/// A writer that died in the middle of its request left half a value, answered by 201.
fn a_body_that_breaks_off_is_not_written() {
    let (server, store) = serve(|_| {});
    let mut raw = Raw::connect(server.address());
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000";
    raw.send(&format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{form}\r\n\r\nvalue=half"));
    raw.0.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(raw.head().0, 400);
    assert_eq!(store.get(&Key::parse("/a").unwrap()), Ok(None));
}

/// One watcher that did not read its answer kept all the others from theirs, for ever.
fn who_does_not_read_holds_up_nobody() {
    let (server, _store) = serve(|options| options.limits.workers = 1);
    let ask = |target: &str| {
        let mut raw = Raw::connect(server.address());
        raw.send(&format!("GET /v2/keys/{target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        raw
    };
    let watch = |target: &str| {
        let mut raw = ask(target);
        raw.head();
        raw
    };
    // In JSON six times as long, and the event has the value before as well: more than the system takes for a reader
    // that sleeps.
    // Through the API, which takes larger values than the engines agree on.
    let large = "%01".repeat(340 << 10);
    let put = |key: &str, value: &str| {
        let form = format!("value={value}");
        let put = send(server.address(), "PUT", &format!("/v2/keys{key}"), &form, None);
        assert!(put.status < 300, "{}", put.status);
    };
    (0..8).for_each(|number| put(&format!("/large/{number}"), &large));
    let _asleep: Vec<Raw> = (0..5).map(|_| watch("large/0?wait=true")).collect();
    let mut awake = watch("small?wait=true");
    put("/large/0", &large);
    put("/small", "1");
    assert!(awake.chunk().contains(r#""value":"1""#));
    // Nor does one who asked for more than the system takes for him hold the only worker.
    let mut asleep_too = ask("large?recursive=true");
    assert_eq!(asleep_too.head().0, 200);
    let begun = Instant::now();
    assert_eq!(ask("small").head().0, 200);
    assert!(begun.elapsed() < Duration::from_secs(2), "the worker was held up for {:?}", begun.elapsed());
    let begun = Instant::now();
    server.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

fn what_patroni_asks_first() {
    let urls = vec!["http://10.0.0.1:4001".to_owned(), "http://10.0.0.2:4001".to_owned()];
    let (server, _store) = serve(|options| options.advertise = urls.clone());
    let get = |target: &str| send(server.address(), "GET", target, "", None);
    assert_eq!(get("/v2/machines").body, "http://10.0.0.1:4001, http://10.0.0.2:4001");
    let members: Value = serde_json::from_str(&get("/v2/members").body).unwrap();
    assert_eq!(members["members"][0]["clientURLs"][1], urls[1].as_str());
    assert!(get("/version").body.contains("etcdserver"));
    assert_eq!(get("/health").body.trim(), r#"{"health":"true"}"#);
    let headers = get("/v2/keys/").headers;
    for name in ["X-Etcd-Cluster-Id", "X-Etcd-Index", "X-Raft-Index", "X-Raft-Term"] {
        assert!(headers.contains_key(name), "{name}");
    }
}
