//! HTTP: turns requests into broker calls and results into responses. Owns routes, authentication, the shape of bodies
//! and statuses (OSB 2.17), and the door they come through; knows nothing of stores, cells or plans.
//!
//! - `routes`: the table of routes; reads as the specification does.
//! - `endpoints`: one file per endpoint.
//! - `refusal`: what is answered when something is refused; the one place where domain errors become statuses.
//! - `message`: requests and responses as plain data. Everything but `server` works on these, so that the door can be
//!   another one.
//! - `server`: the door: sockets, threads, the access log.

mod auth;
mod body;
mod endpoints;
mod message;
mod orders;
mod query;
mod readiness;
mod refusal;
mod routes;
mod server;

pub use message::{Answer, Head, Parked, Response};
pub use orders::Orders;
pub use server::{Server, ServerError};

use std::sync::Arc;
use std::time::Duration;

use storage::door::Seats;

use crate::model::{Catalog, Secret};
use auth::Credentials;
use readiness::Readiness;
use refusal::Refusal;
use routes::{Call, Route};

/// How many synchronous requests may wait for their operations at the same time; each holds a connection.
const SEATS: usize = 256;

/// What the API is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may order.
    pub username: String,
    /// And with what password.
    pub password: Secret,
    /// How long a synchronous request is kept waiting.
    pub sync_timeout: Duration,
}

/// The API without its door: plain requests in, plain answers out.
pub struct Api {
    orders: Arc<dyn Orders>,
    credentials: Credentials,
    catalog: Arc<[u8]>,
    sync_timeout: Duration,
    readiness: Readiness,
    seats: Arc<Seats>,
}

/// A request that may be made: its sender is known, and there is such a route. Its body may be read now.
pub struct Admitted {
    route: &'static Route,
    call: Call,
}

impl Api {
    /// An API over `orders`. The catalog is rendered here, once.
    #[must_use]
    pub fn new(orders: Arc<dyn Orders>, catalog: &Catalog, settings: Settings) -> Self {
        Self {
            orders,
            credentials: Credentials::new(settings.username, settings.password),
            catalog: endpoints::catalog::render(catalog).into(),
            sync_timeout: settings.sync_timeout,
            readiness: Readiness::default(),
            seats: Seats::new(SEATS),
        }
    }

    /// Looks at everything but the body: an answer here spares reading it. Who is not known is told so whatever else
    /// is wrong with the request.
    ///
    /// # Errors
    /// The answer to a request that must not go on.
    pub fn admit(&self, head: &Head) -> Result<Admitted, Response> {
        self.try_admit(head).map_err(Response::from)
    }

    fn try_admit(&self, head: &Head) -> Result<Admitted, Refusal> {
        let (path, query) = head.split_target();
        let found = routes::find(path, &head.method);
        let open = found.as_ref().is_ok_and(|(route, _)| route.open);
        if !open && !self.credentials.accept(head.header("authorization")) {
            return Err(Refusal::unauthorized());
        }
        let (route, segments) = found?;
        let call = Call::new(route, &segments, query)?;
        Ok(Admitted { route, call })
    }

    /// Makes the request.
    #[must_use]
    pub fn perform(&self, admitted: Admitted, body: &[u8]) -> Answer {
        let Admitted { route, call } = admitted;
        (route.handle)(self, &call, body).unwrap_or_else(|refusal| Answer::Now(refusal.into()))
    }
}
