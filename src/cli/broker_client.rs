//! Asks a running broker over HTTP, for the commands that change something: nothing but a broker may.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use storage::remote::Tls;
use ureq::Agent;
use ureq::http::Request;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};

use super::Failure;
use super::broker_uri::BrokerUri;
use crate::model::Secret;

/// To reach the broker.
const CONNECT: Duration = Duration::from_secs(10);
/// For an answer that waits for nothing but the store and cells.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// For one that waits for clusters.
pub(super) const LATER: Duration = Duration::from_secs(300);
/// How often is looked how something stands.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a broker that is being looked at may be away: one that restarts goes on with what it did.
const AWAY: Duration = Duration::from_secs(120);
/// The version of the specification that is spoken.
const VERSION: &str = "2.17";
const LARGEST_ANSWER: u64 = 64 << 20;

/// A broker that can be asked.
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: Secret,
}

/// What it answers.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Client {
    /// A client of the broker that is named, by this user; nobody is called yet.
    pub(super) fn new(
        broker: Option<&str>,
        cacert: Option<&Path>,
        config: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let BrokerUri { base, user, password } = BrokerUri::find(broker, config)?;
        let ca = cacert.map(|file| {
            let read = std::fs::read_to_string(file);
            read.map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", file.display())))
        });
        let tls = Tls { ca: ca.transpose()?, client: None };
        let tls = tls.config().map_err(|error| Failure::Failed(format!("--cacert: {error}")))?;
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .max_redirects(0)
            .build();
        let who = STANDARD.encode(format!("{user}:{}", password.expose()));
        Ok(Self {
            agent: Agent::new_with_config(config),
            base,
            authorization: Secret::new(format!("Basic {who}")),
        })
    }

    /// Asks once. Every path begins with a slash and is made of checked ids.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Reply, Failure> {
        let failed = |reason: String| Failure::Failed(format!("{}: {reason}", self.base));
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.expose())
            .header("X-Broker-API-Version", VERSION);
        let answer = match body {
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string())
                .map_err(ureq::Error::from)
                .and_then(|request| self.run(request, patience)),
            None => {
                request.body(()).map_err(ureq::Error::from).and_then(|request| self.run(request, patience))
            }
        };
        let mut answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
        let text = text.map_err(|error| failed(format!("the answer broke off: {error}")))?;
        // Who stands between says what he says in words of his own.
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Reply { status, body })
    }

    fn run(
        &self,
        request: Request<impl ureq::AsSendBody>,
        patience: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        self.agent.run(self.agent.configure_request(request).timeout_global(Some(patience)).build())
    }

    /// The body of an answer that is one of these.
    pub(super) fn expect(
        &self,
        statuses: &[u16],
        method: &str,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Reply, Failure> {
        let reply = self.ask(method, path, body, patience)?;
        if statuses.contains(&reply.status) { Ok(reply) } else { Err(self.refusal(&reply)) }
    }

    /// Looks again and again until `look` has found something. A broker that is away for a while is waited for, since what
    /// it does is resumed; after `until` it goes on alone.
    pub(super) fn poll<T>(
        &self,
        path: &str,
        until: Instant,
        mut look: impl FnMut(&Reply) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut away_since = None;
        loop {
            let trouble = match self.ask("GET", path, None, SOON) {
                Ok(reply) if reply.status < 500 => {
                    away_since = None;
                    if let Some(found) = look(&reply)? {
                        return Ok(found);
                    }
                    None
                }
                Ok(reply) => Some(self.refusal(&reply)),
                Err(trouble) => Some(trouble),
            };
            if let Some(trouble) = trouble {
                let since = *away_since.get_or_insert_with(|| {
                    if let Failure::Failed(reason) = &trouble {
                        eprintln!("{reason}; trying again");
                    }
                    Instant::now()
                });
                if since.elapsed() > AWAY {
                    return Err(trouble);
                }
            }
            if Instant::now() >= until {
                let reason = "the time that was given is over; it goes on, and can be looked at";
                return Err(Failure::Failed(reason.to_owned()));
            }
            std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// What is told of an answer that is not what was asked for.
    pub(super) fn refusal(&self, reply: &Reply) -> Failure {
        match (reply.body["description"].as_str(), reply.status) {
            (Some(description), _) if !description.is_empty() => Failure::Failed(description.to_owned()),
            (_, 410) => Failure::Failed("there is no such service instance".to_owned()),
            (_, status) => Failure::Failed(format!("{}: it answers {status}", self.base)),
        }
    }
}
