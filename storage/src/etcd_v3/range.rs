//! Keys and ranges of keys, as etcd takes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::Key;

/// A single key, or all of `[key, end)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub key: Vec<u8>,
    /// Empty for a single key.
    pub end: Vec<u8>,
}

impl Range {
    /// This key alone.
    pub(super) fn one(key: &Key) -> Self {
        Self { key: key.as_str().into(), end: Vec::new() }
    }

    /// Everything under `prefix/`. What comes after `/` in the order of bytes is `0`.
    pub(super) fn under(prefix: &Key) -> Self {
        let base = prefix.as_str().trim_end_matches('/');
        Self { key: format!("{base}/").into(), end: format!("{base}0").into() }
    }

    /// The fields of a request on this range, with some more.
    pub(super) fn with(&self, more: Value) -> Value {
        let mut fields = match more {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        fields.insert("key".to_owned(), encoded(&self.key).into());
        if !self.end.is_empty() {
            fields.insert("range_end".to_owned(), encoded(&self.end).into());
        }
        Value::Object(fields)
    }
}

/// Bytes, as the gateway takes them.
pub(super) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::Range;
    use crate::Key;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let check = |prefix: &str, key: &str, end: &str| {
            let range = Range::under(&Key::parse(prefix).unwrap());
            assert_eq!((range.key.as_slice(), range.end.as_slice()), (key.as_bytes(), end.as_bytes()));
        };
        check("/s/b1", "/s/b1/", "/s/b10");
        check("/", "/", "0");
    }
}
