//! Whether an etcd can be used, told so that an operator knows what to do.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::{
    Header, INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED, Refusal, Said, Txn, UNAUTHENTICATED,
    judge,
};
use super::gateway::{Gateway, send};
use super::range::{Range, encoded};
use super::session::{AUTHENTICATE, Authenticated, Entrance, Pass, entrance, shown};
use super::{EtcdV3, RANGE, TXN, answer};
use crate::Key;
use crate::remote::survey::survey;
use crate::remote::wire::{Method, NoAnswer, Reply, Request, Verdict};
use crate::remote::{Credentials, Unusable};

/// Asked of any member, it answers by itself, whoever asks.
const STATUS: &str = "/v3/maintenance/status";

/// What a member says of itself.
#[derive(Deserialize)]
struct Status {
    #[serde(rename = "header")]
    _header: Header,
    #[serde(default)]
    leader: Leader,
}

/// The number of the member that leads, as text; 0 or nothing if none does.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Leader {
    Text(String),
    Number(u64),
    #[default]
    None,
}

/// What `/version` says.
#[derive(Deserialize)]
struct Version {
    etcdserver: String,
    etcdcluster: String,
}

impl EtcdV3 {
    /// Makes sure that an endpoint answers, serves the JSON gateway, has a leader and a quorum, lets us in, and lets us
    /// read and write everything under `/`. One such endpoint is enough; of the others the log warns, as it does of an
    /// etcd that has no space for writes. Leaves nothing behind. Takes a few times the time for a call at most.
    ///
    /// # Errors
    /// [`Unusable`] says which of these is not so.
    pub fn check(&self) -> Result<(), Unusable> {
        let wire = &self.gateway.wire;
        let usable = survey(wire.endpoints(), |at| Endpoint { gateway: &self.gateway, at }.store())?;
        wire.prefer(usable);
        Ok(())
    }
}

/// One endpoint, asked by itself.
pub(super) struct Endpoint<'a> {
    pub gateway: &'a Gateway,
    pub at: usize,
}

