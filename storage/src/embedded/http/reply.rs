//! Answers: etcd's JSON, headers and error codes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::super::change::{Action, Event, Node, Refusal};
use super::super::read::{Missing, Tree};
use crate::{Clock, Key, StoreError};

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

    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        let mut body = serde_json::to_string(body).expect("strings, numbers and lists always serialise");
        body.push('\n');
        Self { status, headers: vec![("Content-Type", "application/json".to_owned())], body }
    }
}

/// An error as etcd words it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiError {
    error_code: u16,
    message: &'static str,
    cause: String,
    /// The store's index, or 0, as in etcd, where the request was not even understood.
    pub(super) index: u64,
}

impl ApiError {
    fn new(error_code: u16, message: &'static str, cause: String, index: u64) -> Self {
        Self { error_code, message, cause, index }
    }

    pub(super) fn invalid_field(cause: String) -> Self {
        Self::new(209, "Invalid field", cause, 0)
    }

    pub(super) fn bad_index(cause: String) -> Self {
        Self::new(203, "The given index in POST form is not a number", cause, 0)
    }

    pub(super) fn bad_ttl() -> Self {
        Self::new(
            202,
            "The given TTL in POST form is not a number",
            "invalid value for \"ttl\"".to_owned(),
            0,
        )
    }

    pub(super) fn empty_prev_value() -> Self {
        Self::new(201, "PrevValue is Required in POST form", "\"prevValue\" cannot be empty".to_owned(), 0)
    }

    pub(super) fn value_on_refresh() -> Self {
        Self::new(211, "Value provided on refresh", "A value was provided on a refresh".to_owned(), 0)
    }

    pub(super) fn refresh_without_ttl() -> Self {
        Self::new(212, "A TTL must be provided on refresh", "No TTL value set".to_owned(), 0)
    }

    pub(super) fn unauthorized() -> Self {
        let message = "The request requires user authentication";
        Self::new(110, message, "Insufficient credentials".to_owned(), 0)
    }

    pub(super) fn cleared(oldest: u64, asked: u64, index: u64) -> Self {
        let cause = format!("the requested history has been cleared [{oldest}/{asked}]");
        Self::new(401, "The event in requested index is outdated and cleared", cause, index)
    }

    pub(super) fn refused(key: &Key, refusal: Refusal, index: u64) -> Self {
        let at = key.to_string();
        match refusal {
            Refusal::NotFound { at } => Self::new(100, "Key not found", at, index),
            Refusal::CompareFailed { found } => Self::new(101, "Compare failed", found, index),
            Refusal::NotAFile => Self::new(102, "Not a file", at, index),
            Refusal::NotADirectory { at } => Self::new(104, "Not a directory", at, index),
            Refusal::Exists => Self::new(105, "Key already exists", at, index),
            Refusal::RootIsReadOnly => Self::new(107, "Root is read only", "/".to_owned(), index),
            Refusal::NotEmpty => Self::new(108, "Directory not empty", at, index),
        }
    }

    pub(super) fn missing(missing: Missing, index: u64) -> Self {
        match missing {
            Missing::Nothing { at } => Self::new(100, "Key not found", at, index),
            Missing::BehindFile { at } => Self::new(104, "Not a directory", at, index),
        }
    }

    /// The store failed. Patroni tries again on this code; the cause names no file.
    pub(super) fn store(error: &StoreError, index: u64) -> Self {
        log::error!("the embedded store's API: {error}");
        let cause = match error {
            StoreError::OutcomeUnknown { .. } => "the outcome of the request is unknown",
            _ => "the store is unavailable",
        };
        Self::new(300, "Raft Internal Error", cause.to_owned(), index)
    }

    fn status(&self) -> u16 {
        match self.error_code {
            100 => 404,
            101 | 105 => 412,
            102 | 108 => 403,
            110 => 401,
            300 => 500,
            _ => 400,
        }
    }

    pub(super) fn into_reply(self) -> Reply {
        Reply::json(self.status(), &self)
    }
}

/// The body of every success.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    action: &'static str,
    node: NodeBody,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
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
        Self { action: "get", node: NodeBody::tree(tree, clock), prev_node: None }
    }

    pub(super) fn event(event: Event, clock: &dyn Clock) -> Self {
        let action = match event.action {
            Action::Set => "set",
            Action::Create => "create",
            Action::Update => "update",
            Action::CompareAndSwap => "compareAndSwap",
            Action::Delete => "delete",
            Action::CompareAndDelete => "compareAndDelete",
            Action::Expire => "expire",
        };
        let node = NodeBody::node(event.node, clock);
        Self { action, node, prev_node: event.previous.map(|node| NodeBody::node(node, clock)) }
    }
}

impl NodeBody {
    fn tree(tree: Tree, clock: &dyn Clock) -> Self {
        let is_root = tree.key == Key::root();
        let mut body = Self::node(
            Node {
                is_dir: tree.record.is_dir(),
                key: tree.key,
                value: tree.record.value,
                created: tree.record.created,
                modified: tree.record.modified,
                expires: tree.expires,
            },
            clock,
        );
        if is_root {
            body.key.clear();
        }
        body.nodes = tree.children.into_iter().map(|child| Self::tree(child, clock)).collect();
        body
    }

    fn node(node: Node, clock: &dyn Clock) -> Self {
        let left = node.expires.map(|at: Instant| at.saturating_duration_since(clock.now()));
        Self {
            key: node.key.to_string(),
            // JSON holds text only; etcd, too, shows other bytes as replacement characters.
            value: node.value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            dir: node.is_dir,
            expiration: left.map(|left| rfc3339(clock.wall() + left)),
            ttl: left.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0)),
            nodes: Vec::new(),
            modified_index: node.modified,
            created_index: node.created,
        }
    }
}

/// A moment as `2026-11-21T04:47:48.872623870Z`.
fn rfc3339(at: SystemTime) -> String {
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
