//! `PUT /v2/service_instances/:instance_id/service_bindings/:binding_id` (OSB 2.17, "Binding"). Always synchronous: it
//! takes no longer than a statement in a database.

use serde_json::json;

use super::{plan_id, service_id};
use crate::api::Api;
use crate::api::body::Body;
use crate::api::message::{Answer, Response};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::BindRequest;

pub(in crate::api) fn put(api: &Api, call: &Call, body: &[u8]) -> Result<Answer, Refusal> {
    call.accepts_incomplete()?;
    let body = Body::parse(body)?;
    let bound = api.orders.bind(BindRequest {
        instance: call.instance(),
        binding: call.binding(),
        service: service_id(body.required("service_id")?)?,
        plan: plan_id(body.required("plan_id")?)?,
        parameters: body.object("parameters")?,
        bind_resource: body.object("bind_resource")?,
    })?;
    let status = if bound.new { 201 } else { 200 };
    Ok(Answer::Now(Response::json(status, &json!({"credentials": bound.credentials}))))
}
