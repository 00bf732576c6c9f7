//! `PATCH /v2/service_instances/:instance_id` (OSB 2.17, "Updating a Service Instance"). Not in this version: 422 is
//! what the specification has for a change that is not supported.

use crate::api::Api;
use crate::api::body::Body;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;

pub(in crate::api) fn patch(_: &Api, _: &Call, body: &[u8]) -> Result<Answer, Refusal> {
    Body::parse(body)?;
    let description = "service instances cannot be updated in this version; order another one";
    Err(Refusal::new(422, "UpdateNotSupported", description))
}
