//! Entries with a TTL have a session each, and nothing else has.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use storage::{Expect, Revision, Store, StoreError, Ttl};

use crate::Test;
use crate::lab::{Lab, key};

pub const TESTS: &[Test] = &[
    ("a_put_without_ttl_frees_the_entry", a_put_without_ttl_frees_the_entry),
    ("a_put_takes_over_what_another_holds", a_put_takes_over_what_another_holds),
    ("what_has_gone_can_be_taken_at_once", what_has_gone_can_be_taken_at_once),
    ("a_refresh_knows_whose_entry_it_is", a_refresh_knows_whose_entry_it_is),
    ("no_session_is_left_behind", no_session_is_left_behind),
    ("callers_at_once_end_no_live_session", callers_at_once_end_no_live_session),
    ("a_lock_delay_of_others_is_waited_for", a_lock_delay_of_others_is_waited_for),
    ("the_same_bytes_are_another_entry", the_same_bytes_are_another_entry),
    ("ttls_are_what_consul_keeps", ttls_are_what_consul_keeps),
    ("a_restart_ends_no_session", a_restart_ends_no_session),
];

const TTL: Option<Ttl> = Some(Ttl::seconds(10));

fn a_put_without_ttl_frees_the_entry() {
    let lab = Lab::open();
    let (mine, other, at) = (lab.store(), lab.store(), key("/l/x"));
    for expect in [None, Some(Expect::Anything)] {
        let first = mine.put(&at, b"a", TTL, Expect::Anything).unwrap();
        let session = lab.session_of("/l/x").unwrap();
        // The other does not know of the session, and does not ask.
        other.put(&at, b"b", None, expect.unwrap_or(Expect::Unchanged(first))).unwrap();
        assert_eq!(lab.session_of("/l/x"), None, "{expect:?}");
        lab.end(&session);
        assert_eq!(other.get(&at).unwrap().unwrap().value, b"b", "{expect:?}");
    }
    let held = mine.put(&at, b"c", TTL, Expect::Anything).unwrap();
    mine.put(&at, b"d", None, Expect::Unchanged(held)).unwrap();
    assert_eq!(lab.sessions(), [""; 0], "one's own is ended with it");
}

fn a_put_takes_over_what_another_holds() {
    let lab = Lab::open();
    let (first, second, at) = (lab.store(), lab.store(), key("/l/leader"));
    let held = first.put(&at, b"first", TTL, Expect::Absent).unwrap();
    let session = lab.session_of("/l/leader").unwrap();
    assert_eq!(second.put(&at, b"second", TTL, Expect::Absent), Err(StoreError::Conflict));
    let stale = Expect::Unchanged(Revision(held.0 - 1));
    assert_eq!(second.put(&at, b"second", TTL, stale), Err(StoreError::Conflict));
    let taken = second.put(&at, b"second", TTL, Expect::Unchanged(held)).unwrap();
    assert_eq!(first.refresh(&at, Ttl::seconds(10), held), Err(StoreError::Conflict));
    lab.end(&session);
    assert_eq!(second.refresh(&at, Ttl::seconds(10), taken), Ok(taken));
    assert_eq!(first.get(&at).unwrap().unwrap().value, b"second");
    assert_eq!(first.delete(&at, Expect::Unchanged(held)), Err(StoreError::Conflict));
    assert_eq!(second.delete(&at, Expect::Unchanged(taken)), Ok(()));
}

fn what_has_gone_can_be_taken_at_once() {
    let lab = Lab::open();
    let (store, at) = (lab.store(), key("/l/leader"));
    store.put(&at, b"1", TTL, Expect::Absent).unwrap();
    for _ in 0..5 {
        lab.end(&lab.session_of("/l/leader").unwrap());
        let begun = Instant::now();
        store.put(&at, b"2", TTL, Expect::Absent).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "there is a lock delay");
    }
    // The bound that the module states, and what a loaded machine may add to it.
    let begun = Instant::now();
    let put = store.put(&at, b"3", TTL, Expect::Anything).unwrap();
    let latest = begun + Duration::from_secs(20 + 15);
    while store.get(&at).unwrap().is_some() {
        assert!(Instant::now() < latest, "it stays");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(begun.elapsed() >= Duration::from_secs(10), "it went before its time");
    assert_eq!(store.refresh(&at, Ttl::seconds(10), put), Err(StoreError::Conflict));
}

