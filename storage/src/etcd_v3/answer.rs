//! What etcd's JSON gateway answers, read: 64-bit numbers are texts there, bytes are base64, and what is zero, false or
//! empty is left out. Whoever does not answer like this is not etcd.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Error, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

use crate::remote::wire::{Reply, Verdict};
use crate::{Key, Revision};

/// What etcd said.
pub(super) enum Said<T> {
    /// It was done, or found.
    Done(T),
    /// It was not done, for this reason.
    Refused(Refusal),
}

/// etcd's own word that nothing was done, by gRPC's codes.
pub(super) struct Refusal {
    pub code: u32,
    message: String,
}

pub(super) const INVALID_ARGUMENT: u32 = 3;
pub(super) const NOT_FOUND: u32 = 5;
pub(super) const PERMISSION_DENIED: u32 = 7;
pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
pub(super) const FAILED_PRECONDITION: u32 = 9;
pub(super) const OUT_OF_RANGE: u32 = 11;
pub(super) const UNAUTHENTICATED: u32 = 16;
const ALREADY_EXISTS: u32 = 6;
const UNIMPLEMENTED: u32 = 12;

/// Part of every answer; `cluster_id` is what tells etcd from others.
#[derive(Deserialize)]
pub(super) struct Header {
    #[serde(default)]
    pub revision: Int,
    #[serde(rename = "cluster_id")]
    _cluster_id: IgnoredAny,
}

/// An answer that says no more than that it was done.
#[derive(Deserialize)]
pub(super) struct Done {
    #[serde(rename = "header")]
    _header: Header,
}

#[derive(Deserialize)]
pub(super) struct Range {
    pub header: Header,
    #[serde(default)]
    pub kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
pub(super) struct KeyValue {
    pub key: Bytes,
    #[serde(default)]
    pub value: Bytes,
    #[serde(default)]
    pub mod_revision: Int,
    #[serde(default)]
    pub lease: Int,
}

#[derive(Deserialize)]
pub(super) struct Txn {
    pub header: Header,
    #[serde(default)]
    pub succeeded: bool,
    #[serde(default)]
    pub responses: Vec<TxnPart>,
}

/// What one operation of a transaction brought, if it was a range.
#[derive(Deserialize)]
pub(super) struct TxnPart {
    #[serde(default)]
    pub response_range: RangePart,
}

#[derive(Default, Deserialize)]
pub(super) struct RangePart {
    #[serde(default)]
    pub kvs: Vec<KeyValue>,
    #[serde(default)]
    pub count: Int,
}

/// Answers of streams come wrapped.
#[derive(Deserialize)]
pub(super) struct Streamed<T> {
    pub result: T,
}

/// A lease that was granted or kept alive; one that is gone has no TTL.
#[derive(Deserialize)]
pub(super) struct Leased {
    #[serde(rename = "header")]
    _header: Header,
    #[serde(default, rename = "TTL")]
    pub ttl: Int,
}

/// Reads an answer.
pub(super) fn judge<T: DeserializeOwned>(reply: &Reply) -> Verdict<Said<T>> {
    let refusal = || serde_json::from_slice::<Raw>(&reply.body).ok().map(Refusal::from);
    let foreign = || format!("the answer ({}) is not of etcd's JSON gateway", reply.outline());
    if reply.status == 200 {
        let error = match serde_json::from_slice::<T>(&reply.body) {
            Ok(done) => return Verdict::Said(Said::Done(done)),
            Err(error) => error,
        };
        if let Some(refusal) = refusal() {
            return sorted(refusal);
        }
        // Half an answer is one: what was asked for may have been done.
        let broken = is_json(reply) && !error.is_data();
        return if broken { Verdict::Troubled(foreign()) } else { Verdict::Refused(foreign()) };
    }
    match refusal() {
        Some(refusal) => sorted(refusal),
        None if reply.status >= 500 => Verdict::Troubled(foreign()),
        None => Verdict::Refused(foreign()),
    }
}

/// Whether the body is said to be JSON, as etcd's is.
pub(super) fn is_json(reply: &Reply) -> bool {
    reply.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json"))
}

/// Codes by which etcd says that it did nothing; after the others ("request timed out", "leader changed") it may have.
fn sorted<T>(refusal: Refusal) -> Verdict<Said<T>> {
    match refusal.code {
        INVALID_ARGUMENT | NOT_FOUND | ALREADY_EXISTS | PERMISSION_DENIED | RESOURCE_EXHAUSTED
        | FAILED_PRECONDITION | OUT_OF_RANGE | UNIMPLEMENTED | UNAUTHENTICATED => {
            Verdict::Said(Said::Refused(refusal))
        }
        _ => Verdict::Troubled(refusal.reason()),
    }
}

impl Refusal {
    /// For people.
    pub(super) fn reason(&self) -> String {
        format!("etcd answers with code {}, {}", self.code, self.message)
    }

