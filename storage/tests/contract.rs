//! The contract of [`storage::Store`]: one table of scenarios, run over every engine. A row names scenario and engine;
//! rows whose engine is missing on this machine show as ignored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support {
    pub mod etcd;
    pub mod proxy;
}

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use storage::embedded::Options;
use storage::embedded::http::{Server, ServerOptions};
use storage::{Changed, Deadline, Embedded, Expect, Key, Revision, Store, StoreError, Ttl};
use support::etcd::{Etcd, client, etcd_is_installed};
use support::proxy::Proxy;

/// An engine and the ways to hurt it.
struct Bench {
    store: Arc<dyn Store>,
    /// Where a served engine is reached, and as whom.
    served: Option<(SocketAddr, Option<(&'static str, &'static str)>)>,
    /// Dropping this stops what serves the store.
    server: Option<Box<dyn Send>>,
    /// What its values may be.
    values: Values,
}

#[derive(PartialEq, Eq)]
enum Values {
    Bytes,
    Text,
}

const WHO: Option<(&str, &str)> = Some(("patroni", "s3cret:with:colons"));

fn embedded() -> Bench {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    Bench { store, served: None, server: None, values: Values::Bytes }
}

fn etcd_v2() -> Bench {
    let etcd = Etcd::start();
    let address = etcd.address;
    let store = Arc::new(client(address, None));
    Bench { store, served: Some((address, None)), server: Some(Box::new(etcd)), values: Values::Text }
}

fn etcd_v2_to_embedded() -> Bench {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (user, password) = WHO.unwrap();
    let server = Server::start(store, listener, ServerOptions::basic(user, password)).unwrap();
    let address = server.address();
    let store = Arc::new(client(address, WHO));
    Bench { store, served: Some((address, WHO)), server: Some(Box::new(server)), values: Values::Text }
}

