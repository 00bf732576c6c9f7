//! `PUT /v2/service_instances/:instance_id/service_bindings/:binding_id` (OSB 2.17, "Binding" and "Binding Rotation").

use log::error;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{running, unknown_if_gone};
use crate::api::Api;
use crate::api::body::Body;
use crate::api::message::{self, Answer, Response};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;
use crate::api::timestamp;
use crate::broker::{BindRequest, Binding, Bound, BrokerError};
use crate::model::{BindingId, PlanId, ServiceId};

/// What is told of a binding. The parameters only to who fetches it.
#[derive(Serialize)]
pub(super) struct BindingBody<'a> {
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: Map<String, Value>,
    credentials: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<EndpointBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
struct EndpointBody<'a> {
    host: &'a str,
    /// Texts, since the specification has ranges there as well.
    ports: Vec<String>,
    protocol: &'static str,
}

impl<'a> BindingBody<'a> {
    pub(super) fn of(binding: &'a Binding) -> Self {
        let mut metadata = binding.metadata.clone();
        let ends = [("expires_at", binding.expires_at_ms), ("renew_before", binding.renew_before_ms)];
        for (name, at_ms) in ends {
            metadata.extend(at_ms.map(|at_ms| (name.to_owned(), timestamp::render(at_ms).into())));
        }
        let endpoint = |endpoint: &'a crate::broker::Endpoint| EndpointBody {
            host: &endpoint.host,
            ports: endpoint.ports.iter().map(u16::to_string).collect(),
            protocol: "tcp",
        };
        Self {
            metadata,
            credentials: &binding.credentials,
            endpoints: binding.endpoints.iter().map(endpoint).collect(),
            parameters: None,
        }
    }
}

/// An answer that nobody on the way may keep.
pub(super) fn secret(status: u16, body: &BindingBody<'_>) -> Response {
    message::json(status, body).with("Cache-Control", "no-store")
}

pub(in crate::api) fn put(api: &Api, call: &Call, body: &[u8]) -> Result<Answer, Refusal> {
    let accepts_incomplete = call.accepts_incomplete()?;
    let body = Body::parse(body)?;
    let predecessor = body.id("predecessor_binding_id", BindingId::parse)?;
    // A successor takes over what its predecessor was asked with; what is said all the same must be right.
    let (service, plan) = if predecessor.is_some() {
        (body.id("service_id", ServiceId::parse)?, body.id("plan_id", PlanId::parse)?)
    } else {
        let service = body.required_id("service_id", ServiceId::parse)?;
        (Some(service), Some(body.required_id("plan_id", PlanId::parse)?))
    };
    let mut bind_resource = body.object("bind_resource")?.unwrap_or_default();
    // Where it was before there was a bind_resource.
    if let Some(app) = body.text("app_guid")?
        && bind_resource.get("app_guid").is_none_or(Value::is_null)
    {
        bind_resource.insert("app_guid".to_owned(), app.into());
    }
    let request = BindRequest {
        instance: call.instance(),
        binding: call.binding(),
        service,
        plan,
        parameters: body.object("parameters")?.unwrap_or_default(),
        bind_resource,
        context: body.object("context")?.unwrap_or_default(),
        predecessor,
        accepts_incomplete,
    };
    match api.orders.bind(request).map_err(unknown_if_gone)? {
        Bound::Now { binding, new } => {
            let status = if new { 201 } else { 200 };
            Ok(Answer::Now(secret(status, &BindingBody::of(&binding))))
        }
        Bound::Running { operation } if accepts_incomplete => Ok(Answer::Now(running(&operation))),
        Bound::Running { operation } => {
            error!("operation {operation} was begun for a sender who does not poll");
            Err(BrokerError::AsyncRequired.into())
        }
    }
}
