//! The document that `kv export` writes and `kv import` reads: entries without revisions, times or the engine's name,
//! so that the same state gives the same bytes, whichever engine it is on. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};
use storage::{Entry, Key, MAX_VALUE_BYTES};

use super::quoted;
use crate::state::keys;

/// The one format there is so far.
const FORMAT: u64 = 1;

/// Entries that stay, under a prefix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// What all of them are under.
    pub(super) prefix: Key,
    /// None that would be written with a TTL.
    pub(super) entries: BTreeMap<Key, Vec<u8>>,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u64,
    prefix: &'a str,
    entries: Vec<WrittenEntry<'a>>,
}

#[derive(Serialize)]
struct WrittenEntry<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl Document {
    /// Of what was listed under `prefix`, everything that means something without its TTL.
    pub(super) fn of(prefix: &Key, listed: Vec<Entry>, without_patroni: bool) -> Self {
        let left_out = |key: &Key| keys::is_ephemeral(key) || (without_patroni && keys::is_of_patroni(key));
        let stays = |entry: &Entry| !left_out(&entry.key);
        let entries = listed.into_iter().filter(stays).map(|entry| (entry.key, entry.value)).collect();
        Self { prefix: prefix.clone(), entries }
    }

    /// The text, the same every time for the same entries.
    pub(super) fn to_json(&self) -> Result<String, serde_json::Error> {
        let entries = self
            .entries
            .iter()
            .map(|(key, value)| match std::str::from_utf8(value) {
                Ok(text) => WrittenEntry { key: key.as_str(), value: Some(text), value_base64: None },
                Err(_) => WrittenEntry {
                    key: key.as_str(),
                    value: None,
                    value_base64: Some(STANDARD.encode(value)),
                },
            })
            .collect();
        let written = Written { format: FORMAT, prefix: self.prefix.as_str(), entries };
        serde_json::to_string_pretty(&written).map(|text| text + "\n")
    }

