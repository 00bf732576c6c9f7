//! Watching: the final state is seen, and nothing under another prefix.

use std::thread;
use std::time::{Duration, Instant};

use storage::{Changed, Deadline, Expect, Revision};

use crate::Scenario;
use crate::bench::{Bench, History};
use crate::say::{hear, key, keys, soon};

pub const SCENARIOS: &[Scenario] = &[
    ("a_watch_sees_the_final_state", a_watch_sees_the_final_state),
    ("a_watch_hears_only_its_prefix", a_watch_hears_only_its_prefix),
    ("a_watch_ends_at_its_deadline", a_watch_ends_at_its_deadline),
    ("a_watch_advances_over_foreign_changes", a_watch_advances_over_foreign_changes),
    ("a_watch_left_behind_says_resync", a_watch_left_behind_says_resync),
    ("a_watch_of_another_store_says_resync", a_watch_of_another_store_says_resync),
    ("a_watch_from_a_listing_misses_nothing", a_watch_from_a_listing_misses_nothing),
];

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
        let end = hear(bench, "/w", start, "/w/end");
        assert_eq!(store.get(&key("/w/x")).unwrap().unwrap().value, b"19");
        store.delete(&key("/w/x"), Expect::Anything).unwrap();
        hear(bench, "/w", end, "/w/x");
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
    let heard = hear(bench, "/w/b1", changes.revision, "/w/b1/y");
    store.delete(&key("/w/b10/x"), Expect::Anything).unwrap();
    let changes = store.watch(&key("/w/b1"), heard, soon()).unwrap();
    assert_eq!(keys(&changes.what), [""; 0], "b10 is not under b1");
    assert!(store.get(&key("/w/b1/x")).unwrap().is_some());
}

fn a_watch_ends_at_its_deadline(bench: &mut Bench) {
    let store = &bench.store;
    let after = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    for wait_ms in [0, 300] {
        let begun = Instant::now();
        let wait = Duration::from_millis(wait_ms);
        let changes = store.watch(&key("/w"), after, Deadline::after(wait)).unwrap();
        assert_eq!(keys(&changes.what), [""; 0]);
        assert!(changes.revision >= after);
        assert!(begun.elapsed() >= wait && begun.elapsed() < wait + Duration::from_secs(4));
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
    if let History::Until(forget) = bench.can.history {
        forget(bench.served.as_ref().unwrap());
    }
    let changes = store.watch(&key("/w"), after, soon()).unwrap();
    if matches!(bench.can.history, History::None) {
        assert_eq!(changes.what, Changed::Keys(Vec::new()), "nothing of ours has changed");
    } else {
        assert_eq!(changes.what, Changed::Resync);
    }
    let listing = store.list(&key("/w")).unwrap();
    assert!(changes.revision > after && changes.revision <= listing.revision);
    let last = store.put(&key("/w/y"), b"1", None, Expect::Absent).unwrap();
    assert!(hear(bench, "/w", changes.revision, "/w/y") >= last);
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

/// The store was restored from a backup, or is another one: what its watcher knows is not of this one.
fn a_watch_of_another_store_says_resync(bench: &mut Bench) {
    let store = &bench.store;
    let last = store.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    let ahead = Revision(last.0 + 1000);
    let changes = store.watch(&key("/w"), ahead, soon()).unwrap();
    assert_eq!(changes.what, Changed::Resync);
    let listing = store.list(&key("/w")).unwrap();
    assert!(changes.revision <= listing.revision);
}
