//! Entries, and calls that fail.

use std::thread;

use serde_json::json;
use storage::{EtcdV3, Expect, Key, MAX_VALUE_BYTES, Revision, Store, StoreError, Ttl};
use test_servers::{Mode, Proxy, free_address};

use crate::Scenario;
use crate::bench::{b64, client, done, etcd, key, keys, reach, within};
use crate::support::{Sort, sort};

pub const SCENARIOS: &[Scenario] = &[
    ("entries_stand_below_entries", entries_stand_below_entries),
    ("the_root_is_no_entry", the_root_is_no_entry),
    ("names_that_are_no_keys_are_passed_over", names_that_are_no_keys_are_passed_over),
    ("a_listing_may_be_large", a_listing_may_be_large),
    ("a_revision_that_cannot_be_is_a_conflict", a_revision_that_cannot_be_is_a_conflict),
    ("a_lost_answer_is_unknown_and_never_sent_again", a_lost_answer_is_unknown_and_never_sent_again),
    ("what_was_not_sent_goes_to_the_next_endpoint", what_was_not_sent_goes_to_the_next_endpoint),
    ("a_store_without_space_says_so", a_store_without_space_says_so),
    ("one_expectation_holds_among_many_writers", one_expectation_holds_among_many_writers),
];

fn entries_stand_below_entries() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    store.put(&key("/d/x"), b"1", None, Expect::Absent).unwrap();
    assert_eq!(store.get(&key("/d")), Ok(None), "what stands above entries is not one by itself");
    assert_eq!(store.put(&key("/d"), b"2", None, Expect::Unchanged(Revision(1))), Err(StoreError::Conflict));
    store.put(&key("/d"), b"2", None, Expect::Absent).unwrap();
    store.put(&key("/d/x/below"), b"3", None, Expect::Absent).unwrap();
    assert_eq!(store.get(&key("/d")).unwrap().unwrap().value, b"2");
    assert_eq!(store.list(&key("/d")).unwrap().entries.len(), 2);
    store.delete(&key("/d"), Expect::Anything).unwrap();
    assert_eq!(store.list(&key("/d")).unwrap().entries.len(), 2, "those below stay");
}

fn the_root_is_no_entry() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    done(etcd.endpoint(), "", "/v3/kv/put", &json!({"key": b64("/"), "value": b64("x")}));
    assert_eq!(store.get(&Key::root()), Ok(None));
    assert_eq!(store.list(&Key::root()).unwrap().entries, []);
    assert_eq!(sort(&store.put(&Key::root(), b"1", None, Expect::Anything)), Sort::Corrupt);
    assert_eq!(store.delete(&Key::root(), Expect::Anything), Ok(()));
    assert_eq!(store.delete(&Key::root(), Expect::Unchanged(Revision(2))), Err(StoreError::Conflict));
    let there = done(etcd.endpoint(), "", "/v3/kv/range", &json!({"key": b64("/")}));
    assert_eq!(there["count"], "1", "others' keys are left alone");
}

fn names_that_are_no_keys_are_passed_over() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let start = store.put(&key("/n/x"), b"1", None, Expect::Absent).unwrap();
    for name in [b"/n//x".as_slice(), b"/n/\xff", b"/n/", b"/n/a\nb", b"/n/.."] {
        done(etcd.endpoint(), "", "/v3/kv/put", &json!({"key": b64(name), "value": b64("x")}));
    }
    let listing = store.list(&key("/n")).unwrap();
    assert_eq!(listing.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["/n/x"]);
    let changes = store.watch(&key("/n"), start, within(1000)).unwrap();
    assert_eq!((keys(&changes.what), changes.revision), (vec![], listing.revision));
}

fn a_listing_may_be_large() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let value = vec![7; MAX_VALUE_BYTES];
    for n in 0..40 {
        store.put(&key("/large").child(&n.to_string()).unwrap(), &value, None, Expect::Absent).unwrap();
    }
    let listing = store.list(&key("/large")).unwrap();
    assert!(listing.entries.iter().all(|entry| entry.value == value));
    assert_eq!(listing.entries.len(), 40);
    // A stream that catches up tells of all of them with their values.
    let (mut after, mut heard) = (Revision(1), 0);
    while heard < 40 {
        let changes = store.watch(&key("/large"), after, within(5000)).unwrap();
        (after, heard) = (changes.revision, heard + keys(&changes.what).len());
    }
    assert_eq!(heard, 40);
    let larger = vec![7; MAX_VALUE_BYTES + 1];
    assert_eq!(sort(&store.put(&key("/larger"), &larger, None, Expect::Anything)), Sort::Corrupt);
}

