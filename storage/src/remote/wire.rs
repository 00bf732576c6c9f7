//! Requests and what became of them. Owns connections, deadlines and the choice of the endpoint; knows that bytes which
//! may have arrived are never sent again, and nothing of what is asked.
//!
//! What an answer means is its engine's to judge: see [`Verdict`].

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, RustlsConnector, TcpConnector};
use ureq::{Agent, Body, BodyReader};

use super::{InvalidReach, Reach, Timeouts, endpoint};
use crate::Deadline;

/// Answers above this are not read: no listing of ours comes near.
const MAX_ANSWER_BYTES: u64 = 256 << 20;
/// No attempt is given less, even if the others have used up the time.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// One request, the same for every endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub method: Method,
    /// Path and query.
    pub target: &'a str,
    pub headers: &'a [(&'static str, &'a str)],
    pub body: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// What an endpoint answered.
pub(crate) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether the time was over before the body had come: then `body` is empty. Only of [`Wire::wait`].
    pub cut: bool,
}

/// What an answer means.
pub(crate) enum Verdict<A> {
    /// The engine's own word.
    Said(A),
    /// Whoever answers has trouble: a read goes to the next endpoint, a write may have landed.
    Troubled(String),
    /// Certainly nothing was done: a read goes to the next endpoint, a write ends.
    Refused(String),
}

/// Why there is no answer to a write.
pub(crate) enum Failure {
    /// Not a byte of the request reached anybody, or who answered refused it.
    NothingDone(String),
    /// The request may have been carried out.
    Unknown,
}

/// An attempt's end.
enum Attempt<A> {
    Judged(Verdict<A>),
    /// No connection came about.
    NotSent(String),
    /// Something came, or nothing did, after the bytes had left.
    Lost(String),
}

pub(crate) struct Wire {
    agent: Agent,
    endpoints: Vec<String>,
    timeouts: Timeouts,
    /// The endpoint to ask first: the one that answered last.
    preferred: AtomicUsize,
}

impl Wire {
    pub(crate) fn new(reach: &Reach) -> Result<Self, InvalidReach> {
        let endpoints = endpoint::read(&reach.endpoints)?;
        let tls = reach.tls.as_ref().map_or_else(|| Ok(TlsConfig::default()), super::Tls::config)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect could lead credentials and writes anywhere; no engine needs one.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(tls)
            .timeout_connect(Some(reach.timeouts.connect))
            .user_agent("patroni-broker")
            .build();
        let dialer = Dialer(().chain(TcpConnector::default()).chain(RustlsConnector::default()));
        let agent = Agent::with_parts(config, dialer, DefaultResolver::default());
        Ok(Self { agent, endpoints, timeouts: reach.timeouts, preferred: AtomicUsize::new(0) })
    }

    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Asks one endpoint after the other until one gives its word. Otherwise what each of them did.
    pub(crate) fn read<A>(
        &self,
        request: Request<'_>,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Result<A, String> {
        let deadline = Deadline::after(self.timeouts.total);
        let mut reasons = Vec::new();
        for (nth, at) in self.order().enumerate() {
            let left = u32::try_from(self.endpoints.len() - nth).unwrap_or(u32::MAX);
            let patience = (deadline.remaining() / left).max(LEAST_PATIENCE);
            let reason = match self.attempt(at, request, patience, &judge) {
                Attempt::Judged(Verdict::Said(answer)) => return Ok(self.settle(at, answer)),
                Attempt::Judged(Verdict::Troubled(reason) | Verdict::Refused(reason))
                | Attempt::NotSent(reason)
                | Attempt::Lost(reason) => reason,
            };
            reasons.push(format!("{}: {reason}", self.endpoints[at]));
        }
        Err(reasons.join("; "))
    }

    /// Sends a write. The next endpoint is tried only where certainly no byte has left.
    pub(crate) fn write<A>(
        &self,
        request: Request<'_>,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Result<A, Failure> {
        let deadline = Deadline::after(self.timeouts.total);
        let mut reasons = Vec::new();
        for at in self.order() {
            let patience = deadline.remaining().max(LEAST_PATIENCE);
            match self.attempt(at, request, patience, &judge) {
                Attempt::Judged(Verdict::Said(answer)) => return Ok(self.settle(at, answer)),
                // A server's own "request timed out" may have been carried out all the same.
                Attempt::Judged(Verdict::Troubled(reason)) | Attempt::Lost(reason) => {
                    log::warn!("{}: {reason}; the write may have landed", self.endpoints[at]);
                    self.turn_away_from(at);
                    return Err(Failure::Unknown);
                }
                Attempt::Judged(Verdict::Refused(reason)) => {
                    self.turn_away_from(at);
                    return Err(Failure::NothingDone(format!("{}: {reason}", self.endpoints[at])));
                }
                Attempt::NotSent(reason) => reasons.push(format!("{}: {reason}", self.endpoints[at])),
            }
        }
        Err(Failure::NothingDone(reasons.join("; ")))
    }

