//! `DELETE /v2/service_instances/:instance_id` (OSB 2.17, "Deprovisioning"). `service_id` and `plan_id` may be left out,
//! as the ancestors' users do.

use super::{order, plan_id, service_id};
use crate::api::Api;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::DeprovisionRequest;

pub(in crate::api) fn delete(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let instance = call.instance();
    let accepts_incomplete = call.accepts_incomplete()?;
    let request = DeprovisionRequest {
        instance: instance.clone(),
        service: call.query("service_id").map(service_id).transpose()?,
        plan: call.query("plan_id").map(plan_id).transpose()?,
        accepts_incomplete,
    };
    order(api, &instance, accepts_incomplete, 200, || api.orders.deprovision(request))
}