type Engine = (&'static str, fn() -> Bench);
type Scenario = (&'static str, fn(&mut Bench));

const ENGINES: [Engine; 3] =
    [("embedded", embedded), ("etcd-v2", etcd_v2), ("etcd-v2-to-embedded", etcd_v2_to_embedded)];

const SCENARIOS: &[Scenario] = &[
    ("expectations_hold_or_conflict", expectations_hold_or_conflict),
    ("values_come_back_as_they_went_in", values_come_back_as_they_went_in),
    ("a_prefix_ends_at_a_segment", a_prefix_ends_at_a_segment),
    ("a_directory_is_not_an_entry", a_directory_is_not_an_entry),
    ("a_ttl_expires_and_tells_watchers", a_ttl_expires_and_tells_watchers),
    ("a_refresh_keeps_and_wakes_nobody", a_refresh_keeps_and_wakes_nobody),
    ("a_put_without_ttl_stays", a_put_without_ttl_stays),
    ("a_watch_sees_the_final_state", a_watch_sees_the_final_state),
    ("a_watch_hears_only_its_prefix", a_watch_hears_only_its_prefix),
    ("a_watch_ends_at_its_deadline", a_watch_ends_at_its_deadline),
    ("a_watch_advances_over_foreign_changes", a_watch_advances_over_foreign_changes),
    ("a_watch_left_behind_says_resync", a_watch_left_behind_says_resync),
    ("a_watch_from_a_listing_misses_nothing", a_watch_from_a_listing_misses_nothing),
    ("counters_lose_nothing", counters_lose_nothing),
    ("one_of_many_creates", one_of_many_creates),
];

/// Scenarios for engines that are reached over a network.
const SERVED: &[Scenario] = &[
    ("an_outage_is_not_absence", an_outage_is_not_absence),
    ("a_lost_answer_is_unknown_and_never_sent_again", a_lost_answer_is_unknown_and_never_sent_again),
    ("what_was_not_sent_goes_to_the_next_endpoint", what_was_not_sent_goes_to_the_next_endpoint),
];

fn main() {
    let arguments = Arguments::from_args();
    let etcd = etcd_is_installed();
    let mut trials = Vec::new();
    for (engine, make) in ENGINES {
        let served = if engine == "embedded" { &[] } else { SERVED };
        for &(name, scenario) in SCENARIOS.iter().chain(served) {
            let run = move || {
                scenario(&mut make());
                Ok(())
            };
            let missing = engine == "etcd-v2" && !etcd;
            trials.push(Trial::test(format!("{engine}::{name}"), run).with_ignored_flag(missing));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn key(raw: &str) -> Key {
    Key::parse(raw).unwrap()
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(300))
}

fn later() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn keys(changed: &Changed) -> Vec<&str> {
    match changed {
        Changed::Keys(keys) => keys.iter().map(Key::as_str).collect(),
        Changed::Resync => panic!("a resync was not called for"),
    }
}

/// Watches until `wanted` was seen, as callers do; panics when it was not by the deadline.
fn hear(store: &dyn Store, prefix: &str, after: Revision, wanted: &str) -> Revision {
    let deadline = later();
    let mut after = after;
    while !deadline.has_passed() {
        let changes = store.watch(&key(prefix), after, deadline).unwrap();
        assert!(changes.revision >= after, "a revision never goes back");
        after = changes.revision;
        if keys(&changes.what).contains(&wanted) {
            return after;
        }
    }
    panic!("{wanted} was not heard of");
}

fn expectations_hold_or_conflict(bench: &mut Bench) {
    let (store, at) = (&bench.store, key("/a/x"));
    assert_eq!(store.get(&at), Ok(None));
    assert_eq!(store.put(&at, b"0", None, Expect::Unchanged(Revision(1))), Err(StoreError::Conflict));
    // etcd takes an index of 0 for no comparison at all.
    assert_eq!(store.put(&at, b"0", None, Expect::Unchanged(Revision(0))), Err(StoreError::Conflict));
    assert_eq!(store.delete(&at, Expect::Unchanged(Revision(1))), Err(StoreError::Conflict));
    assert_eq!(store.delete(&at, Expect::Anything), Ok(()));
    assert_eq!(store.refresh(&at, Ttl::seconds(9), Revision(1)), Err(StoreError::Conflict));
    let first = store.put(&at, b"1", None, Expect::Absent).unwrap();
    assert_eq!(store.put(&at, b"2", None, Expect::Absent), Err(StoreError::Conflict));
    assert_eq!(store.put(&at, b"2", None, Expect::Unchanged(Revision(0))), Err(StoreError::Conflict));
    assert_eq!(
        store.get(&at).unwrap().map(|entry| (entry.value, entry.revision)),
        Some((b"1".to_vec(), first))
    );
    let second = store.put(&at, b"2", None, Expect::Unchanged(first)).unwrap();
    assert!(second > first);
    assert_eq!(store.put(&at, b"3", None, Expect::Unchanged(first)), Err(StoreError::Conflict));
    assert_eq!(store.delete(&at, Expect::Unchanged(first)), Err(StoreError::Conflict));
    assert_eq!(store.delete(&at, Expect::Unchanged(Revision(0))), Err(StoreError::Conflict));
    assert_eq!(store.delete(&at, Expect::Absent), Err(StoreError::Conflict));
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"2");
    let third = store.put(&at, b"3", None, Expect::Anything).unwrap();
    assert_eq!(store.delete(&at, Expect::Unchanged(third)), Ok(()));
    assert_eq!(store.get(&at), Ok(None));
}

fn values_come_back_as_they_went_in(bench: &mut Bench) {
    let store = &bench.store;
    let check = |name: &str, value: &[u8]| {
        let at = key("/values").child(name).unwrap();
        let revision = store.put(&at, value, None, Expect::Absent).unwrap();
        let entry = store.get(&at).unwrap().unwrap();
        assert_eq!((entry.value.as_slice(), entry.revision), (value, revision), "{name}");
    };
    check("empty", b"");
    check("json", br#"{"a":"b & c=d;+%20","n":"\u0000"}"#);
    check("odd name: +%2F?#&=", b"x");
    check("\u{e4}\u{1f418}", "\u{1f418}\r\n\t\0".as_bytes());
    check("large", &b"0123456789abcdef".repeat(8 << 10));
    let bytes = store.put(&key("/values/bytes"), b"\xff\xfe", None, Expect::Absent);
    match bench.values {
        Values::Bytes => assert!(bytes.is_ok()),
        Values::Text => assert!(matches!(bytes, Err(StoreError::Corrupt { .. })), "{bytes:?}"),
    }
}

fn a_prefix_ends_at_a_segment(bench: &mut Bench) {
    let store = &bench.store;
    for at in ["/s/b10/x", "/s/b1/y", "/s/b1-z", "/s/b1/deep/er/x", "/s/b1/a", "/t"] {
        store.put(&key(at), at.as_bytes(), None, Expect::Absent).unwrap();
    }
    let list = |prefix: &str| -> Vec<String> {
        let listing = store.list(&key(prefix)).unwrap();
        assert!(listing.entries.iter().all(|entry| entry.value == entry.key.as_str().as_bytes()));
        listing.entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(list("/s/b1"), ["/s/b1/a", "/s/b1/deep/er/x", "/s/b1/y"]);
    assert_eq!(list("/s/b10"), ["/s/b10/x"]);
    assert_eq!(list("/s/b"), [""; 0]);
    assert_eq!(list("/t"), [""; 0], "an entry is not under itself");
    assert_eq!(list("/t/below"), [""; 0]);
    assert_eq!(list("/").len(), 6);
}

fn a_directory_is_not_an_entry(bench: &mut Bench) {
    let store = &bench.store;
    store.put(&key("/d/x"), b"1", None, Expect::Absent).unwrap();
    let corrupt = |at: &str, expect| {
        let put = store.put(&key(at), b"2", None, expect);
        assert!(matches!(put, Err(StoreError::Corrupt { .. })), "{at} {expect:?}: {put:?}");
    };
    assert_eq!(store.get(&key("/d")), Ok(None));
    assert_eq!(store.delete(&key("/d"), Expect::Anything), Ok(()));
    corrupt("/d", Expect::Anything);
    assert_eq!(store.put(&key("/d"), b"2", None, Expect::Absent), Err(StoreError::Conflict));
    assert_eq!(store.put(&key("/d"), b"2", None, Expect::Unchanged(Revision(1))), Err(StoreError::Conflict));
    corrupt("/d/x/below", Expect::Anything);
    corrupt("/d/x/below", Expect::Absent);
    assert_eq!(store.get(&key("/d/x/below")), Ok(None));
    assert_eq!(store.delete(&key("/d/x/below"), Expect::Anything), Ok(()));
    assert_eq!(store.delete(&key("/d/x/below"), Expect::Unchanged(Revision(1))), Err(StoreError::Conflict));
    assert_eq!(store.get(&key("/d/x")).unwrap().unwrap().value, b"1");
    store.delete(&key("/d/x"), Expect::Anything).unwrap();
    store.put(&key("/d/y"), b"again", None, Expect::Absent).unwrap();
}

fn a_ttl_expires_and_tells_watchers(bench: &mut Bench) {
    let (store, at) = (&bench.store, key("/l/leader"));
    let revision = store.put(&at, b"a", Some(Ttl::seconds(1)), Expect::Absent).unwrap();
    assert!(store.get(&at).unwrap().is_some());
    hear(&**store, "/l", revision, "/l/leader");
    assert_eq!(store.get(&at), Ok(None));
    store.put(&at, b"b", None, Expect::Absent).unwrap();
}

fn a_refresh_keeps_and_wakes_nobody(bench: &mut Bench) {
    let (store, at, ttl) = (&bench.store, key("/l/leader"), Ttl::seconds(2));
    let mut held = store.put(&at, b"a", Some(ttl), Expect::Absent).unwrap();
    let after = store.list(&key("/l")).unwrap().revision;
    let begun = Instant::now();
    let changes = thread::scope(|scope| {
        let watcher =
            scope.spawn(|| store.watch(&key("/l"), after, Deadline::after(Duration::from_secs(4))).unwrap());
        while begun.elapsed() < Duration::from_secs(4) {
            held = store.refresh(&at, ttl, held).unwrap();
            thread::sleep(Duration::from_millis(300));
        }
        watcher.join().unwrap()
    });
    assert_eq!(keys(&changes.what), [""; 0], "a refresh woke a watcher");
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"a");
    let stale = Revision(held.0 + 1000);
    assert_eq!(store.refresh(&at, ttl, stale), Err(StoreError::Conflict));
    // What is held now is what a compare-and-swap takes.
    let taken = store.put(&at, b"b", Some(Ttl::seconds(30)), Expect::Unchanged(held)).unwrap();
    assert_eq!(store.refresh(&at, ttl, held), Err(StoreError::Conflict));
    store.delete(&at, Expect::Unchanged(taken)).unwrap();
}

fn a_put_without_ttl_stays(bench: &mut Bench) {
    let (store, at) = (&bench.store, key("/l/x"));
    let first = store.put(&at, b"a", Some(Ttl::seconds(1)), Expect::Absent).unwrap();
    store.put(&at, b"b", None, Expect::Unchanged(first)).unwrap();
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"b");
}

fn a_watch_sees_the_final_state(bench: &mut Bench) {
    let store = &bench.store;
    let start = store.list(&key("/w")).unwrap().revision;
    thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..20 {
                store.put(&key("/w/x"), i.to_string().as_bytes(), None, Expect::Anything).unwrap();
            }
            store.put(&key("/w/end"), b"1", None, Expect::Absent).unwrap();
        });
        let end = hear(&**store, "/w", start, "/w/end");
        assert_eq!(store.get(&key("/w/x")).unwrap().unwrap().value, b"19");
        store.delete(&key("/w/x"), Expect::Anything).unwrap();
        hear(&**store, "/w", end, "/w/x");
        assert_eq!(store.get(&key("/w/x")), Ok(None));
    });
}

