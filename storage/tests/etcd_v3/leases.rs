//! TTLs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use storage::{Expect, Revision, Store, StoreError, Ttl};

use crate::Scenario;
use crate::bench::{b64, client, done, etcd, key, leases};
use crate::support::{Sort, sort};

pub const SCENARIOS: &[Scenario] = &[
    ("an_older_lease_does_not_take_a_newer_value", an_older_lease_does_not_take_a_newer_value),
    ("leases_without_a_key_are_ended", leases_without_a_key_are_ended),
    ("a_refresh_is_proven_afterwards", a_refresh_is_proven_afterwards),
    ("a_refresh_needs_no_memory", a_refresh_needs_no_memory),
    ("a_refresh_does_not_change_the_ttl", a_refresh_does_not_change_the_ttl),
    ("a_refresh_comes_too_late", a_refresh_comes_too_late),
];

fn an_older_lease_does_not_take_a_newer_value() {
    let etcd = etcd();
    let at = key("/l");
    // Two clients: neither can end the other's lease.
    let (one, other) = (client(etcd.endpoint(), None), client(etcd.endpoint(), None));
    let first = one.put(&at, b"1", Some(Ttl::seconds(5)), Expect::Absent).unwrap();
    let second = other.put(&at, b"2", Some(Ttl::seconds(60)), Expect::Unchanged(first)).unwrap();
    assert_eq!(leases(etcd.endpoint()), 2);
    let begun = Instant::now();
    while leases(etcd.endpoint()) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(40), "the older lease does not end");
        sleep(Duration::from_millis(100));
    }
    assert_eq!(other.get(&at).unwrap().unwrap().revision, second);
    assert_eq!(one.refresh(&at, Ttl::seconds(5), first), Err(StoreError::Conflict));
}

fn leases_without_a_key_are_ended() {
    let etcd = etcd();
    let (store, at) = (client(etcd.endpoint(), None), key("/l"));
    let ttl = Some(Ttl::seconds(60));
    let count = |expected: usize, why: &str| assert_eq!(leases(etcd.endpoint()), expected, "{why}");
    let held = store.put(&at, b"1", ttl, Expect::Absent).unwrap();
    count(1, "one entry, one lease");
    assert_eq!(store.put(&at, b"2", ttl, Expect::Absent), Err(StoreError::Conflict));
    count(1, "a put that did not happen");
    let held = store.put(&at, b"2", ttl, Expect::Unchanged(held)).unwrap();
    count(1, "a put with a TTL anew");
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"2");
    store.refresh(&at, Ttl::seconds(60), held).unwrap();
    count(1, "a refresh");
    let held = store.put(&at, b"3", None, Expect::Unchanged(held)).unwrap();
    count(0, "a put without a TTL");
    store.put(&at, b"4", ttl, Expect::Unchanged(held)).unwrap();
    store.delete(&at, Expect::Anything).unwrap();
    count(0, "a deletion");
}

/// Keeping a lease alive says nothing of who holds the entry: here another program has written it, on the same lease.
fn a_refresh_is_proven_afterwards() {
    let etcd = etcd();
    let (store, at, ttl) = (client(etcd.endpoint(), None), key("/l"), Ttl::seconds(60));
    let held = store.put(&at, b"1", Some(ttl), Expect::Absent).unwrap();
    let there = done(etcd.endpoint(), "", "/v3/kv/range", &json!({"key": b64("/l")}));
    let lease = &there["kvs"][0]["lease"];
    done(etcd.endpoint(), "", "/v3/kv/put", &json!({"key": b64("/l"), "value": b64("2"), "lease": lease}));
    assert_eq!(store.refresh(&at, ttl, held), Err(StoreError::Conflict));
    // And one that was put back is not the same either.
    store.delete(&at, Expect::Anything).unwrap();
    let held = store.put(&at, b"1", Some(ttl), Expect::Absent).unwrap();
    client(etcd.endpoint(), None).put(&at, b"1", Some(ttl), Expect::Anything).unwrap();
    assert_eq!(store.refresh(&at, ttl, held), Err(StoreError::Conflict));
}

fn a_refresh_needs_no_memory() {
    let etcd = etcd();
    let (at, ttl) = (key("/l"), Ttl::seconds(60));
    let held = client(etcd.endpoint(), None).put(&at, b"1", Some(ttl), Expect::Absent).unwrap();
    let after_a_restart = client(etcd.endpoint(), None);
    assert_eq!(after_a_restart.refresh(&at, ttl, held), Ok(held));
    assert_eq!(after_a_restart.refresh(&at, ttl, Revision(held.0 - 1)), Err(StoreError::Conflict));
    assert_eq!(after_a_restart.refresh(&key("/absent"), ttl, held), Err(StoreError::Conflict));
}

fn a_refresh_does_not_change_the_ttl() {
    let etcd = etcd();
    let (store, at) = (client(etcd.endpoint(), None), key("/l"));
    let held = store.put(&at, b"1", Some(Ttl::seconds(20)), Expect::Absent).unwrap();
    assert_eq!(store.refresh(&at, Ttl::seconds(10), held), Ok(held), "it has longer than was asked for");
    assert_eq!(sort(&store.refresh(&at, Ttl::seconds(21), held)), Sort::Corrupt);
    let forever = store.put(&at, b"1", None, Expect::Unchanged(held)).unwrap();
    assert_eq!(sort(&store.refresh(&at, Ttl::seconds(10), forever)), Sort::Corrupt);
    let ages = Ttl::seconds(u64::MAX);
    let held = store.put(&at, b"1", Some(ages), Expect::Unchanged(forever)).unwrap();
    assert_eq!(store.refresh(&at, ages, held), Ok(held));
}

fn a_refresh_comes_too_late() {
    let etcd = etcd();
    let (store, at, ttl) = (client(etcd.endpoint(), None), key("/l"), Ttl::seconds(1));
    let begun = Instant::now();
    let held = store.put(&at, b"1", Some(ttl), Expect::Absent).unwrap();
    while store.get(&at).unwrap().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() > Duration::from_millis(900), "not before its time");
    assert_eq!(store.refresh(&at, ttl, held), Err(StoreError::Conflict));
    assert_eq!(store.get(&at), Ok(None));
}
