//! The public ports as routers read them, and what routers say of themselves.

use std::sync::Arc;

use storage::{Expect, Revision, Store, StoreError};

use super::RouterReport;
use crate::model::InstanceId;
use crate::state::keys;

/// The one place that writes `/routing/allocation`.
#[derive(Clone)]
pub struct Allocations {
    store: Arc<dyn Store>,
}

/// How the routers stand to an instance's route at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutersBehind {
    /// Those that are registered.
    pub registered: usize,
    /// The names of those that lag.
    pub behind: Vec<String>,
    /// The names of those that have left the instance's port out.
    pub without_it: Vec<String>,
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

    /// Which routers have not applied this revision yet, and which have and yet do not lead to the instance.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn routers_behind(
        &self,
        instance: &InstanceId,
        wanted: Revision,
    ) -> Result<RoutersBehind, StoreError> {
        let listing = self.store.list(&keys::routers())?;
        let (mut behind, mut without_it) = (Vec::new(), Vec::new());
        for entry in &listing.entries {
            let name = entry.key.name().to_owned();
            match RouterReport::parse(&entry.value).filter(|report| report.revision >= wanted) {
                None => behind.push(name),
                Some(report) if report.unrouted.contains(instance) => without_it.push(name),
                Some(_) => {}
            }
        }
        let registered = listing.entries.len();
        Ok(RoutersBehind { registered, behind, without_it, revision: listing.revision })
    }
}
