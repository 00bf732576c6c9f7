//! The table of routes; reads as the specification does.

use super::Api;
use super::caller::Caller;
use super::endpoints::{
    admin, bind, catalog, cells, deprovision, fetch, fetch_binding, health, last_operation, metrics,
    provision, unbind, update,
};
use super::message::{Answer, Head};
use super::query;
use super::refusal::Refusal;
use crate::model::{BindingId, CellGuid, InstanceId, InvalidId, PlanId, Role, ServiceId};

type Handler = fn(&Api, &Call, &[u8]) -> Result<Answer, Refusal>;

/// One method of one path.
pub(super) struct Route {
    method: &'static str,
    path: &'static str,
    pub(super) audience: Audience,
    pub(super) needs: Needs,
    pub(super) handle: Handler,
}

/// What a handler may have to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// For nothing: it answers from memory.
    Memory,
    /// For reads of the store, which not every engine makes wait, and for nothing else.
    Reads,
    /// For writes, cells or whatever else there is.
    Anything,
}

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Whoever comes, without saying who he is.
    Anybody,
    /// Whoever is known.
    Users,
    /// Platforms and admins: what they get has secrets in it, and what they order costs something.
    Orderers,
    /// Admins: what changes where instances are, whoever ordered them.
    Admins,
    /// Admins and viewers: how things stand, without secrets.
    Lookers,
    /// The same, or anybody where the configuration says so.
    Gauges,
}

impl Audience {
    /// Whether a user with this role is among them.
    pub(super) fn includes(self, role: Role) -> bool {
        match self {
            Self::Anybody | Self::Users => true,
            Self::Orderers => matches!(role, Role::Platform | Role::Admin),
            Self::Admins => role == Role::Admin,
            Self::Lookers | Self::Gauges => matches!(role, Role::Admin | Role::Viewer),
        }
    }
}

const INSTANCE: &str = "/v2/service_instances/:instance_id";
const BINDING: &str = "/v2/service_instances/:instance_id/service_bindings/:binding_id";

static ROUTES: [Route; 22] = [
    route("GET", "/livez", Audience::Anybody, health::live).of_memory(),
    route("GET", "/readyz", Audience::Anybody, health::ready),
    route("GET", "/metrics", Audience::Gauges, metrics::get),
    route("GET", "/admin/service_instances", Audience::Lookers, admin::instances),
    route("GET", "/admin/service_instances/:instance_id", Audience::Lookers, admin::instance),
    route("DELETE", "/admin/service_instances/:instance_id", Audience::Admins, deprovision::by_admin),
    route("GET", "/admin/cells", Audience::Lookers, cells::list),
    route("GET", "/admin/cells/:cell", Audience::Lookers, cells::get),
    route("POST", "/admin/cells/:cell/cordon", Audience::Admins, cells::cordon),
    route("POST", "/admin/cells/:cell/uncordon", Audience::Admins, cells::uncordon),
    route("POST", "/admin/cells/:cell/drain", Audience::Admins, cells::drain),
    route("POST", "/admin/cells/:cell/demote", Audience::Admins, cells::demote),
    route("GET", "/v2/catalog", Audience::Users, catalog::get).of_memory(),
    route("GET", INSTANCE, Audience::Orderers, fetch::get).of_store(),
    route("PUT", INSTANCE, Audience::Orderers, provision::put),
    route("PATCH", INSTANCE, Audience::Orderers, update::patch),
    route("DELETE", INSTANCE, Audience::Orderers, deprovision::delete),
    route(
        "GET",
        "/v2/service_instances/:instance_id/last_operation",
        Audience::Orderers,
        last_operation::of_instance,
    )
    .of_store(),
    route("GET", BINDING, Audience::Orderers, fetch_binding::get),
    route("PUT", BINDING, Audience::Orderers, bind::put),
    route("DELETE", BINDING, Audience::Orderers, unbind::delete),
    route(
        "GET",
        "/v2/service_instances/:instance_id/service_bindings/:binding_id/last_operation",
        Audience::Orderers,
        last_operation::of_binding,
    ),
];

const fn route(method: &'static str, path: &'static str, audience: Audience, handle: Handler) -> Route {
    Route { method, path, audience, needs: Needs::Anything, handle }
}

impl Route {
    const fn of_memory(self) -> Self {
        Self { needs: Needs::Memory, ..self }
    }

    const fn of_store(self) -> Self {
        Self { needs: Needs::Reads, ..self }
    }

    /// Whether it is one of the specification's, which has headers of its own.
    pub(super) fn is_osb(&self) -> bool {
        self.path.starts_with("/v2/")
    }
}

/// How many ids a path has at most.
const MOST_IDS: usize = 2;
/// What a path has for its ids, still encoded, in order.
type Segments<'a> = [&'a str; MOST_IDS];

/// What a request's path and method come to.
pub(super) enum Found<'a> {
    /// A route, and what its path has for `:instance_id` and so on.
    Route(&'static Route, Segments<'a>),
    /// The sender only wants to know which methods the path takes.
    Methods(String),
}

