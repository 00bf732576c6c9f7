//! The engine over etcd's v2 API (`/v2/keys`): etcd up to 3.5 with `--enable-v2`, as the ancestors ran it, and the
//! embedded store's own API.
//!
//! [`answer`] reads what comes back; this file says what it means to a [`Store`].
//!
//! What etcd v2 can't do, said aloud: values are UTF-8 text only, and keys with a segment that begins with `_` are
//! hidden from listings and watches; writing either is refused as [`StoreError::Corrupt`].
//!
//! Its bounds: an entry is gone at most a second after its TTL is over, for etcd looks twice a second, so that a dead
//! broker's lease can be taken over then and not earlier. While etcd elects a leader nothing expires; what is over by
//! then goes as soon as there is one. A watcher that was away for more than 1,000 changes, of all keys, is told
//! [`Changed::Resync`]. A change whose answer the network holds up for more than a second after the head of that same
//! answer can be passed over by the watch that waits for it.
//!
//! Clients are not isolated from each other: this engine is no administrator of etcd's users, and whoever has its
//! endpoint and credentials may read and write everything that these may.

mod answer;
mod check;

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::remote::wire::{Failure, Method, Request, Wire};
use crate::remote::{Credentials, InvalidReach, LONGEST_WAIT, Reach, Tls, percent_encoded};
use crate::store::{check_shown, check_value};
use crate::{
    Changed, Changes, ClientAccess, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl,
};
use answer::{
    ALREADY_EXISTS, Answer, COMPARE_FAILED, INDEX_CLEARED, KEY_NOT_FOUND, NOT_A_DIRECTORY, NOT_A_FILE, Node,
    Said, judge,
};

const ENGINE: &str = "etcd-v2";
/// A watch that ended with nothing may skip what others wrote only if a change of ours that was due at once has had
/// this long to arrive behind the head of the answer.
const SETTLED: Duration = Duration::from_secs(1);

/// The least time between two waits that brought nothing.
const PAUSE: Duration = Duration::from_millis(20);

/// A client of an etcd cluster. Connections are made when they are needed and kept.
pub struct EtcdV2 {
    wire: Wire,
    authorization: Option<String>,
    credentials: Option<Credentials>,
    tls: Option<Tls>,
}

impl EtcdV2 {
    /// A client for these endpoints, tried in order. Nothing is sent yet: see [`EtcdV2::check`]. TLS, with a client
    /// certificate or a user and password or both, is as [`Reach`] says.
    ///
    /// # Errors
    /// [`InvalidReach`].
    pub fn connect(reach: &Reach, credentials: Option<Credentials>) -> Result<Self, InvalidReach> {
        let authorization = credentials
            .as_ref()
            .map(|who| format!("Basic {}", STANDARD.encode(format!("{}:{}", who.username, who.password))));
        Ok(Self { wire: Wire::new(reach)?, authorization, credentials, tls: reach.tls.clone() })
    }

    /// What another program needs in order to use the same store.
    #[must_use]
    pub fn client_access(&self) -> ClientAccess {
        ClientAccess {
            engine: "etcd",
            endpoints: self.wire.endpoints().to_vec(),
            username: self.credentials.as_ref().map(|who| who.username.clone()),
            password: self.credentials.as_ref().map(|who| who.password.clone()),
            tls: self.tls.clone(),
            session_node: None,
        }
    }

    fn read(&self, target: &str) -> Result<Answer, StoreError> {
        self.with_headers(Method::Get, target, "", |request| self.wire.read(request, judge))
            .map_err(unavailable)
    }

    fn write(&self, key: &Key, method: Method, target: &str, form: &str) -> Result<Answer, StoreError> {
        let written = self.with_headers(method, target, form, |request| self.wire.write(request, judge));
        written.map_err(|failure| match failure {
            Failure::NothingDone(reason) => unavailable(reason),
            Failure::Unknown => StoreError::OutcomeUnknown { key: key.clone() },
        })
    }

