//! The contract of every engine, kept by this one: what its callers expect, in the words that the writer knows.

use super::Embedded;
use super::change::{Change, Condition, Content, Refusal, Scope};
use crate::store::{check_shown, check_value};
use crate::{Changed, Changes, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};

impl Store for Embedded {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.shared.get(key))
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        Ok(self.shared.list(prefix))
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        check_value(key, value)?;
        check_shown(key)?;
        let change = Change::Put {
            key: key.clone(),
            content: Content::File(value.into()),
            ttl: ttl.map(Ttl::as_seconds),
            only_if: condition(expect),
        };
        match self.ask(key, change)? {
            Ok(event) => Ok(Revision(event.index)),
            Err(refusal) => Err(refused(key, refusal, expect)),
        }
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        let expect = Expect::Unchanged(held);
        let change = Change::Refresh { key: key.clone(), ttl: ttl.as_seconds(), only_if: condition(expect) };
        match self.ask(key, change)? {
            Ok(event) => Ok(Revision(event.index)),
            Err(refusal) => Err(refused(key, refusal, expect)),
        }
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        if expect == Expect::Absent {
            return Err(StoreError::Conflict);
        }
        let change = Change::Delete { key: key.clone(), scope: Scope::File, only_if: condition(expect) };
        match (self.ask(key, change)?, expect) {
            (Ok(_), _) => Ok(()),
            // A directory is not an entry, so that there was nothing to remove.
            (Err(_), Expect::Anything) => Ok(()),
            (Err(_), _) => Err(StoreError::Conflict),
        }
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        let history = &self.shared.history;
        let mut recent = history.look();
        loop {
            let current = recent.current();
            let Some(events) = recent.after(after.0) else {
                return Ok(Changes { revision: Revision(current), what: Changed::Resync });
            };
            // No listing is ahead of the history: it comes from another store.
            if after.0 > current {
                return Ok(Changes { revision: Revision(current), what: Changed::Resync });
            }
            let mut keys: Vec<Key> =
                events.filter(|event| event.concerns(prefix)).map(|event| event.node.key.clone()).collect();
            if !keys.is_empty() || deadline.has_passed() {
                keys.sort();
                keys.dedup();
                return Ok(Changes { revision: Revision(current), what: Changed::Keys(keys) });
            }
            recent = history.wait(recent, deadline);
        }
    }

    /// They come from memory.
    fn reads_are_local(&self) -> bool {
        true
    }
}

fn condition(expect: Expect) -> Condition {
    match expect {
        Expect::Absent => Condition { exists: Some(false), ..Condition::default() },
        Expect::Unchanged(revision) => Condition { index: Some(revision.0), ..Condition::default() },
        Expect::Anything => Condition::default(),
    }
}

/// What a refused put or refresh means to its asker.
fn refused(key: &Key, refusal: Refusal, expect: Expect) -> StoreError {
    match (refusal, expect) {
        (Refusal::NotADirectory { at }, _) => {
            StoreError::Corrupt { reason: format!("{key} cannot be written: {at} is no directory") }
        }
        (Refusal::NotAFile, Expect::Anything) => {
            StoreError::Corrupt { reason: format!("{key} cannot be written: it is a directory") }
        }
        (Refusal::RootIsReadOnly, _) => {
            StoreError::Corrupt { reason: "the root cannot be written".to_owned() }
        }
        _ => StoreError::Conflict,
    }
}
