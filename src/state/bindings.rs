//! The bindings' records.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use storage::{Expect, Store, StoreError};

use super::OperationState;
use super::keys;
use super::written::{Stored, Written, read, write};
use crate::model::{BindingId, InstanceId, OperationId, PlanId, ServiceId};

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
    /// The platform's context.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// The binding that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<BindingId>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends by itself, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// Its last operation, where that takes time: without one it was made at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<BindingOperation>,
}

/// How a binding is made or ended that takes time. Nobody performs it: how it stands follows from the record and the
/// clock, and is written down by whoever looks first after its time, so that it stays so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingOperation {
    /// Its id.
    pub id: OperationId,
    /// What it is.
    pub kind: BindingKind,
    /// How it stood when somebody last looked.
    pub state: OperationState,
    /// When it ends, in milliseconds since 1970.
    pub due_ms: u64,
    /// Why it fails, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The operation that was making the binding when this one ended that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<OperationId>,
    /// Whether somebody waits for its end, who is told then what it came to: such a bind is not halted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waited_for: bool,
}

/// What is done to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindingKind {
    /// It is made.
    Bind,
    /// It is ended.
    Unbind,
}

/// How a binding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingState {
    /// It is being made.
    Coming,
    /// It is there.
    Live,
    /// It could not be made.
    Failed,
    /// It is being ended.
    Going,
    /// It has ended: only its record is left.
    Gone,
}

impl BindingKind {
    /// Its name, with which operation ids begin.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Unbind => "unbind",
        }
    }
}

impl BindingRecord {
    /// How it stands, as the record says.
    #[must_use]
    pub fn state(&self) -> BindingState {
        let Some(operation) = &self.operation else { return BindingState::Live };
        match (operation.kind, operation.state) {
            (BindingKind::Bind, OperationState::InProgress) => BindingState::Coming,
            (BindingKind::Bind, OperationState::Succeeded) => BindingState::Live,
            (BindingKind::Bind, OperationState::Failed) => BindingState::Failed,
            (BindingKind::Unbind, OperationState::InProgress) => BindingState::Going,
            (BindingKind::Unbind, OperationState::Succeeded) => BindingState::Gone,
            // What had not been made when it was to be ended has not been made since.
            (BindingKind::Unbind, OperationState::Failed) if operation.halted.is_some() => {
                BindingState::Failed
            }
            (BindingKind::Unbind, OperationState::Failed) => BindingState::Live,
        }
    }

    /// Whether it gives something: it was made, and has not been ended yet.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self.state() {
            BindingState::Live => true,
            BindingState::Going => self.operation.as_ref().is_none_or(|operation| operation.halted.is_none()),
            BindingState::Coming | BindingState::Failed | BindingState::Gone => false,
        }
    }

    /// Until when it is being made, in milliseconds since 1970, if somebody waits for that.
    #[must_use]
    pub fn waited_for_until_ms(&self) -> Option<u64> {
        let operation = self.operation.as_ref().filter(|operation| operation.waited_for);
        operation.filter(|_| self.state() == BindingState::Coming).map(|operation| operation.due_ms)
    }

    /// Whether this is its last operation.
    #[must_use]
    pub fn has_operation(&self, id: &OperationId) -> bool {
        self.operation.as_ref().is_some_and(|operation| operation.id == *id)
    }

    /// Ends its operation if its time has come; tells whether it has.
    pub fn settle(&mut self, now_ms: u64) -> bool {
        let Some(operation) = &mut self.operation else { return false };
        if operation.state != OperationState::InProgress || now_ms < operation.due_ms {
            return false;
        }
        operation.state =
            if operation.failure.is_some() { OperationState::Failed } else { OperationState::Succeeded };
        true
    }
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

    /// Writes a changed record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not any more what was loaded.
    pub fn save(
        &self,
        instance: &InstanceId,
        changed: Stored<BindingRecord>,
    ) -> Result<Stored<BindingRecord>, StoreError> {
        let key = keys::binding(instance, &changed.value.binding_id);
        write(&*self.store, &key, changed.value, Expect::Unchanged(changed.revision))
    }

    /// The ids of an instance's bindings, sorted.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn list(&self, instance: &InstanceId) -> Result<Vec<BindingId>, StoreError> {
        let entries = self.store.list(&keys::bindings(instance))?.entries;
        let mut ids: Vec<BindingId> =
            entries.iter().filter_map(|entry| BindingId::parse(entry.key.name()).ok()).collect();
        ids.sort();
        Ok(ids)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{BindingRecord, BindingState};

    fn record(operation: &serde_json::Value) -> BindingRecord {
        serde_json::from_value(json!({
            "binding_id": "x", "service_id": "s", "plan_id": "p", "created_ms": 1, "operation": operation,
        }))
        .unwrap()
    }

    /// One that was written before bindings had operations.
    #[test]
    fn a_binding_without_an_operation_is_there() {
        let mut plain = record(&json!(null));
        assert!(!plain.settle(u64::MAX));
        assert_eq!(plain.state(), BindingState::Live);
    }

    #[test]
    fn how_a_binding_stands_follows_from_the_clock() {
        let check = |kind: &str, failure: Option<&str>, halted: Option<&str>, before: BindingState, after| {
            let mut record = record(&json!({
                "id": "o1", "kind": kind, "state": "in-progress", "due_ms": 100, "failure": failure,
                "halted": halted,
            }));
            assert!(!record.settle(99));
            assert_eq!(record.state(), before, "{kind} {failure:?} {halted:?}");
            assert!(record.settle(100));
            assert_eq!(record.state(), after, "{kind} {failure:?} {halted:?}");
            // The clock may be set back.
            assert!(!record.settle(1));
            assert_eq!(record.state(), after, "{kind} {failure:?} {halted:?}");
        };
        check("bind", None, None, BindingState::Coming, BindingState::Live);
        check("bind", Some("no"), None, BindingState::Coming, BindingState::Failed);
        check("unbind", None, None, BindingState::Going, BindingState::Gone);
        check("unbind", Some("no"), None, BindingState::Going, BindingState::Live);
        check("unbind", Some("no"), Some("o0"), BindingState::Going, BindingState::Failed);
    }
}
