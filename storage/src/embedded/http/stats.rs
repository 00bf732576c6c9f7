//! What `/v2/stats` tells: what has been done since the door was opened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use serde_json::{Map, Value, json};

use super::api::NAME;
use super::reply::{Reply, rfc3339};

/// What is counted, each by whether it succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Set,
    Delete,
    Update,
    Create,
    CompareAndSwap,
    CompareAndDelete,
}

/// In etcd's order, and by its names.
const VERBS: [(Verb, &str); 7] = [
    (Verb::Get, "gets"),
    (Verb::Set, "sets"),
    (Verb::Delete, "delete"),
    (Verb::Update, "update"),
    (Verb::Create, "create"),
    (Verb::CompareAndSwap, "compareAndSwap"),
    (Verb::CompareAndDelete, "compareAndDelete"),
];

/// The counters of one door.
pub(super) struct Stats {
    done: [[AtomicU64; 2]; VERBS.len()],
    /// How many entries of the store had expired before.
    expired_before: u64,
    watchers: AtomicU64,
    since: (Instant, SystemTime),
}

impl Stats {
    pub(super) fn new(expired_before: u64) -> Self {
        Self {
            done: Default::default(),
            expired_before,
            watchers: AtomicU64::new(0),
            since: (Instant::now(), SystemTime::now()),
        }
    }

    pub(super) fn count(&self, verb: Verb, success: bool) {
        self.done[verb as usize][usize::from(!success)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_watchers(&self, count: usize) {
        self.watchers.store(count as u64, Ordering::Relaxed);
    }

    /// `expired` of the store's entries have expired since it was opened.
    pub(super) fn of_store(&self, expired: u64) -> Reply {
        let mut counts = Map::new();
        for (verb, name) in VERBS {
            for (outcome, count) in ["Success", "Fail"].iter().zip(&self.done[verb as usize]) {
                counts.insert(format!("{name}{outcome}"), count.load(Ordering::Relaxed).into());
            }
        }
        counts.insert("expireCount".to_owned(), expired.saturating_sub(self.expired_before).into());
        counts.insert("watchers".to_owned(), self.watchers.load(Ordering::Relaxed).into());
        Reply::json_without_newline(200, &Value::Object(counts))
    }

    /// A member that leads, and has nobody to talk to.
    pub(super) fn of_self(&self, id: &str) -> Reply {
        let (begun, at) = self.since;
        let seconds = begun.elapsed().as_secs();
        let uptime = format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let start = rfc3339(at);
        Reply::json_without_newline(
            200,
            &json!({
                "name": NAME,
                "id": id,
                "state": "StateLeader",
                "startTime": start,
                "leaderInfo": {"leader": id, "uptime": uptime, "startTime": start},
                "recvAppendRequestCnt": 0,
                "sendAppendRequestCnt": 0,
            }),
        )
    }

    pub(super) fn of_leader(id: &str) -> Reply {
        Reply::json_without_newline(200, &json!({"leader": id, "followers": {}}))
    }
}
