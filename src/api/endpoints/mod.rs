//! One file per endpoint: reads the request, asks the broker, shapes the answer.

pub(super) mod bind;
pub(super) mod catalog;
pub(super) mod deprovision;
pub(super) mod health;
pub(super) mod last_operation;
pub(super) mod provision;
pub(super) mod unbind;
pub(super) mod update;

use serde_json::json;
use storage::door::Seat;

use super::Api;
use super::message::{Answer, Parked, Response};
use super::refusal::Refusal;
use crate::broker::{Accepted, BrokerError};
use crate::model::{InstanceId, InvalidId, PlanId, ServiceId};

fn service_id(raw: &str) -> Result<ServiceId, Refusal> {
    ServiceId::parse(raw).map_err(invalid)
}

fn plan_id(raw: &str) -> Result<PlanId, Refusal> {
    PlanId::parse(raw).map_err(invalid)
}

fn invalid(error: InvalidId) -> Refusal {
    Refusal::bad(error.to_string())
}

/// Places an order and shapes its answer: 202 for who polls, else `done` when it has ended, or 200 when there is
/// nothing left to do.
fn order(
    api: &Api,
    instance: &InstanceId,
    accepts_incomplete: bool,
    done: u16,
    place: impl FnOnce() -> Result<Accepted, BrokerError>,
) -> Result<Answer, Refusal> {
    // A seat before the order: an order whose sender cannot wait for it must not be placed.
    let seat: Option<Seat> =
        if accepts_incomplete { None } else { Some(api.seats.take().ok_or(BrokerError::Busy)?) };
    Ok(match (place()?, seat) {
        (Accepted::Already, _) => Answer::Now(Response::empty(200)),
        (Accepted::Running { operation }, None) => {
            Answer::Now(Response::json(202, &json!({"operation": operation})))
        }
        (Accepted::Running { operation }, Some(seat)) => Answer::Parked(Parked {
            instance: instance.clone(),
            operation,
            success: Response::empty(done),
            seat,
        }),
    })
}
