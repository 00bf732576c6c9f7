//! Requests and what became of them. Owns connections, deadlines and the choice of the endpoint; knows that bytes which
//! may have arrived are never sent again, and nothing of what is asked.
//!
//! What an answer means is its engine's to judge: see [`Verdict`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};
use ureq::{Agent, Body, BodyReader};

use super::dial::{self, Dialer, Names, not_sent};
pub(crate) use super::message::{Method, Reply, Request, Verdict};
use super::{InvalidReach, Reach, Timeouts, endpoint};
use crate::Deadline;

/// Answers above this are not read: no listing of ours comes near.
const MAX_ANSWER_BYTES: u64 = 256 << 20;
/// No attempt is given less, even if the others have used up the time.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);
/// A connection that was idle for longer is not used again. Before each use it is looked at, and left if the server has
/// closed it; but a server may close it just when a request is on its way, and then the outcome of a write is unknown.
/// Servers and gateways do so after 5 seconds of idleness, or more.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// For as many callers at once, nobody dials anew for every call.
const MAX_IDLE_CONNECTIONS: usize = 16;
/// Between two rounds of a read at servers that have trouble: an election takes a second or two.
const TROUBLE_PAUSE: Duration = Duration::from_millis(250);
/// A server that refuses our certificate by TLS 1.3 may take its reason away with its connection; it is asked again.
const TLS_TRIES: usize = 3;

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

/// How long an attempt may take.
#[derive(Clone, Copy)]
struct Patience {
    connect: Duration,
    /// From the last byte of the request to the answer's head.
    head: Option<Duration>,
    /// From there to the answer's last byte.
    body: Option<Duration>,
    whole: Duration,
}

