//! `GET /admin/service_instances…`: how things stand, for operators. What is shown has no secret in it: see [`InstanceView`].

use serde::Serialize;

use super::unknown_if_gone;
use crate::api::Api;
use crate::api::message::{self, Answer};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::InstanceView;

/// An object, so that more can be told beside the list one day.
#[derive(Serialize)]
struct Instances {
    service_instances: Vec<InstanceView>,
}

/// `GET /admin/service_instances`.
pub(in crate::api) fn instances(api: &Api, _: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    Ok(Answer::Now(message::json(200, &Instances { service_instances: api.orders.instances()? })))
}

/// `GET /admin/service_instances/:instance_id`.
pub(in crate::api) fn instance(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let view = api.orders.instance(&call.instance()).map_err(unknown_if_gone)?;
    Ok(Answer::Now(message::json(200, &view)))
}
