//! What each request means: from plain request to answer, or to the decision to let it wait. Knows no socket.

use std::sync::Arc;

use serde::Serialize;

use super::super::change::{Change, Condition, Content, Event, Scope};
use super::auth::Access;
use super::reply::{ApiError, Body, Reply};
use super::request::{ApiRequest, Method, Parameters, decode};
use crate::{Embedded, Key};

/// What becomes of a request.
pub enum Outcome {
    /// It is answered.
    Answer(Reply),
    /// It waits for a change; the head of its answer can go out at once.
    Park(Wait),
}

/// A watch that has nothing to report yet.
#[derive(Debug)]
pub struct Wait {
    pub(super) key: Key,
    pub(super) recursive: bool,
    /// The first index that it has not seen.
    pub(super) since: u64,
    /// Headers of the answer to come.
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Wait {
    /// Whether `event` is one to report, by etcd's rules.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let key = &event.node.key;
        *key == self.key
            || (self.recursive && key.is_under(&self.key))
            || (event.node.is_dir && event.action.removes() && self.key.is_under(key))
    }
}

/// The API over one store.
pub(super) struct Api {
    pub(super) store: Arc<Embedded>,
    pub(super) access: Access,
    pub(super) advertise: Vec<String>,
}

#[derive(Serialize)]
struct Members<'a> {
    members: [Member<'a>; 1],
}

#[derive(Serialize)]
struct Member<'a> {
    id: String,
    name: &'a str,
    #[serde(rename = "peerURLs")]
    peer_urls: [&'a str; 0],
    #[serde(rename = "clientURLs")]
    client_urls: &'a [String],
}

impl Api {
    /// Whether the sender of this `Authorization` header may come in; otherwise, what it is told.
    pub(super) fn admit(&self, authorization: Option<&str>) -> Result<(), Reply> {
        if self.access.admits(authorization) {
            return Ok(());
        }
        let mut reply = ApiError::unauthorized().into_reply();
        reply.headers.push(("WWW-Authenticate", "Basic realm=\"store\"".to_owned()));
        Err(reply)
    }

    /// Answers `request`, whose sender was admitted, or lets it wait.
    pub(super) fn handle(&self, request: &ApiRequest) -> Outcome {
        let path = request.path();
        if let Some(raw) = path.strip_prefix("/v2/keys")
            && (raw.is_empty() || raw.starts_with('/'))
        {
            return self.keys(request, raw).unwrap_or_else(|error| Outcome::Answer(self.failed(error)));
        }
        let reads = matches!(request.method, Method::Get | Method::Head);
        let cluster = format!("{:x}", self.store.shared.cluster);
        Outcome::Answer(match path.trim_end_matches('/') {
            "/v2/machines" | "/v2/members" | "/version" | "/health" if !reads => {
                let mut reply = Reply::text(405, "Method Not Allowed\n");
                reply.headers.push(("Allow", "GET,HEAD".to_owned()));
                reply
            }
            "/v2/machines" => Reply::text(200, self.advertise.join(", ")),
            "/v2/members" => {
                let member =
                    Member { id: cluster, name: "embedded", peer_urls: [], client_urls: &self.advertise };
                Reply::json(200, &Members { members: [member] })
            }
            // Clients look for a version that has the v2 API.
            "/version" => {
                let version = serde_json::json!({"etcdserver": "3.4.0", "etcdcluster": "3.4.0"});
                Reply::json(200, &version)
            }
            "/health" => match self.store.shared.read_index() {
                Ok(_) => Reply::json(200, &serde_json::json!({"health": "true"})),
                Err(error) => {
                    log::error!("the embedded store is not healthy: {error}");
                    Reply::json(503, &serde_json::json!({"health": "false"}))
                }
            },
            _ => Reply::text(404, "404 page not found\n"),
        })
    }

    fn keys(&self, request: &ApiRequest, raw: &str) -> Result<Outcome, ApiError> {
        let key = parse_key(raw)?;
        let parameters = Parameters::of(request)?;
        let asked = Asked::read(&parameters, request.method)?;
        match request.method {
            Method::Get | Method::Head if asked.wait => self.wait(key, &asked),
            Method::Get | Method::Head => self.get(&key, &asked),
            Method::Put => {
                let change = put(key.clone(), asked);
                self.change(&key, change)
            }
            Method::Post => {
                let change = Change::Append { parent: key.clone(), content: asked.content, ttl: asked.ttl };
                self.change(&key, change)
            }
            Method::Delete => {
                let scope = match (asked.recursive, asked.dir) {
                    (true, _) => Scope::Tree,
                    (false, true) => Scope::EmptyDirectory,
                    (false, false) => Scope::File,
                };
                let only_if = asked.only_if;
                self.change(&key, Change::Delete { key: key.clone(), scope, only_if })
            }
            Method::Other => {
                let mut reply = Reply::text(405, "Method Not Allowed\n");
                reply.headers.push(("Allow", "HEAD,GET,PUT,POST,DELETE".to_owned()));
                Ok(Outcome::Answer(reply))
            }
        }
    }

    fn get(&self, key: &Key, asked: &Asked) -> Result<Outcome, ApiError> {
        let shared = &self.store.shared;
        let found = shared.tree(key, asked.recursive).map_err(|error| ApiError::store(&error, 0))?;
        Ok(Outcome::Answer(match found.what {
            Ok(tree) => self.answer(Reply::json(200, &Body::get(tree, &*shared.clock)), found.index, true),
            Err(missing) => {
                self.answer(ApiError::missing(missing, found.index).into_reply(), found.index, false)
            }
        }))
    }

