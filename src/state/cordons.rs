//! The cells that take no new nodes, `/broker/cordons/<cell>`, and how far each is drained. What stands there is all that
//! there is of a drain: whoever reads it goes on with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::warn;
use serde::{Deserialize, Serialize};
use storage::{Expect, Store, StoreError};

use super::keys;
use super::written::{Stored, Written, parse, read, write};
use crate::model::{CellGuid, InstanceId, OperationId};

/// A cell that takes no new nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CordonRecord {
    /// Tells its last write from another's.
    #[serde(default)]
    pub write_id: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// How far its nodes have moved elsewhere, where that was asked for.
    #[serde(default)]
    pub drain: Option<DrainRecord>,
}

/// How far a cell is drained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// How many instances move at the same time.
    pub at_once: usize,
    /// Those that move now, each with the operation that moves it; without one where that is only about to begin.
    #[serde(default)]
    pub moving: BTreeMap<InstanceId, Option<OperationId>>,
    /// Those that could not be moved, and why not. They are not tried again.
    #[serde(default)]
    pub stuck: BTreeMap<InstanceId, String>,
}

impl Written for CordonRecord {
    fn write_id(&self) -> &str {
        &self.write_id
    }

    fn set_write_id(&mut self, id: String) {
        self.write_id = id;
    }
}

/// The one place that reads and writes `/broker/cordons`.
#[derive(Clone)]
pub struct Cordons {
    store: Arc<dyn Store>,
}

impl Cordons {
    /// Records in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The cell's record; `None` where the cell takes nodes.
    ///
    /// # Errors
    /// As [`Store::get`]; [`StoreError::Corrupt`] when it is no record.
    pub fn load(&self, cell: &CellGuid) -> Result<Option<Stored<CordonRecord>>, StoreError> {
        read(&*self.store, &keys::cordon(cell))
    }

    /// Writes a new record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is one already.
    pub fn create(&self, cell: &CellGuid, record: CordonRecord) -> Result<Stored<CordonRecord>, StoreError> {
        write(&*self.store, &keys::cordon(cell), record, Expect::Absent)
    }

    /// Writes a changed record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not any more what was loaded.
    pub fn save(
        &self,
        cell: &CellGuid,
        changed: Stored<CordonRecord>,
    ) -> Result<Stored<CordonRecord>, StoreError> {
        write(&*self.store, &keys::cordon(cell), changed.value, Expect::Unchanged(changed.revision))
    }

    /// Lets the cell take nodes again, and ends its drain. That it does already is as good.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn remove(&self, cell: &CellGuid) -> Result<(), StoreError> {
        let key = keys::cordon(cell);
        match self.store.delete(&key, Expect::Anything) {
            Err(StoreError::OutcomeUnknown { .. }) if self.store.get(&key)?.is_none() => Ok(()),
            answer => answer,
        }
    }

    /// Every cell that takes no new nodes. What stands there and cannot be read cordons its cell all the same, and is
    /// said in the log.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn list(&self) -> Result<BTreeMap<CellGuid, CordonRecord>, StoreError> {
        let mut cordons = BTreeMap::new();
        for entry in self.store.list(&keys::cordons())?.entries {
            let Ok(cell) = CellGuid::parse(entry.key.name()) else { continue };
            let record = parse(&entry.key, &entry.value).unwrap_or_else(|error| {
                warn!("{error}");
                CordonRecord { write_id: String::new(), since_ms: 0, drain: None }
            });
            cordons.insert(cell, record);
        }
        Ok(cordons)
    }
}
