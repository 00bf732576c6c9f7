//! `DELETE /v2/service_instances/:instance_id` (OSB 2.17, "Deprovisioning"). `service_id` and `plan_id`, which the
//! specification requires, may be left out, as the ancestors' users do; what is said must be right.

use super::order;
use crate::api::Api;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::DeprovisionRequest;

pub(in crate::api) fn delete(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let accepts_incomplete = call.accepts_incomplete()?;
    let (service, plan) = call.believed()?;
    let request = DeprovisionRequest { instance: call.instance(), service, plan, accepts_incomplete };
    order(api, call, accepts_incomplete, 200, || api.orders.deprovision(request))
}
