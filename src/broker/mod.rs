//! What each request means. One file per operation; the worker that performs operations; the one domain error type.
//! Knows nothing of HTTP.

mod error;
mod request;

pub use error::BrokerError;
pub use request::{
    Accepted, BindRequest, Bound, DeprovisionRequest, LastOperation, Outcome, ProvisionRequest, UnbindRequest,
};

use std::time::Duration;

use crate::model::{Catalog, InstanceId, OperationId};

/// What platforms order from. Cheap to share behind an `Arc`; every method may be called from any thread.
pub struct Broker {
    catalog: Catalog,
}

impl Broker {
    /// What is offered.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Whether the store and at least one cell answer; the text says what does not.
    ///
    /// # Errors
    /// A sentence for an operator.
    pub fn ready(&self) -> Result<(), String> {
        Err("starting".to_owned())
    }

    /// Takes an order; see OSB 2.17, "Provisioning".
    ///
    /// # Errors
    /// Every refusal leaves nothing behind.
    pub fn provision(&self, _request: ProvisionRequest) -> Result<Accepted, BrokerError> {
        Err(BrokerError::Concurrency)
    }

    /// `PUT` with `{}`: brings back what is known and not there; see the ancestors' "recreate service".
    ///
    /// # Errors
    /// [`BrokerError::InstanceExists`] on a live instance, [`BrokerError::InstanceUnknown`] where nothing is known.
    pub fn recreate(&self, _instance: &InstanceId) -> Result<Accepted, BrokerError> {
        Err(BrokerError::Concurrency)
    }

    /// Gives an instance back; see OSB 2.17, "Deprovisioning".
    ///
    /// # Errors
    /// [`BrokerError::InstanceGone`] when there is none.
    pub fn deprovision(&self, _request: DeprovisionRequest) -> Result<Accepted, BrokerError> {
        Err(BrokerError::Concurrency)
    }

    /// How the last operation stands, in the ancestors' words.
    ///
    /// # Errors
    /// [`BrokerError::InstanceGone`] when there is no such instance (any more).
    pub fn last_operation(&self, _instance: &InstanceId) -> Result<LastOperation, BrokerError> {
        Err(BrokerError::Concurrency)
    }

    /// Makes a binding.
    ///
    /// # Errors
    /// [`BrokerError::BindingExists`] when another one has that id.
    pub fn bind(&self, _request: BindRequest) -> Result<Bound, BrokerError> {
        Err(BrokerError::Concurrency)
    }

    /// Ends a binding.
    ///
    /// # Errors
    /// [`BrokerError::BindingGone`] when there is none.
    pub fn unbind(&self, _request: UnbindRequest) -> Result<(), BrokerError> {
        Err(BrokerError::Concurrency)
    }

    /// Calls `then` once, from another thread, when the operation has ended or `patience` is over; the caller's
    /// thread goes on at once.
    pub fn when_done(
        &self,
        _instance: &InstanceId,
        _operation: &OperationId,
        _patience: Duration,
        _then: Box<dyn FnOnce(Outcome) + Send>,
    ) {
    }
}
