//! `DELETE /v2/service_instances/:instance_id/service_bindings/:binding_id` (OSB 2.17, "Unbinding"). `service_id` and
//! `plan_id` may be left out: the binding's id says it all.

use super::{plan_id, service_id};
use crate::api::Api;
use crate::api::message::{Answer, Response};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::UnbindRequest;

pub(in crate::api) fn delete(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    call.accepts_incomplete()?;
    call.query("service_id").map(service_id).transpose()?;
    call.query("plan_id").map(plan_id).transpose()?;
    api.orders.unbind(UnbindRequest { instance: call.instance(), binding: call.binding() })?;
    Ok(Answer::Now(Response::empty(200)))
}
