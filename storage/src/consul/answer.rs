//! Consul's answers, read. Whoever does not answer like this is not Consul.
//!
//! Errors are told apart by their status and, within a transaction, by the operation that failed; never by their text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::remote::wire::{Reply, Verdict};
use crate::{Entry, Key, Revision, StoreError};

/// What a question under `/v1/kv` found.
pub(crate) struct Reading {
    /// When what was asked for last changed; of what is not there, when anything did.
    pub index: u64,
    found: Value,
}

/// An entry as Consul shows it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawEntry {
    key: String,
    #[serde(default)]
    value: Option<String>,
    pub modify_index: u64,
    #[serde(default)]
    pub session: Option<String>,
}

/// What became of a transaction.
pub(crate) enum Written {
    /// All of it was done; the last operation left its entry at this index, if it left one.
    Done(Option<u64>),
    /// Nothing was done, for these operations failed.
    Failed(Vec<usize>),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transaction {
    results: Option<Vec<Value>>,
    errors: Option<Vec<Failed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    op_index: usize,
}

impl Reading {
    pub(crate) fn entries(self) -> Result<Vec<RawEntry>, StoreError> {
        match self.found {
            Value::Null => Ok(Vec::new()),
            found => serde_json::from_value(found).map_err(|_| {
                super::unavailable("the answer has the head of Consul's and not its entries: is that Consul?")
            }),
        }
    }
}

impl RawEntry {
    /// Where it stands; `None` for what is no key of ours.
    pub(crate) fn key(&self) -> Option<Key> {
        Key::parse(&format!("/{}", self.key)).ok()
    }

    pub(crate) fn into_entry(self, key: Key) -> Result<Entry, StoreError> {
        let Ok(value) = STANDARD.decode(self.value.unwrap_or_default()) else {
            return Err(super::unavailable(format!("the value of {key} did not come as base64")));
        };
        Ok(Entry { key, value, revision: Revision(self.modify_index) })
    }
}

/// Judges the answer to a question under `/v1/kv`. Consul tells of what is not there by the same head as of what is.
pub(crate) fn reading(reply: &Reply, words: &str) -> Verdict<Reading> {
    // Zero is no index: asked with it, Consul would not wait.
    let index = reply.header("X-Consul-Index").and_then(|index| index.parse::<u64>().ok());
    match (reply.status, index.map(|index| index.max(1))) {
        (200, Some(index)) => match serde_json::from_slice(&reply.body) {
            Ok(found @ Value::Array(_)) => Verdict::Said(Reading { index, found }),
            _ => Verdict::Troubled(foreign(words)),
        },
        (404, Some(index)) => Verdict::Said(Reading { index, found: Value::Null }),
        _ => refused_or_troubled(reply, words),
    }
}

/// Judges the answer to a transaction.
pub(crate) fn written(reply: &Reply, words: &str) -> Verdict<Written> {
    let read = serde_json::from_slice::<Transaction>(&reply.body).ok();
    match (reply.status, read) {
        (200, Some(Transaction { results: Some(results), .. })) => {
            let index = results.last().and_then(|result| result["KV"]["ModifyIndex"].as_u64());
            Verdict::Said(Written::Done(index))
        }
        (409, Some(Transaction { errors: Some(errors), .. })) if !errors.is_empty() => {
            Verdict::Said(Written::Failed(errors.into_iter().map(|failed| failed.op_index).collect()))
        }
        _ => refused_or_troubled(reply, words),
    }
}

/// Judges any other answer: Consul's JSON, or `Null` for what is not there.
pub(crate) fn document(reply: &Reply, words: &str) -> Verdict<Value> {
    match (reply.status, serde_json::from_slice(&reply.body)) {
        (200, Ok(found)) => Verdict::Said(found),
        (404, _) => Verdict::Said(Value::Null),
        _ => refused_or_troubled(reply, words),
    }
}

fn refused_or_troubled<A>(reply: &Reply, words: &str) -> Verdict<A> {
    let json = reply.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json"));
    match reply.status {
        401 | 403 => Verdict::Refused(format!("Consul gives no permission ({words})")),
        429 => Verdict::Refused(format!("too many requests ({words})")),
        // Also "no cluster leader", and a leader lost while it wrote.
        500.. => Verdict::Troubled(format!("Consul answers {words}")),
        // Consul stands behind it, so that it was done, and the answer is not whole.
        200..300 if json || reply.header("X-Consul-Index").is_some() => Verdict::Troubled(foreign(words)),
        _ => Verdict::Refused(foreign(words)),
    }
}

fn foreign(words: &str) -> String {
    format!("the answer ({words}) is not Consul's")
}