    /// Reads an answer that comes when something has changed. Its head may take `head_within`; if its body has not come
    /// within `body_within`, the reply is cut.
    pub(crate) fn wait<A>(
        &self,
        request: Request<'_>,
        head_within: Duration,
        body_within: Duration,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Result<A, String> {
        self.each(request, head_within, body_within, |response| {
            let (body, cut) = match read_body(response) {
                Ok(body) => (body, false),
                Err(ureq::Error::Timeout(_)) => (Vec::new(), true),
                Err(error) => return Verdict::Troubled(error.to_string()),
            };
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            judge(&Reply { status, headers, body, cut })
        })
    }

    /// Opens an answer that goes on: its body is read as it comes, for at most `body_within`. Any status but 200 is
    /// read to its end and judged; `judge` is given no body of an answer that goes on.
    pub(crate) fn stream(
        &self,
        request: Request<'_>,
        body_within: Duration,
        judge: impl Fn(&Reply) -> Verdict<()>,
    ) -> Result<BodyReader<'static>, String> {
        self.each(request, self.timeouts.total, body_within, |response| {
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = if status == 200 { Ok(Vec::new()) } else { read_body(response) };
            let Ok(body) = body else { return Verdict::Troubled(format!("it answers {status}")) };
            match judge(&Reply { status, headers, body, cut: false }) {
                Verdict::Said(()) => {
                    let empty = Response::new(Body::builder().data(Vec::new()));
                    Verdict::Said(std::mem::replace(response, empty).into_body().into_reader())
                }
                Verdict::Troubled(reason) => Verdict::Troubled(reason),
                Verdict::Refused(reason) => Verdict::Refused(reason),
            }
        })
    }

    fn each<A>(
        &self,
        request: Request<'_>,
        head_within: Duration,
        body_within: Duration,
        read: impl Fn(&mut Response<Body>) -> Verdict<A>,
    ) -> Result<A, String> {
        let mut reasons = Vec::new();
        for at in self.order() {
            let reason = match self.send(at, request, head_within, body_within) {
                Err(error) => error.to_string(),
                Ok(mut response) => match read(&mut response) {
                    Verdict::Said(answer) => return Ok(self.settle(at, answer)),
                    Verdict::Troubled(reason) | Verdict::Refused(reason) => reason,
                },
            };
            reasons.push(format!("{}: {reason}", self.endpoints[at]));
        }
        Err(reasons.join("; "))
    }

    /// The endpoints, the one that answered last first.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.preferred.load(Ordering::Relaxed), self.endpoints.len());
        (0..count).map(move |nth| (first + nth) % count)
    }

    fn settle<A>(&self, at: usize, answer: A) -> A {
        self.preferred.store(at, Ordering::Relaxed);
        answer
    }

    /// An endpoint that hangs must not be asked first for ever.
    fn turn_away_from(&self, at: usize) {
        let next = (at + 1) % self.endpoints.len();
        // Where another thread has chosen meanwhile, its choice stands.
        let _ = self.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn attempt<A>(
        &self,
        at: usize,
        request: Request<'_>,
        patience: Duration,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Attempt<A> {
        let deadline = Deadline::after(patience);
        let mut response = match self.send(at, request, patience, deadline.remaining()) {
            Ok(response) => response,
            Err(error) if not_sent(&error) => return Attempt::NotSent(error.to_string()),
            Err(error) => return Attempt::Lost(error.to_string()),
        };
        let body = match read_body(&mut response) {
            Ok(body) => body,
            Err(error) => return Attempt::Lost(error.to_string()),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Attempt::Judged(judge(&Reply { status, headers, body, cut: false }))
    }

    fn send(
        &self,
        at: usize,
        request: Request<'_>,
        head_within: Duration,
        body_within: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        let url = format!("{}{}", self.endpoints[at], request.target);
        let connect = self.timeouts.connect.min(head_within);
        macro_rules! prepared {
            ($builder:expr) => {{
                let builder = $builder
                    .config()
                    .timeout_resolve(Some(connect))
                    .timeout_connect(Some(connect))
                    .timeout_send_request(Some(head_within))
                    .timeout_send_body(Some(head_within))
                    .timeout_recv_response(Some(head_within))
                    .timeout_recv_body(Some(body_within.max(LEAST_PATIENCE)))
                    .build();
                request.headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value))
            }};
        }
        match request.method {
            Method::Get => prepared!(self.agent.get(&url)).call(),
            Method::Delete => prepared!(self.agent.delete(&url)).call(),
            Method::Put => prepared!(self.agent.put(&url)).send(request.body),
            Method::Post => prepared!(self.agent.post(&url)).send(request.body),
        }
    }
}

impl Reply {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Status and content type, for people: who answers like this is not the engine.
    pub(crate) fn outline(&self) -> String {
        let content_type = self.header("Content-Type").unwrap_or("no content type");
        format!("{}, {}", self.status, content_type.chars().take(60).collect::<String>())
    }
}

/// Whether reading a stream ended because its time was over.
pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    matches!(inner, Some(ureq::Error::Timeout(_))) || error.kind() == std::io::ErrorKind::TimedOut
}

fn read_body(response: &mut Response<Body>) -> Result<Vec<u8>, ureq::Error> {
    response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec()
}

/// Whether it is certain that no byte of the request has left.
fn not_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Other(inner) => inner.is::<NotConnected>(),
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => true,
        ureq::Error::HostNotFound | ureq::Error::BadUri(_) => true,
        _ => false,
    }
}

/// Dials, and marks errors of dialling: an I/O error by itself does not tell whether it came before the bytes left.
#[derive(Debug)]
struct Dialer<C>(C);

/// No connection came about.
#[derive(Debug)]
struct NotConnected(ureq::Error);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection: {}", self.0)
    }
}

impl std::error::Error for NotConnected {}

impl<C: Connector<()>> Connector<()> for Dialer<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        self.0.connect(details, chained).map_err(|error| ureq::Error::Other(Box::new(NotConnected(error))))
    }
}
