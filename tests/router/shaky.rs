//! A store with outages.

use std::sync::atomic::{AtomicBool, Ordering};

use storage::{Changes, Deadline, Embedded, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};

/// A store that can be away: then nothing is written and nothing read.
pub struct Shaky {
    /// The store itself, which a test sees whatever the others see.
    pub inner: Embedded,
    away: AtomicBool,
}

impl Shaky {
    pub fn over(inner: Embedded) -> Self {
        Self { inner, away: AtomicBool::new(false) }
    }

    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn there(&self) -> Result<&Embedded, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { engine: "shaky", reason: "it is away".to_owned() });
        }
        Ok(&self.inner)
    }
}

impl Store for Shaky {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.there()?.get(key)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.there()?.list(prefix)
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        self.there()?.put(key, value, ttl, expect)
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.there()?.refresh(key, ttl, held)
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.there()?.delete(key, expect)
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.there()?.watch(prefix, after, deadline)
    }
}