    /// Whether a fresh token may help: this one is unknown, has expired, or is older than the last change of users and
    /// roles, which etcd says with a code that it has for mistakes as well. Nothing was done in any case.
    pub(super) fn may_be_the_token(&self) -> bool {
        matches!(self.code, UNAUTHENTICATED | INVALID_ARGUMENT)
    }
}

/// How errors come: by themselves, or in a stream; there with other names before etcd 3.6.
#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Stream { error: RawError },
    Plain(RawError),
}

#[derive(Deserialize)]
struct RawError {
    #[serde(alias = "grpc_code")]
    code: u32,
    message: String,
}

impl From<Raw> for Refusal {
    fn from(raw: Raw) -> Self {
        let (Raw::Stream { error } | Raw::Plain(error)) = raw;
        // etcd's own words are fixed; a stranger's could be what we sent, with a password in it.
        let own = error.message.strip_prefix("etcdserver: ").filter(|words| words.len() < 120);
        Self { code: error.code, message: own.unwrap_or("in words that are not etcd's").to_owned() }
    }
}

/// A 64-bit number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Int(pub i64);

impl Int {
    pub(super) fn revision(self) -> Revision {
        Revision(u64::try_from(self.0).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor)
    }
}

/// Takes a text, as the gateway writes it, or a number, as JSON could.
struct IntVisitor;

impl Visitor<'_> for IntVisitor {
    type Value = Int;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a 64-bit number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Int, E> {
        text.parse().map(Int).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Int, E> {
        Ok(Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Int, E> {
        i64::try_from(number).map(Int).map_err(E::custom)
    }
}

/// Bytes of a key or value.
#[derive(Default)]
pub(super) struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The key that these are, if it is one of ours: others' names are nobody's business here.
    pub(super) fn key(&self) -> Option<Key> {
        Key::parse(std::str::from_utf8(&self.0).ok()?).ok()
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Int, KeyValue, Leased, Streamed};

    #[test]
    fn numbers_are_texts_and_what_is_zero_is_left_out() {
        let check = |json: &str, expected: Option<i64>| {
            let read = serde_json::from_str::<Int>(json).ok();
            assert_eq!(read.map(|int| int.0), expected, "{json}");
        };
        check(r#""9223372036854775807""#, Some(i64::MAX));
        check(r#""-1""#, Some(-1));
        check("7", Some(7));
        check(r#""9223372036854775808""#, None);
        check(r#""""#, None);
        check("1.5", None);
        let found: KeyValue = serde_json::from_str(r#"{"key":"L2E=","mod_revision":"2"}"#).unwrap();
        assert_eq!((found.key.key().unwrap().as_str(), found.lease), ("/a", Int(0)));
        let gone = r#"{"result":{"header":{"cluster_id":"1"},"ID":"78"}}"#;
        assert_eq!(serde_json::from_str::<Streamed<Leased>>(gone).unwrap().result.ttl, Int(0));
    }
}