/// Why one endpoint gave no answer.
pub(crate) struct NoAnswer {
    /// Whether it said that our certificate is at fault, or that we have none.
    pub not_let_in: bool,
    /// What happened, for people.
    pub reason: String,
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
            .max_idle_age(MAX_IDLE)
            .max_idle_connections_per_host(MAX_IDLE_CONNECTIONS)
            .max_idle_connections(MAX_IDLE_CONNECTIONS * endpoints.len())
            .user_agent("patroni-broker")
            .build();
        let dialer = Dialer(().chain(TcpConnector::default()).chain(RustlsConnector::default()));
        let agent = Agent::with_parts(config, dialer, Names::default());
        Ok(Self { agent, endpoints, timeouts: reach.timeouts, preferred: AtomicUsize::new(0) })
    }

    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Asks one endpoint after the other until one gives its word. A store that is electing a leader says so at once: it
    /// is asked again as long as there is time. Otherwise what each of them did.
    pub(crate) fn read<A>(
        &self,
        request: Request<'_>,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Result<A, String> {
        let deadline = Deadline::after(self.timeouts.total);
        loop {
            let (mut reasons, mut troubled) = (Vec::new(), false);
            for (nth, at) in self.order().enumerate() {
                let patience = self.share(deadline, nth);
                let reason = match self.attempt(at, request, patience, patience, &judge) {
                    Attempt::Judged(Verdict::Said(answer)) => return Ok(self.settle(at, answer)),
                    Attempt::Judged(Verdict::Troubled(reason)) => {
                        troubled = true;
                        reason
                    }
                    Attempt::Judged(Verdict::Refused(reason))
                    | Attempt::NotSent(reason)
                    | Attempt::Lost(reason) => reason,
                };
                reasons.push(format!("{}: {reason}", self.endpoints[at]));
            }
            if !troubled || deadline.remaining() < TROUBLE_PAUSE * 2 {
                return Err(reasons.join("; "));
            }
            thread::sleep(TROUBLE_PAUSE);
        }
    }

    /// Sends a write. The next endpoint is tried only where certainly no byte has left.
    pub(crate) fn write<A>(
        &self,
        request: Request<'_>,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Result<A, Failure> {
        let deadline = Deadline::after(self.timeouts.total);
        let mut reasons = Vec::new();
        let first = self.preferred.load(Ordering::Relaxed);
        for (nth, at) in self.order_from(first).enumerate() {
            // Endpoints that cannot be reached leave time for those that can; who has been reached may take all of it.
            let connect = self.share(deadline, nth);
            match self.attempt(at, request, connect, deadline.remaining(), &judge) {
                Attempt::Judged(Verdict::Said(answer)) => return Ok(self.settle(at, answer)),
                // A server's own "request timed out" may have been carried out all the same.
                Attempt::Judged(Verdict::Troubled(reason)) | Attempt::Lost(reason) => {
                    log::warn!("{}: {reason}; the write may have landed", self.endpoints[at]);
                    self.turn_away(first, at);
                    return Err(Failure::Unknown);
                }
                Attempt::Judged(Verdict::Refused(reason)) => {
                    self.turn_away(first, at);
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
                Err(error) => return Verdict::Troubled(dial::reason(&error)),
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
        self.each(request, self.head_patience(), body_within, |response| {
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

    /// Asks this one endpoint, whatever it answers. Only for what may be sent twice.
    pub(crate) fn ask(&self, at: usize, request: Request<'_>, patience: Duration) -> Result<Reply, NoAnswer> {
        let (deadline, mut tries) = (Deadline::after(patience), 1..TLS_TRIES);
        loop {
            let left = deadline.remaining().max(LEAST_PATIENCE);
            let error = match self.exchange(at, request, left, left) {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let (vague, secure) = (dial::is_broken_off(&error), self.endpoints[at].starts_with("https:"));
            if !vague || !secure || deadline.has_passed() || tries.next().is_none() {
                let hint = match (vague, secure) {
                    (false, _) => "",
                    (true, false) => "; does it want https?",
                    (true, true) => "; does it speak TLS?",
                };
                let reason = format!("{}{hint}", dial::reason(&error));
                return Err(NoAnswer { not_let_in: dial::is_refusal(&error), reason });
            }
        }
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
            let body = body_within.max(LEAST_PATIENCE);
            let patience = Patience {
                connect: head_within,
                head: Some(head_within),
                body: Some(body),
                whole: head_within + body,
            };
            let reason = match self.send(at, request, patience) {
                Err(error) => dial::reason(&error),
                Ok(mut response) => match read(&mut response) {
                    Verdict::Said(answer) => return Ok(self.settle(at, answer)),
                    Verdict::Troubled(reason) | Verdict::Refused(reason) => reason,
                },
            };
            reasons.push(format!("{}: {reason}", self.endpoints[at]));
        }
        Err(reasons.join("; "))
    }

    /// How long the head of an answer that goes on may take: no longer over all endpoints than a whole call.
    pub(crate) fn head_patience(&self) -> Duration {
        self.share(Deadline::after(self.timeouts.total), 0)
    }

    /// Who is asked first from now on.
    pub(crate) fn prefer(&self, at: usize) {
        self.preferred.store(at, Ordering::Relaxed);
    }

    /// What the `nth` endpoint that is asked may take of what is left.
    fn share(&self, deadline: Deadline, nth: usize) -> Duration {
        let left = u32::try_from(self.endpoints.len() - nth).unwrap_or(u32::MAX);
        (deadline.remaining() / left).max(LEAST_PATIENCE)
    }

    /// The endpoints, the one that answered last first.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        self.order_from(self.preferred.load(Ordering::Relaxed))
    }

    fn order_from(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.endpoints.len();
        (0..count).map(move |nth| (first + nth) % count)
    }

    fn settle<A>(&self, at: usize, answer: A) -> A {
        self.prefer(at);
        answer
    }

    /// An endpoint that hangs must not be asked for ever, whether it was the first or came after others that could not
    /// be reached.
    fn turn_away(&self, first: usize, from: usize) {
        let next = (from + 1) % self.endpoints.len();
        // Where another thread has chosen meanwhile, its choice stands.
        let _ = self.preferred.compare_exchange(first, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn attempt<A>(
        &self,
        at: usize,
        request: Request<'_>,
        connect: Duration,
        patience: Duration,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Attempt<A> {
        match self.exchange(at, request, connect, patience) {
            Ok(reply) => Attempt::Judged(judge(&reply)),
            Err(error) if not_sent(&error) => Attempt::NotSent(dial::reason(&error)),
            Err(error) => Attempt::Lost(dial::reason(&error)),
        }
    }

    fn exchange(
        &self,
        at: usize,
        request: Request<'_>,
        connect: Duration,
        patience: Duration,
    ) -> Result<Reply, ureq::Error> {
        let patience = Patience { connect, head: None, body: None, whole: patience.max(LEAST_PATIENCE) };
        let mut response = self.send(at, request, patience)?;
        let body = read_body(&mut response)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, body, cut: false })
    }

    fn send(
        &self,
        at: usize,
        request: Request<'_>,
        patience: Patience,
    ) -> Result<Response<Body>, ureq::Error> {
        let url = format!("{}{}", self.endpoints[at], request.target);
        let connect = self.timeouts.connect.min(patience.connect);
        macro_rules! prepared {
            ($builder:expr) => {{
                let builder = $builder
                    .config()
                    .timeout_resolve(Some(connect))
                    .timeout_connect(Some(connect))
                    .timeout_recv_response(patience.head)
                    .timeout_recv_body(patience.body)
                    .timeout_global(Some(patience.whole))
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

fn read_body(response: &mut Response<Body>) -> Result<Vec<u8>, ureq::Error> {
    response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec()
}
