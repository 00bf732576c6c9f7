//! Answers: etcd's JSON and headers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::super::change::{Action, Event, Node};
use super::super::read::Tree;
pub(super) use super::error::ApiError;
use crate::{Clock, Key};

/// An answer, whichever door it goes out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Reply {
    pub(super) fn text(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("Content-Type", "text/plain; charset=utf-8".to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// As Go's `http.Error`.
    pub(super) fn refusal(status: u16, body: &str) -> Self {
        let reply = Self::text(status, format!("{body}\n"));
        reply.with("X-Content-Type-Options", "nosniff".to_owned())
    }

    /// None but these methods, by commas.
    pub(super) fn only(methods: &'static str) -> Self {
        Self::refusal(405, "Method Not Allowed").with("Allow", methods.to_owned())
    }

    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        let mut reply = Self::json_without_newline(status, body);
        reply.body.push('\n');
        reply
    }

    pub(super) fn json_without_newline(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("strings, numbers and lists always serialise");
        Self { status, headers: vec![("Content-Type", "application/json".to_owned())], body }
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Bytes as JSON can hold them: each that is no text becomes a replacement character, as in Go.
pub(super) fn as_text(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// The body of every success.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_node: Option<NodeBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeBody {
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dir: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    ttl: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeBody>,
    #[serde(skip_serializing_if = "is_zero")]
    modified_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    created_index: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Body {
    pub(super) fn get(tree: Tree, clock: &dyn Clock) -> Self {
        Self { action: "get", node: Some(NodeBody::tree(tree, Moment::now(clock))), prev_node: None }
    }

    /// A change, with TTLs as they were when it was made.
    pub(super) fn event(event: Event, clock: &dyn Clock) -> Self {
        let moment = Moment { at: event.at, ..Moment::now(clock) };
        let node = Some(NodeBody::node(event.node, moment));
        let prev_node = event.previous.map(|node| NodeBody::node(node, moment));
        Self { action: event.action.name(), node, prev_node }
    }

    /// That a change was made, and nothing of what was changed.
    pub(super) fn bare(action: Action) -> Self {
        Self { action: action.name(), node: None, prev_node: None }
    }
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Create => "create",
            Self::Update => "update",
            Self::CompareAndSwap => "compareAndSwap",
            Self::Delete => "delete",
            Self::CompareAndDelete => "compareAndDelete",
            Self::Expire => "expire",
        }
    }
}

/// What a TTL is reckoned from.
#[derive(Clone, Copy)]
struct Moment {
    /// Whose rest is told.
    at: Instant,
    now: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now(clock: &dyn Clock) -> Self {
        let now = clock.now();
        Self { at: now, now, wall: clock.wall() }
    }

    /// The date of `then`.
    fn date(self, then: Instant) -> String {
        let ahead = then.saturating_duration_since(self.now);
        let behind = self.now.saturating_duration_since(then);
        rfc3339(self.wall + ahead - behind)
    }
}

impl NodeBody {
    fn tree(tree: Tree, moment: Moment) -> Self {
        let mut body = Self::node(
            Node {
                is_dir: tree.record.is_dir(),
                key: tree.key,
                value: tree.record.value,
                created: tree.record.created,
                modified: tree.record.modified,
                expires: tree.expires,
            },
            moment,
        );
        body.nodes = tree.children.into_iter().map(|child| Self::tree(child, moment)).collect();
        body
    }

    fn node(node: Node, moment: Moment) -> Self {
        let left = node.expires.map(|then| then.saturating_duration_since(moment.at));
        Self {
            key: if node.key == Key::root() { String::new() } else { node.key.to_string() },
            value: node.value.map(|bytes| as_text(&bytes)),
            dir: node.is_dir,
            expiration: node.expires.map(|then| moment.date(then)),
            ttl: left.map_or(0, |left| left.as_secs() + u64::from(left.subsec_nanos() > 0)),
            nodes: Vec::new(),
            modified_index: node.modified,
            created_index: node.created,
        }
    }
}

/// A moment as `2026-11-21T04:47:48.872623870Z`.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Counts from 1 March of the year 0, so that leap days come last: an era is 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year_of_era + next_year;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::rfc3339;

    #[test]
    fn moments_are_written_as_dates() {
        let check = |seconds, expected: &str| {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        };
        check(0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_400, "2000-02-29T00:00:00.000000000Z");
        check(1_709_251_199, "2024-02-29T23:59:59.000000000Z");
        check(4_107_542_400, "2100-03-01T00:00:00.000000000Z");
    }
}
