//! Containers whose instances are gone: what could not be removed, or may come yet, is remembered until it has been
//! removed for good.

use std::sync::Arc;

use log::warn;
use serde::{Deserialize, Serialize};
use storage::{Expect, Store, StoreError};

use super::keys;
use super::record::NodeRecord;
use super::written::{Stored, Written, parse, write};
use crate::model::{CellGuid, DriverKind, InstanceId};

/// `/broker/orphans/<cell>/<node>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanRecord {
    /// A random id of the last write.
    #[serde(default)]
    pub write_id: String,
    /// The instance that it was of; another one may have that id by now.
    pub instance_id: InstanceId,
    /// What that was made by.
    pub driver: DriverKind,
    /// The node, with the ports that stay claimed for it.
    pub node: NodeRecord,
    /// Why it was left.
    pub reason: String,
    /// Since when it is an orphan, in milliseconds since 1970.
    pub since_ms: u64,
    /// When a removal went well, in milliseconds since 1970: it is looked for once more after that, since a call whose
    /// answer was lost may make it late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_ms: Option<u64>,
}

impl Written for OrphanRecord {
    fn write_id(&self) -> &str {
        &self.write_id
    }

    fn set_write_id(&mut self, id: String) {
        self.write_id = id;
    }
}

/// The one place that reads and writes `/broker/orphans`.
#[derive(Clone)]
pub struct Orphans {
    store: Arc<dyn Store>,
}

impl Orphans {
    /// Orphans in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Writes one down. One that is remembered already stays as it is.
    ///
    /// # Errors
    /// As [`Store::put`]; [`StoreError::Conflict`] when it is not known whether it was written: do it again.
    pub fn remember(&self, orphan: OrphanRecord) -> Result<(), StoreError> {
        let key = keys::orphan(&orphan.node.backend_id, &orphan.node.node_id);
        match write(&*self.store, &key, orphan, Expect::Absent) {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict) if self.store.get(&key)?.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All of them, in the order of their keys. What is no orphan's record is left out, with a warning.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn list(&self) -> Result<Vec<Stored<OrphanRecord>>, StoreError> {
        let mut entries = self.store.list(&keys::orphans())?.entries;
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        let mut orphans = Vec::with_capacity(entries.len());
        for entry in entries {
            match parse(&entry.key, &entry.value) {
                Ok(value) => orphans.push(Stored { value, revision: entry.revision }),
                Err(error) => warn!("left alone: {error}"),
            }
        }
        Ok(orphans)
    }

    /// Whether one of them holds this port of its cell. One that nobody can read holds every port there.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn hold(&self, cell: &CellGuid, instance: &InstanceId, port: u16) -> Result<bool, StoreError> {
        let entries = self.store.list(&keys::orphans_on(cell))?.entries;
        let holds = |entry: &storage::Entry| match parse::<OrphanRecord>(&entry.key, &entry.value) {
            Ok(orphan) => {
                orphan.instance_id == *instance && orphan.node.ports.iter().any(|held| held.host == port)
            }
            Err(_) => true,
        };
        Ok(entries.iter().any(holds))
    }

    /// Notes that a removal went well.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not any more what was read.
    pub fn note_removed(&self, mut orphan: Stored<OrphanRecord>, now_ms: u64) -> Result<(), StoreError> {
        let key = keys::orphan(&orphan.value.node.backend_id, &orphan.value.node.node_id);
        orphan.value.removed_ms = Some(now_ms);
        write(&*self.store, &key, orphan.value, Expect::Unchanged(orphan.revision)).map(|_| ())
    }

    /// Forgets one. Only who has done it may give back what it held.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it is not any more what was read.
    pub fn forget(&self, orphan: &Stored<OrphanRecord>) -> Result<(), StoreError> {
        let key = keys::orphan(&orphan.value.node.backend_id, &orphan.value.node.node_id);
        match self.store.delete(&key, Expect::Unchanged(orphan.revision)) {
            Err(StoreError::OutcomeUnknown { .. }) => match self.store.get(&key)? {
                None => Ok(()),
                Some(_) => Err(StoreError::Conflict),
            },
            answer => answer,
        }
    }
}
