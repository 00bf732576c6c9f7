//! HTTP: turns requests into broker calls and results into responses. Owns routes, authentication, the shape of bodies
//! and statuses (OSB 2.17); knows nothing of sockets, stores, cells or plans.
//!
//! - `routes`: the table of routes, and who may use them; reads as the specification does.
//! - `endpoints`: one file per endpoint.
//! - `auth`: who asks. `version`, `originating`, `caller`: what the specification's headers say.
//! - `refusal`: what is answered when something is refused; the one place where domain errors become statuses.
//! - `access`: the access log.
//! - `message`: requests and responses as plain data. Everything but `server` works on these, so that the door can be
//!   another one.
//! - `seats`: how many may wait.
//! - `server`: the door's handler.

mod access;
mod auth;
mod body;
mod caller;
mod endpoints;
mod message;
mod orders;
mod originating;
mod query;
mod readiness;
mod refusal;
mod routes;
mod seats;
mod server;
mod timestamp;
mod version;
mod wait;

pub use access::Access;
pub use auth::FailureLimits;
pub use caller::Caller;
pub use message::{Answer, Head, Parked, Response};
pub use orders::Orders;
pub use server::{Server, ServerError, ServerOptions};

use std::sync::Arc;
use std::time::Duration;

use crate::broker::BrokerError;
use crate::model::{Catalog, Role, User};
use auth::{Auth, Who};
use endpoints::catalog::Rendered;
use readiness::Readiness;
use refusal::Refusal;
use routes::{Audience, Call, Found, Needs, Route};
use seats::Seats;

/// How many requests may wait for their operations at the same time; each holds a connection.
const SEATS: usize = 256;

/// What the API is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may ask. Names are unique.
    pub users: Vec<User>,
    /// How long a synchronous request is kept waiting. Defaults to 600 s.
    pub sync_timeout: Duration,
    /// Whether platforms must say which version they speak. Defaults to no, since people with `curl` do not.
    pub require_api_version: bool,
    /// Whether metrics are told to whoever asks. Defaults to no.
    pub open_metrics: bool,
    /// How often an address may fail to say who it is.
    pub failures: FailureLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            sync_timeout: Duration::from_secs(600),
            require_api_version: false,
            open_metrics: false,
            failures: FailureLimits::default(),
        }
    }
}

/// The API without its door: plain requests in, plain answers out.
pub struct Api {
    orders: Arc<dyn Orders>,
    auth: Auth,
    catalog: Rendered,
    sync_timeout: Duration,
    require_api_version: bool,
    open_metrics: bool,
    readiness: Readiness,
    seats: Arc<Seats>,
    reads_are_local: bool,
}

/// What becomes of a request by its head.
pub enum Verdict {
    /// Its body may be read now, and it is performed.
    Go(Admitted),
    /// It is answered, which spares reading its body.
    Answer(Response, Caller),
    /// [`Api::judge`] tells, which may take long.
    Ask,
}

/// A request that may be made: its sender is known, and there is such a route.
pub struct Admitted {
    route: &'static Route,
    call: Call,
}

impl Admitted {
    /// Who asks.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.call.caller
    }
}

impl Api {
    /// An API over `orders`. The catalog is rendered here, once.
    #[must_use]
    pub fn new(orders: Arc<dyn Orders>, catalog: &Catalog, settings: Settings) -> Self {
        Self {
            reads_are_local: orders.reads_are_local(),
            orders,
            auth: Auth::new(settings.users, settings.failures),
            catalog: Rendered::new(catalog),
            sync_timeout: settings.sync_timeout,
            require_api_version: settings.require_api_version,
            open_metrics: settings.open_metrics,
            readiness: Readiness::default(),
            seats: Seats::new(SEATS),
        }
    }

    /// Looks at everything but the body, without blocking. Who is not known is told so whatever else is wrong with the
    /// request.
    #[must_use]
    pub fn admit(&self, head: &Head) -> Verdict {
        self.weigh(head, Auth::look)
    }

