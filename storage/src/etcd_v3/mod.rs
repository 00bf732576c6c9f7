//! The engine over etcd's v3 API, through its JSON gateway (`/v3/kv`, `/v3/lease`, `/v3/watch`): etcd 3.4 or newer that was
//! not started with `--enable-grpc-gateway=false`. From etcd 3.6 on it is the only way in.
//!
//! [`answer`] reads what comes back, [`gateway`] and [`session`] see to it that a call carries a good token, [`lease`]
//! to TTLs, [`watch`] to changes; [`check`] tells what is wrong before anything is begun. This file says what it all
//! means to a [`Store`]. [`Users`] gives others users and roles of their own.
//!
//! What etcd v3 does its own way, said aloud:
//! - Its keys are a flat list: an entry may stand below another one.
//! - A TTL shorter than 1.5 election timeouts is lengthened to that: to 2 s where the timeout is 1 s, as by default.
//!   Expiry is looked at twice a second, so that a takeover comes at most that much later than the TTL; but whenever
//!   etcd elects a leader, every lease begins anew with its full TTL, and more where many would expire at once.
//! - A refresh gives an entry the TTL that it was put with, and no other: see [`EtcdV3::refresh`].
//! - One request may be of 1.5 MiB (`--max-request-bytes`), which no value of ours comes near; a store whose space is
//!   used up (`--quota-backend-bytes`, 2 GiB by default) takes no writes but deletions until an operator has seen to it.
//!   Its history grows with every write: let it compact (`--auto-compaction-retention`).
//! - Revisions are the whole store's. What a watch returns may be newer than any entry under its prefix.
//! - Who we are is told by user and password alone: the gateway does not pass on the name in a client certificate.

mod answer;
mod check;
mod gateway;
mod lease;
mod range;
mod session;
mod users;
mod watch;

use std::fmt;

use serde_json::{Value, json};

use crate::remote::wire::Failure;
use crate::remote::{Credentials, InvalidReach, Reach};
use crate::store::check_value;
use crate::{Changes, ClientAccess, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};
use answer::{KeyValue, Said, Txn};
use gateway::Gateway;
use lease::{Kept, Lease, Leases};
use range::{Range, encoded};

pub use users::{Leak, Users};

const ENGINE: &str = "etcd-v3";
const RANGE: &str = "/v3/kv/range";
const TXN: &str = "/v3/kv/txn";

/// A client of an etcd cluster. Connections are made when they are needed and kept.
pub struct EtcdV3 {
    gateway: Gateway,
    leases: Leases,
}

impl EtcdV3 {
    /// A client for these endpoints, tried in order. Nothing is sent yet: see [`EtcdV3::check`].
    ///
    /// # Errors
    /// [`InvalidReach`].
    pub fn connect(reach: &Reach, credentials: Option<Credentials>) -> Result<Self, InvalidReach> {
        Ok(Self { gateway: Gateway::new(reach, credentials)?, leases: Leases::default() })
    }

    /// What another program needs in order to use the same store.
    #[must_use]
    pub fn client_access(&self) -> ClientAccess {
        self.gateway.client_access(self.gateway.session.credentials())
    }

    fn range(&self, range: &Range) -> Result<answer::Range, StoreError> {
        match self.gateway.read(RANGE, &range.with(json!({}))).map_err(unavailable)? {
            Said::Done(found) => Ok(found),
            Said::Refused(refusal) => Err(unavailable(refusal.reason())),
        }
    }

    fn one(&self, key: &Key) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.range(&Range::one(key))?.kvs.pop())
    }

    /// One operation on one key, if it is as expected. Gives the revision at which it was done, or none if the
    /// expectation did not hold.
    fn change(&self, key: &Key, expect: Expect, operation: &Value) -> Result<Option<Revision>, StoreError> {
        let compare = match expect {
            Expect::Anything => json!([]),
            Expect::Absent => json!([compared(key, 0)]),
            Expect::Unchanged(revision) => match i64::try_from(revision.0) {
                // etcd says of what is absent that it was last changed at 0.
                Ok(revision) if revision > 0 => json!([compared(key, revision)]),
                _ => return Ok(None),
            },
        };
        let body = json!({"compare": compare, "success": [operation]});
        match self.gateway.write::<Txn>(TXN, &body) {
            Ok(Said::Done(txn)) if txn.succeeded => Ok(Some(txn.header.revision.revision())),
            Ok(Said::Done(_)) => Ok(None),
            Ok(Said::Refused(refusal)) => Err(unavailable(refusal.reason())),
            Err(Failure::NothingDone(reason)) => Err(unavailable(reason)),
            Err(Failure::Unknown) => Err(StoreError::OutcomeUnknown { key: key.clone() }),
        }
    }

    /// What was written has left an older lease of ours without a key.
    fn written(&self, key: &Key, at: Revision, lease: Option<Lease>) {
        if let Some(empty) = self.leases.written(key, at, lease) {
            self.gateway.revoke(empty);
        }
    }

    /// The lease of the entry that the caller holds.
    fn lease_of(&self, key: &Key, held: Revision) -> Result<Lease, StoreError> {
        if let Some(lease) = self.leases.of(key, held) {
            return Ok(lease);
        }
        let there = self.one(key)?.filter(|there| there.mod_revision.revision() == held);
        match there.ok_or(StoreError::Conflict)?.lease.0 {
            0 => Err(StoreError::Corrupt {
                reason: format!("{key} was put without a TTL, and etcd v3 cannot give it one by a refresh"),
            }),
            lease => Ok(Lease(lease)),
        }
    }
}

