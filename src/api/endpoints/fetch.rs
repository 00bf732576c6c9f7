//! `GET /v2/service_instances/:instance_id` (OSB 2.17, "Fetching a Service Instance").

use serde::Serialize;
use serde_json::{Map, Value};

use super::unknown_if_gone;
use crate::api::Api;
use crate::api::message::{self, Answer};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::broker::{FetchRequest, Fetched};

#[derive(Serialize)]
struct Body<'a> {
    service_id: &'a str,
    plan_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dashboard_url: Option<&'a str>,
    parameters: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance_info: Option<MaintenanceInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
}

#[derive(Serialize)]
struct MaintenanceInfo<'a> {
    version: &'a str,
}

pub(in crate::api) fn get(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let (service, plan) = call.believed()?;
    let request = FetchRequest { instance: call.instance(), service, plan };
    let Fetched { service, plan, parameters, maintenance_version, dashboard_url, metadata } =
        api.orders.fetch(&request).map_err(unknown_if_gone)?;
    let body = Body {
        service_id: service.as_str(),
        plan_id: plan.as_str(),
        dashboard_url: dashboard_url.as_deref(),
        parameters: &parameters,
        maintenance_info: maintenance_version.as_deref().map(|version| MaintenanceInfo { version }),
        metadata: metadata.as_ref(),
    };
    Ok(Answer::Now(message::json(200, &body)))
}