    /// The same for a request of which [`Api::admit`] could not tell who makes it. It may take long.
    #[must_use]
    pub fn judge(&self, head: &Head) -> Verdict {
        self.weigh(head, Auth::judge)
    }

    /// How many passwords have been verified at length.
    #[must_use]
    pub fn verifications(&self) -> u64 {
        self.auth.verifications()
    }

    /// Knows these users from now on, and no others.
    pub fn replace_users(&self, users: Vec<User>) {
        self.auth.replace(users);
    }

    fn weigh(&self, head: &Head, tell: fn(&Auth, &Head) -> Who) -> Verdict {
        let mut caller = Caller::of(head);
        let found = routes::find(head.path(), &head.method);
        // None where nobody need say who he is.
        let mut role = None;
        if !matches!(&found, Ok(Found::Route(route, _)) if self.is_open(route)) {
            match tell(&self.auth, head) {
                Who::User(name, his) => (caller.user, role) = (Some(name), Some(his)),
                Who::Nobody(delay) => return Verdict::refuse(caller, Refusal::unauthorized(delay)),
                Who::TooManyFailures(wait) => {
                    return Verdict::refuse(caller, Refusal::too_many_failures(wait));
                }
                Who::Crowded => return Verdict::refuse(caller, BrokerError::Busy),
                Who::Unclear => return Verdict::Ask,
            }
        }
        match found {
            Ok(Found::Route(route, segments)) => match self.enter(route, &segments, role, head, &caller) {
                Ok(call) => Verdict::Go(Admitted { route, call }),
                Err(refusal) => Verdict::refuse(caller, refusal),
            },
            Ok(Found::Methods(allowed)) => {
                Verdict::Answer(caller.mark(message::empty(200).with("Allow", allowed)), caller)
            }
            Err(refusal) => Verdict::refuse(caller, refusal),
        }
    }

    /// What is left to look at once it is known who asks.
    fn enter(
        &self,
        route: &Route,
        segments: &[&str],
        role: Option<Role>,
        head: &Head,
        caller: &Caller,
    ) -> Result<Call, Refusal> {
        if let Some(role) = role.filter(|role| !route.audience.includes(*role)) {
            return Err(Refusal::forbidden(role));
        }
        if route.is_osb() {
            version::check(head.header("x-broker-api-version"), self.require_api_version)?;
        }
        Call::new(route, segments, role, head, caller)
    }

    fn is_open(&self, route: &Route) -> bool {
        match route.audience {
            Audience::Anybody => true,
            Audience::Gauges => self.open_metrics,
            Audience::Users | Audience::Orderers | Audience::Admins | Audience::Lookers => false,
        }
    }

    /// Whether [`Api::perform`] waits for nothing with this request.
    #[must_use]
    pub fn never_blocks(&self, admitted: &Admitted) -> bool {
        match admitted.route.needs {
            Needs::Memory => true,
            Needs::Reads => self.reads_are_local,
            Needs::Anything => false,
        }
    }

    /// Makes the request.
    #[must_use]
    pub fn perform(&self, admitted: Admitted, body: &[u8]) -> Answer {
        let Admitted { route, call } = admitted;
        match (route.handle)(self, &call, body) {
            Ok(Answer::Now(response)) => Answer::Now(call.caller.mark(response)),
            // Marked when it is answered.
            Ok(Answer::Parked(parked)) => Answer::Parked(parked),
            Err(refusal) => {
                refusal.tell_operator(&call.caller.request_id);
                Answer::Now(call.caller.mark(refusal.into()))
            }
        }
    }
}

impl Verdict {
    fn refuse(caller: Caller, refusal: impl Into<Refusal>) -> Self {
        let refusal: Refusal = refusal.into();
        Self::Answer(caller.mark(refusal.into()), caller)
    }
}
