//! What is answered when something is refused: the one place where domain errors become statuses.

use serde_json::json;
use storage::StoreError;

use super::message::Response;
use crate::broker::BrokerError;

/// A status and a body of `error` and `description` (OSB 2.17, "Service Broker Errors").
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    /// For programs; without one the body is `{}`.
    error: Option<&'static str>,
    /// For people.
    description: String,
    headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(super) fn new(status: u16, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error: Some(error), description: description.into(), headers: Vec::new() }
    }

    /// The request itself is wrong; the text says how to mend it.
    pub(super) fn bad(description: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", description)
    }

    pub(super) fn unauthorized() -> Self {
        let mut refusal = Self::new(401, "Unauthorized", "a user name and a password are required");
        refusal
            .headers
            .push(("WWW-Authenticate", "Basic realm=\"patroni-broker\", charset=\"UTF-8\"".to_owned()));
        refusal
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "there is nothing at this path")
    }

    pub(super) fn wrong_method(allowed: &str) -> Self {
        let mut refusal = Self::new(405, "MethodNotAllowed", format!("this path takes {allowed}"));
        refusal.headers.push(("Allow", allowed.to_owned()));
        refusal
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(413, "BodyTooLarge", format!("a body may have at most {limit} bytes"))
    }

    fn gone() -> Self {
        Self { status: 410, error: None, description: String::new(), headers: Vec::new() }
    }
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        let (status, key) = match &error {
            BrokerError::UnknownService(_) => (400, "UnknownService"),
            BrokerError::UnknownPlan(_) => (400, "UnknownPlan"),
            BrokerError::WrongPlan { .. } => (400, "WrongPlan"),
            BrokerError::InvalidParameters { .. } => (400, "InvalidParameters"),
            BrokerError::NotBindable => (400, "NotBindable"),
            BrokerError::InstanceUnknown => (404, "InstanceNotFound"),
            BrokerError::InstanceExists => (409, "InstanceExists"),
            BrokerError::BindingExists => (409, "BindingExists"),
            // OSB 2.17 wants an empty object here, so that deleting twice is no error to explain.
            BrokerError::InstanceGone | BrokerError::BindingGone => return Self::gone(),
            // Somebody else's change, again and again, is an operation under way as far as the sender goes.
            BrokerError::Concurrency | BrokerError::Store(StoreError::Conflict) => (422, "ConcurrencyError"),
            BrokerError::InstanceFailed { .. } => (422, "InstanceFailed"),
            BrokerError::NoCapacity { .. } => (503, "NoCapacity"),
            BrokerError::Store(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. }) => {
                (503, "StoreUnavailable")
            }
            BrokerError::Busy => (503, "Busy"),
            BrokerError::Store(StoreError::Corrupt { .. }) => (500, "StoreCorrupt"),
        };
        Self::new(status, key, error.to_string())
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, error, description, headers } = refusal;
        let mut response = match error {
            Some(error) => Response::json(status, &json!({"error": error, "description": description})),
            None => Response::empty(status),
        };
        response.headers = headers;
        response
    }
}
