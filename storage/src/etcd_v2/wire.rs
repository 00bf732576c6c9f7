//! Requests to etcd and what became of them. Owns connections, deadlines and the choice of the endpoint; knows that
//! bytes which may have arrived are never sent again, and nothing of keys' meaning.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ureq::http::Response;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, TcpConnector};
use ureq::{Agent, Body};

use super::Timeouts;
use super::answer::Answer;
use crate::Deadline;

/// Answers above this are not read: no listing of ours comes near.
const MAX_ANSWER_BYTES: u64 = 256 << 20;
/// No attempt is given less, even if the others have used up the time.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// One request, the same for every endpoint.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub method: Method,
    /// Path and query.
    pub target: &'a str,
    /// The form of a put, already encoded.
    pub form: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Put,
    Delete,
}

/// Why there is no answer from etcd.
pub(super) enum Failure {
    /// Not a byte of the request reached anybody, or who answered was not etcd and refused it.
    NothingDone(String),
    /// The request may have been carried out.
    Unknown,
}

/// An attempt's end.
enum Attempt {
    Answered(Answer),
    /// No connection came about.
    NotSent(String),
    /// Something came, or nothing did, after the bytes had left.
    Lost(String),
    /// Somebody answered who is not etcd, and did not fail over it.
    NotEtcd(String),
}

pub(super) struct Wire {
    agent: Agent,
    endpoints: Vec<String>,
    authorization: Option<String>,
    timeouts: Timeouts,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
}

impl Wire {
    pub(super) fn new(endpoints: Vec<String>, authorization: Option<String>, timeouts: Timeouts) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect could lead credentials and writes anywhere; etcd's v2 API does without.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(timeouts.connect))
            .user_agent("patroni-broker")
            .build();
        let agent = Agent::with_parts(config, Dialer(TcpConnector::default()), DefaultResolver::default());
        Self { agent, endpoints, authorization, timeouts, preferred: AtomicUsize::new(0) }
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Asks one endpoint after the other until one answers as etcd does.
    pub(super) fn read(&self, call: Call<'_>) -> Result<Answer, String> {
        let deadline = Deadline::after(self.timeouts.total);
        let mut reasons = Vec::new();
        for (nth, at) in self.order().enumerate() {
            let left = u32::try_from(self.endpoints.len() - nth).unwrap_or(u32::MAX);
            let patience = (deadline.remaining() / left).max(LEAST_PATIENCE);
            let reason = match self.attempt(at, call, patience) {
                Attempt::Answered(answer) if answer.status < 500 => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Attempt::Answered(answer) => answer.reason(),
                Attempt::NotSent(reason) | Attempt::Lost(reason) | Attempt::NotEtcd(reason) => reason,
            };
            reasons.push(format!("{}: {reason}", self.endpoints[at]));
        }
        Err(reasons.join("; "))
    }

    /// Sends a write. The next endpoint is tried only where certainly no byte has left.
    pub(super) fn write(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let deadline = Deadline::after(self.timeouts.total);
        let mut reasons = Vec::new();
        for at in self.order() {
            let patience = deadline.remaining().max(LEAST_PATIENCE);
            match self.attempt(at, call, patience) {
                Attempt::Answered(answer) if answer.status < 500 => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                // etcd's own "request timed out" may have been proposed to the cluster all the same.
                Attempt::Answered(answer) => {
                    log::warn!("{}: {}; the write may have landed", self.endpoints[at], answer.reason());
                    return Err(Failure::Unknown);
                }
                Attempt::Lost(reason) => {
                    log::warn!("{}: {reason}; the write may have landed", self.endpoints[at]);
                    return Err(Failure::Unknown);
                }
                Attempt::NotEtcd(reason) => return Err(Failure::NothingDone(reason)),
                Attempt::NotSent(reason) => reasons.push(format!("{}: {reason}", self.endpoints[at])),
            }
        }
        Err(Failure::NothingDone(reasons.join("; ")))
    }

    /// Waits for a change until `wait` is over; then the answer holds nothing but the index that it waited from. The head of the answer has the calls' own time to come.
    pub(super) fn wait(&self, target: &str, wait: Duration) -> Result<Answer, String> {
        let call = Call { method: Method::Get, target, form: "" };
        let mut reasons = Vec::new();
        for at in self.order() {
            let reason = match self.send(at, call, self.timeouts.total, wait) {
                Err(error) => error.to_string(),
                Ok(mut response) => {
                    let (complete, body) = match read_body(&mut response) {
                        Ok(body) => (!body.is_empty(), body),
                        Err(ureq::Error::Timeout(_)) => (false, Vec::new()),
                        Err(error) => return Err(format!("{}: {error}", self.endpoints[at])),
                    };
                    let head = Answer::head(&response);
                    match if complete { head.with_body(&body) } else { head.with_index() } {
                        Ok(answer) if answer.status < 500 => {
                            self.preferred.store(at, Ordering::Relaxed);
                            return Ok(answer);
                        }
                        Ok(answer) => answer.reason(),
                        Err(not_etcd) => not_etcd.reason,
                    }
                }
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

    fn attempt(&self, at: usize, call: Call<'_>, patience: Duration) -> Attempt {
        let deadline = Deadline::after(patience);
        let mut response = match self.send(at, call, patience, deadline.remaining()) {
            Ok(response) => response,
            Err(error) if not_sent(&error) => return Attempt::NotSent(error.to_string()),
            Err(error) => return Attempt::Lost(error.to_string()),
        };
        let head = Answer::head(&response);
        let body = match read_body(&mut response) {
            Ok(body) => body,
            Err(error) => return Attempt::Lost(error.to_string()),
        };
        let (status, from_etcd) = (head.status, head.index.is_some());
        match head.with_body(&body) {
            Ok(answer) => Attempt::Answered(answer),
            Err(not_etcd) if status >= 500 || from_etcd => Attempt::Lost(not_etcd.reason),
            Err(not_etcd) => Attempt::NotEtcd(not_etcd.reason),
        }
    }

    fn send(
        &self,
        at: usize,
        call: Call<'_>,
        head_within: Duration,
        body_within: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        let url = format!("{}{}", self.endpoints[at], call.target);
        let connect = self.timeouts.connect.min(head_within);
        macro_rules! prepared {
            ($request:expr) => {{
                let request = $request
                    .config()
                    .timeout_resolve(Some(connect))
                    .timeout_connect(Some(connect))
                    .timeout_send_request(Some(head_within))
                    .timeout_send_body(Some(head_within))
                    .timeout_recv_response(Some(head_within))
                    .timeout_recv_body(Some(body_within.max(LEAST_PATIENCE)))
                    .build();
                match &self.authorization {
                    Some(authorization) => request.header("Authorization", authorization),
                    None => request,
                }
            }};
        }
        match call.method {
            Method::Get => prepared!(self.agent.get(&url)).call(),
            Method::Delete => prepared!(self.agent.delete(&url)).call(),
            Method::Put => prepared!(self.agent.put(&url))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .send(call.form),
        }
    }
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
struct Dialer(TcpConnector);

/// No connection came about.
#[derive(Debug)]
struct NotConnected(ureq::Error);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection: {}", self.0)
    }
}

impl std::error::Error for NotConnected {}

impl Connector<()> for Dialer {
    type Out = <TcpConnector as Connector<()>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        self.0.connect(details, chained).map_err(|error| ureq::Error::Other(Box::new(NotConnected(error))))
    }
}