    fn with_headers<T>(
        &self,
        method: Method,
        target: &str,
        form: &str,
        send: impl FnOnce(Request<'_>) -> T,
    ) -> T {
        let mut headers = Vec::new();
        if method == Method::Put {
            headers.push(("Content-Type", "application/x-www-form-urlencoded"));
        }
        if let Some(authorization) = &self.authorization {
            headers.push(("Authorization", authorization.as_str()));
        }
        send(Request { method, target, headers: &headers, body: form.as_bytes() })
    }

    fn put_form(&self, key: &Key, form: &str, expect: Expect) -> Result<Revision, StoreError> {
        let answer = self.write(key, Method::Put, &target(key, ""), form)?;
        match answer.said {
            Said::Node(node) => Ok(Revision(node.modified_index)),
            Said::Error { code, .. } => Err(match (code, expect) {
                (NOT_A_DIRECTORY, _) => {
                    StoreError::Corrupt { reason: format!("{key} cannot be written: it is under an entry") }
                }
                (NOT_A_FILE, Expect::Anything) => {
                    StoreError::Corrupt { reason: format!("{key} cannot be written: it is a directory") }
                }
                (KEY_NOT_FOUND | COMPARE_FAILED | NOT_A_FILE | ALREADY_EXISTS, _) => StoreError::Conflict,
                _ => unavailable(answer.reason()),
            }),
            Said::Nothing => Err(StoreError::OutcomeUnknown { key: key.clone() }),
        }
    }
}

impl fmt::Debug for EtcdV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdV2").field("endpoints", &self.wire.endpoints()).finish_non_exhaustive()
    }
}

impl Store for EtcdV2 {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let answer = self.read(&target(key, "quorum=true"))?;
        match answer.said {
            Said::Node(Node { dir: false, value, modified_index, .. }) => Ok(Some(Entry {
                key: key.clone(),
                value: value.unwrap_or_default().into_bytes(),
                revision: Revision(modified_index),
            })),
            Said::Node(_) | Said::Error { code: KEY_NOT_FOUND | NOT_A_DIRECTORY, .. } => Ok(None),
            Said::Error { .. } | Said::Nothing => Err(unavailable(answer.reason())),
        }
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        let answer = self.read(&target(prefix, "quorum=true&recursive=true"))?;
        let revision = Revision(answer.index);
        let mut entries = Vec::new();
        match answer.said {
            Said::Node(node) if node.dir => collect(node, &mut entries),
            Said::Node(_) | Said::Error { code: KEY_NOT_FOUND | NOT_A_DIRECTORY, .. } => {}
            Said::Error { .. } | Said::Nothing => return Err(unavailable(answer.reason())),
        }
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(Listing { entries, revision })
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        check_value(key, value)?;
        let Ok(value) = std::str::from_utf8(value) else {
            return Err(StoreError::Corrupt {
                reason: format!("the value for {key} is not UTF-8, and etcd v2 holds text only"),
            });
        };
        check_shown(key)?;
        let mut form = format!("value={}", percent_encoded(value));
        if let Some(ttl) = ttl {
            form.push_str(&format!("&ttl={}", ttl.as_seconds()));
        }
        match expect {
            Expect::Absent => form.push_str("&prevExist=false"),
            Expect::Unchanged(revision) => form.push_str(&format!("&prevIndex={}", comparable(revision)?)),
            Expect::Anything => {}
        }
        self.put_form(key, &form, expect)
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        let form = format!("refresh=true&ttl={}&prevIndex={}", ttl.as_seconds(), comparable(held)?);
        self.put_form(key, &form, Expect::Unchanged(held))
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        let query = match expect {
            Expect::Absent => return Err(StoreError::Conflict),
            Expect::Unchanged(revision) => format!("prevIndex={}", comparable(revision)?),
            Expect::Anything => String::new(),
        };
        let answer = self.write(key, Method::Delete, &target(key, &query), "")?;
        match (&answer.said, expect) {
            (Said::Node(_), _) => Ok(()),
            (Said::Error { code: KEY_NOT_FOUND | NOT_A_FILE | NOT_A_DIRECTORY, .. }, Expect::Anything) => {
                Ok(())
            }
            (
                Said::Error { code: KEY_NOT_FOUND | NOT_A_FILE | NOT_A_DIRECTORY | COMPARE_FAILED, .. },
                Expect::Unchanged(_),
            ) => Err(StoreError::Conflict),
            _ => Err(unavailable(answer.reason())),
        }
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        let mut after = after;
        loop {
            let query = format!("wait=true&recursive=true&waitIndex={}", after.0 + 1);
            let begun = Instant::now();
            let wait = deadline.remaining().min(LONGEST_WAIT);
            let answer = self
                .with_headers(Method::Get, &target(prefix, &query), "", |request| {
                    self.wire.wait(request, self.wire.head_patience(), wait, judge)
                })
                .map_err(unavailable)?;
            let now = Revision(answer.index);
            match answer.said {
                Said::Node(node) => {
                    after = Revision(node.modified_index);
                    if let Some(key) = concerning(prefix, &node) {
                        return Ok(Changes { revision: after, what: Changed::Keys(vec![key]) });
                    }
                }
                Said::Error { code: INDEX_CLEARED, .. } => {
                    return Ok(Changes { revision: now, what: Changed::Resync });
                }
                Said::Error { .. } => return Err(unavailable(answer.reason())),
                // The store has gone back in time: it is another one, or was restored.
                Said::Nothing if now < after => {
                    return Ok(Changes { revision: now, what: Changed::Resync });
                }
                // The watch began at `now`, having found nothing of ours up to there.
                Said::Nothing if begun.elapsed() >= SETTLED => after = now,
                Said::Nothing => {}
            }
            if begun.elapsed() < PAUSE {
                // A server that ends waits at once is not to be asked in a tight loop.
                std::thread::sleep(PAUSE.min(deadline.remaining()));
            }
            if deadline.has_passed() {
                return Ok(Changes { revision: after, what: Changed::Keys(Vec::new()) });
            }
        }
    }
}

