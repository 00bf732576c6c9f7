//! `GET …/last_operation` of instances and of bindings (OSB 2.17, "Polling Last Operation"), in the ancestors' words.

use serde::Serialize;

use crate::api::Api;
use crate::api::message::{self, Answer};
use crate::api::refusal::{Refusal, retry_after};
use crate::api::routes::Call;
use crate::broker::{LastOperation, PollRequest};
use crate::model::BindingId;

/// In this order, as the ancestors' documents show it.
#[derive(Serialize)]
struct Body {
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_usable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_repeatable: Option<bool>,
}

/// `GET /v2/service_instances/:instance_id/last_operation`.
pub(in crate::api) fn of_instance(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    poll(api, call, None)
}

/// `GET /v2/service_instances/:instance_id/service_bindings/:binding_id/last_operation`.
pub(in crate::api) fn of_binding(api: &Api, call: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    poll(api, call, Some(call.binding()))
}

fn poll(api: &Api, call: &Call, binding: Option<BindingId>) -> Result<Answer, Refusal> {
    let of_instance = binding.is_none();
    let (service, plan) = call.believed()?;
    let operation = call.query("operation")?.map(str::to_owned);
    let request = PollRequest { instance: call.instance(), binding, operation, service, plan };
    let mut wait = None;
    let mut body = Body {
        state: "succeeded",
        description: String::new(),
        instance_usable: None,
        update_repeatable: None,
    };
    match api.orders.last_operation(&request)? {
        LastOperation::InProgress { description, retry_after } => {
            (body.state, body.description, wait) = ("in progress", description, retry_after);
        }
        LastOperation::Succeeded { description } => body.description = description,
        LastOperation::Failed { description, instance_usable, update_repeatable } => {
            (body.state, body.description) = ("failed", description);
            // A binding's have no such fields.
            if of_instance {
                (body.instance_usable, body.update_repeatable) = (instance_usable, update_repeatable);
            }
        }
    }
    let response = message::json(200, &body);
    Ok(Answer::Now(match wait {
        Some(wait) => response.with("Retry-After", retry_after(wait)),
        None => response,
    }))
}
