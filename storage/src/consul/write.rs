//! Changes, each of them one transaction, for a plain compare-and-swap tells no index.
//!
//! An entry that is put anew is deleted and made again within its transaction. That frees it from whichever session it
//! had, without asking first, and gives it a new index even where its bytes are the same as before: Consul skips a write
//! that changes nothing. It also tells a refusal from a conflict by the operation, for a deletion fails only where there
//! is no permission.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::answer::Written;
use super::sessions::Session;
use super::{Consul, name, unavailable};
use crate::store::check_value;
use crate::{Deadline, Expect, Key, Revision, StoreError, Ttl};

/// Between two attempts to lock what is held back by a lock delay.
const PAUSE: Duration = Duration::from_millis(100);

/// The operations of one change, and which of them means what when it fails.
struct Change {
    operations: Vec<Value>,
    /// The one that fails when the expectation does not hold.
    guard: Option<usize>,
    /// The one that fails only where there is no permission.
    deletion: usize,
}

/// Why nothing was changed.
enum Unchanged {
    NotAsExpected,
    NoPermission,
    /// It can't be locked: there is a lock delay, or the session has ended.
    NotLocked,
}

impl Consul {
    pub(super) fn write_entry(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Option<Ttl>,
        expect: Expect,
    ) -> Result<Revision, StoreError> {
        check_value(key, value)?;
        if *key == Key::root() {
            return Err(StoreError::Corrupt { reason: "the root holds no value".to_owned() });
        }
        if expect == Expect::Unchanged(Revision(0)) {
            return Err(StoreError::Conflict);
        }
        let session = ttl.map(|ttl| self.sessions.create(&self.client, ttl)).transpose()?;
        let change = Change::put(key, value, session.as_ref(), expect);
        let written = self.perform(key, &change).and_then(|index| {
            index.map(Revision).ok_or_else(|| StoreError::OutcomeUnknown { key: key.clone() })
        });
        match (&written, session) {
            (Ok(revision), session) => self.sessions.settle(&self.client, key, session, *revision),
            // It may have landed: then the entry lives as long as the session does.
            (Err(StoreError::OutcomeUnknown { .. }), _) | (Err(_), None) => {}
            (Err(_), Some(session)) => session.end(&self.client),
        }
        written
    }

    pub(super) fn delete_entry(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        match expect {
            Expect::Absent | Expect::Unchanged(Revision(0)) => return Err(StoreError::Conflict),
            Expect::Anything if *key == Key::root() => return Ok(()),
            Expect::Unchanged(_) | Expect::Anything => {}
        }
        let known = self.sessions.known(key);
        self.perform(key, &Change::delete(key, expect))?;
        self.sessions.forget(&self.client, key, known);
        Ok(())
    }

    fn perform(&self, key: &Key, change: &Change) -> Result<Option<u64>, StoreError> {
        let operations = Value::from(change.operations.clone());
        let deadline = Deadline::after(self.client.timeouts().total);
        loop {
            let failed = match self.client.transaction(key, &operations)? {
                Written::Done(index) => return Ok(index),
                Written::Failed(failed) => failed,
            };
            match change.judge(&failed) {
                Unchanged::NotAsExpected => return Err(StoreError::Conflict),
                Unchanged::NoPermission => {
                    return Err(unavailable(format!("Consul gives no permission to write {key}")));
                }
                // Nothing was done, so it may be sent again.
                Unchanged::NotLocked if !deadline.has_passed() => std::thread::sleep(PAUSE),
                Unchanged::NotLocked => {
                    let reason = "it is held back by the lock delay of another's session, or ours has ended";
                    return Err(unavailable(format!("{key} can't be locked: {reason}")));
                }
            }
        }
    }
}

impl Change {
    fn put(key: &Key, value: &[u8], session: Option<&Session>, expect: Expect) -> Self {
        let mut change = Self::delete(key, expect);
        let value = STANDARD.encode(value);
        change.operations.push(match session {
            Some(session) => operation("lock", key, json!({"Value": value, "Session": session.id()})),
            None => operation("set", key, json!({"Value": value})),
        });
        change
    }

    /// A deletion checks the index by an operation of its own: `delete-cas` succeeds where there is nothing.
    fn delete(key: &Key, expect: Expect) -> Self {
        let guard = match expect {
            Expect::Absent => Some(operation("check-not-exists", key, json!({}))),
            Expect::Unchanged(revision) => Some(operation("check-index", key, json!({"Index": revision.0}))),
            Expect::Anything => None,
        };
        let deletion = usize::from(guard.is_some());
        let operations = guard.into_iter().chain([operation("delete", key, json!({}))]).collect();
        Self { operations, guard: (deletion == 1).then_some(0), deletion }
    }

    fn judge(&self, failed: &[usize]) -> Unchanged {
        if failed.contains(&self.deletion) {
            Unchanged::NoPermission
        } else if self.guard.is_some_and(|guard| failed.contains(&guard)) {
            Unchanged::NotAsExpected
        } else {
            Unchanged::NotLocked
        }
    }
}

fn operation(verb: &str, key: &Key, with: Value) -> Value {
    let mut operation = with;
    operation["Verb"] = verb.into();
    operation["Key"] = name(key).into();
    json!({ "KV": operation })
}
