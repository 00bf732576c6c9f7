//! What each request means: one file per operation, the workers that perform operations, the one domain error type.
//! Knows nothing of HTTP.
//!
//! A request is checked, planned and recorded in the caller's thread; from then on nothing is lost. The instance's id
//! goes down a channel to the [`worker`]s, which perform the recorded steps one by one. [`pending`] looks for
//! operations whose performer has died.

mod ask_members;
mod await_members;
mod await_route;
mod bind;
mod binding_record;
mod check_image;
mod choose;
mod cordons;
mod core;
mod crash;
mod demote;
mod deprovision;
mod drain;
mod error;
mod fetch;
mod kept;
mod last_operation;
mod leaving;
mod members;
mod mint;
mod observe;
mod offerings;
mod orphans;
mod pace;
mod parking;
mod pass_over;
mod pending;
mod perform;
mod provision;
mod put_aside;
mod reap_guests;
mod relocate;
mod remake_node;
mod request;
mod reshape;
mod retire_node;
mod sights;
mod step_error;
mod sweep;
mod unbind;
mod undo;
mod update;
mod views;
mod worker;

pub use error::{BrokerError, StartError};
pub use leaving::Leaving;
pub use mint::RandomMint;
pub use pace::Pace;
pub use request::{
    Accepted, BindRequest, Binding, Bound, DeprovisionRequest, DrainRequest, Endpoint, FetchRequest, Fetched,
    LastOperation, Outcome, PollRequest, PreviousValues, ProvisionRequest, UnbindRequest, Unbound,
    UpdateRequest,
};

pub use sights::{
    CellStanding, CellView, Demotion, DrainView, Drained, Fate, InstanceView, NodeView, OperationView,
    RehearsedMove,
};

use std::sync::Arc;
use std::time::Duration;

use storage::{Clock, Store, StoreError};

use self::core::Core;
use self::drain::Drains;
use self::members::Members;
use self::observe::Observer;
use self::parking::Parking;
use self::pending::PendingScan;
use self::put_aside::Alarm;
use self::worker::Workers;
use crate::cells::Cells;
use crate::metrics::Metrics;
use crate::model::{BindingId, Catalog, CellGuid, InstanceId, Mint, OperationId, PortRange};
use crate::services::Drivers;

/// What platforms order from. Every method may be called from any thread. Dropping it stops its threads; operations
/// under way are resumed when a broker starts again.
pub struct Broker {
    _observer: Observer,
    // In the order in which they stop: nobody finds new work, then nobody performs any, then nobody is waited for.
    _drains: Drains,
    _pending: PendingScan,
    _alarm: Alarm,
    _workers: Workers,
    parking: Arc<Parking>,
    core: Arc<Core>,
}

/// What a broker works with.
pub struct Parts {
    /// Where everything is recorded.
    pub store: Arc<dyn Store>,
    /// Where containers go.
    pub cells: Cells,
    /// What is offered.
    pub catalog: Catalog,
    /// How it is made.
    pub drivers: Drivers,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids and passwords.
    pub mint: Arc<dyn Mint>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The rest.
    pub settings: Settings,
}

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names this process among the holders of leases.
    pub holder: String,
    /// The host that applications are told to connect to.
    pub bind_host: String,
    /// The range of the public ports.
    pub public_ports: PortRange,
    /// How many operations are performed at once.
    pub workers: usize,
    /// How long a synchronous caller waits at most.
    pub sync_timeout: Duration,
    /// How often is looked and how long is waited.
    pub pace: Pace,
}

