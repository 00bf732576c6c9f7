//! Calls through etcd's JSON gateway, each with a token that is good, or made good once more.

use std::cell::Cell;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::BodyReader;

use super::answer::{Done, Said, is_json, judge};
use super::session::{Pass, Session};
use crate::remote::wire::{Failure, Method, Reply, Request, Verdict, Wire};
use crate::remote::{Credentials, InvalidReach, Reach, Tls};
use crate::{ClientAccess, Deadline};

/// How often a call that found its token stale is sent anew. Users that are made while it runs can age a token twice.
const RENEWALS: usize = 2;

pub(super) struct Gateway {
    pub wire: Wire,
    pub session: Session,
    pub tls: Option<Tls>,
}

impl Gateway {
    pub(super) fn new(reach: &Reach, credentials: Option<Credentials>) -> Result<Self, InvalidReach> {
        Ok(Self { wire: Wire::new(reach)?, session: Session::new(credentials), tls: reach.tls.clone() })
    }

    /// What another program needs in order to get in as this user.
    pub(super) fn client_access(&self, who: Option<&Credentials>) -> ClientAccess {
        ClientAccess {
            engine: "etcd3",
            endpoints: self.wire.endpoints().to_vec(),
            username: who.map(|who| who.username.clone()),
            password: who.map(|who| who.password.clone()),
            tls: self.tls.clone(),
            session_node: None,
        }
    }

    /// Asks for what may be asked for twice.
    pub(super) fn read<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<Said<T>, String> {
        let body = body.to_string();
        let asked = self.with_pass(|pass| {
            send(pass, path, &body, |request| self.wire.read(request, judge)).map_err(Failure::NothingDone)
        });
        asked.map_err(|failure| match failure {
            Failure::NothingDone(reason) => reason,
            Failure::Unknown => "no answer came".to_owned(),
        })
    }

    /// Sends what is never sent again once it may have arrived; only etcd's own word that it did nothing allows that.
    pub(super) fn write<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<Said<T>, Failure> {
        let body = body.to_string();
        self.with_pass(|pass| send(pass, path, &body, |request| self.wire.write(request, judge)))
    }

    fn with_pass<T>(
        &self,
        mut call: impl FnMut(&Pass) -> Result<Said<T>, Failure>,
    ) -> Result<Said<T>, Failure> {
        let deadline = Deadline::after(self.wire.timeouts().total);
        let mut pass = self.session.pass(&self.wire, None).map_err(Failure::NothingDone)?;
        let mut call = |pass: &Pass| call(pass).inspect_err(|_| self.session.doubt(pass));
        for _ in 0..RENEWALS {
            match call(&pass)? {
                Said::Refused(refusal) if self.stale(refusal.may_be_the_token(), deadline) => {
                    pass = self.session.pass(&self.wire, Some(&pass)).map_err(Failure::NothingDone)?;
                }
                said => return Ok(said),
            }
        }
        call(&pass)
    }

    fn stale(&self, may_be: bool, deadline: Deadline) -> bool {
        may_be && self.session.credentials().is_some() && !deadline.has_passed()
    }

    /// Opens an answer that goes on, for at most `within`. Gives the pass with it: whether that was good shows in the
    /// answer's first words.
    pub(super) fn stream(
        &self,
        path: &str,
        body: &Value,
        within: Duration,
        stale: Option<&Pass>,
    ) -> Result<(BodyReader<'static>, Pass), Unopened> {
        let body = body.to_string();
        let pass = self.session.pass(&self.wire, stale).map_err(Unopened::Failed)?;
        let refused = Cell::new(false);
        let judge = |reply: &Reply| match judge::<Done>(reply) {
            // The body of an answer that goes on is not here yet.
            _ if reply.status == 200 && is_json(reply) => Verdict::Said(()),
            Verdict::Said(Said::Refused(refusal)) => {
                refused.set(refused.get() || refusal.may_be_the_token());
                Verdict::Refused(refusal.reason())
            }
            Verdict::Said(Said::Done(_)) => Verdict::Refused(reply.outline()),
            Verdict::Troubled(reason) => Verdict::Troubled(reason),
            Verdict::Refused(reason) => Verdict::Refused(reason),
        };
        let opened = send(&pass, path, &body, |request| self.wire.stream(request, within, judge));
        match opened {
            Ok(reader) => Ok((reader, pass)),
            Err(reason) if refused.get() => Err(Unopened::Stale(pass, reason)),
            Err(reason) => {
                self.session.doubt(&pass);
                Err(Unopened::Failed(reason))
            }
        }
    }
}

/// Why an answer that goes on did not begin.
pub(super) enum Unopened {
    /// The pass may have been at fault.
    Stale(Pass, String),
    Failed(String),
}

/// A request with its pass. A member without a leader ends its streams, instead of keeping them silent.
pub(super) fn send<T>(pass: &Pass, path: &str, body: &str, send: impl FnOnce(Request<'_>) -> T) -> T {
    let mut headers = vec![("Content-Type", "application/json"), ("Grpc-Metadata-Hasleader", "true")];
    if let Some(token) = pass.token() {
        headers.push(("Authorization", token));
    }
    send(Request { method: Method::Post, target: path, headers: &headers, body: body.as_bytes() })
}
