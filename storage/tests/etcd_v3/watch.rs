//! Watches.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use storage::{Changed, EtcdV3, Expect, Key, Revision, Store, StoreError, Ttl};
use test_servers::{EtcdCluster, EtcdOptions, Mode, Proxy};

use crate::Scenario;
use crate::bench::{client, done, etcd, key, keys, reach, within};
use crate::support::{Sort, sort};

pub const SCENARIOS: &[Scenario] = &[
    ("forgotten_history_says_resync", forgotten_history_says_resync),
    ("catching_up_skips_nothing", catching_up_skips_nothing),
    ("nothing_is_passed_over_at_the_deadline", nothing_is_passed_over_at_the_deadline),
    ("a_deaf_stream_does_not_hide_a_change", a_deaf_stream_does_not_hide_a_change),
    ("a_store_set_back_says_resync", a_store_set_back_says_resync),
    ("from_the_beginning", from_the_beginning),
    ("expiry_and_trees_are_heard", expiry_and_trees_are_heard),
    ("the_leader_may_be_lost", the_leader_may_be_lost),
];

fn compact(endpoint: &str, revision: Revision) {
    done(endpoint, "", "/v3/kv/compaction", &json!({"revision": revision.0.to_string(), "physical": true}));
}

fn forgotten_history_says_resync() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let after = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    for n in 0..5 {
        store.put(&key("/w/x"), &[n], None, Expect::Anything).unwrap();
    }
    let last = store.list(&Key::root()).unwrap().revision;
    compact(etcd.endpoint(), last);
    for wait in [0, 3000] {
        let changes = store.watch(&key("/w"), after, within(wait)).unwrap();
        let listing = store.list(&key("/w")).unwrap();
        assert_eq!(changes.what, Changed::Resync, "{wait}");
        assert!(changes.revision > after && changes.revision <= listing.revision);
    }
    // Only others' changes are forgotten, and nobody knows.
    assert_eq!(store.watch(&key("/other"), after, within(3000)).unwrap().what, Changed::Resync);
    // What is remembered goes on.
    assert_eq!(keys(&store.watch(&key("/w"), last, within(300)).unwrap().what), [""; 0]);
    store.put(&key("/w/y"), b"1", None, Expect::Absent).unwrap();
    assert_eq!(keys(&store.watch(&key("/w"), last, within(3000)).unwrap().what), ["/w/y"]);
}

/// A stream that catches up says in each word's header how far the store is, not how far it has told.
fn catching_up_skips_nothing() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let start = store.put(&key("/start"), b"1", None, Expect::Absent).unwrap();
    thread::scope(|scope| {
        for nth in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..300 {
                    let at = key("/many").child(&format!("{nth}-{n}")).unwrap();
                    store.put(&at, b"1", None, Expect::Absent).unwrap();
                }
            });
        }
    });
    let (mut after, mut seen) = (start, BTreeSet::new());
    let deadline = within(20_000);
    while seen.len() < 2400 && !deadline.has_passed() {
        let changes = store.watch(&key("/many"), after, within(1000)).unwrap();
        assert!(changes.revision >= after);
        after = changes.revision;
        seen.extend(keys(&changes.what).into_iter().map(ToOwned::to_owned));
    }
    assert_eq!(seen.len(), 2400);
}

/// Without time to listen, only the look at the end can tell.
fn nothing_is_passed_over_at_the_deadline() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let check = |name: &str, change: &dyn Fn(), expected: &[&str]| {
        for at in ["/w/a", "/w/b"] {
            store.put(&key(at), b"0", None, Expect::Anything).unwrap();
        }
        store.delete(&key("/w/c"), Expect::Anything).unwrap();
        let after = store.list(&Key::root()).unwrap().revision;
        change();
        let now = store.list(&Key::root()).unwrap().revision;
        for wait in [0, 1, 400] {
            let changes = store.watch(&key("/w"), after, within(wait)).unwrap();
            assert_eq!(changes.revision, now, "{name}, {wait} ms");
            match &changes.what {
                // Known to have changed, but not what: that is right as well.
                Changed::Resync => assert!(!expected.is_empty(), "{name}, {wait} ms"),
                Changed::Keys(_) => assert_eq!(keys(&changes.what), expected, "{name}, {wait} ms"),
            }
        }
    };
    let put = |at: &str| {
        store.put(&key(at), b"1", None, Expect::Anything).unwrap();
    };
    let delete = |at: &str| store.delete(&key(at), Expect::Anything).unwrap();
    check("nothing", &|| {}, &[]);
    check("another prefix", &|| put("/w0/a"), &[]);
    check("the prefix's own key", &|| put("/w"), &[]);
    check("a deletion", &|| delete("/w/a"), &["/w/a"]);
    check("a change", &|| put("/w/a"), &["/w/a"]);
    check("a new one", &|| put("/w/c"), &["/w/c"]);
    let swap = || {
        done(
            etcd.endpoint(),
            "",
            "/v3/kv/txn",
            &json!({"success": [
                {"request_delete_range": {"key": crate::bench::b64("/w/a")}},
                {"request_put": {"key": crate::bench::b64("/w/c")}},
            ]}),
        );
    };
    check("one for another", &swap, &["/w/a", "/w/c"]);
}