impl fmt::Debug for EtcdV3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdV3").field("endpoints", &self.gateway.wire.endpoints()).finish_non_exhaustive()
    }
}

impl Store for EtcdV3 {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        if is_root(key) {
            return Ok(None);
        }
        Ok(self.one(key)?.map(|found| entry(key.clone(), found)))
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        let found = self.range(&Range::under(prefix))?;
        let revision = found.header.revision.revision();
        let entries = found.kvs.into_iter().filter_map(|found| {
            let key = found.key.key()?;
            key.is_under(prefix).then(|| entry(key, found))
        });
        Ok(Listing { entries: entries.collect(), revision })
    }

    /// Takes two calls where there is a TTL: one for the lease, whose time begins first.
    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        check_value(key, value)?;
        if is_root(key) {
            return Err(match expect {
                Expect::Unchanged(_) => StoreError::Conflict,
                Expect::Absent | Expect::Anything => {
                    StoreError::Corrupt { reason: "the root cannot be an entry".to_owned() }
                }
            });
        }
        let lease = ttl.map(|ttl| self.gateway.grant(ttl)).transpose().map_err(unavailable)?;
        let put = match lease {
            Some(lease) => json!({"value": encoded(value), "lease": lease.0.to_string()}),
            None => json!({"value": encoded(value)}),
        };
        let done = self.change(key, expect, &json!({"request_put": Range::one(key).with(put)}));
        match (done, lease) {
            (Ok(Some(revision)), lease) => {
                self.written(key, revision, lease);
                Ok(revision)
            }
            (Ok(None), lease) => {
                if let Some(lease) = lease {
                    self.gateway.revoke(lease);
                }
                Err(StoreError::Conflict)
            }
            // A lease that may hold the key must stay, and who is in trouble is asked no more.
            (Err(error), _) => Err(error),
        }
    }

    /// Takes two calls, or three where the entry was not put by this client: the entry's lease is kept alive, and then
    /// read whether the entry is there still. Success says that at that moment it was the caller's, with its full TTL.
    ///
    /// The TTL is the one that the entry was put with; a longer one is refused as [`StoreError::Corrupt`], for the caller
    /// would believe for too long that the entry is there. Put it anew instead.
    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        let lease = self.lease_of(key, held)?;
        match self.gateway.keep_alive(lease).map_err(unavailable)? {
            Kept::Gone => return Err(StoreError::Conflict),
            Kept::For(granted) if granted < lease::seconds(ttl) => {
                let asked = ttl.as_seconds();
                return Err(StoreError::Corrupt {
                    reason: format!(
                        "{key} was put for {granted} s, and etcd v3 cannot refresh it for {asked} s"
                    ),
                });
            }
            Kept::For(_) => {}
        }
        let there = self.one(key)?;
        let same = |there: &KeyValue| there.mod_revision.revision() == held && there.lease.0 == lease.0;
        if there.as_ref().is_some_and(same) { Ok(held) } else { Err(StoreError::Conflict) }
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        if expect == Expect::Absent || (is_root(key) && expect != Expect::Anything) {
            return Err(StoreError::Conflict);
        }
        if is_root(key) {
            return Ok(());
        }
        let delete = json!({"request_delete_range": Range::one(key).with(json!({}))});
        let at = self.change(key, expect, &delete)?.ok_or(StoreError::Conflict)?;
        self.written(key, at, None);
        Ok(())
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        watch::watch(&self.gateway, prefix, after, deadline)
    }
}

fn entry(key: Key, found: KeyValue) -> Entry {
    Entry { key, value: found.value.0, revision: found.mod_revision.revision() }
}

/// Whether it is above every entry. etcd itself would take a key of this name.
fn is_root(key: &Key) -> bool {
    key.segments().next().is_none()
}

/// A comparison of when a key was last changed; never is 0.
fn compared(key: &Key, revision: i64) -> Value {
    Range::one(key).with(json!({"target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string()}))
}

fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable { engine: ENGINE, reason }
}

#[cfg(test)]
mod tests {
    use super::EtcdV3;
    use crate::remote::{Credentials, Reach};

    #[test]
    fn debug_leaves_the_password_out() {
        let who = Credentials { username: "u".to_owned(), password: "hush".to_owned() };
        let store = EtcdV3::connect(&Reach::of(&["http://e:1".to_owned()]), Some(who)).unwrap();
        let shown = format!("{store:?} {:?}", store.client_access());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