impl Endpoint<'_> {
    fn store(&self) -> Result<(), Unusable> {
        self.status()?;
        let pass = match self.gateway.session.credentials() {
            None => Pass::none(),
            Some(credentials) => self.enter(credentials)?.unwrap_or_else(|| {
                log::warn!("etcd asks nobody for a password: its authentication is off");
                Pass::none()
            }),
        };
        let all = Range::under(&Key::root());
        let read = all.with(json!({"keys_only": true, "limit": "1"}));
        self.ask::<answer::Range>(&pass, RANGE, &read, "to read everything under /")?;
        match self.ask::<Txn>(&pass, TXN, &never(), "to write everywhere under /") {
            // It has just been read, so what it does not serve is writes alone, for want of space. Whoever has to see to
            // that must be able to read and delete.
            Err(full @ Unusable::NotServed { .. }) => {
                log::warn!("etcd can only be read and deleted from: {full}");
                Ok(())
            }
            written => written.map(drop),
        }
    }

    /// Makes sure that this is an etcd which serves the gateway and has a leader.
    pub(super) fn status(&self) -> Result<(), Unusable> {
        let reply = match self.send(&Pass::none(), STATUS, &json!({})) {
            Ok(reply) => reply,
            Err(NoAnswer { not_let_in: true, reason }) => return Err(Unusable::NotLetIn { reasons: reason }),
            // Who is not let in may have been cut off before he could read why; less to send makes that less likely.
            Err(NoAnswer { reason, .. }) => {
                return Err(match self.page("/version") {
                    Err(NoAnswer { not_let_in: true, reason }) => Unusable::NotLetIn { reasons: reason },
                    _ => Unusable::NobodyAnswers { reasons: reason },
                });
            }
        };
        match judge::<Status>(&reply) {
            Verdict::Said(Said::Done(Status { leader, .. })) if leader.is_none() => {
                Err(Unusable::NoQuorum { reasons: "it says that it has no leader".to_owned() })
            }
            // Where it does not tell everybody, the next questions will show.
            Verdict::Said(_) => Ok(()),
            Verdict::Troubled(_) | Verdict::Refused(_) => Err(self.diagnose(&reply)),
        }
    }

    /// Shows a user and password. None if nobody is asked for them.
    pub(super) fn enter(&self, credentials: &Credentials) -> Result<Option<Pass>, Unusable> {
        let body = shown(credentials);
        let asked = send(&Pass::none(), AUTHENTICATE, &body, |request| {
            self.gateway.wire.ask(self.at, request, self.patience())
        });
        let reply = asked.map_err(no_quorum)?;
        let said = match judge::<Authenticated>(&reply) {
            Verdict::Said(said) => said,
            Verdict::Troubled(reasons) => return Err(Unusable::NoQuorum { reasons }),
            Verdict::Refused(_) => return Err(self.diagnose(&reply)),
        };
        match entrance(said) {
            Entrance::Token(token) => Ok(Some(Pass::of(token))),
            Entrance::Open => Ok(None),
            Entrance::Denied => {
                Err(Unusable::NotLetIn { reasons: "the user or the password is wrong".to_owned() })
            }
            Entrance::Trouble(reasons) => Err(Unusable::NoQuorum { reasons }),
        }
    }

    /// Asks for what needs a permission.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        pass: &Pass,
        path: &str,
        body: &Value,
        may: &str,
    ) -> Result<T, Unusable> {
        let reply = self.send(pass, path, body).map_err(no_quorum)?;
        match judge::<T>(&reply) {
            Verdict::Said(Said::Done(done)) => Ok(done),
            Verdict::Said(Said::Refused(refusal)) => Err(self.refused(&refusal, may)),
            Verdict::Troubled(reasons) => Err(Unusable::NoQuorum { reasons }),
            Verdict::Refused(_) => Err(self.diagnose(&reply)),
        }
    }

    fn refused(&self, refusal: &Refusal, may: &str) -> Unusable {
        let reasons = refusal.reason();
        match refusal.code {
            PERMISSION_DENIED => Unusable::NoPermission { what: may.to_owned(), reasons },
            UNAUTHENTICATED | INVALID_ARGUMENT if self.gateway.session.credentials().is_none() => {
                let why = "it asks for a user and password, and none are given";
                Unusable::NotLetIn { reasons: format!("{reasons}: {why}") }
            }
            UNAUTHENTICATED | INVALID_ARGUMENT => Unusable::NotLetIn { reasons },
            RESOURCE_EXHAUSTED => Unusable::NotServed {
                what: "writes: its space is used up; compact and defragment it, and disarm its alarm",
                reasons,
            },
            _ => Unusable::NoQuorum { reasons },
        }
    }

    fn send(&self, pass: &Pass, path: &str, body: &Value) -> Result<Reply, NoAnswer> {
        let body = body.to_string();
        send(pass, path, &body, |request| self.gateway.wire.ask(self.at, request, self.patience()))
    }

    fn patience(&self) -> Duration {
        self.gateway.wire.timeouts().total / 2
    }

    /// What stands behind an answer that is not of the gateway.
    fn diagnose(&self, reply: &Reply) -> Unusable {
        let reasons = format!("it answers {}", reply.outline());
        let Some(version) = self.version() else {
            return Unusable::AnotherServer { expected: "etcd", reasons };
        };
        if reply.status >= 500 {
            return Unusable::NoQuorum { reasons };
        }
        if reply.status == 400 && self.gateway.tls.as_ref().is_some_and(|tls| tls.client.is_some()) {
            let why = "where it has users, it takes no client certificate with a common name (CN)";
            return Unusable::NotLetIn { reasons: format!("{reasons}: {why}") };
        }
        Unusable::NotServed {
            what: "etcd's v3 JSON gateway: that takes etcd 3.4 or newer, not started with \
                   --enable-grpc-gateway=false",
            reasons: format!("it is etcd {}", version.etcdserver),
        }
    }

    fn page(&self, path: &str) -> Result<Reply, NoAnswer> {
        let request = Request { method: Method::Get, target: path, headers: &[], body: &[] };
        self.gateway.wire.ask(self.at, request, self.patience())
    }

    fn version(&self) -> Option<Version> {
        let reply = self.page("/version").ok()?;
        let version = serde_json::from_slice::<Version>(&reply.body).ok()?;
        // Strangers with a field of that name are not etcd.
        let is_number = version.etcdserver.starts_with(|first: char| first.is_ascii_digit());
        (is_number && !version.etcdcluster.is_empty()).then_some(version)
    }
}

impl Leader {
    fn is_none(&self) -> bool {
        match self {
            Self::Text(text) => text.parse() == Ok(0),
            Self::Number(number) => *number == 0,
            Self::None => true,
        }
    }
}

/// A write which never happens, to keys all over the store: permissions are looked at first.
fn never() -> Value {
    let keys = ["/!", "/broker/check", "/service/check/state", "/~"];
    let put = |key: &str| json!({"request_put": {"key": encoded(key.as_bytes()), "value": ""}});
    let last_of_all = i64::MAX.to_string();
    let compare = Range { key: b"/broker/check".to_vec(), end: Vec::new() }
        .with(json!({"target": "MOD", "result": "EQUAL", "mod_revision": last_of_all}));
    json!({"compare": [compare], "success": keys.map(put)})
}

/// An etcd that tells its status and nothing else.
fn no_quorum(silence: NoAnswer) -> Unusable {
    if silence.not_let_in {
        return Unusable::NotLetIn { reasons: silence.reason };
    }
    Unusable::NoQuorum { reasons: format!("it answers only for itself: {}", silence.reason) }
}
