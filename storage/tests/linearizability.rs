//! The checker of histories is held against histories that are right and wrong, and against stores that are broken on
//! purpose: it must be able to fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/history.rs"]
mod history;
#[path = "support/linearizability.rs"]
mod linearizability;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use history::{Size, make};
use linearizability::{Belief, Call, Told, What, Wrong, check};
use storage::embedded::Options;
use storage::{Changes, Deadline, Embedded, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};

const ABSENT: Belief = Belief::Absent;
const ANY: Belief = Belief::Anything;
const LOST: Told = Told::Unknown;
const CONFLICT: Told = Told::Conflict;

fn at(begun: u64, ended: u64, what: What) -> Call {
    Call { begun, ended, what }
}

fn get(begun: u64, ended: u64, found: Option<(u64, u64)>) -> Call {
    at(begun, ended, What::Get(found))
}

fn put(begun: u64, ended: u64, value: u64, belief: Belief, told: Told) -> Call {
    at(begun, ended, What::Put { value, belief, told })
}

fn delete(begun: u64, ended: u64, belief: Belief, told: Told) -> Call {
    at(begun, ended, What::Delete { belief, told })
}

fn done(revision: u64) -> Told {
    Told::Done(revision)
}

fn held(revision: u64) -> Belief {
    Belief::Revision(revision)
}

#[test]
fn histories_that_can_have_happened_pass() {
    let right = |name: &str, history: &[Call]| assert_eq!(check(history), Ok(()), "{name}");
    right("nothing", &[]);
    right(
        "one after the other",
        &[
            get(1, 2, None),
            put(3, 4, 10, ABSENT, done(5)),
            get(5, 6, Some((10, 5))),
            put(7, 8, 11, held(5), done(6)),
            put(9, 10, 12, held(5), CONFLICT),
            put(11, 12, 12, ABSENT, CONFLICT),
            delete(13, 14, held(6), done(0)),
            delete(15, 16, held(6), CONFLICT),
            delete(17, 18, ANY, done(0)),
            get(19, 20, None),
        ],
    );
    right(
        "at the same time, a read may see either",
        &[put(1, 10, 10, ABSENT, done(5)), get(2, 3, None), get(4, 5, Some((10, 5)))],
    );
    right("one of two creates", &[put(1, 4, 10, ABSENT, done(5)), put(2, 3, 11, ABSENT, CONFLICT)]);
    right("a lost write has landed", &[put(1, 2, 10, ABSENT, LOST), get(3, 4, Some((10, 5)))]);
    // A caller's first guess at a revision was right: nobody had been told of that revision.
    right(
        "a lost write's revision is guessed",
        &[put(1, 3, 10, ABSENT, LOST), put(2, 6, 11, held(1), done(2)), get(7, 8, Some((11, 2)))],
    );
    right("a lost write has not landed", &[put(1, 2, 10, ABSENT, LOST), get(3, 4, None)]);
    right(
        "a lost write lands late",
        &[
            put(1, 2, 10, ANY, LOST),
            get(3, 4, None),
            put(5, 6, 11, ABSENT, done(4)),
            get(7, 8, Some((10, 5))),
        ],
    );
    right(
        "a lost write explains a conflict",
        &[put(1, 2, 10, ABSENT, LOST), put(3, 4, 11, ABSENT, CONFLICT), get(5, 6, Some((10, 5)))],
    );
    right(
        "a lost delete",
        &[
            put(1, 2, 10, ABSENT, done(5)),
            delete(3, 4, held(5), LOST),
            get(5, 6, Some((10, 5))),
            put(7, 8, 11, ABSENT, done(8)),
        ],
    );
}

