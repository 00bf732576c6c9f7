//! The public ports as routers read them, and what routers say of themselves.

use std::sync::Arc;

use storage::{Expect, Revision, Store, StoreError};

use crate::model::InstanceId;
use crate::state::keys;

/// The one place that writes `/routing/allocation`.
#[derive(Clone)]
pub struct Allocations {
    store: Arc<dyn Store>,
}

/// The routers that have not applied a revision yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutersBehind {
    /// Those that are registered.
    pub registered: usize,
    /// The names of those that lag.
    pub behind: Vec<String>,
    /// The revision of this reading, to watch from.
    pub revision: Revision,
}

impl Allocations {
    /// Allocations in this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Writes down where the instance is reached. Writing the same again is success.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another port stands there: a promise that must not be changed.
    pub fn publish(&self, instance: &InstanceId, port: u16) -> Result<(), StoreError> {
        let key = keys::allocation(instance);
        let value = port.to_string();
        match self.store.put(&key, value.as_bytes(), None, Expect::Absent) {
            Ok(_) => Ok(()),
            // It may be this very port, by an earlier attempt or a lost answer.
            Err(StoreError::Conflict | StoreError::OutcomeUnknown { .. }) => match self.store.get(&key)? {
                Some(entry) if entry.value == value.as_bytes() => Ok(()),
                Some(_) => Err(StoreError::Conflict),
                None => Err(StoreError::OutcomeUnknown { key }),
            },
            Err(error) => Err(error),
        }
    }

    /// Takes it away. Taking away what is not there is success.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn withdraw(&self, instance: &InstanceId) -> Result<(), StoreError> {
        let key = keys::allocation(instance);
        let Some(entry) = self.store.get(&key)? else { return Ok(()) };
        self.store.delete(&key, Expect::Unchanged(entry.revision))
    }

    /// The revision that a router must have applied so that the instance's port leads to its members as they are now.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn route_revision(&self, instance: &InstanceId) -> Result<Revision, StoreError> {
        let allocation = self.store.get(&keys::allocation(instance))?;
        let members = self.store.list(&keys::members(instance))?.entries;
        let revisions = allocation.iter().chain(&members).map(|entry| entry.revision);
        Ok(revisions.max().unwrap_or(Revision(0)))
    }

    /// Which routers have not applied this revision yet.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn routers_behind(&self, wanted: Revision) -> Result<RoutersBehind, StoreError> {
        let listing = self.store.list(&keys::routers())?;
        let applied =
            |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let behind =
            listing.entries.iter().filter(|entry| applied(&entry.value).is_none_or(|at| at < wanted.0));
        Ok(RoutersBehind {
            registered: listing.entries.len(),
            behind: behind.map(|entry| entry.key.name().to_owned()).collect(),
            revision: listing.revision,
        })
    }
}
