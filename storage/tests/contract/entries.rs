//! Reading and writing: expectations, values, prefixes.

use storage::{Expect, Revision, Store, StoreError, Ttl};

use crate::Scenario;
use crate::bench::{Bench, Keys, Values};
use crate::say::key;

pub const SCENARIOS: &[Scenario] = &[
    ("expectations_hold_or_conflict", expectations_hold_or_conflict),
    ("values_come_back_as_they_went_in", values_come_back_as_they_went_in),
    ("a_prefix_ends_at_a_segment", a_prefix_ends_at_a_segment),
    ("a_directory_is_not_an_entry", a_directory_is_not_an_entry),
];

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
    match bench.can.values {
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
    if bench.can.keys == Keys::Flat {
        return both_are_entries(&**store);
    }
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

/// What stands above an entry is one as well, and neither is the other's.
fn both_are_entries(store: &dyn Store) {
    let below = store.put(&key("/d/x"), b"below", None, Expect::Absent).unwrap();
    assert_eq!(store.get(&key("/d")), Ok(None));
    let above = store.put(&key("/d"), b"above", None, Expect::Absent).unwrap();
    let found = |at: &str| store.get(&key(at)).unwrap().map(|entry| (entry.value, entry.revision));
    assert_eq!(found("/d"), Some((b"above".to_vec(), above)));
    assert_eq!(found("/d/x"), Some((b"below".to_vec(), below)));
    assert_eq!(store.list(&key("/d")).unwrap().entries.len(), 1, "an entry is not under itself");
    assert_eq!(store.delete(&key("/d"), Expect::Unchanged(above)), Ok(()));
    assert_eq!(found("/d"), None);
    assert_eq!(found("/d/x"), Some((b"below".to_vec(), below)));
}
