//! `DELETE /v2/service_instances/:instance_id` (OSB 2.17, "Deprovisioning"). `service_id` and `plan_id`, which the
//! specification requires, may be left out, as the ancestors' users do; what is said must be right. Admins have a path of
//! their own, since they may do more.

use super::order;
use crate::api::Api;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::DeprovisionRequest;

/// `DELETE /v2/service_instances/:instance_id`.
pub(in crate::api) fn delete(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    depart(api, call, false)
}

/// `DELETE /admin/service_instances/:instance_id`: the same, and with `force=true` also where cells are gone for good.
pub(in crate::api) fn by_admin(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    depart(api, call, call.flag("force")?)
}

fn depart(api: &Api, call: &Call, force: bool) -> Result<Answer, Refusal> {
    let accepts_incomplete = call.accepts_incomplete()?;
    let (service, plan) = call.believed()?;
    let request = DeprovisionRequest { instance: call.instance(), service, plan, accepts_incomplete, force };
    order(api, call, accepts_incomplete, 200, || api.orders.deprovision(request))
}
