//! `PATCH /v2/service_instances/:instance_id` (OSB 2.17, "Updating a Service Instance"). What is not sent stays as it
//! is.

use super::{order, unknown_if_gone};
use crate::api::Api;
use crate::api::body::Body;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::{PreviousValues, UpdateRequest};
use crate::model::{PlanId, ServiceId};

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
    let request = UpdateRequest {
        instance: call.instance(),
        service: body.required_id("service_id", ServiceId::parse)?,
        plan: body.id("plan_id", PlanId::parse)?,
        parameters: body.object("parameters")?,
        context: body.object("context")?,
        maintenance_version: body.maintenance_version()?,
        previous,
        accepts_incomplete,
    };
    order(api, call, accepts_incomplete, 200, || api.orders.update(request).map_err(unknown_if_gone))
}
