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

    fn flaw(&self) -> Option<&'static str> {
        Self::flaw(self)
    }
}

/// Every record that can be read, and how many cannot.
#[derive(Clone, Debug)]
pub struct Survey {
    /// In the order of their keys.
    pub records: Vec<InstanceRecord>,
    /// How many are no records.
    pub unreadable: usize,
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
    /// As [`Store::list`]; [`StoreError::Corrupt`] when one of them is none.
    pub fn list(&self) -> Result<Vec<InstanceRecord>, StoreError> {
        self.read_all()?.collect()
    }

    /// As [`Instances::list`], with what nobody can read left out and counted.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn survey(&self) -> Result<Survey, StoreError> {
        let mut survey = Survey { records: Vec::new(), unreadable: 0 };
        for record in self.read_all()? {
            match record {
                Ok(record) => survey.records.push(record),
                Err(_) => survey.unreadable += 1,
            }
        }
        Ok(survey)
    }

    fn read_all(&self) -> Result<impl Iterator<Item = Result<InstanceRecord, StoreError>>, StoreError> {
        let mut entries = self.store.list(&keys::services())?.entries;
        entries.retain(|entry| keys::is_record(&entry.key));
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(entries.into_iter().map(|entry| parse(&entry.key, &entry.value)))
    }
}
