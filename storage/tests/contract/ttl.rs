//! Entries that do not stay.

use std::thread;
use std::time::{Duration, Instant};

use storage::{Deadline, Expect, Revision, StoreError, Ttl};

use crate::Scenario;
use crate::bench::Bench;
use crate::say::{hear_by, key, keys};

pub const SCENARIOS: &[Scenario] = &[
    ("a_ttl_expires_and_tells_watchers", a_ttl_expires_and_tells_watchers),
    ("a_refresh_keeps_and_wakes_nobody", a_refresh_keeps_and_wakes_nobody),
    ("a_put_without_ttl_stays", a_put_without_ttl_stays),
];

/// A slow machine does not let this run out between one call and the next.
fn short_ttl(bench: &Bench) -> Ttl {
    Ttl::seconds(bench.can.least_ttl.max(3))
}

fn a_ttl_expires_and_tells_watchers(bench: &mut Bench) {
    let (store, at) = (&bench.store, key("/l/leader"));
    let ttl = short_ttl(bench);
    let revision = store.put(&at, b"a", Some(ttl), Expect::Absent).unwrap();
    assert!(store.get(&at).unwrap().is_some());
    let latest = Deadline::after(ttl.duration() + bench.can.late + Duration::from_secs(15));
    hear_by(bench, "/l", revision, "/l/leader", latest);
    assert_eq!(store.get(&at), Ok(None));
    store.put(&at, b"b", None, Expect::Absent).unwrap();
}

fn a_refresh_keeps_and_wakes_nobody(bench: &mut Bench) {
    let (store, at) = (&bench.store, key("/l/leader"));
    let ttl = Ttl::seconds(bench.can.least_ttl.max(6));
    // Nothing but the refreshes keeps it for so long.
    let long = ttl.duration() + bench.can.late + Duration::from_millis(500);
    let mut held = store.put(&at, b"a", Some(ttl), Expect::Absent).unwrap();
    let after = store.list(&key("/l")).unwrap().revision;
    let begun = Instant::now();
    let changes = thread::scope(|scope| {
        let watcher = scope.spawn(|| store.watch(&key("/l"), after, Deadline::after(long)).unwrap());
        while begun.elapsed() < long {
            held = store.refresh(&at, ttl, held).unwrap();
            thread::sleep(ttl.duration() / 7);
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
    let ttl = short_ttl(bench);
    let first = store.put(&at, b"a", Some(ttl), Expect::Absent).unwrap();
    store.put(&at, b"b", None, Expect::Unchanged(first)).unwrap();
    thread::sleep(ttl.duration() + bench.can.late + Duration::from_millis(500));
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"b");
}