    /// Reads a document, or says everything that is wrong with it. Values are never repeated.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Vec<String>> {
        // The parser's own words would quote a value of the wrong type; of bare JSON it tells the place alone.
        let parsed: Value =
            serde_json::from_slice(text).map_err(|error| vec![format!("no JSON: {error}")])?;
        let Value::Object(fields) = parsed else { return Err(vec!["no JSON object".to_owned()]) };
        let mut reader = Reader::default();
        let document = reader.document(&fields);
        if reader.problems.is_empty() { Ok(document) } else { Err(reader.problems) }
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn problem(&mut self, place: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("{place}: {what}"));
    }

    fn document(&mut self, fields: &Map<String, Value>) -> Document {
        self.only(fields, "", &["format", "prefix", "entries"]);
        if fields.get("format").and_then(Value::as_u64) != Some(FORMAT) {
            self.problem("format", format!("must be {FORMAT}: this is no export, or one of a later version"));
        }
        let prefix = match fields.get("prefix") {
            None => Key::root(),
            Some(Value::String(raw)) => Key::parse(raw).unwrap_or_else(|error| {
                self.problem("prefix", error);
                Key::root()
            }),
            Some(_) => {
                self.problem("prefix", "must be a text");
                Key::root()
            }
        };
        let mut entries = BTreeMap::new();
        let Some(Value::Array(list)) = fields.get("entries") else {
            self.problem("entries", "must be a list");
            return Document { prefix, entries };
        };
        for (index, item) in list.iter().enumerate() {
            let place = format!("entries[{index}]");
            let Some((key, value)) = self.entry(&place, item) else { continue };
            if !key.is_under(&prefix) {
                self.problem(&place, format!("{key} is not under {prefix}, as the document says"));
            } else if keys::is_ephemeral(&key) {
                let message =
                    format!("{key} is kept up by who writes it, and would stay for ever: leave it out");
                self.problem(&place, message);
            } else if entries.insert(key.clone(), value).is_some() {
                self.problem(&place, format!("{key} is there twice"));
            }
        }
        Document { prefix, entries }
    }

    fn entry(&mut self, place: &str, item: &Value) -> Option<(Key, Vec<u8>)> {
        let Value::Object(fields) = item else {
            self.problem(place, "must be an object");
            return None;
        };
        self.only(fields, place, &["key", "value", "value_base64"]);
        let Some(Value::String(raw)) = fields.get("key") else {
            self.problem(place, "needs a key, which is a text");
            return None;
        };
        let key = match Key::parse(raw) {
            Ok(key) if key == Key::root() => Err("the root holds keys and is none itself".to_owned()),
            Ok(key) => Ok(key),
            Err(error) => Err(error.to_string()),
        };
        let key = key.map_err(|error| self.problem(place, format!("{}: {error}", quoted(raw)))).ok()?;
        let value = match (fields.get("value"), fields.get("value_base64")) {
            (Some(Value::String(text)), None) => Ok(text.as_bytes().to_vec()),
            (None, Some(Value::String(text))) => {
                STANDARD.decode(text).map_err(|_| "value_base64 is no base64".to_owned())
            }
            _ => Err("needs either value or value_base64, which is a text".to_owned()),
        };
        let value = value.and_then(|value| match value.len() {
            0..=MAX_VALUE_BYTES => Ok(value),
            bytes => Err(format!(
                "the value has {bytes} bytes, and no engine is given more than {MAX_VALUE_BYTES}"
            )),
        });
        let value = value.map_err(|error| self.problem(place, format!("{key}: {error}"))).ok()?;
        Some((key, value))
    }

    fn only(&mut self, fields: &Map<String, Value>, place: &str, known: &[&str]) {
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let place = if place.is_empty() { "the document" } else { place };
            self.problem(place, format!("{} is not a field here", quoted(name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::{Entry, Key, Revision};

    use super::Document;

    fn entry(key: &str, value: &[u8]) -> Entry {
        Entry { key: Key::parse(key).unwrap(), value: value.to_vec(), revision: Revision(7) }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let listed = vec![
            entry("/service/b1/state", b"{\"a\": \"\\u00e4\"}\n"),
            entry("/service/b1/leader", b"n1"),
            entry("/service/b1/config", b""),
            entry("/other/bytes", &[0, 255, 10]),
            entry("/broker/routers/h", b"1"),
        ];
        let whole = Document::of(&Key::root(), listed.clone(), false);
        let text = whole.to_json().unwrap();
        assert!(text.starts_with("{\n  \"format\": 1,\n  \"prefix\": \"/\",\n"), "{text}");
        let keys: Vec<&str> = whole.entries.keys().map(Key::as_str).collect();
        assert_eq!(keys, ["/other/bytes", "/service/b1/config", "/service/b1/state"]);
        assert_eq!(Document::parse(text.as_bytes()), Ok(whole));
        let mut turned = listed;
        turned.reverse();
        assert_eq!(Document::of(&Key::root(), turned.clone(), false).to_json().unwrap(), text);
        let without = Document::of(&Key::root(), turned, true);
        assert_eq!(without.entries.len(), 2);
    }

    #[test]
    fn everything_that_is_wrong_is_said_and_no_value() {
        let check = |text: &str, expected: &[&str]| {
            let found = Document::parse(text.as_bytes()).err().unwrap_or_default();
            let fits = found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, begin)| found.starts_with(begin));
            assert!(fits, "{text}\n  expected {expected:#?}\n  found {found:#?}");
            assert!(!found.join("").contains("hush"), "{found:?}");
        };
        let entries = |list: &str| format!("{{\"format\": 1, \"entries\": [{list}]}}");
        check("{\"hush\"", &["no JSON: "]);
        check("[\"hush\"]", &["no JSON object"]);
        check("{}", &["format: must be 1", "entries: must be a list"]);
        check(
            "{\"format\": 2, \"prefix\": 3, \"entries\": \"hush\", \"x\": 1}",
            &[
                "the document: \"x\" is not",
                "format: must be 1",
                "prefix: must be",
                "entries: must be a list",
            ],
        );
        check(
            &entries(
                "3, {\"key\": 3}, {\"key\": \"/a\", \"value\": \"hush\", \"value_base64\": \"hush\"}, {\"key\": \"/a\"}",
            ),
            &[
                "entries[0]: must be an object",
                "entries[1]: needs a key",
                "entries[2]: /a: needs either value",
                "entries[3]: /a: needs either value",
            ],
        );
        check(
            &entries(
                "{\"key\": \"/a\", \"value\": \"\"}, {\"key\": \"/a\", \"value\": \"\", \"ttl\": 3}, \
                 {\"key\": \"/\", \"value\": \"\"}, {\"key\": \"/a/../b\", \"value\": \"\"}, \
                 {\"key\": \"/a\\u0000\", \"value\": \"\"}, {\"key\": \"/b\", \"value_base64\": \"hush!\"}",
            ),
            &[
                "entries[1]: \"ttl\" is not a field",
                "entries[1]: /a is there twice",
                "entries[2]: \"/\": the root",
                "entries[3]: \"/a/../b\": the key has a segment",
                "entries[4]: \"/a\\0\": the key has a control",
                "entries[5]: /b: value_base64 is no base64",
            ],
        );
        check(
            &entries("{\"key\": \"/broker/leases/b1\", \"value\": \"\"}"),
            &["entries[0]: /broker/leases/b1 is kept up"],
        );
        let large = "x".repeat(storage::MAX_VALUE_BYTES + 1);
        check(
            &entries(&format!("{{\"key\": \"/a\", \"value\": \"{large}\"}}")),
            &["entries[0]: /a: the value has 262145 bytes"],
        );
        check(
            "{\"format\": 1, \"prefix\": \"/a\", \"entries\": [{\"key\": \"/ab/c\", \"value\": \"\"}]}",
            &["entries[0]: /ab/c is not under /a"],
        );
    }
}
