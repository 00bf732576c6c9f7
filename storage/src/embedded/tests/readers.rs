//! Readers and watchers among many writers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::super::permissions::Permissions;
use super::super::read::Missing;
use super::super::{Embedded, Options};
use crate::{Changed, Deadline, Expect, Key, Revision, Store};

const WRITERS: usize = 4;
const CHANGES: u64 = 300;

fn key(path: &str) -> Key {
    Key::parse(path).unwrap()
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Each writer counts up; what it was answered stands in `acknowledged` before anybody looks.
fn write(store: &Embedded, at: &Key, acknowledged: &AtomicU64) {
    for count in 1..=CHANGES {
        store.put(at, count.to_string().as_bytes(), None, Expect::Anything).unwrap();
        acknowledged.store(count, Ordering::SeqCst);
    }
}

/// Reads as fast as can be; the last index that a listing had, and what stood in it.
fn read(store: &Embedded, keys: &[Key], acknowledged: &[AtomicU64], writing: &AtomicBool) -> u64 {
    let (mut seen, mut before, mut looks) = (vec![0; keys.len()], Revision(0), 0);
    while writing.load(Ordering::SeqCst) || looks == 0 {
        looks += 1;
        for (at, key) in keys.iter().enumerate() {
            let least = acknowledged[at].load(Ordering::SeqCst).max(seen[at]);
            let found = store.get(key).unwrap().map_or(0, |entry| number(&entry.value));
            assert!(found >= least, "{key}: {found} after {least}");
            seen[at] = found;
        }
        let listing = store.list(&Key::root()).unwrap();
        assert!(listing.revision >= before, "{:?} after {before:?}", listing.revision);
        before = listing.revision;
        for entry in listing.entries {
            let at = keys.iter().position(|key| *key == entry.key).unwrap();
            let found = number(&entry.value);
            assert!(found >= seen[at], "{}: {found} after {}", entry.key, seen[at]);
            assert!(entry.revision <= listing.revision, "{}: later than its listing", entry.key);
            seen[at] = found;
        }
        let current = store.shared.history.look().current();
        assert!(current >= before.0, "who listed at {} watches a history that ends at {current}", before.0);
    }
    looks
}

/// Follows every key as callers do, and reads what it hears of: nothing may be missing at the end, and nothing be heard
/// of that cannot be read.
fn follow(store: &Embedded, keys: &[Key]) {
    let deadline = Deadline::after(Duration::from_secs(60));
    let (mut after, mut known) = (Revision(0), vec![0; keys.len()]);
    while known.iter().any(|count| *count < CHANGES) {
        assert!(!deadline.has_passed(), "not all was heard of: {known:?}");
        let changes = store.watch(&Key::root(), after, deadline).unwrap();
        let listing = store.list(&Key::root()).unwrap();
        assert!(listing.revision >= changes.revision, "heard of {changes:?}, read {:?}", listing.revision);
        after = changes.revision;
        let heard = match changes.what {
            Changed::Keys(keys) => keys,
            Changed::Resync => keys.to_vec(),
        };
        for entry in listing.entries.into_iter().filter(|entry| heard.contains(&entry.key)) {
            let at = keys.iter().position(|key| *key == entry.key).unwrap();
            known[at] = number(&entry.value);
        }
    }
}

/// Readers that look beside the writer's lock, or between the two steps of its publishing, see a state that goes
/// backwards, or hear of a change that is not there.
#[test]
fn nobody_misses_an_acknowledged_write_or_sees_state_go_backwards() {
    let store = Embedded::in_memory(Options::default()).unwrap();
    let keys: Vec<Key> = (0..WRITERS).map(|number| key(&format!("/count/{number}"))).collect();
    let acknowledged: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| read(&store, &keys, &acknowledged, &writing))).collect();
        let follower = scope.spawn(|| follow(&store, &keys));
        let writers: Vec<_> = keys
            .iter()
            .zip(&acknowledged)
            .map(|(key, acknowledged)| scope.spawn(|| write(&store, key, acknowledged)))
            .collect();
        let written: Vec<bool> = writers.into_iter().map(|writer| writer.join().is_ok()).collect();
        writing.store(false, Ordering::SeqCst);
        assert!(written.into_iter().all(|fine| fine));
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
        follower.join().unwrap();
    });
}

/// What is under a key, as the API shows it: a line for each node.
fn lines(store: &Embedded, at: &str, recursive: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut trees = match store.shared.tree(&key(at), recursive, &Permissions::all()).what {
        Ok(tree) => vec![tree],
        Err(Missing::Nothing { at }) => return vec![format!("nothing at {at}")],
        Err(Missing::BehindFile { at }) => return vec![format!("{at} is a file")],
    };
    while let Some(tree) = trees.pop() {
        trees.extend(tree.children.into_iter().rev());
        lines.push(tree.key.to_string());
    }
    lines
}

#[test]
fn the_api_lists_what_is_not_hidden() {
    let store = Embedded::in_memory(Options::default()).unwrap();
    for path in ["/a/b/c", "/a/b-c", "/a/d/_e/f", "/_g/h", "/_g/_i", "/a/j_"] {
        // As the API puts it: in this process nobody may.
        let change = super::told::put(path);
        store.ask(&key(path), change).unwrap().unwrap();
    }
    let check = |at: &str, recursive: bool, expected: &[&str]| {
        assert_eq!(lines(&store, at, recursive), expected, "{at}, recursive: {recursive}");
    };
    check("/", false, &["/", "/a"]);
    check("/", true, &["/", "/a", "/a/b", "/a/b/c", "/a/b-c", "/a/d", "/a/j_"]);
    check("/a", false, &["/a", "/a/b", "/a/b-c", "/a/d", "/a/j_"]);
    check("/_g", true, &["/_g", "/_g/h"]);
    check("/_g/_i", true, &["/_g/_i"]);
    check("/a/d/_e", false, &["/a/d/_e", "/a/d/_e/f"]);
    check("/a/x/y", true, &["nothing at /a/x"]);
    check("/a/j_/y/z", true, &["/a/j_ is a file"]);
    let listed = store.list(&Key::root()).unwrap().entries;
    let listed: Vec<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(listed, ["/_g/_i", "/_g/h", "/a/b-c", "/a/b/c", "/a/d/_e/f", "/a/j_"]);
}
