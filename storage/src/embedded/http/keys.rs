//! What is under `/v2/keys`: who may ask what, what it means to the store, and how the answer looks.
//!
//! A caller sees the part of the tree that it may read as if the rest were not there: a file that it may not read is
//! missing to it, and so is what it would find behind it.

use std::sync::Arc;

use super::super::Shared;
use super::super::change::{Action, Change, Condition, Content, Event, Scope};
use super::super::permissions::{Permissions, Sight};
use super::super::read::Missing;
use super::super::writer::Answer;
use super::api::{Api, Outcome};
use super::auth::Caller;
use super::error::ApiError;
use super::reply::{Body, Reply};
use super::request::{ApiRequest, Asked, Method};
use super::stats::{Stats, Verb};
use crate::Key;

/// A read whose answer may be large.
pub struct Read {
    key: Key,
    recursive: bool,
    caller: Caller,
}

/// What is to be remembered of a request until the writer has dealt with it. Not the store: whoever drops the last of it
/// waits for the thread that is told.
pub struct Pending {
    shared: Arc<Shared>,
    stats: Arc<Stats>,
    key: Key,
    verb: Verb,
    no_value_on_success: bool,
}

/// A watch.
#[derive(Debug)]
pub struct Wait {
    pub(super) key: Key,
    pub(super) recursive: bool,
    /// Whether it goes on after its first event.
    pub(super) stream: bool,
    /// The first index that it has not seen.
    pub(super) since: u64,
    /// Who waits.
    pub(super) caller: Caller,
    /// Headers of its answer.
    pub(super) headers: Vec<(&'static str, String)>,
    /// What a stream wants among what has happened already, and begins with.
    pub(super) found: Option<Event>,
}

impl Wait {
    /// Whether `event` is one to report to who was waiting when it happened, and one that its reader may know of.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let key = &event.node.key;
        let removes_tree = event.node.is_dir && event.action.removes();
        let concerns = *key == self.key
            || (self.recursive && key.is_under(&self.key) && !is_hidden(key, &self.key))
            || (removes_tree && self.key.is_under(key));
        concerns && self.may_know(event)
    }

    /// The same for who comes later. etcd then hides nothing, and takes a directory for one above whatever begins with
    /// its name.
    fn wants_of_the_past(&self, event: &Event) -> bool {
        let key = &event.node.key;
        let removes_tree = matches!(event.action, Action::Delete | Action::Expire)
            && event.previous.as_ref().is_some_and(|previous| previous.is_dir);
        let concerns = *key == self.key
            || (self.recursive && key.is_under(&self.key))
            || (removes_tree && self.key.as_str().starts_with(key.as_str()));
        concerns && self.may_know(event)
    }

    fn may_know(&self, event: &Event) -> bool {
        !event.refresh
            && event.index >= self.since
            && self.caller.permissions.sees(&event.node.key, event.node.is_dir)
    }

    /// Whether its reader may know of what was there before. A directory may stand where a file was.
    pub(super) fn may_know_previous(&self, event: &Event) -> bool {
        let may = &self.caller.permissions;
        event.previous.as_ref().is_none_or(|previous| may.sees(&previous.key, previous.is_dir))
    }
}

/// Whether a part of `key` that begins with `_` keeps it from who looks from `above`.
fn is_hidden(key: &Key, above: &Key) -> bool {
    key.segments().skip(above.segments().count()).any(|segment| segment.starts_with('_'))
}

impl Api {
    pub(super) fn keys(&self, request: &ApiRequest, raw: &[u8], caller: &Caller) -> Outcome {
        self.asked(request, raw, caller).unwrap_or_else(|error| Outcome::Answer(self.failed(error)))
    }

