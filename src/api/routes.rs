//! The table of routes; reads as the specification does.

use super::Api;
use super::endpoints::{bind, catalog, deprovision, health, last_operation, provision, unbind, update};
use super::message::Answer;
use super::query;
use super::refusal::Refusal;
use crate::model::{BindingId, InstanceId};

type Handler = fn(&Api, &Call, &[u8]) -> Result<Answer, Refusal>;

/// One method of one path.
pub(super) struct Route {
    method: &'static str,
    path: &'static str,
    /// Whether it answers without authentication.
    pub(super) open: bool,
    pub(super) handle: Handler,
}

static ROUTES: [Route; 9] = [
    open("GET", "/livez", health::live),
    open("GET", "/readyz", health::ready),
    route("GET", "/v2/catalog", catalog::get),
    route("PUT", "/v2/service_instances/:instance_id", provision::put),
    route("PATCH", "/v2/service_instances/:instance_id", update::patch),
    route("DELETE", "/v2/service_instances/:instance_id", deprovision::delete),
    route("GET", "/v2/service_instances/:instance_id/last_operation", last_operation::get),
    route("PUT", "/v2/service_instances/:instance_id/service_bindings/:binding_id", bind::put),
    route("DELETE", "/v2/service_instances/:instance_id/service_bindings/:binding_id", unbind::delete),
];

const fn route(method: &'static str, path: &'static str, handle: Handler) -> Route {
    Route { method, path, open: false, handle }
}

const fn open(method: &'static str, path: &'static str, handle: Handler) -> Route {
    Route { method, path, open: true, handle }
}

/// The route, and what its path has for `:instance_id` and so on, still encoded, in order. `HEAD` is `GET`.
///
/// # Errors
/// 404 for a path that is none, 405 for a method that the path does not take.
pub(super) fn find<'a>(path: &'a str, method: &str) -> Result<(&'static Route, Vec<&'a str>), Refusal> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut allowed = Vec::new();
    for route in &ROUTES {
        let Some(segments) = fit(route.path, path) else { continue };
        if route.method == method {
            return Ok((route, segments));
        }
        allowed.push(route.method);
    }
    if allowed.is_empty() {
        Err(Refusal::no_such_path())
    } else {
        Err(Refusal::wrong_method(&allowed.join(", ")))
    }
}

fn fit<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let mut found = Vec::new();
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(found),
            (Some(wanted), Some(segment)) if wanted.starts_with(':') => found.push(segment),
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return None,
        }
    }
}

/// What a request says besides its body: ids and the query, parsed.
pub(super) struct Call {
    instance: Option<InstanceId>,
    binding: Option<BindingId>,
    query: Vec<(String, String)>,
}

impl Call {
    /// Parses what a route's path and the query hold.
    pub(super) fn new(route: &Route, segments: &[&str], raw_query: &str) -> Result<Self, Refusal> {
        let decode = |raw: &str| {
            query::decode(raw).ok_or_else(|| Refusal::bad("the path is not well-formed: a broken escape"))
        };
        let mut call = Self { instance: None, binding: None, query: Vec::new() };
        let names = route.path.split('/').filter(|part| part.starts_with(':'));
        for (name, raw) in names.zip(segments) {
            let text = decode(raw)?;
            let wrong = |error: crate::model::InvalidId| Refusal::bad(error.to_string());
            match name {
                ":instance_id" => call.instance = Some(InstanceId::parse(&text).map_err(wrong)?),
                _ => call.binding = Some(BindingId::parse(&text).map_err(wrong)?),
            }
        }
        let broken = || Refusal::bad("the query is not well-formed: a broken escape");
        call.query = query::parse(raw_query).ok_or_else(broken)?;
        Ok(call)
    }

    /// The instance that the path names.
    pub(super) fn instance(&self) -> InstanceId {
        self.instance.clone().expect("the routes that ask for it have :instance_id in their path")
    }

    /// The binding that the path names.
    pub(super) fn binding(&self) -> BindingId {
        self.binding.clone().expect("the routes that ask for it have :binding_id in their path")
    }

    /// The query's first value of that name; an empty one is as good as none.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// Whether the sender polls, as far as the query says (OSB 2.17, "Asynchronous Operations").
    pub(super) fn accepts_incomplete(&self) -> Result<bool, Refusal> {
        match self.query("accepts_incomplete") {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::bad("accepts_incomplete must be true or false")),
        }
    }
}
