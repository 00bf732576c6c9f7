//! A store in memory of which each call can be told to go wrong.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use storage::embedded::Options;
use storage::{
    Changed, Changes, Deadline, Embedded, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl,
};

/// What is wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// The call is not carried out, and says so.
    Outage,
    /// A write is carried out, and nobody knows.
    AnswerLost,
    /// A write is not carried out, and nobody knows.
    RequestLost,
    /// A write comes after somebody else's.
    Conflict,
    /// A watch no longer knows what changed.
    Forgotten,
}

/// The troubles of the next calls, in their order; without any, it is a store in memory.
pub(super) struct Shaky {
    store: Embedded,
    next: Mutex<VecDeque<Trouble>>,
}

impl Shaky {
    /// Holds `/key=value …`.
    pub(super) fn holding(entries: &str, troubles: &[Trouble]) -> Self {
        let store = Embedded::in_memory(Options::default()).expect("memory does not fail");
        for (key, value) in entries.split_whitespace().filter_map(|pair| pair.split_once('=')) {
            let key = Key::parse(key).expect("tests name keys");
            store.put(&key, value.as_bytes(), None, Expect::Absent).expect("memory does not fail");
        }
        Self { store, next: Mutex::new(troubles.iter().copied().collect()) }
    }

    /// Adds troubles.
    pub(super) fn then(&self, troubles: &[Trouble]) {
        self.queue().extend(troubles);
    }

    /// What it holds, as [`Shaky::holding`] takes it.
    pub(super) fn shown(&self) -> String {
        let entries = self.store.list(&Key::root()).expect("memory does not fail").entries;
        let shown = |entry: &Entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value));
        entries.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Trouble>> {
        self.next.lock().expect("nobody panics with it")
    }

    fn read(&self) -> Result<Trouble, StoreError> {
        match self.queue().pop_front().unwrap_or(Trouble::None) {
            Trouble::Outage => {
                Err(StoreError::Unavailable { engine: "shaky", reason: "as was told".to_owned() })
            }
            trouble => Ok(trouble),
        }
    }

    fn write<T>(&self, key: &Key, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let unknown = || StoreError::OutcomeUnknown { key: key.clone() };
        match self.read()? {
            Trouble::AnswerLost => act().and_then(|_| Err(unknown())),
            Trouble::RequestLost => Err(unknown()),
            Trouble::Conflict => Err(StoreError::Conflict),
            _ => act(),
        }
    }
}

impl Store for Shaky {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.read()?;
        self.store.get(key)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.read()?;
        self.store.list(prefix)
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        self.write(key, || self.store.put(key, value, ttl, expect))
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.write(key, || self.store.refresh(key, ttl, held))
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.write(key, || self.store.delete(key, expect))
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        match self.read()? {
            Trouble::Forgotten => Ok(Changes { revision: after, what: Changed::Resync }),
            _ => self.store.watch(prefix, after, deadline),
        }
    }
}
