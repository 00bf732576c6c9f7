//! The instances' records: loaded, created, saved by compare-and-swap, removed last.

use std::sync::Arc;

use storage::{Expect, Store, StoreError};

use super::keys;
use super::record::InstanceRecord;
use super::written::{Stored, Written, parse, read, write};
use crate::model::InstanceId;

impl Written for InstanceRecord {
    fn write_id(&self) -> &str {
        &self.write_id
    }

    fn set_write_id(&mut self, id: String) {
        self.write_id = id;
    }
}

/// The one place that reads and writes `/service/<instance>/state`.
#[derive(Clone)]
pub struct Instances {
    store: Arc<dyn Store>,
}

impl Instances {
    /// Records in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The instance's record, or `None` when the store says that there is none.
    ///
    /// # Errors
    /// As [`Store::get`]; [`StoreError::Corrupt`] when it is no record.
    pub fn load(&self, instance: &InstanceId) -> Result<Option<Stored<InstanceRecord>>, StoreError> {
        read(&*self.store, &keys::record(instance))
    }

    /// Writes a new record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is one already.
    pub fn create(&self, record: InstanceRecord) -> Result<Stored<InstanceRecord>, StoreError> {
        let key = keys::record(&record.instance_id);
        write(&*self.store, &key, record, Expect::Absent)
    }

    /// Writes a changed record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not any more what was loaded.
    pub fn save(&self, changed: Stored<InstanceRecord>) -> Result<Stored<InstanceRecord>, StoreError> {
        let key = keys::record(&changed.value.instance_id);
        write(&*self.store, &key, changed.value, Expect::Unchanged(changed.revision))
    }

    /// Removes a record: the last thing of an instance to go.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not any more what was loaded.
    pub fn remove(&self, record: &Stored<InstanceRecord>) -> Result<(), StoreError> {
        let key = keys::record(&record.value.instance_id);
        match self.store.delete(&key, Expect::Unchanged(record.revision)) {
            Err(StoreError::OutcomeUnknown { .. }) => match self.store.get(&key)? {
                None => Ok(()),
                Some(_) => Err(StoreError::Conflict),
            },
            answer => answer,
        }
    }

    /// Every record, for an operator's listing; reads the whole of `/service`.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn list(&self) -> Result<Vec<InstanceRecord>, StoreError> {
        let listing = self.store.list(&keys::services())?;
        let records = listing
            .entries
            .iter()
            .filter(|entry| entry.key.segments().count() == 3 && entry.key.name() == "state");
        records.map(|entry| parse(&entry.key, &entry.value)).collect()
    }
}
