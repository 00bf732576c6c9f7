//! Servers that are down, paused or started again: an outage is never absence, and a watcher sees the final state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use storage::{Changed, Deadline, Expect, Key, Revision, Store, StoreError};
use test_servers::Mode;

use crate::Scenario;
use crate::bench::{Bench, HASTY, PATIENT, SLACK};
use crate::say::{is_outage, key, put_surely, soon, value, within};

pub const SCENARIOS: &[Scenario] = &[
    ("an_outage_is_not_absence", an_outage_is_not_absence),
    ("a_watcher_sees_the_final_state_over_cuts", a_watcher_sees_the_final_state_over_cuts),
    ("a_watcher_sees_the_final_state_over_restarts", a_watcher_sees_the_final_state_over_restarts),
];

/// Of servers that can be held still: those in processes of their own.
pub const PAUSES: &[Scenario] = &[("a_paused_server_is_not_absence", a_paused_server_is_not_absence)];

fn everything_is_an_outage(store: &dyn Store, at: &Key, held: Revision) {
    let longest = HASTY.total + SLACK;
    is_outage("get", &within("get", longest, || store.get(at)), false);
    is_outage("get of nothing", &within("get", longest, || store.get(&key("/absent"))), false);
    is_outage("list", &within("list", longest, || store.list(&Key::root())), false);
    is_outage("watch", &within("watch", longest * 2, || store.watch(&Key::root(), held, soon())), false);
    // A connection kept alive may have taken the bytes before it broke.
    let put = within("put", longest, || store.put(at, b"2", None, Expect::Unchanged(held)));
    is_outage("put", &put, true);
    let create = within("create", longest, || store.put(&key("/new"), b"2", None, Expect::Absent));
    is_outage("create", &create, true);
    let delete = within("delete", longest, || store.delete(&key("/other"), Expect::Anything));
    is_outage("delete", &delete, true);
}

fn an_outage_is_not_absence(bench: &mut Bench) {
    let at = key("/a");
    let held = bench.store.put(&at, b"1", None, Expect::Absent).unwrap();
    let served = bench.served();
    let proxy = served.proxy();
    let store = served.through(&[proxy.address()], HASTY);
    // Makes the connection that is broken below.
    drop(store.get(&at));
    served.server.kill();
    proxy.cut();
    everything_is_an_outage(&*store, &at, held);
    served.server.restart();
    proxy.cut();
    assert_eq!(value(&*served.through(&[proxy.address()], PATIENT), &at), Some(b"1".to_vec()));
}

fn a_paused_server_is_not_absence(bench: &mut Bench) {
    let at = key("/a");
    let held = bench.store.put(&at, b"1", None, Expect::Absent).unwrap();
    let served = bench.served();
    let store = served.through(&[served.address], HASTY);
    // Makes the connection that stands still below.
    drop(store.get(&at));
    served.server.pause();
    everything_is_an_outage(&*store, &at, held);
    served.server.resume();
    // What it had in its hands may be done now: all or nothing of each.
    let store = served.through(&[served.address], PATIENT);
    let found = value(&*store, &at).unwrap();
    assert!(found == b"1" || found == b"2");
}

/// What a watcher knows, kept up to date as callers do.
struct Follower {
    prefix: Key,
    known: BTreeMap<Key, Vec<u8>>,
    after: Option<Revision>,
}

impl Follower {
    fn step(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let Some(after) = self.after else {
            let listing = store.list(&self.prefix)?;
            self.known = listing.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
            self.after = Some(listing.revision);
            return Ok(());
        };
        let changes = store.watch(&self.prefix, after, soon())?;
        match changes.what {
            Changed::Resync => self.after = None,
            Changed::Keys(keys) => {
                // Read before the revision is taken over: a failure must not lose the change.
                for key in keys {
                    match store.get(&key)? {
                        Some(entry) => drop(self.known.insert(key, entry.value)),
                        None => drop(self.known.remove(&key)),
                    }
                }
                self.after = Some(changes.revision);
            }
        }
        Ok(())
    }

    /// Goes on until what it knows is what is wanted.
    fn follow(mut self, store: &dyn Store, wanted: &[u8]) {
        let deadline = Deadline::after(Duration::from_secs(120));
        let last = self.prefix.child("x").unwrap();
        while self.known.get(&last).map(Vec::as_slice) != Some(wanted) || self.known.len() != 1 {
            assert!(!deadline.has_passed(), "the final state was not seen: {:?}", self.known.keys());
            if let Err(error) = self.step(store) {
                is_outage("a step of the watcher", &Err::<(), _>(error), false);
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn follower() -> Follower {
    Follower { prefix: key("/f"), known: BTreeMap::new(), after: None }
}

fn a_watcher_sees_the_final_state_over_cuts(bench: &mut Bench) {
    let straight = bench.store.clone();
    let served = bench.served();
    let proxy = served.proxy();
    let store = served.through(&[proxy.address()], HASTY);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| follower().follow(&*store, b"final"));
        for nth in 0..15 {
            put_surely(&*straight, &key("/f/x"), nth.to_string().as_bytes());
            put_surely(&*straight, &key("/f/gone"), b"1");
            let mode = [Mode::Reset, Mode::Refuse, Mode::LoseAnswers, Mode::Hang, Mode::Truncate][nth % 5];
            proxy.set(mode).unwrap();
            put_surely(&*straight, &key("/f/y"), b"1");
            straight.delete(&key("/f/gone"), Expect::Anything).unwrap();
            straight.delete(&key("/f/y"), Expect::Anything).unwrap();
            thread::sleep(Duration::from_millis(37 * (nth as u64 % 4)));
            proxy.set(Mode::Pass).unwrap();
            proxy.cut();
        }
        put_surely(&*straight, &key("/f/x"), b"final");
        watcher.join().unwrap();
    });
}

fn a_watcher_sees_the_final_state_over_restarts(bench: &mut Bench) {
    let served = bench.served();
    let proxy = served.proxy();
    let store = served.through(&[proxy.address()], HASTY);
    let write = |content: &[u8]| {
        // A new client each time: none of its connections is to a server of before.
        let store: Arc<dyn Store> = served.through(&[served.address], HASTY);
        put_surely(&*store, &key("/f/x"), content);
    };
    write(b"0");
    thread::scope(|scope| {
        let watcher = scope.spawn(|| follower().follow(&*store, b"final"));
        thread::sleep(Duration::from_millis(300));
        for content in [&b"1"[..], b"final"] {
            served.server.kill();
            proxy.cut();
            thread::sleep(Duration::from_millis(100));
            served.server.restart();
            proxy.cut();
            let store: Arc<dyn Store> = (served.connect)(&[served.endpoint(served.address)], HASTY);
            put_surely(&*store, &key("/f/x"), content);
        }
        watcher.join().unwrap();
    });
}