#[test]
fn histories_that_cannot_have_happened_fail() {
    let wrong = |name: &str, history: &[Call]| {
        assert!(matches!(check(history), Err(Wrong::NoOrder { .. })), "{name}: {:?}", check(history));
    };
    wrong(
        "a stale read",
        &[put(1, 2, 10, ABSENT, done(5)), put(3, 4, 11, held(5), done(6)), get(5, 6, Some((10, 5)))],
    );
    wrong(
        "a read goes back",
        &[
            put(1, 2, 10, ABSENT, done(5)),
            put(3, 12, 11, held(5), done(6)),
            get(4, 5, Some((11, 6))),
            get(6, 7, Some((10, 5))),
        ],
    );
    wrong("a written entry is absent", &[put(1, 2, 10, ABSENT, done(5)), get(3, 4, None)]);
    wrong(
        "a deleted entry is there",
        &[put(1, 2, 10, ABSENT, done(5)), delete(3, 4, ANY, done(0)), get(5, 6, Some((10, 5)))],
    );
    wrong(
        "a lost update",
        &[put(1, 2, 10, ABSENT, done(5)), put(3, 6, 11, held(5), done(6)), put(4, 7, 12, held(5), done(7))],
    );
    wrong(
        "a stale revision is taken",
        &[put(1, 2, 10, ABSENT, done(5)), put(3, 4, 11, ANY, done(6)), put(5, 6, 12, held(5), done(7))],
    );
    wrong("two creates", &[put(1, 4, 10, ABSENT, done(5)), put(2, 3, 11, ABSENT, done(6))]);
    wrong("a conflict with nobody", &[put(1, 2, 10, ABSENT, CONFLICT)]);
    wrong("a conflict over nothing", &[put(1, 2, 10, ABSENT, done(5)), put(3, 4, 11, held(5), CONFLICT)]);
    wrong("a conflict refused what landed", &[put(1, 2, 10, ABSENT, CONFLICT), get(3, 4, Some((10, 5)))]);
    wrong("a value that nobody wrote", &[get(1, 2, Some((10, 5)))]);
    wrong("a lost write before it was begun", &[get(1, 2, Some((10, 5))), put(3, 4, 10, ANY, LOST)]);
    wrong(
        "a lost write twice",
        &[
            put(1, 2, 10, ANY, LOST),
            get(3, 4, Some((10, 5))),
            put(5, 6, 11, ANY, done(6)),
            get(7, 8, Some((10, 7))),
        ],
    );
    wrong(
        "a lost comparison that did not hold",
        &[put(1, 2, 10, ABSENT, done(5)), put(3, 4, 11, held(4), LOST), get(5, 6, Some((11, 6)))],
    );
    wrong("a revision goes back", &[put(1, 2, 10, ABSENT, done(5)), put(3, 4, 11, ANY, done(4))]);
    wrong("a revision changes by itself", &[put(1, 2, 10, ABSENT, done(5)), get(3, 4, Some((10, 6)))]);
    let twice = [put(1, 2, 10, ABSENT, done(5)), put(3, 4, 11, ANY, done(5))];
    assert_eq!(check(&twice), Err(Wrong::TwoValues { revision: 5 }));
}

/// Passes everything on but for what it gets wrong.
struct Broken {
    inner: Arc<Embedded>,
    fault: Fault,
    count: AtomicU64,
    cache: Mutex<HashMap<Key, Option<Entry>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// A cache that nobody tells of writes.
    StaleReads,
    /// A comparison is left out now and then.
    BlindWrites,
    /// A write is sent again although it may have been done.
    WritesTwice,
    /// What was done is said not to have been.
    FalseUnavailable,
    /// An outage is taken for absence.
    FalseAbsence,
}

impl Broken {
    fn now(&self) -> bool {
        self.count.fetch_add(1, Ordering::SeqCst) % 7 == 3
    }
}

impl Store for Broken {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        match self.fault {
            Fault::StaleReads => {
                let mut cache = self.cache.lock().unwrap();
                if self.now() {
                    cache.remove(key);
                }
                if let Some(found) = cache.get(key) {
                    return Ok(found.clone());
                }
                let found = self.inner.get(key)?;
                cache.insert(key.clone(), found.clone());
                Ok(found)
            }
            Fault::FalseAbsence if self.now() => Ok(None),
            _ => self.inner.get(key),
        }
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        match self.fault {
            Fault::BlindWrites if self.now() => self.inner.put(key, value, ttl, Expect::Anything),
            Fault::WritesTwice if self.now() => {
                drop(self.inner.put(key, value, ttl, expect));
                self.inner.put(key, value, ttl, expect)
            }
            Fault::FalseUnavailable if self.now() => {
                drop(self.inner.put(key, value, ttl, expect));
                Err(StoreError::Unavailable { engine: "broken", reason: String::new() })
            }
            _ => self.inner.put(key, value, ttl, expect),
        }
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.inner.delete(key, expect)
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.inner.refresh(key, ttl, held)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.inner.list(prefix)
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.inner.watch(prefix, after, deadline)
    }
}

#[test]
fn broken_stores_are_found_out() {
    let faults = [
        Fault::None,
        Fault::StaleReads,
        Fault::BlindWrites,
        Fault::WritesTwice,
        Fault::FalseUnavailable,
        Fault::FalseAbsence,
    ];
    for fault in faults {
        let found = (1..=3).filter(|&seed| {
            let store: Arc<dyn Store> = Arc::new(Broken {
                inner: Arc::new(Embedded::in_memory(Options::default()).unwrap()),
                fault,
                count: AtomicU64::new(seed),
                cache: Mutex::default(),
            });
            let stores = [(); 4].map(|()| Arc::clone(&store));
            let history = make(&stores, seed, Size { keys: 3, calls: 60 });
            assert_eq!(history.count(), (history.count().0, 0), "nothing is unknown here");
            history.check().is_err()
        });
        let expected = if fault == Fault::None { 0 } else { 3 };
        assert_eq!(found.count(), expected, "{fault:?}");
    }
}