fn a_watch_hears_only_its_prefix(bench: &mut Bench) {
    let store = &bench.store;
    let start = store.put(&key("/w/b1/x"), b"1", None, Expect::Absent).unwrap();
    store.put(&key("/w/b10/x"), b"1", None, Expect::Absent).unwrap();
    store.put(&key("/w/other"), b"1", None, Expect::Absent).unwrap();
    let changes = store.watch(&key("/w/b1"), start, soon()).unwrap();
    assert_eq!(keys(&changes.what), [""; 0]);
    store.put(&key("/w/b1/y"), b"1", None, Expect::Absent).unwrap();
    hear(&**store, "/w/b1", changes.revision, "/w/b1/y");
}

fn a_watch_ends_at_its_deadline(bench: &mut Bench) {
    let store = &bench.store;
    let after = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    for wait_ms in [0, 300] {
        let begun = Instant::now();
        let wait = Duration::from_millis(wait_ms);
        let changes = store.watch(&key("/w"), after, Deadline::after(wait)).unwrap();
        assert_eq!((changes.revision, keys(&changes.what)), (after, vec![]));
        assert!(begun.elapsed() >= wait && begun.elapsed() < wait + Duration::from_secs(2));
    }
}

fn a_watch_advances_over_foreign_changes(bench: &mut Bench) {
    let store = &bench.store;
    let after = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    let foreign = store.put(&key("/elsewhere"), b"1", None, Expect::Absent).unwrap();
    let wait = Deadline::after(Duration::from_millis(1300));
    let changes = store.watch(&key("/w"), after, wait).unwrap();
    assert_eq!(keys(&changes.what), [""; 0]);
    assert!(changes.revision >= foreign, "{:?} is behind {foreign:?}", changes.revision);
}

