//! What the API asks of a broker.

use std::time::Duration;

use crate::broker::{
    Accepted, BindRequest, Bound, Broker, BrokerError, DeprovisionRequest, LastOperation, Outcome,
    ProvisionRequest, UnbindRequest,
};
use crate::model::{InstanceId, OperationId};

/// Whoever takes orders: the [`Broker`], or a stand-in for it in tests of what is said over HTTP. The contracts are
/// those of the broker's methods of the same names.
pub trait Orders: Send + Sync {
    /// See [`Broker::ready`].
    ///
    /// # Errors
    /// A sentence for an operator.
    fn ready(&self) -> Result<(), String>;

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

    /// See [`Broker::last_operation`].
    ///
    /// # Errors
    /// As there.
    fn last_operation(&self, instance: &InstanceId) -> Result<LastOperation, BrokerError>;

    /// See [`Broker::bind`].
    ///
    /// # Errors
    /// As there.
    fn bind(&self, request: BindRequest) -> Result<Bound, BrokerError>;

    /// See [`Broker::unbind`].
    ///
    /// # Errors
    /// As there.
    fn unbind(&self, request: UnbindRequest) -> Result<(), BrokerError>;

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

    fn provision(&self, request: ProvisionRequest) -> Result<Accepted, BrokerError> {
        self.provision(request)
    }

    fn recreate(&self, instance: &InstanceId) -> Result<Accepted, BrokerError> {
        self.recreate(instance)
    }

    fn deprovision(&self, request: DeprovisionRequest) -> Result<Accepted, BrokerError> {
        self.deprovision(request)
    }

    fn last_operation(&self, instance: &InstanceId) -> Result<LastOperation, BrokerError> {
        self.last_operation(instance)
    }

    fn bind(&self, request: BindRequest) -> Result<Bound, BrokerError> {
        self.bind(request)
    }

    fn unbind(&self, request: UnbindRequest) -> Result<(), BrokerError> {
        self.unbind(request)
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
