//! `GET /v2/service_instances/:instance_id/last_operation` (OSB 2.17, "Polling Last Operation for Service Instances"), in
//! the ancestors' words. The query is ignored: there is only one last operation.

use serde::Serialize;

use crate::api::Api;
use crate::api::message::{Answer, Response};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::LastOperation;

/// In this order, as the ancestors' documents show it.
#[derive(Serialize)]
struct Body {
    state: &'static str,
    description: String,
}

pub(in crate::api) fn get(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let (state, description) = match api.orders.last_operation(&call.instance())? {
        LastOperation::InProgress { description } => ("in progress", description),
        LastOperation::Succeeded { description } => ("succeeded", description),
        LastOperation::Failed { description } => ("failed", description),
    };
    Ok(Answer::Now(Response::json(200, &Body { state, description })))
}
