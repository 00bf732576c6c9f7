//! `GET /metrics`: how things stand, for Prometheus and those who read its text format.

use crate::api::Api;
use crate::api::message::{Answer, Response};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;

pub(in crate::api) fn get(api: &Api, _: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    let text = api.orders.metrics().into_bytes();
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Ok(Answer::Now(Response::new(200, content_type, text)))
}