/// The key to tell a watcher of `prefix`; `None` for what is not under it.
fn concerning(prefix: &Key, node: &Node) -> Option<Key> {
    // Names that are no keys of ours are nobody's business here.
    let key = Key::parse(&node.key).ok()?;
    let tree = node.dir && (key == *prefix || prefix.is_under(&key));
    (tree || key.is_under(prefix)).then_some(key)
}

fn collect(node: Node, entries: &mut Vec<Entry>) {
    for child in node.nodes {
        if child.dir {
            collect(child, entries);
        } else if let Ok(key) = Key::parse(&child.key) {
            let value = child.value.unwrap_or_default().into_bytes();
            entries.push(Entry { key, value, revision: Revision(child.modified_index) });
        }
    }
}

/// A revision that etcd compares. It takes `prevIndex=0` for no comparison at all, and would overwrite blindly.
fn comparable(revision: Revision) -> Result<u64, StoreError> {
    if revision.0 == 0 { Err(StoreError::Conflict) } else { Ok(revision.0) }
}

fn target(key: &Key, query: &str) -> String {
    let mut target = "/v2/keys".to_owned();
    if key.segments().next().is_none() {
        // A role for everything, `/*`, does not cover the root without it.
        target.push('/');
    }
    for segment in key.segments() {
        target.push('/');
        target.push_str(&percent_encoded(segment));
    }
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
    }
    target
}

fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable { engine: ENGINE, reason }
}

#[cfg(test)]
mod tests {
    use super::{EtcdV2, target};
    use crate::Key;
    use crate::remote::{Credentials, Reach};

    #[test]
    fn nothing_in_a_key_can_change_the_request() {
        let key = Key::parse("/a b/c?d=1&e#%2F/ä").unwrap();
        assert_eq!(target(&key, "q=1"), "/v2/keys/a%20b/c%3Fd%3D1%26e%23%252F/%C3%A4?q=1");
        assert_eq!(target(&Key::root(), ""), "/v2/keys/");
    }

    #[test]
    fn debug_leaves_the_password_out() {
        let who = Credentials { username: "u".to_owned(), password: "hush".to_owned() };
        let store = EtcdV2::connect(&Reach::of(&["http://e:1".to_owned()]), Some(who)).unwrap();
        let shown = format!("{store:?} {:?}", store.client_access());
        assert!(!shown.contains("hush") && !shown.contains("dTpodXNo"), "{shown}");
    }
}
