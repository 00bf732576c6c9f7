//! The API without its door, for those who try it with anything.

use std::sync::Arc;

use super::api::{Api, Outcome};
use super::auth::{Access, Accounts, Caller};
use super::form::FORM;
use super::request::{ApiRequest, Method};
use crate::Embedded;

/// What is answered to a request of somebody who was admitted: status and body. Nothing where it watches.
#[doc(hidden)]
#[must_use]
pub fn answer(store: &Arc<Embedded>, method: &str, target: &str, form: &[u8]) -> Option<(u16, String)> {
    let accounts = Accounts::new(&Access::NoAuth, Vec::new());
    let api = Api::new(Arc::clone(store), accounts, Vec::new());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = ApiRequest {
        method: Method::named(method),
        path: path.to_owned(),
        query: query.to_owned(),
        content_type: FORM.to_owned(),
        body: form.to_vec(),
    };
    let reply = match api.handle(&request, &Caller::owner()) {
        Outcome::Change(change, pending) => {
            let (tell, told) = crossbeam_channel::bounded(1);
            store.submit(change, Box::new(move |answer| drop(tell.send(answer))));
            pending.reply(told.recv().ok()?)
        }
        Outcome::Answer(reply) => reply,
        Outcome::Read(read) => api.read(&read),
        Outcome::Watch(_) => return None,
    };
    Some((reply.status, reply.body))
}