    fn asked(&self, request: &ApiRequest, raw: &[u8], caller: &Caller) -> Result<Outcome, ApiError> {
        if request.method == Method::Other {
            return Ok(Outcome::Answer(Reply::only("HEAD,GET,PUT,POST,DELETE")));
        }
        let asked = Asked::read(request)?;
        let key = parse_key(raw)?;
        let may = &caller.permissions;
        let allowed = match request.method {
            Method::Put if asked.dir => may.may_write_tree(&key),
            Method::Delete if asked.dir || asked.recursive => may.may_write_tree(&key),
            Method::Put | Method::Delete => may.may_write(&key),
            Method::Post => may.may_write_tree(&key),
            _ => may.sight(&key) != Sight::Nothing,
        };
        if !allowed {
            return Err(ApiError::unauthorized());
        }
        match request.method {
            Method::Get if asked.wait => self.wait(key, &asked, caller),
            Method::Put | Method::Post | Method::Delete => {
                let (shared, stats) = (Arc::clone(&self.store.shared), Arc::clone(&self.stats));
                let no_value_on_success = asked.no_value_on_success;
                let (change, verb) = match request.method {
                    Method::Put => put(key.clone(), asked, may),
                    Method::Post => post(key.clone(), asked)?,
                    _ => delete(key.clone(), asked),
                };
                Ok(Outcome::Change(change, Pending { shared, stats, key, verb, no_value_on_success }))
            }
            _ => self.get(key, &asked, caller),
        }
    }

    /// What is small is answered at once.
    fn get(&self, key: Key, asked: &Asked, caller: &Caller) -> Result<Outcome, ApiError> {
        let read = Read { key, recursive: asked.recursive, caller: caller.clone() };
        let is_file = self.store.shared.is_file(&read.key);
        Ok(if is_file { Outcome::Answer(self.read(&read)) } else { Outcome::Read(read) })
    }

    /// What is at and under a key for who had to wait for it, and may have been dismissed meanwhile.
    pub(super) fn listed(&self, read: &Read) -> Reply {
        let reply = self.read(read);
        if self.is_still_admitted(&read.caller) { reply } else { Self::not_let_in() }
    }

    /// What is at and under a key, as far as its reader may know.
    pub(super) fn read(&self, read: &Read) -> Reply {
        let shared = &self.store.shared;
        let may = &read.caller.permissions;
        let found = shared.tree(&read.key, read.recursive, may);
        let seen = match found.what {
            Ok(tree) => Ok(tree),
            // What is no directory is told to who may read it; to others it is not there.
            Err(Missing::BehindFile { at }) => Err(match Key::parse(&at) {
                Ok(file) if !may.may_read(&file) => Missing::Nothing { at },
                _ => Missing::BehindFile { at },
            }),
            Err(missing) => Err(missing),
        };
        self.stats.count(Verb::Get, seen.is_ok());
        match seen {
            Ok(tree) => self.answer(Reply::json(200, &Body::get(tree, &*shared.clock)), found.index, true),
            Err(missing) => self.failed(ApiError::missing(missing, found.index)),
        }
    }

    fn wait(&self, key: Key, asked: &Asked, caller: &Caller) -> Result<Outcome, ApiError> {
        let (recursive, stream, caller) = (asked.recursive, asked.stream, caller.clone());
        let recent = self.store.shared.history.look();
        let current = recent.current();
        let since = asked.wait_index.unwrap_or(current + 1);
        let mut wait = Wait { key, recursive, stream, since, caller, headers: Vec::new(), found: None };
        let found = recent
            .after(since - 1)
            .map(|mut events| events.find(|event| wait.wants_of_the_past(event)).cloned());
        let found = found.ok_or_else(|| ApiError::cleared(recent.forgotten() + 1, since, current))?;
        drop(recent);
        let reply = match found {
            // There is nothing to wait for.
            Some(mut event) if !stream => {
                if !wait.may_know_previous(&event) {
                    event.previous = None;
                }
                let body = Body::event(event, &*self.store.shared.clock);
                return Ok(Outcome::Answer(self.answer(Reply::json(200, &body), current, true)));
            }
            _ => self.answer(Reply::json(200, &()), current, true),
        };
        wait.headers = reply.headers;
        wait.since = found.as_ref().map_or(since.max(current + 1), |event| event.index + 1);
        wait.found = found;
        Ok(Outcome::Watch(wait))
    }

    fn failed(&self, error: ApiError) -> Reply {
        failed(&self.store.shared, error)
    }

