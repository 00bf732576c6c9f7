//! The API without its door, for those who try it with anything.

use std::sync::Arc;

use super::api::{Api, Outcome};
use super::auth::Access;
use super::request::{ApiRequest, Method};
use crate::Embedded;

/// What is answered to a request of somebody who was admitted: status and body. Nothing where it would wait for a
/// change.
#[doc(hidden)]
#[must_use]
pub fn answer(store: &Arc<Embedded>, method: &str, target: &str, form: &[u8]) -> Option<(u16, String)> {
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        _ => Method::Other,
    };
    let api = Api { store: Arc::clone(store), access: Access::NoAuth, advertise: Vec::new() };
    match api.handle(&ApiRequest { method, target: target.to_owned(), form: form.to_vec() }) {
        Outcome::Answer(reply) => Some((reply.status, reply.body)),
        Outcome::Park(_) => None,
    }
}
