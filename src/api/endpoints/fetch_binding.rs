//! `GET /v2/service_instances/:instance_id/service_bindings/:binding_id` (OSB 2.17, "Fetching a Service Binding").

use super::bind::{BindingBody, secret};
use super::unknown_if_gone;
use crate::api::Api;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::FetchRequest;

pub(in crate::api) fn get(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let (service, plan) = call.believed()?;
    let request = FetchRequest { instance: call.instance(), service, plan };
    let binding = api.orders.fetch_binding(&request, &call.binding()).map_err(unknown_if_gone)?;
    let mut body = BindingBody::of(&binding);
    body.parameters = Some(&binding.parameters);
    Ok(Answer::Now(secret(200, &body)))
}
