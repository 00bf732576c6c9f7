//! One file per endpoint: reads the request, asks the broker, shapes the answer.

pub(super) mod admin;
pub(super) mod bind;
pub(super) mod catalog;
pub(super) mod cells;
pub(super) mod deprovision;
pub(super) mod fetch;
pub(super) mod fetch_binding;
pub(super) mod health;
pub(super) mod last_operation;
pub(super) mod metrics;
pub(super) mod provision;
pub(super) mod unbind;
pub(super) mod update;

use std::time::Duration;

use serde_json::json;

use super::Api;
use super::message::{self, Answer, Parked, Response};
use super::refusal::Refusal;
use super::routes::Call;
use super::seats::Seat;
use crate::broker::{Accepted, BrokerError};
use crate::model::OperationId;

/// How long who polls is kept waiting for what ends soon; beyond, he polls.
const SOON: Duration = Duration::from_secs(10);

/// Places an order and shapes its answer: 202 for who polls, else `done` when it has ended, or 200 when there is
/// nothing left to do. What ends soon is answered at its end also to who polls, since that spares him polling.
fn order(
    api: &Api,
    call: &Call,
    accepts_incomplete: bool,
    done: u16,
    place: impl FnOnce() -> Result<Accepted, BrokerError>,
) -> Result<Answer, Refusal> {
    // A seat before the order: an order whose sender cannot wait for it must not be placed.
    let seat: Option<Seat> =
        if accepts_incomplete { None } else { Some(api.seats.take().ok_or(BrokerError::Busy)?) };
    let (operation, soon) = match place()? {
        Accepted::Rehearsed { steps } => {
            return Ok(Answer::Now(message::json(200, &json!({"dry_run": true, "steps": steps}))));
        }
        Accepted::Already => return Ok(Answer::Now(message::empty(200))),
        Accepted::Running { operation, soon } => (operation, soon),
    };
    let later = running(&operation);
    let (patience, later, seat) = match seat {
        Some(seat) => (api.sync_timeout, None, seat),
        None => match soon.then(|| api.seats.take()).flatten() {
            Some(seat) => (SOON.min(api.sync_timeout), Some(later), seat),
            None => return Ok(Answer::Now(later)),
        },
    };
    Ok(Answer::Parked(Box::new(Parked {
        instance: call.instance(),
        operation,
        patience,
        success: message::empty(done),
        later,
        caller: call.caller.clone(),
        seat,
    })))
}

/// It goes on; to be polled by this id.
fn running(operation: &OperationId) -> Response {
    message::json(202, &json!({"operation": operation}))
}

/// What has gone is unknown to whoever does not delete it: 410 is for those alone who delete, or poll a deletion.
fn unknown_if_gone(error: BrokerError) -> BrokerError {
    match error {
        BrokerError::InstanceGone => BrokerError::InstanceUnknown,
        BrokerError::BindingGone => BrokerError::BindingUnknown,
        other => other,
    }
}