fn a_refresh_knows_whose_entry_it_is() {
    let lab = Lab::open();
    let (mine, other, at, ttl) = (lab.store(), lab.store(), key("/l/x"), Ttl::seconds(10));
    let held = mine.put(&at, b"a", TTL, Expect::Absent).unwrap();
    assert_eq!(other.refresh(&at, ttl, held), Ok(held), "the session is found at the entry");
    assert_eq!(mine.refresh(&at, ttl, Revision(held.0 - 1)), Err(StoreError::Conflict));
    // One who has read back what became of a put holds what stands there, whoever wrote it.
    let again = other.put(&at, b"b", TTL, Expect::Unchanged(held)).unwrap();
    assert_eq!(mine.refresh(&at, ttl, again), Ok(again));
    // One's own session is no longer the entry's, and lives: renewing that would be of no use. It is ended instead.
    let again = lab.store().put(&at, b"b", TTL, Expect::Unchanged(again)).unwrap();
    assert_eq!(lab.sessions().len(), 2);
    assert_eq!(mine.refresh(&at, ttl, again), Ok(again));
    assert_eq!(lab.sessions(), [lab.session_of("/l/x").unwrap()]);
    let stays = other.put(&at, b"c", None, Expect::Unchanged(again)).unwrap();
    assert_eq!(mine.refresh(&at, ttl, stays), Err(StoreError::Conflict), "it has no TTL");
    let held = mine.put(&at, b"d", TTL, Expect::Unchanged(stays)).unwrap();
    lab.end(&lab.session_of("/l/x").unwrap());
    assert_eq!(mine.refresh(&at, ttl, held), Err(StoreError::Conflict), "it is gone");
    // The session lives, and the entry is held by it no more: what is renewed is not enough to go by.
    let held = mine.put(&at, b"e", TTL, Expect::Absent).unwrap();
    let session = lab.session_of("/l/x").unwrap();
    let write = json!([{"KV": {"Verb": "unlock", "Key": "l/x", "Value": "", "Session": session}}]);
    assert_eq!(lab.api("PUT", "txn", &write).0, 200);
    assert_eq!(mine.refresh(&at, ttl, held), Err(StoreError::Conflict), "somebody else's");
}

fn no_session_is_left_behind() {
    let lab = Lab::open();
    let (store, at) = (lab.store(), key("/l/x"));
    let mut held = store.put(&at, b"0", TTL, Expect::Absent).unwrap();
    for expect in [Expect::Absent, Expect::Unchanged(Revision(1)), Expect::Unchanged(Revision(0))] {
        assert_eq!(store.put(&at, b"1", TTL, expect), Err(StoreError::Conflict));
    }
    for _ in 0..5 {
        held = store.put(&at, b"2", TTL, Expect::Unchanged(held)).unwrap();
        assert_eq!(lab.sessions(), [lab.session_of("/l/x").unwrap()]);
    }
    store.put(&key("/l/y"), b"1", TTL, Expect::Anything).unwrap();
    store.delete(&at, Expect::Unchanged(held)).unwrap();
    store.delete(&key("/l/y"), Expect::Anything).unwrap();
    assert_eq!(lab.sessions(), [""; 0]);
}

