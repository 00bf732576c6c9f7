//! Sessions: what gives an entry its TTL. Each entry with a TTL has one of its own, which deletes it when it ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::answer::document;
use super::client::Client;
use super::unavailable;
use crate::remote::percent_encoded;
use crate::remote::wire::{Failure, Method};
use crate::{Key, Revision, StoreError, Ttl};

/// What Consul takes for a session's TTL, in seconds.
const SHORTEST: u64 = 10;
const LONGEST: u64 = 86_400;
/// So many keys' sessions are remembered. What is not is read from the entry, and ends by itself.
const REMEMBERED: usize = 4096;
/// A refresh looks again when somebody has moved the entry to another session meanwhile, or it was remembered wrongly.
const ATTEMPTS: usize = 3;

/// The sessions of the entries that we have put.
#[derive(Default)]
pub(super) struct Sessions {
    /// Each with the revision at which the entry got it.
    by_key: Mutex<HashMap<Key, (Session, Revision)>>,
}

/// A session by its id.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Session(String);

impl Sessions {
    /// A new session without a lock delay and without health checks, so that only its TTL ends it.
    pub(super) fn create(&self, client: &Client, ttl: Ttl) -> Result<Session, StoreError> {
        if ttl.as_seconds() > LONGEST {
            let reason =
                format!("Consul keeps no TTL above {LONGEST} s, and {} s are asked for", ttl.as_seconds());
            return Err(StoreError::Corrupt { reason });
        }
        let wanted = json!({
            "Name": "patroni-broker",
            "TTL": format!("{}s", ttl.as_seconds().max(SHORTEST)),
            "Behavior": "delete",
            // Spelled out: without it, it is 15 s.
            "LockDelay": "0s",
            "Checks": [],
            "NodeChecks": [],
        });
        let created = client
            .send(Method::Put, "/v1/session/create", &wanted, |reply| document(reply, &client.words(reply)));
        match created {
            Ok(Value::Object(created)) => match created.get("ID").and_then(Value::as_str) {
                Some(id) if !id.is_empty() => Ok(Session(id.to_owned())),
                _ => Err(unavailable("no session came with Consul's answer")),
            },
            Ok(_) => Err(unavailable("no session came with Consul's answer")),
            Err(Failure::NothingDone(reason)) => Err(unavailable(format!("no session: {reason}"))),
            // No entry was written, and a session that nobody knows of ends by itself.
            Err(Failure::Unknown) => Err(unavailable("no answer came for a session's creation")),
        }
    }

    /// Remembers the session that an entry of ours has since `at`, and ends what is no entry's any more. Callers may come
    /// here in another order than their writes landed in: the revisions tell which session still holds the entry.
    pub(super) fn settle(&self, client: &Client, key: &Key, session: Option<Session>, at: Revision) {
        let before = {
            let mut by_key = self.lock();
            match by_key.get(key).map(|(_, later)| *later).filter(|later| *later > at) {
                Some(later) => Err(later),
                None => {
                    let before = by_key.remove(key).filter(|before| session.as_ref() != Some(&before.0));
                    if let Some(session) = session.clone() {
                        // Mostly of entries that have long expired. Without what is forgotten, some sessions are left to
                        // their TTL, and some refreshes ask once more.
                        if by_key.len() >= REMEMBERED {
                            by_key.clear();
                        }
                        by_key.insert(key.clone(), (session, at));
                    }
                    Ok(before)
                }
            }
        };
        match (before, session) {
            (Ok(Some((before, _))), _) => before.end(client),
            (Err(later), Some(session)) => match client.entry(key) {
                // The count has gone back: it is another Consul, or was restored. What was remembered is worth nothing.
                Ok(Some(entry)) if entry.session.as_deref() == Some(session.id()) => {
                    self.forget(client, key, Some(later));
                }
                Ok(_) => session.end(client),
                // It may hold the entry: whichever does not is left to its TTL.
                Err(_) => {}
            },
            (Ok(None), _) | (Err(_), None) => {}
        }
    }

    /// Since when we know of a session of this key's entry.
    pub(super) fn known(&self, key: &Key) -> Option<Revision> {
        self.lock().get(key).map(|(_, at)| *at)
    }

    /// Ends the session that was [`known`](Self::known) before the entry was deleted; not that of an entry put since.
    pub(super) fn forget(&self, client: &Client, key: &Key, known: Option<Revision>) {
        let over = {
            let mut by_key = self.lock();
            let is_over = by_key.get(key).is_some_and(|(_, at)| Some(*at) == known);
            if is_over { by_key.remove(key) } else { None }
        };
        if let Some((over, _)) = over {
            over.end(client);
        }
    }

    /// Runs the entry's TTL anew. Renewing comes first and looking last: only then the entry is known to be held for
    /// the whole TTL.
    pub(super) fn refresh(&self, client: &Client, key: &Key, held: Revision) -> Result<Revision, StoreError> {
        let mut session = self.lock().get(key).map(|(session, _)| session.clone());
        for _ in 0..ATTEMPTS {
            let alive = match &session {
                Some(session) => session.renew(client)?,
                None => false,
            };
            let entry = client.entry(key)?.filter(|entry| Revision(entry.modify_index) == held);
            let holding = entry.and_then(|entry| entry.session).filter(|id| !id.is_empty()).map(Session);
            match (holding, session) {
                (None, _) => return Err(StoreError::Conflict),
                (Some(holding), Some(renewed)) if holding == renewed && alive => {
                    self.settle(client, key, Some(renewed), held);
                    return Ok(held);
                }
                (Some(holding), _) => session = Some(holding),
            }
        }
        Err(unavailable(format!("the session of {key} is there and can't be renewed")))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (Session, Revision)>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    pub(super) fn id(&self) -> &str {
        &self.0
    }

    /// Whether it was there to be renewed. Renewing it twice equals renewing it once, so every agent is asked.
    fn renew(&self, client: &Client) -> Result<bool, StoreError> {
        let target = format!("/v1/session/renew/{}", percent_encoded(&self.0));
        let renewed = client
            .ask(Method::Put, &target, &Value::Null, |reply| document(reply, &client.words(reply)))
            .map_err(unavailable)?;
        Ok(renewed.as_array().is_some_and(|sessions| !sessions.is_empty()))
    }

    /// Ends it, if that can be done now: otherwise it ends by itself.
    pub(super) fn end(self, client: &Client) {
        let target = format!("/v1/session/destroy/{}", percent_encoded(&self.0));
        let ended =
            client.send(Method::Put, &target, &Value::Null, |reply| document(reply, &client.words(reply)));
        if ended.is_err() {
            log::debug!("a session could not be ended and is left to its TTL");
        }
    }
}
