//! Who comes in, what is served at once, and who holds up whom.

use std::net::{Shutdown, SocketAddr};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use storage::embedded::http::ServerOptions;
use storage::{Expect, Key, Store};

use super::client::{Raw, send, serve};

pub const TESTS: &[(&str, fn())] = &[
    ("nobody_comes_in_without_the_password", nobody_comes_in_without_the_password),
    ("watches_hold_no_worker_and_end_with_the_server", watches_hold_no_worker_and_end_with_the_server),
    ("no_connection_of_a_burst_is_forgotten", no_connection_of_a_burst_is_forgotten),
    ("a_watch_is_over_after_the_longest_wait", a_watch_is_over_after_the_longest_wait),
    ("a_large_body_is_refused", a_large_body_is_refused),
    ("a_terabyte_is_announced", a_terabyte_is_announced),
    ("strangers_and_refused_bodies_hold_no_worker", strangers_and_refused_bodies_hold_no_worker),
    ("a_body_that_breaks_off_is_not_written", a_body_that_breaks_off_is_not_written),
    ("who_does_not_read_holds_up_nobody", who_does_not_read_holds_up_nobody),
    ("what_patroni_asks_first", what_patroni_asks_first),
];

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
    for target in
        ["/v2/keys/", "/v2/keys/a", "/v2/machines", "/v2/members", "/version", "/v2/stats/self", "/nope"]
    {
        check("GET", target, None, 401);
        check("GET", target, Some("Basic dTpwOg=="), 401);
    }
    // Whether it works is everybody's business, and nothing else is.
    check("GET", "/health", None, 200);
    check("GET", "/health/../v2/keys/", None, 401);
    check("GET", "/health?wait=true", None, 200);
    check("PUT", "/v2/keys/a", None, 401);
    check("DELETE", "/v2/keys/a", Some("Basic Og=="), 401);
    assert_eq!(store.get(&Key::parse("/a").unwrap()), Ok(None));
    check("PUT", "/v2/keys/a", Some("Basic dTpwOnc="), 201);
    check("GET", "/v2/machines", Some("Basic dTpwOnc="), 200);
    let access = server.client_access();
    assert_eq!((access.username.as_deref(), access.password.as_deref()), (Some("u"), Some("p:w")));
}

/// Waits until so many watch.
fn await_watchers(address: SocketAddr, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let stats = send(address, "GET", "/v2/stats/store", "", None).body;
        let stats: Value = serde_json::from_str(&stats).unwrap();
        if stats["watchers"] == count {
            return;
        }
        assert!(Instant::now() < deadline, "{count} do not watch: {stats}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn watches_hold_no_worker_and_end_with_the_server() {
    let (server, store) = serve(|options| options.limits.workers = 2);
    let address = server.address();
    let watch =
        || thread::spawn(move || send(address, "GET", "/v2/keys/w?wait=true&recursive=true", "", None));
    let watchers: Vec<_> = (0..20).map(|_| watch()).collect();
    await_watchers(address, 20);
    assert_eq!(send(address, "PUT", "/v2/keys/other", "value=1", None).status, 201);
    assert!(watchers.iter().all(|watcher| !watcher.is_finished()), "a foreign change ended a watch");
    store.put(&Key::parse("/w/x").unwrap(), b"1", None, Expect::Absent).unwrap();
    for watcher in watchers {
        let answer = watcher.join().unwrap();
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["node"]["key"]), (200, &Value::from("/w/x")));
        assert_eq!(answer.headers["X-Raft-Term"], "1");
    }
    let last = watch();
    await_watchers(address, 1);
    // What waits waits for a day: were it waited for, this would never end.
    server.shutdown();
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
                assert!(begun.elapsed() < Duration::from_secs(15), "{target} waited {:?}", begun.elapsed());
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
    assert!(begun.elapsed() < Duration::from_secs(15), "the worker was held up for {:?}", begun.elapsed());
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
