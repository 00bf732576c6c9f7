//! Errors: etcd's codes, messages and causes, and their statuses.

use serde::Serialize;

use super::super::change::Refusal;
use super::super::read::Missing;
use super::reply::{Reply, as_text};
use crate::{Key, StoreError};

/// An error as etcd words it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiError {
    error_code: u16,
    message: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
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

    pub(super) fn invalid_form(cause: String) -> Self {
        Self::new(210, "Invalid POST form", cause, 0)
    }

    pub(super) fn bad_index(name: &str) -> Self {
        let cause = format!("invalid value for \"{name}\"");
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
        // etcd says nothing of where, if that is the root.
        let at = if *key == Key::root() { String::new() } else { key.to_string() };
        match refusal {
            Refusal::NotFound { at } => Self::new(100, "Key not found", at, index),
            Refusal::CompareFailed { found } => Self::new(101, "Compare failed", as_text(&found), index),
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
        // Each request meets it while the disk is full, and the writer has told it once. What no retry mends is told.
        let level = match error {
            StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. } => log::Level::Debug,
            _ => log::Level::Error,
        };
        log::log!(level, "the embedded store's API: {error}");
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
