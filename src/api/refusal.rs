//! What is answered when something is refused: the one place where domain errors become statuses.

use std::time::Duration;

use log::{error, warn};
use serde::Serialize;
use storage::StoreError;

use super::message::{self, Response};
use crate::broker::BrokerError;
use crate::model::Role;

/// A status and a body of `error` and `description` (OSB 2.17, "Service Broker Errors").
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    /// For programs; without one the body is `{}`.
    error: Option<&'static str>,
    /// For people.
    description: String,
    headers: Vec<(&'static str, String)>,
    /// Of an update or a deprovision only.
    instance_usable: Option<bool>,
    /// Of an update only.
    update_repeatable: Option<bool>,
    /// Answered not before so much later.
    delay: Option<Duration>,
}

/// In this order: programs read the first, people the second.
#[derive(Serialize)]
struct Body {
    error: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_usable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_repeatable: Option<bool>,
}

impl Refusal {
    pub(super) fn new(status: u16, error: &'static str, description: impl Into<String>) -> Self {
        Self {
            status,
            error: Some(error),
            description: description.into(),
            headers: Vec::new(),
            instance_usable: None,
            update_repeatable: None,
            delay: None,
        }
    }

    /// Says whether the instance can be used all the same.
    pub(super) fn usable(self, instance_usable: Option<bool>) -> Self {
        Self { instance_usable, ..self }
    }

    /// Says whether the same update may be tried again.
    pub(super) fn repeatable(self, update_repeatable: Option<bool>) -> Self {
        Self { update_repeatable, ..self }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// When to try again.
    fn after(self, wait: Duration) -> Self {
        self.with("Retry-After", retry_after(wait))
    }

    /// The request itself is wrong; the text says how to mend it.
    pub(super) fn bad(description: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", description)
    }

    /// Who asks has not shown who he is.
    pub(super) fn unauthorized(delay: Duration) -> Self {
        let refusal = Self::new(401, "Unauthorized", "a user name and a password are required")
            .with("WWW-Authenticate", "Basic realm=\"patroni-broker\", charset=\"UTF-8\"");
        Self { delay: (!delay.is_zero()).then_some(delay), ..refusal }
    }

    /// It is known who asks, and that he may not.
    pub(super) fn forbidden(role: Role) -> Self {
        Self::new(403, "Forbidden", format!("the role {} may not ask for this", role.as_str()))
    }

    /// Who orders may not ask for what shows him cells.
    pub(super) fn rehearsal(role: Role) -> Self {
        let description = format!(
            "\"dry-run\" among the parameters is for admins, since what it tells names cells; the role {} may leave it out",
            role.as_str()
        );
        Self::new(403, "Forbidden", description)
    }

    /// Whose address has guessed too often.
    pub(super) fn too_many_failures(wait: Duration) -> Self {
        let description = "too many wrong passwords came from this address; try again later";
        Self::new(429, "TooManyFailures", description).after(wait)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "there is nothing at this path")
    }

    pub(super) fn wrong_method(allowed: &str) -> Self {
        Self::new(405, "MethodNotAllowed", format!("this path takes {allowed}")).with("Allow", allowed)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(413, "BodyTooLarge", format!("a body may have at most {limit} bytes"))
    }

    /// Says in the log what no sender can mend, since an operator is to look for it there.
    pub(super) fn tell_operator(&self, request_id: &str) {
        let (status, description) = (self.status, &self.description);
        match (status, self.error) {
            // The driver's word for its user.
            (500, Some("OperationFailed")) => {}
            (500, _) => error!(request_id; "answered {status}: {description}"),
            (503, _) => warn!(request_id; "answered {status}: {description}"),
            _ => {}
        }
    }

    fn gone() -> Self {
        Self { error: None, ..Self::new(410, "Gone", "") }
    }
}

/// Whole seconds, at least one, as `Retry-After` has them.
pub(super) fn retry_after(wait: Duration) -> String {
    wait.as_millis().div_ceil(1000).max(1).to_string()
}

/// The order is that of the statuses. Where the specification has a word for an error, it is that word; where it has
/// none, it is ours.
impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        let (status, key) = match &error {
            BrokerError::UnknownService(_) => (400, "UnknownService"),
            BrokerError::UnknownPlan(_) => (400, "UnknownPlan"),
            BrokerError::WrongPlan { .. } => (400, "WrongPlan"),
            BrokerError::InvalidParameters { .. } => (400, "InvalidParameters"),
            BrokerError::NotBindable => (400, "NotBindable"),
            BrokerError::NotRotatable { .. } => (400, "NotRotatable"),
            BrokerError::UnknownCell(_) => (404, "CellNotFound"),
            BrokerError::InstanceUnknown => (404, "InstanceNotFound"),
            BrokerError::BindingUnknown => (404, "BindingNotFound"),
            BrokerError::InstanceExists => (409, "InstanceExists"),
            BrokerError::BindingExists => (409, "BindingExists"),
            // OSB 2.17 wants an empty object here, so that deleting twice is no error to explain.
            BrokerError::InstanceGone | BrokerError::BindingGone => return Self::gone(),
            // Somebody else's change, again and again, is an operation under way as far as the sender goes.
            BrokerError::Concurrency | BrokerError::Store(StoreError::Conflict) => (422, "ConcurrencyError"),
            BrokerError::InstanceFailed { .. } => (422, "InstanceFailed"),
            BrokerError::DrainRefused { .. } => (422, "DrainRefused"),
            BrokerError::AsyncRequired => (422, "AsyncRequired"),
            BrokerError::RequiresApp => (422, "RequiresApp"),
            BrokerError::MaintenanceInfoConflict { .. } => (422, "MaintenanceInfoConflict"),
            // The same again will be refused again.
            BrokerError::UpdateNotSupported { .. } => {
                let refusal = Self::new(422, "UpdateNotSupported", error.to_string());
                return refusal.repeatable(Some(false));
            }
            BrokerError::OperationFailed { .. } => (500, "OperationFailed"),
            BrokerError::NoCapacity { .. } => (503, "NoCapacity"),
            BrokerError::Store(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. }) => {
                (503, "StoreUnavailable")
            }
            BrokerError::Busy => {
                return Self::new(503, "Busy", error.to_string()).after(Duration::from_secs(1));
            }
            BrokerError::Store(StoreError::Corrupt { .. }) => (500, "StoreCorrupt"),
        };
        Self::new(status, key, error.to_string())
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, error, description, headers, instance_usable, update_repeatable, delay } =
            refusal;
        let response = match error {
            Some(error) => {
                message::json(status, &Body { error, description, instance_usable, update_repeatable })
            }
            None => message::empty(status),
        };
        Self { headers, delay, ..response }
    }
}
