//! Requests and responses as plain data.

use std::sync::Arc;

use serde::Serialize;
use storage::door::Seat;

use super::refusal::Refusal;
use crate::broker::Outcome;
use crate::model::{InstanceId, OperationId};

/// A request without its body.
#[derive(Clone)]
pub struct Head {
    /// Such as `GET`.
    pub method: String,
    /// The request target as it came: path and query.
    pub target: String,
    /// Every header as it came. It may hold a password: no `Debug`.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The path as it came, for logs; the query may hold what is not meant for them.
    #[must_use]
    pub fn path(&self) -> &str {
        self.split_target().0
    }

    /// The path and the query. A target in absolute form is as good as its path (RFC 9112, 3.2.2).
    pub(super) fn split_target(&self) -> (&str, &str) {
        let target = match self.target.split_once("://") {
            Some(("http" | "https", rest)) => rest.find('/').map_or("/", |begin| &rest[begin..]),
            _ => self.target.as_str(),
        };
        target.split_once('?').unwrap_or((target, ""))
    }
}

/// What goes back. Always JSON.
#[derive(Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers besides those of every response.
    pub headers: Vec<(&'static str, String)>,
    /// The body. It may hold a password: no `Debug`.
    pub body: Arc<[u8]>,
}

impl Response {
    /// `{}` with this status.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Arc::from(&b"{}"[..]) }
    }

    /// A value with this status.
    #[must_use]
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("what is answered has only texts for keys");
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// Bytes rendered before.
    #[must_use]
    pub fn rendered(status: u16, body: &Arc<[u8]>) -> Self {
        Self { status, headers: Vec::new(), body: Arc::clone(body) }
    }
}

/// What a request comes to.
pub enum Answer {
    /// This.
    Now(Response),
    /// Its sender waits for the end of an operation. It must not hold a thread meanwhile.
    Parked(Parked),
}

/// A synchronous request whose operation goes on.
pub struct Parked {
    pub(super) instance: InstanceId,
    pub(super) operation: OperationId,
    /// What is answered when the operation ends well.
    pub(super) success: Response,
    /// Given back when it is answered.
    pub(super) seat: Seat,
}

impl Parked {
    /// What is answered at last, and the seat, which is free once that has been sent.
    pub(super) fn answer(self, outcome: Outcome) -> (Response, Seat) {
        let response = match outcome {
            Outcome::Succeeded => self.success,
            Outcome::Failed { description } => Refusal::new(500, "OperationFailed", description).into(),
            Outcome::StillRunning => {
                let poll = format!("GET /v2/service_instances/{}/last_operation", self.instance);
                let description =
                    format!("the operation takes longer and goes on; to see how it stands, {poll}");
                Refusal::new(504, "StillRunning", description).into()
            }
            Outcome::Stopping => {
                let description = "the broker is stopping; the operation is resumed when it starts again";
                Refusal::new(503, "Stopping", description).into()
            }
        };
        (response, self.seat)
    }
}
