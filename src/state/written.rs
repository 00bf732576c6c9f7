//! Writing a record and knowing afterwards whether it was oneself.

use serde::Serialize;
use serde::de::DeserializeOwned;
use storage::{Expect, Key, Revision, Store, StoreError};
use uuid::Uuid;

/// A record as it stands in the store.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    /// The record.
    pub value: T,
    /// Where it stands in the store's count; what the next write expects.
    pub revision: Revision,
}

/// A record that carries a random id of its last write, so that reading back after a lost answer tells one's own
/// write from another's.
pub(super) trait Written: Serialize + DeserializeOwned {
    fn write_id(&self) -> &str;
    fn set_write_id(&mut self, id: String);

    /// What keeps something that looks like a record from being one.
    fn flaw(&self) -> Option<&'static str> {
        None
    }
}

/// Reads a record.
pub(super) fn read<T: Written>(store: &dyn Store, key: &Key) -> Result<Option<Stored<T>>, StoreError> {
    let Some(entry) = store.get(key)? else { return Ok(None) };
    let value = parse(key, &entry.value)?;
    Ok(Some(Stored { value, revision: entry.revision }))
}

/// Reads a record's bytes. The text of a parse error may quote a value, so it is not passed on.
pub(super) fn parse<T: Written>(key: &Key, bytes: &[u8]) -> Result<T, StoreError> {
    let record: T = serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt {
        reason: format!("{key} is not a record (line {}, column {})", error.line(), error.column()),
    })?;
    match record.flaw() {
        Some(flaw) => Err(StoreError::Corrupt { reason: format!("{key} is not a record: {flaw}") }),
        None => Ok(record),
    }
}

/// Writes a record if what is there is as expected; a lost answer is cleared up by reading back.
pub(super) fn write<T: Written>(
    store: &dyn Store,
    key: &Key,
    mut value: T,
    expect: Expect,
) -> Result<Stored<T>, StoreError> {
    value.set_write_id(Uuid::new_v4().to_string());
    let bytes = serde_json::to_vec(&value).expect("a record of plain data has a JSON form");
    match store.put(key, &bytes, None, expect) {
        Ok(revision) => Ok(Stored { value, revision }),
        Err(StoreError::OutcomeUnknown { .. }) => {
            // While the store does not answer, whether it landed stays unknown.
            let now = store.get(key).map_err(|_| StoreError::OutcomeUnknown { key: key.clone() })?;
            match now {
                Some(entry) if parse::<T>(key, &entry.value)?.write_id() == value.write_id() => {
                    Ok(Stored { value, revision: entry.revision })
                }
                // Not landed, or landed and changed since by somebody who saw it: either way look again.
                _ => Err(StoreError::Conflict),
            }
        }
        Err(error) => Err(error),
    }
}
