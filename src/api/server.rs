//! What stands between the door and [`Api`]: hands over plain requests, carries answers back, parks who waits, and says
//! of each answer what was answered. Sockets, threads and bounds are the door's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use door::{Call, Handler, Limits, Reply, TlsConfig, Trouble};
use log::{info, warn};

use super::message::{Answer, Head, Parked, Response};
use super::refusal::Refusal;
use super::{Access, Admitted, Api, Caller, Verdict};
use crate::broker::Outcome;
use crate::metrics::Metrics;

/// How long those who are being answered may take when the server stops.
const LAST_CALL: Duration = Duration::from_secs(5);
/// How long the last answers may take to be read when the server is dropped.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// How the API is served.
#[derive(Clone)]
pub struct ServerOptions {
    /// HTTPS by this; plain HTTP without it.
    pub tls: Option<Arc<TlsConfig>>,
    /// The door's bounds. Its workers wait for the store more than they compute. Defaults to the door's, with 16 workers.
    pub limits: Limits,
    /// The largest body that is read. Defaults to 1 MiB.
    pub max_body_bytes: usize,
    /// Where requests are counted. Defaults to where nobody looks.
    pub metrics: Arc<Metrics>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tls: None,
            limits: Limits { workers: 16, ..Limits::default() },
            max_body_bytes: 1 << 20,
            metrics: Arc::default(),
        }
    }
}

/// Why there is no server.
#[derive(Debug)]
pub struct ServerError {
    address: SocketAddr,
    reason: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.reason)
    }
}

impl std::error::Error for ServerError {}

/// The API behind a listening socket. Dropping it stops it.
pub struct Server {
    /// None once it is being dropped.
    door: Option<Arc<door::Server<Front>>>,
    api: Arc<Api>,
    address: SocketAddr,
}

impl Server {
    /// Takes the address, so that who comes too early waits, and nothing else is begun where it is taken.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn bind(listen: SocketAddr) -> Result<TcpListener, ServerError> {
        TcpListener::bind(listen).map_err(|error| ServerError { address: listen, reason: error.to_string() })
    }

    /// Listens and answers from now on.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the system gives no thread.
    pub fn start(listen: SocketAddr, api: Api) -> Result<Self, ServerError> {
        Self::start_on(Self::bind(listen)?, api, ServerOptions::default())
    }

    /// Answers from now on who comes to this listener.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub fn start_on(listener: TcpListener, api: Api, options: ServerOptions) -> Result<Self, ServerError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = listener.local_addr().unwrap_or(unknown);
        let wrong = |error: io::Error| ServerError { address, reason: error.to_string() };
        let ServerOptions { tls, limits, max_body_bytes, metrics } = options;
        let api = Arc::new(api);
        let front = Front { api: Arc::clone(&api), max_body_bytes, metrics: Arc::clone(&metrics) };
        let door = Arc::new(door::Server::start(listener, tls, limits, Arc::new(front)).map_err(wrong)?);
        let looked_at = Arc::downgrade(&door);
        metrics.on_scrape(Box::new(move |metrics| {
            if let Some(gauges) = looked_at.upgrade().map(|door| door.gauges()) {
                metrics.door(gauges.open, gauges.queued);
            }
        }));
        Ok(Self { door: Some(door), api, address })
    }

    /// Where it listens: the port that the system chose, where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is served.
    #[must_use]
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// What connections are shown that come from now on.
    pub fn set_tls(&self, tls: Arc<TlsConfig>) {
        if let Some(door) = &self.door {
            door.set_tls(tls);
        }
    }

    /// Accepts nothing more, and returns when what is being worked on has been answered, or soon after: a sender whose
    /// body does not come is not waited for. Parked requests go on waiting: stop the broker, so that they are
    /// answered, and then call [`Server::wait_for_parked`].
    pub fn stop(&self) {
        let Some(door) = &self.door else { return };
        door.begin_stop();
        if !door.wait_until_worked(LAST_CALL) {
            warn!("{} requests are left without an answer, since they have not ended", door.gauges().working);
        }
    }

    /// Waits until every parked request has been answered; false when `patience` is over before.
    #[must_use]
    pub fn wait_for_parked(&self, patience: Duration) -> bool {
        self.door.as_ref().is_none_or(|door| door.wait_until_answered(patience))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(door) = self.door.take() {
            // False is as good: the last answers are on their way, or nobody takes them.
            let _ = door.wait_until_answered(LAST_ANSWERS);
        }
    }
}

