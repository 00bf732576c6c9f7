//! The engine over etcd's v2 API (`/v2/keys`): etcd up to 3.5 with `--enable-v2`, as the ancestors ran it, and the
//! embedded store's own API.
//!
//! [`wire`] carries requests and knows what may be sent again; [`answer`] reads what comes back; this file says what
//! both mean to a [`Store`].
//!
//! What etcd v2 can't do, said aloud: values are UTF-8 text only, and keys with a segment that begins with `_` are
//! hidden from listings and watches; writing either is refused as [`StoreError::Corrupt`]. Expiry is looked at twice a
//! second, so that a takeover comes at most that much later than the TTL, and at any time after a leader election.

mod answer;
mod wire;

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{
    Changed, Changes, ClientAccess, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl,
};
use answer::{
    ALREADY_EXISTS, Answer, COMPARE_FAILED, INDEX_CLEARED, KEY_NOT_FOUND, NOT_A_DIRECTORY, NOT_A_FILE, Node,
    Said,
};
use wire::{Call, Failure, Method, Wire};

const ENGINE: &str = "etcd-v2";
/// A watch that ended with nothing may skip what others wrote only if a change of ours that was due at once has had
/// this long to arrive behind the head of the answer.
const SETTLED: Duration = Duration::from_secs(1);

/// The least time between two waits that brought nothing.
const PAUSE: Duration = Duration::from_millis(20);

/// How long calls may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To find and reach one endpoint. Defaults to 2 seconds.
    pub connect: Duration,
    /// For a whole call, over all endpoints, but for watches, which have the deadline of their caller. Defaults to 5
    /// seconds.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), total: Duration::from_secs(5) }
    }
}

/// A user and password, for HTTP basic authentication. `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"<redacted>")
            .finish()
    }
}

/// Why endpoints cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidEndpoints {
    /// There is none.
    None,
    /// This one is not `http://host:port`.
    NotHttp(String),
}

impl fmt::Display for InvalidEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no endpoint is given"),
            Self::NotHttp(endpoint) => {
                write!(f, "the endpoint {endpoint:?} is not of the form http://host:port")
            }
        }
    }
}

impl std::error::Error for InvalidEndpoints {}

/// A client of an etcd cluster. Connections are made when they are needed and kept.
pub struct EtcdV2 {
    wire: Wire,
    credentials: Option<Credentials>,
}

impl EtcdV2 {
    /// A client for these endpoints, tried in order. Nothing is sent yet: see [`EtcdV2::ping`].
    ///
    /// # Errors
    /// [`InvalidEndpoints`]; `https` is not there yet, and credentials do not belong into a URL.
    pub fn connect(
        endpoints: &[String],
        credentials: Option<Credentials>,
        timeouts: Timeouts,
    ) -> Result<Self, InvalidEndpoints> {
        if endpoints.is_empty() {
            return Err(InvalidEndpoints::None);
        }
        let endpoints = endpoints.iter().map(|raw| endpoint(raw)).collect::<Result<_, _>>()?;
        let authorization = credentials
            .as_ref()
            .map(|who| format!("Basic {}", STANDARD.encode(format!("{}:{}", who.username, who.password))));
        Ok(Self { wire: Wire::new(endpoints, authorization, timeouts), credentials })
    }

    /// Makes sure that an endpoint answers, lets us in, serves the v2 API and has a quorum.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], with what each endpoint said.
    pub fn ping(&self) -> Result<(), StoreError> {
        self.read(&target(&Key::root(), "quorum=true")).and_then(|answer| match answer.said {
            Said::Node(_) => Ok(()),
            Said::Error { .. } | Said::Nothing => Err(unavailable(answer.reason())),
        })
    }

    /// What another program needs in order to use the same store.
    #[must_use]
    pub fn client_access(&self) -> ClientAccess {
        ClientAccess {
            engine: "etcd",
            endpoints: self.wire.endpoints().to_vec(),
            username: self.credentials.as_ref().map(|who| who.username.clone()),
            password: self.credentials.as_ref().map(|who| who.password.clone()),
        }
    }

