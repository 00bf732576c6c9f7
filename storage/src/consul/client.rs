//! Requests to Consul: the token in its header, reads that every agent answers alike. Knows no meaning of a write.

use serde_json::Value;

use super::answer::{self, RawEntry, Reading, Written};
use super::token::Token;
use super::{ENGINE, name, target, tree, unavailable};
use crate::remote::wire::{Failure, Method, NoAnswer, Reply, Request, Verdict, Wire};
use crate::remote::{InvalidReach, LONGEST_WAIT, Reach, Timeouts, Tls};
use crate::{ClientAccess, Deadline, Key, StoreError};

pub(super) struct Client {
    wire: Wire,
    token: Option<Token>,
    tls: Option<Tls>,
}

impl Client {
    pub(super) fn connect(reach: &Reach, token: Option<Token>) -> Result<Self, InvalidReach> {
        Ok(Self { wire: Wire::new(reach)?, token, tls: reach.tls.clone() })
    }

    pub(super) fn endpoints(&self) -> &[String] {
        self.wire.endpoints()
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.wire.timeouts()
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(super) fn access(&self, session_node: Option<String>) -> ClientAccess {
        ClientAccess {
            engine: ENGINE,
            endpoints: self.wire.endpoints().to_vec(),
            username: None,
            password: self.token.as_ref().map(|token| token.expose().to_owned()),
            tls: self.tls.clone(),
            session_node,
        }
    }

    /// What stands at this very name.
    pub(super) fn entry(&self, key: &Key) -> Result<Option<RawEntry>, StoreError> {
        let shown = shown(key);
        let found = if shown == *key {
            self.kv(&target(name(key), "consistent"))?.entries()?
        } else {
            self.tree(&shown)?.1
        };
        Ok(found.into_iter().find(|raw| raw.key().as_ref() == Some(key)))
    }

    /// Everything whose name begins with `prefix/`, and the index at which that last changed. It may be more than that:
    /// see [`shown`].
    pub(super) fn tree(&self, prefix: &Key) -> Result<(u64, Vec<RawEntry>), StoreError> {
        let reading = self.kv(&target(&tree(&shown(prefix)), "recurse&consistent"))?;
        Ok((reading.index, reading.entries()?))
    }

    /// Asks for something under `/v1/kv`.
    pub(super) fn kv(&self, target: &str) -> Result<Reading, StoreError> {
        self.ask(Method::Get, target, &Value::Null, |reply| answer::reading(reply, &self.words(reply)))
            .map_err(unavailable)
    }

    /// Waits until the index of what is under `prefix/` has gone beyond `index`, or for about as long as told; gives
    /// the index then. What comes over the wire is names of one level, not values.
    pub(super) fn wait(&self, prefix: &Key, index: u64, deadline: Deadline) -> Result<u64, StoreError> {
        // Consul adds up to a sixteenth, so that not all watchers come back at once.
        let wait = (deadline.remaining().min(LONGEST_WAIT) * 16 / 17).as_millis().max(1);
        let query = format!("keys&separator=/&consistent&index={index}&wait={wait}ms");
        let (target, headers) = (target(&tree(&shown(prefix)), &query), self.headers(&Value::Null));
        let request = Request { method: Method::Get, target: &target, headers: &headers, body: b"" };
        let patience = self.wire.head_patience();
        self.wire
            .wait(request, deadline.remaining().min(LONGEST_WAIT) + patience, patience, |reply| {
                if reply.cut {
                    return Verdict::Troubled("the answer stopped before its end".to_owned());
                }
                answer::reading(reply, &self.words(reply))
            })
            .map(|reading| reading.index)
            .map_err(unavailable)
    }

    /// Asks one agent after the other until one gives its word; so only what may be done twice.
    pub(super) fn ask<A>(
        &self,
        method: Method,
        target: &str,
        body: &Value,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Result<A, String> {
        let (headers, body) = (self.headers(body), bytes(body));
        self.wire.read(Request { method, target, headers: &headers, body: &body }, judge)
    }

    /// Asks this one agent, whatever it answers; only what may be done twice.
    pub(super) fn ask_at(
        &self,
        at: usize,
        method: Method,
        target: &str,
        body: &Value,
    ) -> Result<Reply, NoAnswer> {
        let (headers, body) = (self.headers(body), bytes(body));
        let request = Request { method, target, headers: &headers, body: &body };
        self.wire.ask(at, request, self.wire.timeouts().total)
    }

    /// Who is asked first from now on.
    pub(super) fn prefer(&self, at: usize) {
        self.wire.prefer(at);
    }

    /// Sends once what must not be done twice.
    pub(super) fn send<A>(
        &self,
        method: Method,
        target: &str,
        body: &Value,
        judge: impl Fn(&Reply) -> Verdict<A>,
    ) -> Result<A, Failure> {
        let (headers, body) = (self.headers(body), bytes(body));
        self.wire.write(Request { method, target, headers: &headers, body: &body }, judge)
    }

    /// Sends one transaction, once.
    pub(super) fn transaction(&self, key: &Key, operations: &Value) -> Result<Written, StoreError> {
        let sent =
            self.send(Method::Put, "/v1/txn", operations, |reply| answer::written(reply, &self.words(reply)));
        sent.map_err(|failure| failed(failure, key))
    }

    /// What Consul says of an error, in its own words, for people; nothing of a page, and nothing that has our token in
    /// it.
    pub(super) fn words(&self, reply: &Reply) -> String {
        let plain = reply.header("Content-Type").is_some_and(|kind| kind.starts_with("text/plain"));
        let text = String::from_utf8_lossy(&reply.body);
        let line = text.lines().next().unwrap_or_default();
        let secret = self.token.as_ref().is_some_and(|token| text.contains(token.expose()));
        if reply.status < 400 || !plain || secret || line.is_empty() {
            return reply.outline();
        }
        let shown: String = line.chars().filter(|shown| !shown.is_control()).take(120).collect();
        format!("{}: {shown}", reply.status)
    }

    fn headers(&self, body: &Value) -> Vec<(&'static str, &str)> {
        let kind = (!body.is_null()).then_some(("Content-Type", "application/json"));
        kind.into_iter().chain(self.token.iter().map(|token| ("X-Consul-Token", token.expose()))).collect()
    }
}

/// The nearest key, this one or one above it, that a URL may show. Consul refuses URLs with characters that it does not
/// know for printable, which hang on the age of its tables; in the body of a transaction it takes them all.
pub(super) fn shown(key: &Key) -> Key {
    let segments = key.segments().take_while(|segment| segment.is_ascii());
    segments.fold(Key::root(), |above, segment| above.child(segment).unwrap_or(above))
}

/// A write without an answer, for callers.
pub(super) fn failed(failure: Failure, key: &Key) -> StoreError {
    match failure {
        Failure::NothingDone(reason) => unavailable(reason),
        Failure::Unknown => StoreError::OutcomeUnknown { key: key.clone() },
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    if body.is_null() { Vec::new() } else { body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::shown;
    use crate::Key;

    #[test]
    fn only_ascii_stands_in_urls() {
        let check =
            |key: &str, expected: &str| assert_eq!(shown(&Key::parse(key).unwrap()).as_str(), expected);
        check("/", "/");
        check("/a/b c", "/a/b c");
        check("/a/\u{200b}/c", "/a");
        check("/\u{e4}", "/");
    }
}