    fn change(&self, key: &Key, change: Change) -> Result<Outcome, ApiError> {
        let shared = &self.store.shared;
        let outcome = self.store.ask(key, change).map_err(|error| ApiError::store(&error, 0))?;
        Ok(Outcome::Answer(match outcome {
            Ok(event) => {
                let created = event.previous.is_none();
                let index = event.index;
                let body = Body::event(event, &*shared.clock);
                self.answer(Reply::json(if created { 201 } else { 200 }, &body), index, true)
            }
            Err(refusal) => {
                let index = shared.history.look().current();
                self.answer(ApiError::refused(key, refusal, index).into_reply(), index, false)
            }
        }))
    }

    fn wait(&self, key: Key, asked: &Asked) -> Result<Outcome, ApiError> {
        let recent = self.store.shared.history.look();
        let current = recent.current();
        let since = asked.wait_index.unwrap_or(current + 1);
        let mut wait = Wait { key, recursive: asked.recursive, since, headers: Vec::new() };
        let forgotten = recent.forgotten();
        let found = recent.after(since - 1).map(|mut events| events.find(|event| wait.wants(event)).cloned());
        drop(recent);
        let Some(found) = found else {
            let error = ApiError::cleared(forgotten + 1, since, current);
            return Ok(Outcome::Answer(self.answer(error.into_reply(), current, false)));
        };
        if let Some(event) = found {
            let body = Body::event(event, &*self.store.shared.clock);
            return Ok(Outcome::Answer(self.answer(Reply::json(200, &body), current, true)));
        }
        let head = self.answer(Reply::json(200, &()), current, true);
        wait.headers = head.headers;
        Ok(Outcome::Park(wait))
    }

    fn failed(&self, error: ApiError) -> Reply {
        let index = error.index;
        self.answer(error.into_reply(), index, false)
    }

    /// Adds what Patroni watches: which cluster this is and how far it has come. The term never changes, since there
    /// are no elections.
    fn answer(&self, mut reply: Reply, index: u64, done: bool) -> Reply {
        reply.headers.push(("X-Etcd-Cluster-Id", format!("{:x}", self.store.shared.cluster)));
        reply.headers.push(("X-Etcd-Index", index.to_string()));
        if done {
            reply.headers.push(("X-Raft-Index", index.to_string()));
            reply.headers.push(("X-Raft-Term", "1".to_owned()));
        }
        reply
    }
}

fn put(key: Key, asked: Asked) -> Change {
    match asked.refresh {
        Some(ttl) => Change::Refresh { key, ttl, only_if: asked.only_if },
        None => Change::Put { key, content: asked.content, ttl: asked.ttl, only_if: asked.only_if },
    }
}

/// The parameters of a request, checked in etcd's order.
struct Asked {
    recursive: bool,
    dir: bool,
    wait: bool,
    wait_index: Option<u64>,
    content: Content,
    ttl: Option<u64>,
    /// The TTL to refresh with.
    refresh: Option<u64>,
    only_if: Condition,
}

impl Asked {
    fn read(parameters: &Parameters, method: Method) -> Result<Self, ApiError> {
        let index = parameters.index("prevIndex")?;
        let wait_index = parameters.index("waitIndex")?;
        let recursive = parameters.flag("recursive")?.unwrap_or(false);
        parameters.flag("sorted")?;
        let wait = parameters.flag("wait")?.unwrap_or(false);
        let dir = parameters.flag("dir")?.unwrap_or(false);
        parameters.flag("quorum")?;
        if wait && !matches!(method, Method::Get | Method::Head) {
            let cause = "\"wait\" can only be used with GET requests";
            return Err(ApiError::invalid_field(cause.to_owned()));
        }
        let value = match parameters.text("prevValue") {
            Some("") => return Err(ApiError::empty_prev_value()),
            value => value.map(|value| value.as_bytes().to_vec()),
        };
        let ttl = match parameters.text("ttl") {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| ApiError::bad_ttl())?),
        };
        let exists = parameters
            .flag("prevExist")
            .map_err(|_| ApiError::invalid_field("invalid value for prevExist".to_owned()))?;
        let refresh = match (parameters.flag("refresh")?.unwrap_or(false), ttl) {
            (false, _) => None,
            (true, _) if parameters.text("value").is_some_and(|value| !value.is_empty()) => {
                return Err(ApiError::value_on_refresh());
            }
            (true, None) => return Err(ApiError::refresh_without_ttl()),
            (true, ttl) => ttl,
        };
        let text = parameters.text("value").unwrap_or_default();
        let content = if dir { Content::Directory } else { Content::File(text.as_bytes().to_vec()) };
        let only_if = Condition { exists, index, value };
        Ok(Self { recursive, dir, wait, wait_index, content, ttl, refresh, only_if })
    }
}

/// A key from the raw path after `/v2/keys`. Patroni asks for directories with a slash at the end.
fn parse_key(raw: &str) -> Result<Key, ApiError> {
    let path = decode(raw.as_bytes(), false)?;
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    Key::parse(path).map_err(|error| ApiError::invalid_field(error.to_string()))
}