    fn read(&self, target: &str) -> Result<Answer, StoreError> {
        self.wire.read(Call { method: Method::Get, target, form: "" }).map_err(unavailable)
    }

    fn write(&self, key: &Key, call: Call<'_>) -> Result<Answer, StoreError> {
        self.wire.write(call).map_err(|failure| match failure {
            Failure::NothingDone(reason) => unavailable(reason),
            Failure::Unknown => StoreError::OutcomeUnknown { key: key.clone() },
        })
    }

    fn put_form(&self, key: &Key, form: &str, expect: Expect) -> Result<Revision, StoreError> {
        let answer = self.write(key, Call { method: Method::Put, target: &target(key, ""), form })?;
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
        let Ok(value) = std::str::from_utf8(value) else {
            return Err(StoreError::Corrupt {
                reason: format!("the value for {key} is not UTF-8, and etcd v2 holds text only"),
            });
        };
        if key.segments().any(|segment| segment.starts_with('_')) {
            let reason = format!("etcd v2 hides {key}, for a part of it begins with '_'");
            return Err(StoreError::Corrupt { reason });
        }
        let mut form = format!("value={}", encode(value));
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
        let call = Call { method: Method::Delete, target: &target(key, &query), form: "" };
        let answer = self.write(key, call)?;
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
            let answer =
                self.wire.wait(&target(prefix, &query), deadline.remaining()).map_err(unavailable)?;
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

fn endpoint(raw: &str) -> Result<String, InvalidEndpoints> {
    let trimmed = raw.trim_end_matches('/');
    let host = trimmed.strip_prefix("http://").unwrap_or_default();
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        // A URL with credentials in it must not be shown.
        let shown = raw.rsplit_once('@').map_or(raw, |(_, host)| host);
        return Err(InvalidEndpoints::NotHttp(shown.to_owned()));
    }
    Ok(trimmed.to_owned())
}

fn target(key: &Key, query: &str) -> String {
    let mut target = "/v2/keys".to_owned();
    for segment in key.segments() {
        target.push('/');
        target.push_str(&encode(segment));
    }
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
    }
    target
}

/// Percent-encodes everything but letters, digits and `-._~`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable { engine: ENGINE, reason }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, EtcdV2, InvalidEndpoints, Timeouts, target};
    use crate::Key;

    #[test]
    fn endpoints_are_plain_http_addresses() {
        let check = |raw: &str, fine: bool| {
            let connected = EtcdV2::connect(&[raw.to_owned()], None, Timeouts::default());
            assert_eq!(connected.is_ok(), fine, "{raw}");
        };
        check("http://127.0.0.1:4001", true);
        check("http://etcd:4001/", true);
        check("https://etcd:4001", false);
        check("etcd:4001", false);
        check("http://", false);
        check("http://user:hush@etcd:4001", false);
        let none = EtcdV2::connect(&[], None, Timeouts::default());
        assert_eq!(none.err(), Some(InvalidEndpoints::None));
        let shown = EtcdV2::connect(&["http://u:hush@e".to_owned()], None, Timeouts::default());
        assert!(!format!("{:?}", shown.err()).contains("hush"));
    }

    #[test]
    fn nothing_in_a_key_can_change_the_request() {
        let key = Key::parse("/a b/c?d=1&e#%2F/ä").unwrap();
        assert_eq!(target(&key, "q=1"), "/v2/keys/a%20b/c%3Fd%3D1%26e%23%252F/%C3%A4?q=1");
        assert_eq!(target(&Key::root(), ""), "/v2/keys");
    }

    #[test]
    fn debug_leaves_the_password_out() {
        let who = Credentials { username: "u".to_owned(), password: "hush".to_owned() };
        let store =
            EtcdV2::connect(&["http://e:1".to_owned()], Some(who.clone()), Timeouts::default()).unwrap();
        let shown = format!("{who:?} {store:?} {:?}", store.client_access());
        assert!(!shown.contains("hush") && !shown.contains("dTpodXNo"), "{shown}");
    }
}
