//! What a platform asks of dreams.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use patroni_broker::broker::{
    Accepted, BindRequest, Binding, Bound, BrokerError, DeprovisionRequest, FetchRequest, Fetched,
    LastOperation, Outcome, PollRequest, PreviousValues, ProvisionRequest, UnbindRequest, Unbound,
    UpdateRequest,
};
use patroni_broker::model::{OperationId, PlanId, ServiceId};
use serde_json::{Map, Value};

use crate::lab::{Lab, binding, binding_id, id, order, poll, unbinding};

pub fn map(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

pub fn plan(raw: &str) -> PlanId {
    PlanId::parse(raw).unwrap()
}

pub fn service() -> ServiceId {
    ServiceId::parse("dream").unwrap()
}

/// A small dream, of a platform that does not poll.
pub fn dream(instance: &str, parameters: &str) -> ProvisionRequest {
    ProvisionRequest { service: service(), plan: plan("small"), ..order(instance, parameters) }
}

/// An update that changes nothing yet.
pub fn change(instance: &str) -> UpdateRequest {
    UpdateRequest {
        rehearse: false,
        instance: id(instance),
        service: service(),
        plan: None,
        parameters: None,
        context: None,
        maintenance_version: None,
        previous: PreviousValues::default(),
        accepts_incomplete: false,
    }
}

pub fn change_parameters(instance: &str, parameters: &str) -> UpdateRequest {
    UpdateRequest { parameters: Some(map(parameters)), ..change(instance) }
}

pub fn departure(instance: &str, accepts_incomplete: bool) -> DeprovisionRequest {
    DeprovisionRequest { instance: id(instance), service: None, plan: None, accepts_incomplete, force: false }
}

pub fn bind(instance: &str, name: &str, parameters: &str) -> BindRequest {
    BindRequest {
        binding: binding_id(name),
        service: Some(service()),
        plan: Some(plan("small")),
        parameters: map(parameters),
        ..binding(instance)
    }
}

pub fn unbind(instance: &str, name: &str) -> UnbindRequest {
    UnbindRequest { binding: binding_id(name), ..unbinding(instance) }
}

pub fn look(instance: &str) -> FetchRequest {
    FetchRequest { instance: id(instance), service: None, plan: None }
}

pub fn poll_binding(instance: &str, name: &str, operation: Option<&OperationId>) -> PollRequest {
    PollRequest {
        binding: Some(binding_id(name)),
        operation: operation.map(ToString::to_string),
        ..poll(instance)
    }
}

pub fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

/// The operation that was accepted, and whether it is one that ends soon.
pub fn accepted(answer: Result<Accepted, BrokerError>) -> (OperationId, bool) {
    match answer {
        Ok(Accepted::Running { operation, soon }) => (operation, soon),
        answer => panic!("{answer:?}"),
    }
}

/// What was given at once, and whether it is new. (Not `Debug`, since it holds a password.)
pub fn given(answer: Result<Bound, BrokerError>) -> (Binding, bool) {
    match answer {
        Ok(Bound::Now { binding, new }) => (binding, new),
        Ok(Bound::Running { operation }) => panic!("{operation} goes on"),
        Err(error) => panic!("{error:?}"),
    }
}

pub fn binding_goes_on(answer: Result<Bound, BrokerError>) -> OperationId {
    match answer {
        Ok(Bound::Running { operation }) => operation,
        Ok(Bound::Now { .. }) => panic!("it is there"),
        Err(error) => panic!("{error:?}"),
    }
}

pub fn unbinding_goes_on(answer: Result<Unbound, BrokerError>) -> OperationId {
    match answer {
        Ok(Unbound::Running { operation }) => operation,
        answer => panic!("{answer:?}"),
    }
}

pub fn refused<T>(answer: Result<T, BrokerError>) -> BrokerError {
    match answer {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error,
    }
}

/// Whether it goes on, and for how long it says so.
pub fn goes_on(answer: &Result<LastOperation, BrokerError>) -> Option<Duration> {
    match answer {
        Ok(LastOperation::InProgress { retry_after, .. }) => *retry_after,
        _ => None,
    }
}

impl Lab {
    /// A dream that is there.
    pub fn dreaming(parameters: &str) -> Self {
        let lab = Self::new("c1@z1 c2@z2");
        lab.broker()
            .provision(ProvisionRequest { accepts_incomplete: true, ..dream("d1", parameters) })
            .unwrap();
        assert!(matches!(lab.settle("d1"), LastOperation::Succeeded { .. }));
        crate::lab::until("the note to go", || (lab.keys() == ["/service/d1/state"]).then_some(()));
        lab
    }

    /// Updates and waits for the end, as a synchronous caller does.
    pub fn update(&self, request: UpdateRequest) -> Result<Outcome, BrokerError> {
        let instance = request.instance.clone();
        match self.broker().update(request)? {
            Accepted::Already | Accepted::Rehearsed { .. } => Ok(Outcome::Succeeded),
            Accepted::Running { operation, .. } => Ok(self.wait(&instance, &operation)),
        }
    }

    pub fn fetch(&self, instance: &str) -> Result<Fetched, BrokerError> {
        self.broker().fetch(&look(instance))
    }

    /// How an operation of a binding ended.
    pub fn settle_binding(&self, instance: &str, name: &str, operation: &OperationId) -> LastOperation {
        crate::lab::until("the binding's operation to end", || {
            let request = poll_binding(instance, name, Some(operation));
            match self.broker().last_operation(&request).unwrap() {
                LastOperation::InProgress { .. } => None,
                ended => Some(ended),
            }
        })
    }
}