/// Callers remember their sessions in another order than their writes landed in. The first that came late took the
/// session of the second for its own old one, and ended it: with it went an entry that had just been acknowledged.
fn callers_at_once_end_no_live_session() {
    let lab = Lab::open();
    let (store, at) = (lab.store(), key("/l/x"));
    for round in 0..6 {
        thread::scope(|scope| {
            for caller in 0..8 {
                let (store, at) = (&store, &at);
                scope.spawn(move || {
                    for turn in 0..6 {
                        let put = match (caller + turn) % 4 {
                            0 => store.put(at, b"2", None, Expect::Anything),
                            1 => store.delete(at, Expect::Anything).map(|()| Revision(0)),
                            _ => store.put(at, b"1", TTL, Expect::Anything),
                        };
                        put.unwrap();
                    }
                });
            }
        });
        // Whoever came last: a put of everybody stays.
        let puts: Vec<Revision> = thread::scope(|scope| {
            let put = || store.put(&at, b"last", TTL, Expect::Anything).unwrap();
            let callers: Vec<_> = (0..8).map(|_| scope.spawn(put)).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        let entry = store.get(&at).unwrap().unwrap_or_else(|| panic!("round {round}: it is gone"));
        assert_eq!(Some(entry.revision), puts.into_iter().max());
        assert_eq!(lab.sessions(), [lab.session_of("/l/x").unwrap()], "round {round}");
    }
}

fn a_lock_delay_of_others_is_waited_for() {
    let lab = Lab::open();
    let (store, at) = (lab.store(), key("/l/leader"));
    let check = |delay: &str, waits: bool| {
        let session = lab.session(delay);
        let lock = json!([{"KV": {"Verb": "lock", "Key": "l/leader", "Value": "", "Session": session}}]);
        assert_eq!(lab.api("PUT", "txn", &lock).0, 200);
        lab.end(&session);
        let put = store.put(&at, b"1", TTL, Expect::Absent);
        assert_eq!(put.is_ok(), waits, "{delay}: {put:?}");
        assert!(put.is_ok() || matches!(put, Err(StoreError::Unavailable { .. })), "{delay}: {put:?}");
        // Who wants no lock is not held back.
        store.put(&at, b"2", None, Expect::Anything).unwrap();
        store.delete(&at, Expect::Anything).unwrap();
        assert_eq!(lab.sessions(), [""; 0], "{delay}");
    };
    check("2s", true);
    check("1ms", true);
    check("30s", false);
}

fn the_same_bytes_are_another_entry() {
    let lab = Lab::open();
    let (store, at) = (lab.store(), key("/a"));
    let first = store.put(&at, b"same", None, Expect::Absent).unwrap();
    let second = store.put(&at, b"same", None, Expect::Unchanged(first)).unwrap();
    assert!(second > first);
    assert_eq!(store.put(&at, b"same", None, Expect::Unchanged(first)), Err(StoreError::Conflict));
    assert!(store.put(&at, b"same", None, Expect::Anything).unwrap() > second);
    assert_eq!(store.delete(&key("/none"), Expect::Unchanged(first)), Err(StoreError::Conflict));
}

fn ttls_are_what_consul_keeps() {
    let lab = Lab::open();
    let (store, at) = (lab.store(), key("/l/x"));
    let check = |seconds: u64, expected: &str| {
        store.put(&at, b"1", Some(Ttl::seconds(seconds)), Expect::Anything).unwrap();
        let (_, info) =
            lab.api("GET", &format!("session/info/{}", lab.session_of("/l/x").unwrap()), &Value::Null);
        assert_eq!(info[0]["TTL"], expected);
        assert_eq!((&info[0]["LockDelay"], &info[0]["NodeChecks"]), (&json!(0), &json!([])), "{info}");
    };
    check(1, "10s");
    check(30, "30s");
    check(86_400, "86400s");
    let long = store.put(&at, b"1", Some(Ttl::seconds(86_401)), Expect::Anything);
    assert!(matches!(long, Err(StoreError::Corrupt { .. })), "{long:?}");
}

fn a_restart_ends_no_session() {
    let mut lab = Lab::open();
    let (store, at) = (lab.store(), key("/l/x"));
    let held = store.put(&at, b"1", TTL, Expect::Absent).unwrap();
    lab.server.restart().unwrap();
    assert_eq!(store.refresh(&at, Ttl::seconds(10), held), Ok(held));
}