/// The API as the door's handler.
struct Front {
    api: Arc<Api>,
    max_body_bytes: usize,
    metrics: Arc<Metrics>,
}

impl Handler for Front {
    type Admitted = Admitted;

    fn admit(&self, head: &Arc<Head>) -> door::Verdict<Admitted> {
        self.tell(head, self.api.admit(head))
    }

    fn judge(&self, head: &Arc<Head>) -> door::Verdict<Admitted> {
        self.tell(head, self.api.judge(head))
    }

    fn handle(&self, call: Call<Admitted>) {
        let Call { head, admitted, body, reply, .. } = call;
        let waiter =
            Waiter { reply, head, caller: admitted.caller().clone(), metrics: Arc::clone(&self.metrics) };
        match self.api.perform(admitted, &body) {
            Answer::Now(response) => waiter.send(response),
            Answer::Parked(parked) => self.park(waiter, parked),
        }
    }

    fn refuse(&self, head: Option<&Head>, trouble: Trouble) -> door::Response {
        let refusal = match trouble {
            Trouble::BrokenOff => Refusal::bad("the body broke off or is not well-formed"),
            Trouble::Malformed(reason) => Refusal::bad(reason),
            Trouble::TooLarge { limit } => Refusal::too_large(limit),
            Trouble::Panicked | Trouble::Lost => {
                Refusal::new(500, "InternalError", "the broker failed; its log says more")
            }
            Trouble::Stopping => Refusal::new(503, "Stopping", "the broker is stopping"),
            Trouble::Full => Refusal::new(503, "Busy", "too much is asked at the same time; try again"),
            Trouble::TooSlow => Refusal::new(408, "TooSlow", trouble.reason()),
            Trouble::Expectation => Refusal::new(417, "ExpectationFailed", trouble.reason()),
            Trouble::HeadTooLarge => Refusal::new(431, "HeadTooLarge", trouble.reason()),
            Trouble::Coding => Refusal::new(501, "UnknownCoding", trouble.reason()),
            Trouble::Version => Refusal::new(505, "UnknownVersion", trouble.reason()),
        };
        let response = Response::from(refusal);
        let Some(head) = head else {
            info!("a request that could not be read: {}", response.status);
            return response;
        };
        let caller = Caller::of(head);
        let response = caller.mark(response);
        note(&self.metrics, head, &caller, response.status, "");
        response
    }
}

impl Front {
    fn tell(&self, head: &Head, verdict: Verdict) -> door::Verdict<Admitted> {
        match verdict {
            Verdict::Go(admitted) => {
                let at_once = self.api.never_blocks(&admitted);
                door::Verdict::Go { admitted, body_limit: self.max_body_bytes, at_once }
            }
            Verdict::Answer(response, caller) => {
                note(&self.metrics, head, &caller, response.status, "");
                door::Verdict::Answer(response)
            }
            Verdict::Ask => door::Verdict::Ask,
        }
    }

    fn park(&self, waiter: Waiter, parked: Box<Parked>) {
        let (instance, operation) = (parked.instance.clone(), parked.operation.clone());
        let patience = parked.patience;
        let waiting = Waiting(Some((waiter, parked)));
        let then = Box::new(move |outcome| waiting.answer(outcome));
        self.api.orders.when_done(&instance, &operation, patience, then);
    }
}

/// A sender who is to be answered.
struct Waiter {
    reply: Reply,
    head: Arc<Head>,
    caller: Caller,
    metrics: Arc<Metrics>,
}

impl Waiter {
    /// A sender that has gone is no failure.
    fn send(self, response: Response) {
        let status = response.status;
        let outcome = if self.reply.send(response) { "" } else { ", but its sender has gone" };
        note(&self.metrics, &self.head, &self.caller, status, outcome);
    }
}

/// A parked request. Whoever forgets it, it is answered.
struct Waiting(Option<(Waiter, Box<Parked>)>);

impl Waiting {
    fn answer(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some((waiter, parked)) = self.0.take() {
            let (response, _seat) = parked.answer(outcome);
            waiter.send(response);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.finish(Outcome::Stopping);
    }
}

/// Logs and counts what was answered.
fn note(metrics: &Metrics, head: &Head, caller: &Caller, status: u16, outcome: &str) {
    let access = Access::new(head, caller, status, head.since.elapsed());
    access.log(outcome);
    access.count(metrics);
}