fn a_watch_left_behind_says_resync(bench: &mut Bench) {
    let store = &bench.store;
    let after = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let at = key("/spam").child(&thread.to_string()).unwrap();
            scope.spawn(move || {
                for _ in 0..130 {
                    store.put(&at, b"1", None, Expect::Anything).unwrap();
                }
            });
        }
    });
    let changes = store.watch(&key("/w"), after, later()).unwrap();
    assert_eq!(changes.what, Changed::Resync);
    let listing = store.list(&key("/w")).unwrap();
    assert!(changes.revision > after && changes.revision <= listing.revision);
    let last = store.put(&key("/w/y"), b"1", None, Expect::Absent).unwrap();
    assert_eq!(hear(&**store, "/w", changes.revision, "/w/y"), last);
}

fn a_watch_from_a_listing_misses_nothing(bench: &mut Bench) {
    let store = &bench.store;
    thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..300 {
                let at = key("/n").child(&i.to_string()).unwrap();
                store.put(&at, b"1", None, Expect::Absent).unwrap();
            }
        });
        let listing = store.list(&key("/n")).unwrap();
        let mut seen: Vec<String> = listing.entries.iter().map(|entry| entry.key.to_string()).collect();
        let (mut after, deadline) = (listing.revision, Deadline::after(Duration::from_secs(30)));
        while seen.len() < 300 && !deadline.has_passed() {
            let changes = store.watch(&key("/n"), after, deadline).unwrap();
            after = changes.revision;
            seen.extend(keys(&changes.what).into_iter().map(ToOwned::to_owned));
            seen.sort();
            seen.dedup();
        }
        assert_eq!(seen.len(), 300);
    });
}

