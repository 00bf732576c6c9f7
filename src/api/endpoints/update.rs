//! `PATCH /v2/service_instances/:instance_id` (OSB 2.17, "Updating a Service Instance"). What is not sent stays as it
//! is. `"dry-run": true` among an admin's parameters makes it a rehearsal; it is none of the instance's.

use serde_json::{Map, Value};

use super::{order, unknown_if_gone};
use crate::api::Api;
use crate::api::body::Body;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::{PreviousValues, UpdateRequest};
use crate::model::{PlanId, Role, ServiceId};

/// What makes an update a rehearsal, among its parameters, since platforms' command lines send nothing else.
const REHEARSAL: &str = "dry-run";

pub(in crate::api) fn patch(api: &Api, call: &Call, body: &[u8]) -> Result<Answer, Refusal> {
    let accepts_incomplete = call.accepts_incomplete()?;
    let body = Body::parse(body)?;
    let previous = match body.within("previous_values")? {
        // Organization and space, which are deprecated there, do not change what is meant.
        Some(previous) => PreviousValues {
            service: previous.id("service_id", ServiceId::parse)?,
            plan: previous.id("plan_id", PlanId::parse)?,
            maintenance_version: previous.maintenance_version()?,
        },
        None => PreviousValues::default(),
    };
    let mut parameters = body.object("parameters")?;
    let rehearse = take_rehearsal(call, &mut parameters)?;
    let request = UpdateRequest {
        rehearse,
        instance: call.instance(),
        service: body.required_id("service_id", ServiceId::parse)?,
        plan: body.id("plan_id", PlanId::parse)?,
        parameters,
        context: body.object("context")?,
        maintenance_version: body.maintenance_version()?,
        previous,
        accepts_incomplete,
    };
    order(api, call, accepts_incomplete, 200, || api.orders.update(request).map_err(unknown_if_gone))
}

/// Takes the wish for a rehearsal out, before anybody looks at parameters. Without it there may be none left, as if none
/// had been sent.
fn take_rehearsal(call: &Call, parameters: &mut Option<Map<String, Value>>) -> Result<bool, Refusal> {
    let Some(wish) = parameters.as_mut().and_then(|parameters| parameters.remove(REHEARSAL)) else {
        return Ok(false);
    };
    if let Some(role) = call.role.filter(|role| *role != Role::Admin) {
        return Err(Refusal::rehearsal(role));
    }
    if parameters.as_ref().is_some_and(Map::is_empty) {
        *parameters = None;
    }
    wish.as_bool().ok_or_else(|| Refusal::bad(format!("parameters.{REHEARSAL} must be true or false")))
}