/// Finds the route. `HEAD` is `GET`. One slash at the end of a path is as good as none.
///
/// # Errors
/// 404 for a path that is none, 405 for a method that the path does not take.
pub(super) fn find<'a>(path: &'a str, method: &str) -> Result<Found<'a>, Refusal> {
    let wanted = if method == "HEAD" { "GET" } else { method };
    let mut allowed = Vec::new();
    for (route, segments) in fitting(path) {
        if route.method == wanted {
            return Ok(Found::Route(route, segments));
        }
        allowed.push(route.method);
        if route.method == "GET" {
            allowed.push("HEAD");
        }
    }
    if allowed.is_empty() {
        return Err(Refusal::no_such_path());
    }
    allowed.push("OPTIONS");
    let allowed = allowed.join(", ");
    if method == "OPTIONS" { Ok(Found::Methods(allowed)) } else { Err(Refusal::wrong_method(&allowed)) }
}

/// The pattern that a path fits.
pub(super) fn pattern(path: &str) -> Option<&'static str> {
    fitting(path).next().map(|(route, _)| route.path)
}

fn fitting(path: &str) -> impl Iterator<Item = (&'static Route, Segments<'_>)> {
    let path = path.strip_suffix('/').unwrap_or(path);
    ROUTES.iter().filter_map(move |route| Some((route, fit(route.path, path)?)))
}

fn fit<'a>(pattern: &str, path: &'a str) -> Option<Segments<'a>> {
    let (mut found, mut count) = ([""; MOST_IDS], 0);
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(found),
            (Some(wanted), Some(segment)) if wanted.starts_with(':') => {
                found[count] = segment;
                count += 1;
            }
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return None,
        }
    }
}

/// What a request says besides its body: ids, the query, and what of its headers changes an answer.
pub(super) struct Call {
    instance: Option<InstanceId>,
    binding: Option<BindingId>,
    cell: Option<CellGuid>,
    /// What the sender may do; none where nobody need say who he is.
    pub(super) role: Option<Role>,
    query: Vec<(String, String)>,
    /// The catalog that the sender has already.
    pub(super) if_none_match: Option<String>,
    /// Who asks.
    pub(super) caller: Caller,
}

impl Call {
    /// Parses what a route's path and the query hold.
    pub(super) fn new(
        route: &Route,
        segments: &[&str],
        role: Option<Role>,
        head: &Head,
        caller: &Caller,
    ) -> Result<Self, Refusal> {
        let decode = |raw: &str| {
            query::decode(raw).ok_or_else(|| Refusal::bad("the path is not well-formed: a broken escape"))
        };
        let if_none_match = head.header("if-none-match").map(str::to_owned);
        let caller = caller.clone();
        let query = Vec::new();
        let mut call = Self { instance: None, binding: None, cell: None, role, query, if_none_match, caller };
        let names = route.path.split('/').filter(|part| part.starts_with(':'));
        for (name, raw) in names.zip(segments) {
            let text = decode(raw)?;
            let wrong = |error: InvalidId| Refusal::bad(error.to_string());
            match name {
                ":instance_id" => call.instance = Some(InstanceId::parse(&text).map_err(wrong)?),
                ":cell" => call.cell = Some(CellGuid::parse(&text).map_err(wrong)?),
                _ => call.binding = Some(BindingId::parse(&text).map_err(wrong)?),
            }
        }
        let broken = || Refusal::bad("the query is not well-formed: a broken escape");
        call.query = query::parse(head.split_target().1).ok_or_else(broken)?;
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

    /// The cell that the path names.
    pub(super) fn cell(&self) -> CellGuid {
        self.cell.clone().expect("the routes that ask for it have :cell in their path")
    }

    /// The query's first value of that name. What is there must say something: "If present, MUST be a non-empty
    /// string", as the specification has it of every one.
    pub(super) fn query(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.query.iter().find(|(found, _)| found == name) {
            Some((_, value)) if value.is_empty() => {
                Err(Refusal::bad(format!("{name} must not be empty; it may be left out")))
            }
            found => Ok(found.map(|(_, value)| value.as_str())),
        }
    }

    /// What the sender believes the instance to be, as far as the query says.
    pub(super) fn believed(&self) -> Result<(Option<ServiceId>, Option<PlanId>), Refusal> {
        let wrong = |name: &str, error: InvalidId| Refusal::bad(format!("{name}: {error}"));
        let service = self.query("service_id")?.map(ServiceId::parse).transpose();
        let plan = self.query("plan_id")?.map(PlanId::parse).transpose();
        Ok((
            service.map_err(|error| wrong("service_id", error))?,
            plan.map_err(|error| wrong("plan_id", error))?,
        ))
    }

    /// Whether the sender polls, as far as the query says (OSB 2.17, "Asynchronous Operations").
    pub(super) fn accepts_incomplete(&self) -> Result<bool, Refusal> {
        self.flag("accepts_incomplete")
    }

    /// Whether the query says `true` of this.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.query(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::bad(format!("{name} must be true or false"))),
        }
    }
}