impl Broker {
    /// Starts the threads, adopts what is in the store and resumes what was cut off.
    ///
    /// # Errors
    /// When the store does not answer, the system gives no thread, or a schema of the catalog is none.
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let members = Members::start(Arc::clone(&parts.store)).map_err(no_thread)?;
        let parking = Arc::new(Parking::start(Arc::clone(&parts.store)).map_err(no_thread)?);
        let (core, queue) = Core::start(parts, members)?;
        let core = Arc::new(core);
        let workers = Workers::start(&core, &queue, &parking).map_err(no_thread)?;
        let alarm = Alarm::start(&core).map_err(no_thread)?;
        let pending = PendingScan::start(Arc::clone(&core)).map_err(no_thread)?;
        let drains = Drains::start(&core).map_err(no_thread)?;
        let observer = Observer::start(Arc::clone(&core)).map_err(no_thread)?;
        Ok(Self {
            _observer: observer,
            _drains: drains,
            _pending: pending,
            _alarm: alarm,
            _workers: workers,
            parking,
            core,
        })
    }

    /// What is offered, with what holds: schemas of parameters are the site's, or else the driver's.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        self.core.offerings.catalog()
    }

    /// What was counted, in Prometheus' text format 0.0.4. Waits for neither store nor cells: of them it says what
    /// was last seen.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.core.metrics.render()
    }

    /// Whether [`Broker::fetch`] and [`Broker::last_operation`] of an instance wait for nothing: all that they do is to
    /// read the store.
    #[must_use]
    pub fn reads_are_local(&self) -> bool {
        self.core.store.reads_are_local()
    }

    /// Whether the store and at least one cell answer.
    ///
    /// # Errors
    /// A sentence for an operator, saying what does not.
    pub fn ready(&self) -> Result<(), String> {
        self.core.ready()
    }

    /// Takes an order; see OSB 2.17, "Provisioning".
    ///
    /// # Errors
    /// Every refusal leaves nothing behind.
    pub fn provision(&self, request: ProvisionRequest) -> Result<Accepted, BrokerError> {
        self.core.provision(&request)
    }

    /// `PUT` with `{}`: brings back what is known and not there; see the ancestors' "recreate service". Until creation
    /// data is backed up, nothing is known that is not there.
    ///
    /// # Errors
    /// [`BrokerError::InstanceExists`] on a live instance, [`BrokerError::InstanceUnknown`] where nothing is known.
    pub fn recreate(&self, instance: &InstanceId) -> Result<Accepted, BrokerError> {
        match self.core.instances.load(instance)? {
            Some(_) => Err(BrokerError::InstanceExists),
            None => Err(BrokerError::InstanceUnknown),
        }
    }

    /// Gives an instance back; see OSB 2.17, "Deprovisioning". A provision or an update that is under way ends by that.
    ///
    /// # Errors
    /// [`BrokerError::InstanceGone`] when there is none.
    pub fn deprovision(&self, request: DeprovisionRequest) -> Result<Accepted, BrokerError> {
        self.core.deprovision(&request, &self.parking)
    }

    /// What an instance is; see OSB 2.17, "Fetching a Service Instance".
    ///
    /// # Errors
    /// [`BrokerError::InstanceUnknown`] when there is none, or none yet.
    pub fn fetch(&self, request: &FetchRequest) -> Result<Fetched, BrokerError> {
        self.core.fetch(request)
    }

    /// Changes an instance; see OSB 2.17, "Updating a Service Instance".
    ///
    /// # Errors
    /// Every refusal leaves the instance as it is.
    pub fn update(&self, request: UpdateRequest) -> Result<Accepted, BrokerError> {
        self.core.update(&request)
    }

    /// How the last operation stands, of the instance or of one of its bindings, in the ancestors' words.
    ///
    /// # Errors
    /// [`BrokerError::InstanceGone`] or [`BrokerError::BindingGone`] when there is none such (any more).
    pub fn last_operation(&self, request: &PollRequest) -> Result<LastOperation, BrokerError> {
        self.core.last_operation(request)
    }

    /// Makes a binding; see OSB 2.17, "Binding".
    ///
    /// # Errors
    /// [`BrokerError::BindingExists`] when another one has that id.
    pub fn bind(&self, request: BindRequest) -> Result<Bound, BrokerError> {
        self.core.bind(&request)
    }

    /// What a binding gives; see OSB 2.17, "Fetching a Service Binding".
    ///
    /// # Errors
    /// [`BrokerError::BindingUnknown`] when there is none, or none yet.
    pub fn fetch_binding(&self, request: &FetchRequest, binding: &BindingId) -> Result<Binding, BrokerError> {
        self.core.fetch_binding(request, binding)
    }

    /// Ends a binding; see OSB 2.17, "Unbinding".
    ///
    /// # Errors
    /// [`BrokerError::BindingGone`] when there is none.
    pub fn unbind(&self, request: UnbindRequest) -> Result<Unbound, BrokerError> {
        self.core.unbind(&request)
    }

    /// Every instance, for operators, in the order of their ids.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn instances(&self) -> Result<Vec<InstanceView>, BrokerError> {
        self.core.view_instances()
    }

    /// One instance, for operators.
    ///
    /// # Errors
    /// [`BrokerError::InstanceUnknown`] when there is none.
    pub fn instance(&self, instance: &InstanceId) -> Result<InstanceView, BrokerError> {
        self.core.view_instance(instance)
    }

    /// Every cell, for operators, in the configuration's order; asks all of them at once whether they answer.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn cells(&self) -> Result<Vec<CellView>, BrokerError> {
        self.core.view_cells()
    }

    /// One cell, for operators; asks it whether it answers.
    ///
    /// # Errors
    /// [`BrokerError::UnknownCell`] when there is none.
    pub fn cell(&self, cell: &CellGuid) -> Result<CellView, BrokerError> {
        self.core.view_one_cell(cell)
    }

    /// Keeps new nodes off a cell; what is there stays. Saying it twice does no harm.
    ///
    /// # Errors
    /// [`BrokerError::UnknownCell`] when there is none.
    pub fn cordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        self.core.cordon(cell)
    }

    /// Lets a cell take nodes again, and ends its drain after what is under way. Saying it twice does no harm.
    ///
    /// # Errors
    /// [`BrokerError::UnknownCell`] when there is none.
    pub fn uncordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        self.core.uncordon(cell)
    }

    /// Cordons a cell and begins to move everything off it, until it is safe to reboot. It goes on whatever becomes of
    /// this broker. Asked for again, it tries those again that could not be moved. A rehearsal changes nothing, and keeps
    /// the caller's thread for up to half a minute.
    ///
    /// # Errors
    /// [`BrokerError::UnknownCell`]; [`BrokerError::DrainRefused`] where nothing that is there can go anywhere;
    /// [`BrokerError::Busy`] while there is another rehearsal or demotion.
    pub fn drain(&self, request: &DrainRequest) -> Result<Drained, BrokerError> {
        self.core.drain(request)
    }

    /// Lets every cluster that is led from this cell be led from another one. Keeps the caller's thread until all have
    /// answered; after a minute no further cluster is begun with. Clusters that are led from elsewhere are not named.
    ///
    /// # Errors
    /// [`BrokerError::UnknownCell`]; [`BrokerError::Busy`] while there is another demotion or rehearsal.
    pub fn demote(&self, cell: &CellGuid) -> Result<Vec<Demotion>, BrokerError> {
        self.core.demote(cell)
    }

    /// Keeps new nodes off a cell that is to leave the configuration, or to be reached at another host, as long as what
    /// is returned lives. Read it from the store: no node is placed there, and no container is owed for removal.
    ///
    /// # Errors
    /// Says, for an operator, what is there, and of which instances.
    pub fn let_go(&self, cell: &CellGuid) -> Result<Leaving, String> {
        self.core.let_go(cell)
    }

    /// Calls `then` once, from another thread, when the operation has ended or `patience` is over; the caller's
    /// thread goes on at once.
    pub fn when_done(
        &self,
        instance: &InstanceId,
        operation: &OperationId,
        patience: Duration,
        then: Box<dyn FnOnce(Outcome) + Send>,
    ) {
        self.parking.park(instance, operation, patience, then);
    }

    /// Makes waits end soon: who is parked is answered [`Outcome::Stopping`], workers stop after their step.
    pub fn begin_stop(&self) {
        self.core.stop();
        self.parking.stop();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

fn no_thread(error: std::io::Error) -> StoreError {
    StoreError::Unavailable { engine: "broker", reason: format!("the system gives no thread: {error}") }
}
