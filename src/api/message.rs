//! Requests and responses as plain data.

use std::sync::Arc;
use std::time::Duration;

pub use door::{Head, Response};
use serde::Serialize;

use super::caller::Caller;
use super::refusal::Refusal;
use super::seats::Seat;
use crate::broker::Outcome;
use crate::model::{InstanceId, OperationId};

const JSON: &str = "application/json";

/// `{}` with this status.
pub(super) fn empty(status: u16) -> Response {
    Response::new(status, JSON, &b"{}"[..])
}

/// A value with this status.
pub(super) fn json(status: u16, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("what is answered has only texts for keys");
    Response::new(status, JSON, body)
}

/// JSON that was rendered before.
pub(super) fn rendered(status: u16, body: &Arc<[u8]>) -> Response {
    Response::new(status, JSON, Arc::clone(body))
}

/// What a request comes to.
pub enum Answer {
    /// This.
    Now(Response),
    /// Its sender waits for the end of an operation. It must not hold a thread meanwhile.
    Parked(Box<Parked>),
}

/// A request whose operation goes on, and whose sender is answered when it has ended.
pub struct Parked {
    pub(super) instance: InstanceId,
    pub(super) operation: OperationId,
    /// How long its sender is kept waiting.
    pub(super) patience: Duration,
    /// What is answered when the operation ends well.
    pub(super) success: Response,
    /// What is answered when it goes on beyond that; without one, its sender has failed.
    pub(super) later: Option<Response>,
    /// Who waits.
    pub(super) caller: Caller,
    /// Given back when it is answered.
    pub(super) seat: Seat,
}

impl Parked {
    /// What is answered at last, and the seat, which is free once that has been sent.
    pub(super) fn answer(self, outcome: Outcome) -> (Response, Seat) {
        let response = match (outcome, self.later) {
            (Outcome::Succeeded, _) => self.success,
            (Outcome::Failed { description, instance_usable, update_repeatable }, _) => {
                Refusal::new(500, "OperationFailed", description)
                    .usable(instance_usable)
                    .repeatable(update_repeatable)
                    .into()
            }
            (Outcome::StillRunning | Outcome::Stopping, Some(later)) => later,
            (Outcome::StillRunning, None) => {
                let poll = format!("GET /v2/service_instances/{}/last_operation", self.instance);
                let description =
                    format!("the operation takes longer and goes on; to see how it stands, {poll}");
                Refusal::new(504, "StillRunning", description).into()
            }
            (Outcome::Stopping, None) => {
                let description = "the broker is stopping; the operation is resumed when it starts again";
                Refusal::new(503, "Stopping", description).into()
            }
        };
        (self.caller.mark(response), self.seat)
    }
}
