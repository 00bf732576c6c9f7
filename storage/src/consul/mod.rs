//! The engine over Consul's HTTP API, version 1.4 and later: `/v1/kv` with blocking queries, `/v1/txn`, sessions.
//!
//! - [`client`]: requests with the token in their header; [`answer`]: what Consul's answers say.
//! - `write`: every change is one transaction; [`sessions`]: what gives an entry its TTL.
//! - `watch`: blocking queries, and [`seen`]: what was there before, for Consul keeps no history.
//! - [`check`]: what may be wrong with a Consul, told apart.
//! - [`Policies`]: guests with tokens of their own, with [`guest`] for what they are called and may do.
//!
//! What Consul can and can't do, said aloud:
//!
//! - A TTL is at least 10 s, and shorter ones are raised to that. Above 24 h it is refused as [`StoreError::Corrupt`], for
//!   an entry must not go before its time.
//! - A dead holder's entry goes between its TTL and twice that (Consul's leader adds the same again as grace), and later
//!   still where Consul elects a leader meanwhile, which runs every TTL anew. A lease of 10 s can so be taken over after
//!   20 s. No lock delay is added: our sessions have none. That of somebody else's session is waited for as long as a
//!   call may take, and then is [`StoreError::Unavailable`].
//! - A session belongs to the agent that was asked for it: where that node leaves the datacenter, its sessions end and
//!   the entries with them, before their TTL.
//! - A refresh runs the TTL anew that the entry was put with, whatever TTL it names, and an entry without one is a
//!   [`StoreError::Conflict`]. It wakes no watcher and changes no revision.
//! - A call that has to do with a TTL is up to three requests one after the other, each with the whole timeout.
//! - Keys are a flat list: an entry may stand where others stand below.
//! - There is no history. A watch compares what is there with what was there at `after`, which the engine remembers for
//!   the last places that it looked at; otherwise it says [`crate::Changed::Resync`]. It is never left behind. It advances
//!   over what happens elsewhere, so that one revision stands for every prefix; nothing would be lost if it did not.
//! - Revisions only grow. Where Consul's own count falls back, for it is another Consul or was restored, a watch says
//!   Resync and goes on from there.
//! - A key put anew within one wait shows once; one made and gone again within it does not show at all.
//! - Values are bytes, up to [`crate::MAX_VALUE_BYTES`]; Consul takes 512 KiB for a whole transaction.
//! - Consul serves 200 connections of one client address by default: so many watches at once.

mod answer;
mod check;
mod client;
mod guest;
mod policies;
mod seen;
mod sessions;
mod token;
mod watch;
mod write;

use std::fmt;

use crate::remote::{InvalidReach, Reach, Unusable, percent_encoded};
use crate::{Changes, ClientAccess, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};
use client::Client;
pub use policies::Policies;
use seen::{Seen, Snapshot};
use sessions::Sessions;
pub use token::{InvalidToken, Token};

const ENGINE: &str = "consul";

/// A client of Consul agents, each of which speaks for the whole datacenter. Connections are made when they are needed
/// and kept.
pub struct Consul {
    client: Client,
    sessions: Sessions,
    seen: Seen,
}

impl Consul {
    /// A client for these agents, tried in order. Nothing is sent yet: see [`Consul::check`].
    ///
    /// # Errors
    /// [`InvalidReach`].
    pub fn connect(reach: &Reach, token: Option<Token>) -> Result<Self, InvalidReach> {
        let client = Client::connect(reach, token)?;
        Ok(Self { client, sessions: Sessions::default(), seen: Seen::default() })
    }

    /// Makes sure that an agent answers, lets us in, has a leader, and lets us read and write everything under `/`
    /// and make sessions. Changes nothing.
    ///
    /// # Errors
    /// [`Unusable`] says which of these is not so.
    pub fn check(&self) -> Result<(), Unusable> {
        check::store(&self.client)
    }

    /// What another program needs in order to use the same store.
    #[must_use]
    pub fn client_access(&self) -> ClientAccess {
        self.client.access(None)
    }
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul").field("endpoints", &self.client.endpoints()).finish_non_exhaustive()
    }
}

impl Store for Consul {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        if *key == Key::root() {
            return Ok(None);
        }
        let found = self.client.entry(key)?;
        found.map(|raw| raw.into_entry(key.clone())).transpose()
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        let now = self.table_index(prefix)?;
        let (index, raw) = self.client.tree(prefix)?;
        let mut entries = Vec::new();
        for raw in raw {
            // Names that are no keys of ours are nobody's business here.
            if let Some(key) = raw.key().filter(|key| key.is_under(prefix)) {
                entries.push(raw.into_entry(key)?);
            }
        }
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        let revision = now.max(Revision(index));
        let snapshot = Snapshot::of(index, entries.iter().map(|entry| (entry.key.clone(), entry.revision)));
        self.seen.remember(prefix, revision, snapshot.into());
        Ok(Listing { entries, revision })
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        let revision = self.write_entry(key, value, ttl, expect)?;
        self.seen.note(revision);
        Ok(revision)
    }

    fn refresh(&self, key: &Key, _: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.sessions.refresh(&self.client, key, held)
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.delete_entry(key, expect)
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.wait_for_changes(prefix, after, deadline)
    }
}

/// Consul's name for a key: without the slash at its beginning.
fn name(key: &Key) -> &str {
    key.as_str().trim_start_matches('/')
}

/// What every name under a key begins with.
fn tree(prefix: &Key) -> String {
    match name(prefix) {
        "" => String::new(),
        name => format!("{name}/"),
    }
}

/// The path of a key, or of a prefix with its slash.
fn target(name: &str, query: &str) -> String {
    let path: Vec<String> = name.split('/').map(percent_encoded).collect();
    format!("/v1/kv/{}?{query}", path.join("/"))
}

fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { engine: ENGINE, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::{Consul, Token, name, target, tree};
    use crate::Key;
    use crate::remote::Reach;

    #[test]
    fn nothing_in_a_key_can_change_the_request() {
        let key = Key::parse("/a b/c?d=1&e#%2F/ä").unwrap();
        assert_eq!(target(name(&key), "q"), "/v1/kv/a%20b/c%3Fd%3D1%26e%23%252F/%C3%A4?q");
        assert_eq!(target(&tree(&Key::parse("/a").unwrap()), "q"), "/v1/kv/a/?q");
        assert_eq!(target(&tree(&Key::root()), "q"), "/v1/kv/?q");
    }

    #[test]
    fn debug_leaves_the_token_out() {
        let token = Token::parse("hush").unwrap();
        let store = Consul::connect(&Reach::of(&["http://c:1".to_owned()]), Some(token.clone())).unwrap();
        let shown = format!("{store:?} {:?} {token:?}", store.client_access());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