    fn answer(&self, reply: Reply, index: u64, done: bool) -> Reply {
        answer(&self.store.shared, reply, index, done)
    }
}

impl Pending {
    /// What is answered once the writer has dealt with the change.
    pub(super) fn reply(&self, outcome: Answer) -> Reply {
        let shared = &self.shared;
        self.stats.count(self.verb, matches!(outcome, Ok(Ok(_))));
        match outcome {
            Ok(Ok(event)) => {
                let (index, action) = (event.index, event.action);
                let created = event.previous.is_none();
                let body = if self.no_value_on_success && !action.removes() {
                    Body::bare(action)
                } else {
                    Body::event(event, &*shared.clock)
                };
                answer(shared, Reply::json(if created { 201 } else { 200 }, &body), index, true)
            }
            Ok(Err(refusal)) => {
                let index = shared.history.look().current();
                failed(shared, ApiError::refused(&self.key, refusal, index))
            }
            Err(failure) => failed(shared, ApiError::store(&failure.told(&self.key), 0)),
        }
    }
}

fn failed(shared: &Shared, error: ApiError) -> Reply {
    let index = error.index;
    answer(shared, error.into_reply(), index, false)
}

/// Adds what Patroni watches: which cluster this is and how far it has come. The term never changes, since there are no
/// elections.
fn answer(shared: &Shared, mut reply: Reply, index: u64, done: bool) -> Reply {
    reply.headers.push(("X-Etcd-Cluster-Id", format!("{:x}", shared.cluster)));
    reply.headers.push(("X-Etcd-Index", index.to_string()));
    if done {
        reply.headers.push(("X-Raft-Index", index.to_string()));
        reply.headers.push(("X-Raft-Term", "1".to_owned()));
    }
    reply
}

fn put(key: Key, asked: Asked, may: &Permissions) -> (Change, Verb) {
    let Asked { dir, value, ttl, refresh, only_if, .. } = asked;
    let verb = match only_if.exists {
        Some(false) => Verb::Create,
        _ if only_if.compares() => Verb::CompareAndSwap,
        Some(true) => Verb::Update,
        None => Verb::Set,
    };
    // Whoever gives a directory a TTL removes what is in it.
    let only_if = Condition { files_only: !may.may_write_tree(&key), ..only_if };
    let change = match refresh {
        Some(ttl) if verb != Verb::Create => Change::Refresh { key, ttl, only_if },
        _ => {
            // What is there stays what it is, whatever is said.
            let makes = matches!(verb, Verb::Create | Verb::Set);
            let content = content(dir && makes, &value);
            Change::Put { key, content, ttl, only_if }
        }
    };
    (change, verb)
}

fn post(parent: Key, asked: Asked) -> Result<(Change, Verb), ApiError> {
    // It is named after an index, of twenty digits.
    parent.child(&"0".repeat(20)).map_err(|error| ApiError::invalid_field(error.to_string()))?;
    let content = content(asked.dir, &asked.value);
    Ok((Change::Append { parent, content, ttl: asked.ttl }, Verb::Create))
}

fn delete(key: Key, asked: Asked) -> (Change, Verb) {
    let scope = match (asked.recursive, asked.dir) {
        (true, _) => Scope::Tree,
        (false, true) => Scope::EmptyDirectory,
        (false, false) => Scope::File,
    };
    let verb = if asked.only_if.compares() { Verb::CompareAndDelete } else { Verb::Delete };
    (Change::Delete { key, scope, only_if: asked.only_if }, verb)
}

fn content(dir: bool, value: &[u8]) -> Content {
    if dir { Content::Directory } else { Content::File(value.into()) }
}

/// A key from the decoded path after `/v2/keys`. Patroni asks for directories with a slash at the end.
fn parse_key(raw: &[u8]) -> Result<Key, ApiError> {
    let path = std::str::from_utf8(raw).map_err(|_| ApiError::invalid_field("is not UTF-8".to_owned()))?;
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    Key::parse(path).map_err(|error| ApiError::invalid_field(error.to_string()))
}
