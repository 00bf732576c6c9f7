//! How a service's instances are made. Owns the [`Driver`] trait, with [`Containers`] for those whose instances are
//! containers, and the drivers; knows nothing of the journal or of HTTP.

mod dream;
mod patroni;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use storage::{AccessControl, ClientAccess, Revision, Store, StoreError};

use crate::cells::ContainerSpec;
use crate::model::{Build, CellGuid, DriverKind, InstanceId, Mint, NodeId, Plan, Schemas, Secret};
use crate::patroni::{Member, Progress, RestApi};
use crate::scheduler::{Reshape, Step};
use crate::state::{
    Answering, BindingKind, BindingRecord, Credentials, InstanceRecord, NodeRecord, UpdateRecord,
};

/// What differs between kinds of services. Everything else about an operation (journal, placement, ports, resuming,
/// cleaning up) is the broker's, the same for all.
///
/// Parameters have been held against [`Driver::schemas`] before they come here. No method takes time or talks to
/// anybody but the store.
pub trait Driver: Send + Sync {
    /// What parameters may be, of a provision, of an update, and of a binding.
    fn schemas(&self, plan: &Plan) -> Schemas;

    /// Reads the parameters of a provision.
    ///
    /// # Errors
    /// Names the parameter and what it may be.
    fn order(&self, plan: &Plan, parameters: &Map<String, Value>) -> Result<Order, InvalidParameters>;

    /// Gives a new record the credentials that this kind of instance needs; none by default.
    fn mint_credentials(&self, _instance: &InstanceId, _mint: &dyn Mint) -> NewCredentials {
        NewCredentials::default()
    }

    /// How an instance comes to be, given its record with the placement that [`Driver::order`] asked for.
    fn provision(&self, record: &InstanceRecord) -> Procedure;

    /// How an instance becomes what the update says: `plan` is the one that it is to have, `before` the one that it has,
    /// where the catalog still has that. An update to what is so already is what moves a cluster for an operator.
    ///
    /// # Errors
    /// [`UpdateError`].
    fn update(
        &self,
        plan: &Plan,
        before: Option<&Plan>,
        record: &InstanceRecord,
        update: &UpdateRecord,
    ) -> Result<Change, UpdateError>;

    /// Whether an update that failed may go well when it is asked for again.
    fn is_update_repeatable(&self, _update: &UpdateRecord) -> bool {
        true
    }

    /// How an instance goes.
    fn deprovision(&self, record: &InstanceRecord) -> Procedure;

    /// How a provision that failed is undone.
    fn roll_back(&self, record: &InstanceRecord) -> Vec<Step>;

    /// How the instance stands, in a few words for its user.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn describe(&self, record: &InstanceRecord) -> Result<String, StoreError>;

    /// What the instance's members say of themselves, where it has any.
    ///
    /// # Errors
    /// As [`Store::list`].
    fn members(&self, _record: &InstanceRecord) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
    }

    /// What platforms are told about an instance beside what every instance has (OSB 2.17, "Service Instance
    /// Metadata").
    fn metadata(&self, _record: &InstanceRecord) -> Option<Value> {
        None
    }

    /// Whether a binding may have a successor that stands beside it.
    fn has_rotatable_bindings(&self) -> bool {
        false
    }

    /// How a binding with these parameters is made or ended; at once by default.
    fn binding(
        &self,
        _kind: BindingKind,
        _record: &InstanceRecord,
        _parameters: &Map<String, Value>,
    ) -> BindingProcedure {
        BindingProcedure::default()
    }

    /// How long a binding with these parameters is good for; for ever by default.
    fn binding_lifetime(
        &self,
        _record: &InstanceRecord,
        _parameters: &Map<String, Value>,
    ) -> Option<Duration> {
        None
    }

    /// The credentials of a binding, for applications that reach the instance at `host`.
    fn credentials(&self, plan: &Plan, record: &InstanceRecord, host: &str) -> Map<String, Value>;

    /// What platforms are told about a binding beside what every binding has, under names of its own.
    fn binding_metadata(&self, _binding: &BindingRecord) -> Map<String, Value> {
        Map::new()
    }
}

/// What a driver whose instances are containers answers besides: how a node's container is made, and what becomes of
/// the members inside of them.
pub trait Containers: Send + Sync {
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
    fn forget(&self, instance: &InstanceId) -> Result<(), StoreError>;

    /// As what a node's container is made: as its record says, or else its plan.
    fn build(&self, plan: &Plan, node: &NodeRecord) -> Build;

    /// Lets one of these nodes lead: nothing where one of them does. Returns when it does, or why not.
    ///
    /// # Errors
    /// [`MemberError`].
    fn hand_over(&self, record: &InstanceRecord, to: &[NodeId]) -> Result<(), MemberError>;

