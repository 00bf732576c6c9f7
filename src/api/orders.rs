//! What the API asks of a broker.

use std::time::Duration;

use crate::broker::{
    Accepted, BindRequest, Binding, Bound, Broker, BrokerError, CellStanding, CellView, Demotion,
    DeprovisionRequest, DrainRequest, Drained, FetchRequest, Fetched, InstanceView, LastOperation, Outcome,
    PollRequest, ProvisionRequest, UnbindRequest, Unbound, UpdateRequest,
};
use crate::model::{BindingId, CellGuid, InstanceId, OperationId};

/// Whoever takes orders: the [`Broker`], or a stand-in for it in tests of what is said over HTTP. The contracts are
/// those of the broker's methods of the same names.
pub trait Orders: Send + Sync {
    /// See [`Broker::ready`].
    ///
    /// # Errors
    /// A sentence for an operator.
    fn ready(&self) -> Result<(), String>;

    /// See [`Broker::reads_are_local`].
    fn reads_are_local(&self) -> bool {
        false
    }

    /// See [`Broker::provision`].
    ///
    /// # Errors
    /// As there.
    fn provision(&self, request: ProvisionRequest) -> Result<Accepted, BrokerError>;

    /// See [`Broker::recreate`].
    ///
    /// # Errors
    /// As there.
    fn recreate(&self, instance: &InstanceId) -> Result<Accepted, BrokerError>;

    /// See [`Broker::deprovision`].
    ///
    /// # Errors
    /// As there.
    fn deprovision(&self, request: DeprovisionRequest) -> Result<Accepted, BrokerError>;

    /// See [`Broker::fetch`].
    ///
    /// # Errors
    /// As there.
    fn fetch(&self, request: &FetchRequest) -> Result<Fetched, BrokerError>;

    /// See [`Broker::update`].
    ///
    /// # Errors
    /// As there.
    fn update(&self, request: UpdateRequest) -> Result<Accepted, BrokerError>;

    /// See [`Broker::last_operation`].
    ///
    /// # Errors
    /// As there.
    fn last_operation(&self, request: &PollRequest) -> Result<LastOperation, BrokerError>;

    /// See [`Broker::bind`].
    ///
    /// # Errors
    /// As there.
    fn bind(&self, request: BindRequest) -> Result<Bound, BrokerError>;

    /// See [`Broker::fetch_binding`].
    ///
    /// # Errors
    /// As there.
    fn fetch_binding(&self, request: &FetchRequest, binding: &BindingId) -> Result<Binding, BrokerError>;

    /// See [`Broker::unbind`].
    ///
    /// # Errors
    /// As there.
    fn unbind(&self, request: UnbindRequest) -> Result<Unbound, BrokerError>;

    /// See [`Broker::instances`].
    ///
    /// # Errors
    /// As there.
    fn instances(&self) -> Result<Vec<InstanceView>, BrokerError>;

    /// See [`Broker::instance`].
    ///
    /// # Errors
    /// As there.
    fn instance(&self, instance: &InstanceId) -> Result<InstanceView, BrokerError>;

    /// See [`Broker::cells`].
    ///
    /// # Errors
    /// As there.
    fn cells(&self) -> Result<Vec<CellView>, BrokerError>;

    /// See [`Broker::cell`].
    ///
    /// # Errors
    /// As there.
    fn cell(&self, cell: &CellGuid) -> Result<CellView, BrokerError>;

    /// See [`Broker::cordon`].
    ///
    /// # Errors
    /// As there.
    fn cordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError>;

    /// See [`Broker::uncordon`].
    ///
    /// # Errors
    /// As there.
    fn uncordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError>;

    /// See [`Broker::drain`].
    ///
    /// # Errors
    /// As there.
    fn drain(&self, request: &DrainRequest) -> Result<Drained, BrokerError>;

    /// See [`Broker::demote`].
    ///
    /// # Errors
    /// As there.
    fn demote(&self, cell: &CellGuid) -> Result<Vec<Demotion>, BrokerError>;

    /// See [`Broker::metrics`].
    fn metrics(&self) -> String;

    /// See [`Broker::when_done`]. Dropping `then` uncalled is answered like a broker that stops.
    fn when_done(
        &self,
        instance: &InstanceId,
        operation: &OperationId,
        patience: Duration,
        then: Box<dyn FnOnce(Outcome) + Send>,
    );
}

impl Orders for Broker {
    fn ready(&self) -> Result<(), String> {
        self.ready()
    }

    fn reads_are_local(&self) -> bool {
        self.reads_are_local()
    }

    fn provision(&self, request: ProvisionRequest) -> Result<Accepted, BrokerError> {
        self.provision(request)
    }

    fn recreate(&self, instance: &InstanceId) -> Result<Accepted, BrokerError> {
        self.recreate(instance)
    }

    fn deprovision(&self, request: DeprovisionRequest) -> Result<Accepted, BrokerError> {
        self.deprovision(request)
    }

    fn fetch(&self, request: &FetchRequest) -> Result<Fetched, BrokerError> {
        self.fetch(request)
    }

    fn update(&self, request: UpdateRequest) -> Result<Accepted, BrokerError> {
        self.update(request)
    }

    fn last_operation(&self, request: &PollRequest) -> Result<LastOperation, BrokerError> {
        self.last_operation(request)
    }

    fn bind(&self, request: BindRequest) -> Result<Bound, BrokerError> {
        self.bind(request)
    }

    fn fetch_binding(&self, request: &FetchRequest, binding: &BindingId) -> Result<Binding, BrokerError> {
        self.fetch_binding(request, binding)
    }

    fn unbind(&self, request: UnbindRequest) -> Result<Unbound, BrokerError> {
        self.unbind(request)
    }

    fn instances(&self) -> Result<Vec<InstanceView>, BrokerError> {
        self.instances()
    }

    fn instance(&self, instance: &InstanceId) -> Result<InstanceView, BrokerError> {
        self.instance(instance)
    }

    fn cells(&self) -> Result<Vec<CellView>, BrokerError> {
        self.cells()
    }

    fn cell(&self, cell: &CellGuid) -> Result<CellView, BrokerError> {
        self.cell(cell)
    }

    fn cordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        self.cordon(cell)
    }

    fn uncordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        self.uncordon(cell)
    }

    fn drain(&self, request: &DrainRequest) -> Result<Drained, BrokerError> {
        self.drain(request)
    }

    fn demote(&self, cell: &CellGuid) -> Result<Vec<Demotion>, BrokerError> {
        self.demote(cell)
    }

    fn metrics(&self) -> String {
        Broker::metrics(self)
    }

    fn when_done(
        &self,
        instance: &InstanceId,
        operation: &OperationId,
        patience: Duration,
        then: Box<dyn FnOnce(Outcome) + Send>,
    ) {
        self.when_done(instance, operation, patience, then);
    }
}