/// The stream goes through one endpoint, which takes its answers back; the look goes through the other.
fn a_deaf_stream_does_not_hide_a_change() {
    let etcd = etcd();
    let proxy = Proxy::start(etcd.address()).unwrap();
    let store = EtcdV3::connect(&reach(&[&proxy.endpoint(), etcd.endpoint()]), None).unwrap();
    let after = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    let straight = client(etcd.endpoint(), None);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| store.watch(&key("/w"), after, within(3000)).unwrap());
        thread::sleep(Duration::from_millis(700));
        proxy.set(Mode::WithholdAnswers).unwrap();
        let put = straight.put(&key("/w/x"), b"2", None, Expect::Anything).unwrap();
        let changes = watcher.join().unwrap();
        assert_eq!(changes.revision, put);
        match &changes.what {
            Changed::Resync => {}
            Changed::Keys(_) => assert_eq!(keys(&changes.what), ["/w/x"]),
        }
    });
}

fn a_store_set_back_says_resync() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let now = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    for after in [now.0 + 1000, i64::MAX as u64, u64::MAX] {
        for wait in [0, 20_000] {
            let begun = Instant::now();
            let changes = store.watch(&key("/w"), Revision(after), within(wait)).unwrap();
            assert_eq!((changes.what, changes.revision), (Changed::Resync, now), "{after}");
            assert!(begun.elapsed() < Duration::from_secs(8), "{after}");
        }
    }
}

fn from_the_beginning() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let changes = store.watch(&key("/w"), Revision(0), within(0)).unwrap();
    assert_eq!((keys(&changes.what), changes.revision), (vec![], Revision(1)), "an empty store is at 1");
    store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    for wait in [0, 3000] {
        assert_eq!(keys(&store.watch(&key("/w"), Revision(0), within(wait)).unwrap().what), ["/w/x"]);
    }
    assert_eq!(keys(&store.watch(&key("/v"), Revision(0), within(200)).unwrap().what), [""; 0]);
}

fn expiry_and_trees_are_heard() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let after = store.put(&key("/w/x"), b"1", Some(Ttl::seconds(1)), Expect::Absent).unwrap();
    assert_eq!(keys(&store.watch(&key("/w"), after, within(10_000)).unwrap().what), ["/w/x"]);
    for at in ["/w/t/a", "/w/t/b/c", "/w/tt"] {
        store.put(&key(at), b"1", None, Expect::Absent).unwrap();
    }
    let after = store.list(&key("/w")).unwrap().revision;
    let tree = json!({"key": crate::bench::b64("/w/t/"), "range_end": crate::bench::b64("/w/t0")});
    done(etcd.endpoint(), "", "/v3/kv/deleterange", &tree);
    assert_eq!(keys(&store.watch(&key("/w"), after, within(5000)).unwrap().what), ["/w/t/a", "/w/t/b/c"]);
}

fn the_leader_may_be_lost() {
    let mut cluster = EtcdCluster::start(&EtcdOptions::default()).unwrap();
    let endpoints = cluster.endpoints();
    let leader = cluster.leader().unwrap();
    // The leader is asked first.
    let mut order: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    order.swap(0, leader);
    let store = EtcdV3::connect(&reach(&order), None).unwrap();
    let other = EtcdV3::connect(&reach(&order[1..]), None).unwrap();
    let after = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut after, deadline) = (after, within(40_000));
            while !deadline.has_passed() {
                // A member that hangs costs a call or two, and is then turned away from.
                let Ok(changes) = store.watch(&key("/w"), after, within(5000)) else { continue };
                after = changes.revision;
                match changes.what {
                    Changed::Resync if store.get(&key("/w/y")).is_ok_and(|found| found.is_some()) => {
                        return true;
                    }
                    Changed::Keys(keys) if keys.contains(&key("/w/y")) => return true,
                    _ => {}
                }
            }
            false
        });
        thread::sleep(Duration::from_millis(500));
        cluster.member(leader).pause().unwrap();
        let deadline = within(20_000);
        while let Err(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. }) =
            other.put(&key("/w/y"), b"1", None, Expect::Anything)
        {
            assert!(!deadline.has_passed(), "no new leader");
        }
        assert!(watcher.join().unwrap(), "the change was not heard of");
    });
    // With one of three there is no majority, and that is not "nothing happened".
    let last = (0..3).find(|member| *member != leader).unwrap();
    let lonely = client(&endpoints[last], None);
    let now = lonely.list(&Key::root()).unwrap().revision;
    let third = (0..3).find(|member| *member != leader && *member != last).unwrap();
    cluster.member(third).stop();
    thread::sleep(Duration::from_secs(3));
    let begun = Instant::now();
    assert_eq!(sort(&lonely.watch(&key("/w"), now, within(1000))), Sort::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(15));
    let told = lonely.check().unwrap_err().to_string();
    assert!(told.contains("no leader or no majority"), "{told}");
}