    /// Changes the cluster's settings, and returns when each member that runs knows them.
    ///
    /// # Errors
    /// [`MemberError`].
    fn configure(
        &self,
        record: &InstanceRecord,
        from: &Map<String, Value>,
        to: &Map<String, Value>,
    ) -> Result<(), MemberError>;

    /// Restarts what runs inside a node, if its settings wait for that. Returns when it runs again.
    ///
    /// # Errors
    /// [`MemberError`].
    fn restart_if_pending(&self, record: &InstanceRecord, node: &NodeId) -> Result<(), MemberError>;

    /// Whether data made by the one image can be used by the other, given the images' environments.
    ///
    /// # Errors
    /// Says why not, for the user.
    fn check_image(
        &self,
        from: &BTreeMap<String, String>,
        to: &BTreeMap<String, String>,
    ) -> Result<(), UpdateNotSupported>;

    /// Forgets a member that is gone, of an instance that lives on.
    ///
    /// # Errors
    /// As [`Store::delete`].
    fn forget_member(&self, record: &InstanceRecord, node: &NodeId) -> Result<(), StoreError>;

    /// Every secret text that a container of this instance knows, each no longer than a line, so that its log can be
    /// cleaned of them.
    fn secrets(&self, record: &InstanceRecord) -> Vec<Secret>;
}

/// The drivers by kind.
#[derive(Clone)]
pub struct Drivers {
    patroni: Arc<patroni::PatroniDriver>,
    dream: Arc<dream::DreamDriver>,
    guests: Option<Arc<dyn AccessControl>>,
}

impl Drivers {
    /// Every driver there is. `access` is how containers reach the store, `members` how Patroni's are spoken to.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, access: StoreAccess, members: Arc<dyn RestApi>) -> Self {
        let guests = access.guests.clone();
        let patroni = Arc::new(patroni::PatroniDriver::new(store, access, members));
        Self { patroni, dream: Arc::new(dream::DreamDriver), guests }
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
            DriverKind::Patroni => Arc::clone(&self.patroni) as Arc<dyn Driver>,
            DriverKind::Dream => Arc::clone(&self.dream) as Arc<dyn Driver>,
        }
    }

    /// The driver of a kind of service as far as containers go; `None` where its instances have none.
    #[must_use]
    pub fn containers(&self, kind: DriverKind) -> Option<Arc<dyn Containers>> {
        match kind {
            DriverKind::Patroni => Some(Arc::clone(&self.patroni) as Arc<dyn Containers>),
            DriverKind::Dream => None,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// How many nodes.
    pub nodes: usize,
    /// On which cells; any without.
    pub cells: Option<Vec<CellGuid>>,
    /// Whether it is reached at a public port.
    pub public_port: bool,
}

/// How an operation on an instance is performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Procedure {
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// When those who ask for it are answered.
    pub answering: Answering,
}

/// What an update comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// These steps; none where it is so at once.
    Steps(Procedure),
    /// Its nodes become others: the broker places them, and [`crate::scheduler::reshape`] says in which order.
    Reshape(Reshape),
}

/// Why members did not do what they were asked to, sorted by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberError {
    /// It may go well later.
    NotNow {
        /// What it waits for, for people.
        reason: String,
    },
    /// It never will.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for MemberError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// How a binding is made or ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingProcedure {
    /// How long it takes.
    pub takes: Duration,
    /// Why it fails when that time is over, if it does.
    pub failure: Option<String>,
    /// When those who ask for it are answered.
    pub answering: Answering,
}

/// A new record's credentials.
#[derive(Clone, Debug, Default)]
pub struct NewCredentials {
    /// May make roles and databases.
    pub admin: Option<Credentials>,
    /// The superuser.
    pub superuser: Option<Credentials>,
    /// What bindings hand out.
    pub app: Option<Credentials>,
    /// For streaming between the members.
    pub replication: Option<Credentials>,
    /// For the members' REST API.
    pub rest: Option<Credentials>,
    /// For the store, where each instance has its own.
    pub store: Option<Credentials>,
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

/// An update is none that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateNotSupported {
    /// Why, for the sender.
    pub reason: String,
}

/// Why an update is not planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// It is none that can be made.
    NotSupported(UpdateNotSupported),
    /// The store failed.
    Store(StoreError),
}

impl From<UpdateNotSupported> for UpdateError {
    fn from(error: UpdateNotSupported) -> Self {
        Self::NotSupported(error)
    }
}

impl From<StoreError> for UpdateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An environment, sorted so that a container's fingerprint is the same every time.
type Environment = BTreeMap<String, String>;
