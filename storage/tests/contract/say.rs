//! Words that the scenarios share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use storage::{Changed, Deadline, Expect, Key, Revision, Store, StoreError};

use crate::bench::{Bench, History};

pub fn key(raw: &str) -> Key {
    Key::parse(raw).unwrap()
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(300))
}

pub fn later() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// A value that nobody else writes.
pub fn write_id() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("write {} of {}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id()).into_bytes()
}

pub fn keys(changed: &Changed) -> Vec<&str> {
    match changed {
        Changed::Keys(keys) => keys.iter().map(Key::as_str).collect(),
        Changed::Resync => panic!("a resync was not called for"),
    }
}

/// Watches until `wanted` was seen, as callers do; panics when it was not by the deadline.
pub fn hear(bench: &Bench, prefix: &str, after: Revision, wanted: &str) -> Revision {
    hear_by(bench, prefix, after, wanted, later())
}

pub fn hear_by(bench: &Bench, prefix: &str, after: Revision, wanted: &str, deadline: Deadline) -> Revision {
    let mut after = after;
    while !deadline.has_passed() {
        let changes = bench.store.watch(&key(prefix), after, deadline).unwrap();
        assert!(changes.revision >= after, "a revision never goes back");
        after = changes.revision;
        // Without a history, what was removed can't be named.
        let all = matches!(bench.can.history, History::None) && changes.what == Changed::Resync;
        if all || keys(&changes.what).contains(&wanted) {
            return after;
        }
    }
    panic!("{wanted} was not heard of");
}

/// What an outage may look like: nobody says that it was done, or that somebody else was first.
#[track_caller]
pub fn is_outage<T: std::fmt::Debug>(what: &str, result: &Result<T, StoreError>, writes: bool) {
    let fine = match result {
        Err(StoreError::Unavailable { .. }) => true,
        Err(StoreError::OutcomeUnknown { .. }) => writes,
        _ => false,
    };
    assert!(fine, "{what}: {result:?}");
}

/// Runs it and makes sure that it took no longer.
#[track_caller]
pub fn within<T>(what: &str, longest: Duration, run: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = run();
    assert!(begun.elapsed() <= longest, "{what}: it took {:?} instead of {longest:?}", begun.elapsed());
    result
}

/// Writes until it is done.
pub fn put_surely(store: &dyn Store, at: &Key, content: &[u8]) {
    let deadline = Deadline::after(Duration::from_secs(30));
    while store.put(at, content, None, Expect::Anything).is_err() {
        assert!(!deadline.has_passed(), "{at} could not be written");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The bytes at a key.
pub fn value(store: &dyn Store, at: &Key) -> Option<Vec<u8>> {
    store.get(at).unwrap().map(|entry| entry.value)
}
