//! `GET /livez` and `GET /readyz`: for who watches over the process. Without authentication, and so without details.

use serde_json::json;

use crate::api::Api;
use crate::api::message::{self, Answer};
use crate::api::refusal::Refusal;
use crate::api::routes::Call;

/// The process answers.
pub(in crate::api) fn live(_: &Api, _: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    Ok(Answer::Now(message::json(200, &json!({"status": "alive"}))))
}

/// The store and at least one cell answer.
pub(in crate::api) fn ready(api: &Api, _: &Call, _: &[u8]) -> Result<Answer, Refusal> {
    if api.readiness.check(|| api.orders.ready()) {
        Ok(Answer::Now(message::json(200, &json!({"status": "ready"}))))
    } else {
        Err(Refusal::new(503, "NotReady", "the broker is not ready; its log says why"))
    }
}
