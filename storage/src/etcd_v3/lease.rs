//! Leases: what makes an entry expire. Each put with a TTL has one of its own, which never holds another key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::answer::{Done, FAILED_PRECONDITION, Leased, NOT_FOUND, Said, Streamed};
use super::gateway::Gateway;
use crate::{Key, Revision, Ttl};

/// etcd takes no longer ones (9,000,000,000 s are 285 years).
const LONGEST_S: u64 = 9_000_000_000;
/// Entries that expired are not heard of: what is remembered of them is forgotten from time to time. Then a refresh looks
/// for its lease in the entry.
const MOST_REMEMBERED: usize = 4096;

/// A lease's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease(pub i64);

/// What came of keeping a lease alive.
pub(super) enum Kept {
    /// It lives for so long from now.
    For(u64),
    /// There is no such lease any more.
    Gone,
}

/// The leases of the entries that were put here.
#[derive(Default)]
pub(super) struct Leases {
    held: Mutex<HashMap<Key, (Revision, Lease)>>,
}

impl Leases {
    /// The lease of what was put here at this revision.
    pub(super) fn of(&self, key: &Key, put: Revision) -> Option<Lease> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(key).filter(|(revision, _)| *revision == put).map(|(_, lease)| *lease)
    }

    /// Notes that the entry was written, or deleted, at `at`. Gives the lease that this has certainly left without a key.
    pub(super) fn written(&self, key: &Key, at: Revision, lease: Option<Lease>) -> Option<Lease> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.remove(key);
        match before {
            // Another thread's later write was noted first, or the store has gone back in time: nothing is certain.
            Some((revision, _)) if revision >= at => None,
            _ => {
                if let Some(lease) = lease {
                    if held.len() >= MOST_REMEMBERED {
                        held.clear();
                    }
                    held.insert(key.clone(), (at, lease));
                }
                before.map(|(_, lease)| lease)
            }
        }
    }
}

/// How long a lease of this TTL is to last.
pub(super) fn seconds(ttl: Ttl) -> u64 {
    ttl.as_seconds().min(LONGEST_S)
}

impl Gateway {
    /// Makes a lease. Its number is chosen here, so that the question may be asked twice without making two; one that
    /// was made and not heard of ends by itself.
    pub(super) fn grant(&self, ttl: Ttl) -> Result<Lease, String> {
        // 0 would let etcd choose.
        let lease = Lease(rand::random_range(1..=i64::MAX));
        let body = json!({"ID": lease.0.to_string(), "TTL": seconds(ttl).to_string()});
        match self.read::<Leased>("/v3/lease/grant", &body)? {
            Said::Done(_) => Ok(lease),
            // It was made when it was asked for first, and the answer lost: its time begins anew.
            Said::Refused(refusal) if refusal.code == FAILED_PRECONDITION => match self.keep_alive(lease)? {
                Kept::For(_) => Ok(lease),
                Kept::Gone => Err(refusal.reason()),
            },
            Said::Refused(refusal) => Err(refusal.reason()),
        }
    }

    /// Runs a lease's TTL anew.
    pub(super) fn keep_alive(&self, lease: Lease) -> Result<Kept, String> {
        let body = json!({"ID": lease.0.to_string()});
        match self.read::<Streamed<Leased>>("/v3/lease/keepalive", &body)? {
            Said::Done(Streamed { result }) => Ok(match u64::try_from(result.ttl.0) {
                Ok(ttl) if ttl > 0 => Kept::For(ttl),
                _ => Kept::Gone,
            }),
            Said::Refused(refusal) if refusal.code == NOT_FOUND => Ok(Kept::Gone),
            Said::Refused(refusal) => Err(refusal.reason()),
        }
    }

    /// Ends a lease that holds no key. If that fails, it ends by itself.
    pub(super) fn revoke(&self, lease: Lease) {
        let body = json!({"ID": lease.0.to_string()});
        match self.write::<Done>("/v3/lease/revoke", &body) {
            Ok(Said::Done(_)) => {}
            Ok(Said::Refused(refusal)) if refusal.code == NOT_FOUND => {}
            Ok(Said::Refused(refusal)) => log::debug!("a lease is left to expire: {}", refusal.reason()),
            Err(_) => log::debug!("a lease is left to expire: no answer came to its end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lease, Leases};
    use crate::{Key, Revision};

    #[test]
    fn a_lease_is_let_go_only_when_a_later_write_has_left_it_without_a_key() {
        let (leases, key) = (Leases::default(), Key::parse("/a").unwrap());
        let written = |at, lease: Option<i64>| leases.written(&key, Revision(at), lease.map(Lease));
        assert_eq!(written(5, Some(1)), None);
        assert_eq!(leases.of(&key, Revision(5)), Some(Lease(1)));
        assert_eq!(leases.of(&key, Revision(4)), None);
        assert_eq!(written(6, Some(2)), Some(Lease(1)));
        assert_eq!(written(9, None), Some(Lease(2)), "it was deleted, or put without a TTL");
        assert_eq!(written(10, None), None);
        // Two threads: who wrote first is noted last.
        assert_eq!(written(12, Some(4)), None);
        assert_eq!(written(11, Some(3)), None, "the lease of 12 holds the key");
        assert_eq!(leases.of(&key, Revision(11)), None);
    }
}
