//! How a service's instances are made. Owns the [`Driver`] trait and the drivers; knows nothing of operations, of the
//! journal or of HTTP.

mod patroni;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use storage::{AccessControl, ClientAccess, Revision, Store, StoreError};

use crate::cells::ContainerSpec;
use crate::model::{CellGuid, DriverKind, InstanceId, Mint, NodeId, Plan, Secret};
use crate::patroni::Progress;
use crate::state::{InstanceRecord, NodeRecord};

/// What differs between kinds of services. Everything else about an operation (journal, placement, ports, resuming,
/// cleaning up) is the broker's, the same for all.
pub trait Driver: Send + Sync {
    /// Reads a request's parameters.
    ///
    /// # Errors
    /// Names the parameter and what it may be.
    fn order(&self, plan: &Plan, parameters: &Map<String, Value>) -> Result<Order, InvalidParameters>;

    /// Gives a new record the credentials that this kind of instance needs.
    fn mint_credentials(&self, instance: &InstanceId, mint: &dyn Mint) -> NewCredentials;

    /// The container ports that a node publishes.
    fn container_ports(&self) -> &'static [u16];

    /// The container of a node, the same every time for the same record.
    fn container(&self, plan: &Plan, record: &InstanceRecord, node: &NodeRecord) -> ContainerSpec;

    /// Lets the instance's containers into the store, with exactly the rights that the record's nodes need; nothing
    /// where they share the broker's access or use no store. Comes before every container that is made, and may come
    /// twice.
    ///
    /// # Errors
    /// As [`AccessControl::admit`].
    fn admit(&self, _plan: &Plan, _record: &InstanceRecord) -> Result<(), StoreError> {
        Ok(())
    }

    /// Ends what [`Driver::admit`] began, also where it was only begun. Comes when the containers are gone, and may
    /// come twice.
    ///
    /// # Errors
    /// As [`AccessControl::dismiss`].
    fn dismiss(&self, _instance: &InstanceId) -> Result<(), StoreError> {
        Ok(())
    }

    /// How the instance's members stand, as the store says.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn progress(&self, record: &InstanceRecord) -> Result<Progress, StoreError>;

    /// Whether the instance holds data, so that a container's volume must not be made anew.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn holds_data(&self, record: &InstanceRecord) -> Result<bool, StoreError>;

    /// The mark of a first start that has not ended: never while the instance holds data.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn first_start(&self, record: &InstanceRecord) -> Result<Option<FirstStart>, StoreError>;

    /// Clears that mark, for the one who knows that nobody is at it. Tells whether something was cleared.
    ///
    /// # Errors
    /// As [`Store::delete`].
    fn clear_failed_start(&self, record: &InstanceRecord) -> Result<bool, StoreError>;

    /// Removes what the members keep in the store, each key as it was read: who comes late must not hit what an
    /// instance of the same id keeps there by then.
    ///
    /// # Errors
    /// As [`Store::delete`]; [`StoreError::Conflict`] when something changed meanwhile: do it again.
    fn forget(&self, record: &InstanceRecord) -> Result<(), StoreError>;

    /// Every secret text that a container of this instance knows, each no longer than a line, so that its log can be
    /// cleaned of them.
    fn secrets(&self, record: &InstanceRecord) -> Vec<Secret>;

    /// The credentials of a binding, for applications that reach the instance at `host`.
    fn credentials(&self, plan: &Plan, record: &InstanceRecord, host: &str) -> Map<String, Value>;
}

/// The drivers by kind.
#[derive(Clone)]
pub struct Drivers {
    patroni: Arc<dyn Driver>,
    guests: Option<Arc<dyn AccessControl>>,
}

impl Drivers {
    /// Every driver there is. `access` is how containers reach the store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, access: StoreAccess) -> Self {
        let guests = access.guests.clone();
        Self { patroni: Arc::new(patroni::PatroniDriver::new(store, access)), guests }
    }

    /// Who lets instances' containers into the store, where somebody does.
    #[must_use]
    pub fn guests(&self) -> Option<&dyn AccessControl> {
        self.guests.as_deref()
    }

    /// The driver of a kind of service.
    #[must_use]
    pub fn of(&self, kind: DriverKind) -> Arc<dyn Driver> {
        match kind {
            DriverKind::Patroni => Arc::clone(&self.patroni),
        }
    }
}

/// The first start of an instance: one member makes its first data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstStart {
    /// Which mark it is.
    pub mark: Revision,
    /// Who says that it is at it; nobody for a moment after the mark was set, and when that member is gone.
    pub by: Option<NodeId>,
}

/// What a request's parameters ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// How many nodes.
    pub nodes: usize,
    /// On which cells; any without.
    pub cells: Option<Vec<CellGuid>>,
}

/// A new record's credentials.
#[derive(Clone, Debug)]
pub struct NewCredentials {
    /// May make roles and databases.
    pub admin: crate::state::Credentials,
    /// The superuser.
    pub superuser: crate::state::Credentials,
    /// What bindings hand out.
    pub app: crate::state::Credentials,
    /// For streaming between the members.
    pub replication: Option<crate::state::Credentials>,
    /// For the members' REST API.
    pub rest: Option<crate::state::Credentials>,
    /// For the store, where each instance has its own.
    pub store: Option<crate::state::Credentials>,
}

/// How a container reaches the store that the broker uses. `Debug` leaves passwords out.
#[derive(Clone)]
pub struct StoreAccess {
    /// As the broker itself does: what containers without credentials of their own use.
    pub shared: ClientAccess,
    /// Gives each instance's containers credentials of their own, where the configuration names an administrator.
    pub guests: Option<Arc<dyn AccessControl>>,
}

impl fmt::Debug for StoreAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreAccess")
            .field("shared", &self.shared)
            .field("guests", &self.guests.is_some())
            .finish()
    }
}

/// A parameter is not what the plan takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidParameters {
    /// Names the parameter and what it may be.
    pub reason: String,
}

impl fmt::Display for InvalidParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for InvalidParameters {}

/// An environment, sorted so that a container's fingerprint is the same every time.
type Environment = BTreeMap<String, String>;
