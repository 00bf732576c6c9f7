//! `PUT /v2/service_instances/:instance_id` (OSB 2.17, "Provisioning"), and the ancestors' "recreate service": the same
//! with neither `service_id` nor `plan_id`.

use super::{order, plan_id, service_id};
use crate::api::Api;
use crate::api::body::Body;
use crate::api::message::Answer;
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::ProvisionRequest;

pub(in crate::api) fn put(api: &Api, call: &Call, body: &[u8]) -> Result<Answer, Refusal> {
    let body = Body::parse(body)?;
    let instance = call.instance();
    // The specification has it in the query, the ancestors' documents in the body.
    let accepts_incomplete = call.accepts_incomplete()? | body.flag("accepts_incomplete")?.unwrap_or(false);
    if !body.has("service_id") && !body.has("plan_id") {
        return order(api, &instance, accepts_incomplete, 201, || api.orders.recreate(&instance));
    }
    let service = service_id(body.required("service_id")?)?;
    let plan = plan_id(body.required("plan_id")?)?;
    let context = body.object("context")?;
    // Platforms have them in the context as well, and will have them only there (OSB 2.17, "Context Object").
    let guid = |name: &str| -> Result<String, Refusal> {
        let outside = body.text(name)?;
        let inside = || context.get(name).and_then(|value| value.as_str());
        Ok(outside.or_else(inside).unwrap_or_default().to_owned())
    };
    let request = ProvisionRequest {
        organization_guid: guid("organization_guid")?,
        space_guid: guid("space_guid")?,
        parameters: body.object("parameters")?,
        instance: instance.clone(),
        service,
        plan,
        context,
        accepts_incomplete,
    };
    order(api, &instance, accepts_incomplete, 201, || api.orders.provision(request))
}
