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

/// What an instance's public port leads to: a leader among members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The revision that a router must have applied to lead there.
    pub newest: Revision,
    /// Whether there is a leader. A member that calls itself one need not have the lock yet, and routers wait only for
    /// who has it.
    pub is_led: bool,
    /// The revision of this reading, to watch from.
    pub revision: Revision,
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

    /// What an instance's route is made of now.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn route(&self, instance: &InstanceId) -> Result<Route, StoreError> {
        let allocation = self.store.get(&keys::allocation(instance))?;
        let scope = self.store.list(&keys::scope(instance))?;
        let (leader, members) = (keys::leader(instance), keys::members(instance));
        let parts = scope.entries.iter().filter(|entry| entry.key == leader || entry.key.is_under(&members));
        let newest = allocation.iter().chain(parts).map(|entry| entry.revision).max();
        Ok(Route {
            newest: newest.unwrap_or(Revision(0)),
            is_led: scope.entries.iter().any(|entry| entry.key == leader),
            revision: scope.revision,
        })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use storage::embedded::{Embedded, Options};
    use storage::{Expect, Store};

    use super::{Allocations, Route};
    use crate::model::{InstanceId, NodeId};
    use crate::state::keys;

    #[test]
    fn a_route_is_as_new_as_the_newest_of_what_it_is_made_of() {
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let (instance, node) = (InstanceId::parse("b1").unwrap(), NodeId::parse("n1").unwrap());
        let allocations = Allocations::new(Arc::clone(&store) as Arc<dyn Store>);
        let leader = keys::leader(&instance);
        let parts = [keys::allocation(&instance), keys::member(&instance, &node), leader.clone()];
        for newest in parts.iter().chain(&parts) {
            let revision = store.put(newest, b"1", None, Expect::Anything).unwrap();
            let other = store.put(&keys::record(&instance), b"{}", None, Expect::Anything).unwrap();
            let is_led = store.get(&leader).unwrap().is_some();
            assert_eq!(
                allocations.route(&instance).unwrap(),
                Route { newest: revision, is_led, revision: other },
                "{newest}"
            );
        }
    }
}