fn counters_lose_nothing(bench: &mut Bench) {
    let (store, at) = (&bench.store, key("/counter"));
    store.put(&at, b"0", None, Expect::Absent).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut done = 0;
                while done < 25 {
                    let entry = store.get(&at).unwrap().unwrap();
                    let count: u32 = String::from_utf8(entry.value).unwrap().parse().unwrap();
                    let next = (count + 1).to_string();
                    match store.put(&at, next.as_bytes(), None, Expect::Unchanged(entry.revision)) {
                        Ok(_) => done += 1,
                        Err(StoreError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"100");
}

fn one_of_many_creates(bench: &mut Bench) {
    let store = &bench.store;
    for round in 0..10 {
        let at = key("/claims").child(&round.to_string()).unwrap();
        let created = thread::scope(|scope| {
            let claims: Vec<_> =
                (0..4).map(|_| scope.spawn(|| store.put(&at, b"mine", None, Expect::Absent))).collect();
            claims
                .into_iter()
                .filter(|_| true)
                .map(|claim| claim.join().unwrap())
                .filter(Result::is_ok)
                .count()
        });
        assert_eq!(created, 1, "{at}");
    }
}

fn an_outage_is_not_absence(bench: &mut Bench) {
    let (store, at) = (Arc::clone(&bench.store), key("/a"));
    let revision = store.put(&at, b"1", None, Expect::Absent).unwrap();
    bench.server = None;
    fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>, unknown_is_fine: bool) {
        let fine = match &result {
            Err(StoreError::Unavailable { .. }) => true,
            Err(StoreError::OutcomeUnknown { .. }) => unknown_is_fine,
            _ => false,
        };
        assert!(fine, "{result:?}");
    }
    unavailable(store.get(&at), false);
    unavailable(store.get(&key("/absent")), false);
    unavailable(store.list(&Key::root()), false);
    unavailable(store.watch(&Key::root(), revision, soon()), false);
    // A connection kept alive may have taken the bytes before it broke.
    unavailable(store.put(&at, b"2", None, Expect::Unchanged(revision)), true);
    unavailable(store.delete(&at, Expect::Anything), true);
}

fn a_lost_answer_is_unknown_and_never_sent_again(bench: &mut Bench) {
    let (address, who) = bench.served.unwrap();
    let proxy = Proxy::start(address);
    // The second endpoint would take what must not be sent again.
    let credentials = who.map(|(user, password)| storage::remote::Credentials {
        username: user.to_owned(),
        password: password.to_owned(),
    });
    let endpoints = [format!("http://{}", proxy.address), format!("http://{address}")];
    let store = storage::EtcdV2::connect(&storage::remote::Reach::of(&endpoints), credentials).unwrap();
    let (at, straight) = (key("/a"), &bench.store);
    let unknown = || StoreError::OutcomeUnknown { key: key("/a") };
    let first = store.put(&at, b"first", None, Expect::Absent).unwrap();

    proxy.lose_answers(true);
    assert_eq!(store.put(&at, b"mine", None, Expect::Unchanged(first)), Err(unknown()));
    let read = store.get(&at).unwrap().unwrap();
    assert_eq!(read.value, b"mine", "reads go on at the next endpoint, and the write had landed");

    let store = client(proxy.address, who);
    let before = straight.list(&Key::root()).unwrap().revision;
    assert_eq!(store.put(&at, b"again", None, Expect::Anything), Err(unknown()));
    let after = straight.list(&Key::root()).unwrap().revision;
    assert_eq!(after.0, before.0 + 1, "it was sent once");
    assert_eq!(store.delete(&at, Expect::Anything), Err(unknown()));
    assert_eq!(straight.get(&at), Ok(None));
    assert!(matches!(store.get(&at), Err(StoreError::Unavailable { .. })));
}

fn what_was_not_sent_goes_to_the_next_endpoint(bench: &mut Bench) {
    let (address, who) = bench.served.unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let credentials = who.map(|(user, password)| storage::remote::Credentials {
        username: user.to_owned(),
        password: password.to_owned(),
    });
    let endpoints = [format!("http://{nobody}"), format!("http://{address}")];
    let connect =
        || storage::EtcdV2::connect(&storage::remote::Reach::of(&endpoints), credentials.clone()).unwrap();
    connect().check().unwrap();
    assert!(connect().put(&key("/a"), b"1", None, Expect::Absent).is_ok());
    assert!(connect().get(&key("/a")).unwrap().is_some());
    assert!(connect().watch(&key("/"), Revision(1), later()).is_ok());
}