fn a_revision_that_cannot_be_is_a_conflict() {
    let etcd = etcd();
    let (store, at) = (client(etcd.endpoint(), None), key("/a"));
    for revision in [0, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let expect = Expect::Unchanged(Revision(revision));
        assert_eq!(store.put(&at, b"1", None, expect), Err(StoreError::Conflict), "{revision}");
        assert_eq!(store.delete(&at, expect), Err(StoreError::Conflict), "{revision}");
        assert_eq!(store.refresh(&at, Ttl::seconds(5), Revision(revision)), Err(StoreError::Conflict));
    }
    assert_eq!(store.get(&at), Ok(None));
}

fn a_lost_answer_is_unknown_and_never_sent_again() {
    let etcd = etcd();
    let proxy = Proxy::start(etcd.address()).unwrap();
    // The second endpoint would take what must not be sent again.
    let connect = || EtcdV3::connect(&reach(&[&proxy.endpoint(), etcd.endpoint()]), None).unwrap();
    let (at, straight) = (key("/a"), client(etcd.endpoint(), None));
    let unknown = StoreError::OutcomeUnknown { key: at.clone() };
    let revision = || straight.list(&Key::root()).unwrap().revision.0;
    for mode in [Mode::LoseAnswers, Mode::Truncate, Mode::WithholdAnswers] {
        proxy.set(Mode::Pass).unwrap();
        let store = connect();
        let first = store.put(&at, b"first", None, Expect::Anything).unwrap();
        let before = revision();
        proxy.set(mode).unwrap();
        let put = store.put(&at, b"mine", None, Expect::Unchanged(first));
        assert_eq!(put, Err(unknown.clone()), "{mode:?}");
        assert_eq!(revision(), before + 1, "{mode:?}: it was sent once");
        assert_eq!(store.get(&at).unwrap().unwrap().value, b"mine", "{mode:?}: reads go on elsewhere");
        let store = connect();
        assert_eq!(store.delete(&at, Expect::Anything), Err(unknown.clone()), "{mode:?}");
        assert_eq!(straight.get(&at), Ok(None));
        // A lease may be asked for twice: where the answer is lost, the next endpoint gives it.
        let store = connect();
        let put = store.put(&at, b"leased", Some(Ttl::seconds(30)), Expect::Absent);
        assert_eq!(sort(&put), Sort::Fine, "{mode:?}: {put:?}");
        assert_eq!(straight.get(&at).unwrap().unwrap().value, b"leased", "{mode:?}");
        assert_eq!(crate::bench::leases(etcd.endpoint()), 1, "{mode:?}");
        straight.delete(&at, Expect::Anything).unwrap();
        store.delete(&at, Expect::Anything).unwrap();
    }
}

fn what_was_not_sent_goes_to_the_next_endpoint() {
    let etcd = etcd();
    let nobody = format!("http://{}", free_address([127, 0, 0, 1].into()).unwrap());
    let connect = || EtcdV3::connect(&reach(&[&nobody, etcd.endpoint()]), None).unwrap();
    connect().check().unwrap();
    let revision = connect()
        .put(&key("/a"), b"1", Some(Ttl::seconds(30)), Expect::Absent)
        .expect("the next one takes it");
    assert!(connect().get(&key("/a")).unwrap().is_some());
    assert_eq!(connect().refresh(&key("/a"), Ttl::seconds(30), revision), Ok(revision));
    assert_eq!(keys(&connect().watch(&Key::root(), Revision(1), within(5000)).unwrap().what), ["/a"]);
}

fn a_store_without_space_says_so() {
    let etcd = etcd();
    let store = client(etcd.endpoint(), None);
    let held = store.put(&key("/a"), b"1", None, Expect::Absent).unwrap();
    let alarm = |action: &str| {
        let body = json!({"action": action, "alarm": "NOSPACE"});
        done(etcd.endpoint(), "", "/v3/maintenance/alarm", &body);
    };
    alarm("ACTIVATE");
    let put = store.put(&key("/a"), b"2", None, Expect::Unchanged(held));
    assert_eq!(sort(&put), Sort::Unavailable);
    assert!(put.unwrap_err().to_string().contains("space exceeded"));
    assert_eq!(store.get(&key("/a")).unwrap().unwrap().value, b"1");
    // Whoever has to see to it is not shut out, and what frees space goes on.
    store.check().unwrap();
    store.delete(&key("/a"), Expect::Unchanged(held)).unwrap();
    alarm("DEACTIVATE");
    store.put(&key("/a"), b"2", None, Expect::Absent).unwrap();
}

fn one_expectation_holds_among_many_writers() {
    let etcd = etcd();
    let (store, at) = (client(etcd.endpoint(), None), key("/a"));
    let held = store.put(&at, b"0", None, Expect::Absent).unwrap();
    let taken = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| store.put(&at, b"1", Some(Ttl::seconds(30)), Expect::Unchanged(held))))
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).filter(Result::is_ok).count()
    });
    assert_eq!(taken, 1);
    assert_eq!(crate::bench::leases(etcd.endpoint()), 1, "those who were late leave no lease");
}
