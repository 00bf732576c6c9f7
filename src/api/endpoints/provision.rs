//! `PUT /v2/service_instances/:instance_id` (OSB 2.17, "Provisioning"), and the ancestors' "recreate service": the same
//! with neither `service_id` nor `plan_id`.

use super::{order, unknown_if_gone};
use crate::api::Api;
use crate::api::body::Body;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::ProvisionRequest;
use crate::model::{PlanId, ServiceId};

pub(in crate::api) fn put(api: &Api, call: &Call, body: &[u8]) -> Result<Answer, Refusal> {
    let in_query = call.accepts_incomplete()?;
    let body = Body::parse(body)?;
    let instance = call.instance();
    // The specification has it in the query, the ancestors' documents in the body.
    let accepts_incomplete = in_query | body.flag("accepts_incomplete")?.unwrap_or(false);
    if !body.has("service_id") && !body.has("plan_id") {
        return order(api, call, accepts_incomplete, 201, || api.orders.recreate(&instance));
    }
    let context = body.object("context")?.unwrap_or_default();
    // Platforms have them in the context as well, and will have them only there (OSB 2.17, "Context Object").
    let guid = |name: &str| -> Result<String, Refusal> {
        let outside = body.text(name)?;
        let inside = || context.get(name).and_then(|value| value.as_str());
        Ok(outside.or_else(inside).unwrap_or_default().to_owned())
    };
    let request = ProvisionRequest {
        organization_guid: guid("organization_guid")?,
        space_guid: guid("space_guid")?,
        parameters: body.object("parameters")?.unwrap_or_default(),
        instance,
        service: body.required_id("service_id", ServiceId::parse)?,
        plan: body.required_id("plan_id", PlanId::parse)?,
        context,
        maintenance_version: body.maintenance_version()?,
        accepts_incomplete,
    };
    order(api, call, accepts_incomplete, 201, || api.orders.provision(request).map_err(unknown_if_gone))
}
