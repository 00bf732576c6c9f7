//! The bindings' records.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::{Expect, Store, StoreError};

use super::keys;
use super::written::{Stored, Written, read, write};
use crate::model::{BindingId, InstanceId, PlanId, ServiceId};

/// `/serviceinstances/<instance>/bindings/<binding>`: who was given credentials. The credentials themselves are the
/// instance's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BindingRecord {
    /// A random id of the last write.
    #[serde(default)]
    pub write_id: String,
    /// The platform's id.
    pub binding_id: BindingId,
    /// As it was asked for.
    pub service_id: ServiceId,
    /// As it was asked for.
    pub plan_id: PlanId,
    /// As they were sent.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// As it was sent.
    #[serde(default)]
    pub bind_resource: Map<String, Value>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

impl Written for BindingRecord {
    fn write_id(&self) -> &str {
        &self.write_id
    }

    fn set_write_id(&mut self, id: String) {
        self.write_id = id;
    }
}

/// The one place that reads and writes bindings' records.
#[derive(Clone)]
pub struct Bindings {
    store: Arc<dyn Store>,
}

impl Bindings {
    /// Records in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The binding's record, or `None` when the store says that there is none.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn load(
        &self,
        instance: &InstanceId,
        binding: &BindingId,
    ) -> Result<Option<Stored<BindingRecord>>, StoreError> {
        read(&*self.store, &keys::binding(instance, binding))
    }

    /// Writes a new record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there is one already.
    pub fn create(
        &self,
        instance: &InstanceId,
        record: BindingRecord,
    ) -> Result<Stored<BindingRecord>, StoreError> {
        let key = keys::binding(instance, &record.binding_id);
        write(&*self.store, &key, record, Expect::Absent)
    }

    /// Removes a record. A lost answer is an error: asked again, it is seen to be gone.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not any more what was loaded.
    pub fn remove(&self, instance: &InstanceId, record: &Stored<BindingRecord>) -> Result<(), StoreError> {
        let key = keys::binding(instance, &record.value.binding_id);
        self.store.delete(&key, Expect::Unchanged(record.revision))
    }
}
