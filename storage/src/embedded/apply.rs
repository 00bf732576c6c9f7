//! Checks and applies changes inside one write transaction. Everything a change expects is checked before anything of
//! it is written, so that a refused change leaves nothing behind and its neighbours in the batch are not hurt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use redb::{ReadableTable, StorageError, Table};

use super::change::{Action, Change, Condition, Content, Event, Node, Refusal, Scope};
use super::expiry::{self, Deadlines};
use super::numbers::{Kind, Numbers, Sums};
use super::record::{Record, under};
use crate::Key;

/// Why a batch cannot go on: none of it will be committed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file could not be read or written.
    Storage(StorageError),
    /// A record makes no sense.
    BadRecord {
        /// Where it stands.
        path: String,
    },
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// What a change came to, if the disk allowed it at all.
type Outcome<T = Event> = Result<Result<T, Refusal>, Trouble>;

/// The changes of one write transaction so far.
pub(super) struct Batch<'txn, 'd> {
    nodes: Table<'txn, &'static str, &'static [u8]>,
    /// What the rows of the file add up to.
    pub sums: Sums,
    deadlines: &'d Deadlines,
    now: Instant,
    /// The index of the last change.
    pub index: u64,
    /// Whether the transaction holds anything to commit.
    pub dirty: bool,
    /// What watchers will be told.
    pub events: Vec<Event>,
    /// The nodes that were written or, with `None`, removed with everything under them: in order.
    pub written: Vec<(Key, Option<Record>)>,
    /// The deadlines that were set or, with `None`, taken away.
    pub pending: HashMap<Key, Option<Instant>>,
}

/// Leaves the enclosing function with a refusal.
macro_rules! accept {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal)),
        }
    };
}

impl<'txn, 'd> Batch<'txn, 'd> {
    pub(super) fn new(
        nodes: Table<'txn, &'static str, &'static [u8]>,
        numbers: &Numbers,
        deadlines: &'d Deadlines,
        now: Instant,
    ) -> Self {
        let Numbers { index, sums, .. } = *numbers;
        let (events, written, pending) = (Vec::new(), Vec::new(), HashMap::new());
        Self { nodes, sums, deadlines, now, index, dirty: false, events, written, pending }
    }

    /// Applies one change, or refuses it and leaves everything as it was.
    pub(super) fn apply(&mut self, change: Change) -> Outcome {
        match change {
            Change::Put { key, content, ttl, only_if } => self.put(key, content, ttl, &only_if),
            Change::Append { parent, content, ttl } => {
                let name = format!("{:020}", self.index + 1);
                let Ok(key) = parent.child(&name) else { return Ok(Err(Refusal::RootIsReadOnly)) };
                self.put(key, content, ttl, &Condition { exists: Some(false), ..Condition::default() })
            }
            Change::Refresh { key, ttl, only_if } => self.refresh(key, ttl, &only_if),
            Change::Delete { key, scope, only_if } => self.delete(key, scope, &only_if),
        }
    }

    /// Removes `key` and everything under it because its time has come. Does nothing if that is no longer so.
    pub(super) fn expire(&mut self, key: &Key) -> Result<(), Trouble> {
        if self.expires(key).is_none_or(|at| at > self.now) {
            return Ok(());
        }
        match self.read(key)? {
            Some(record) => self.remove(key.clone(), record, Action::Expire).map(drop),
            None => {
                self.pending.insert(key.clone(), None);
                Ok(())
            }
        }
    }

    fn put(&mut self, key: Key, content: Content, ttl: Option<u64>, only_if: &Condition) -> Outcome {
        if key == Key::root() {
            return Ok(Err(Refusal::RootIsReadOnly));
        }
        let found = match self.find(&key)? {
            Ok(record) => Some(record),
            Err(missing @ Refusal::NotFound { .. }) => {
                if only_if.exists == Some(true) || (only_if.exists.is_none() && only_if.compares()) {
                    return Ok(Err(missing));
                }
                None
            }
            Err(refusal) => return Ok(Err(refusal)),
        };
        let action = accept!(check_put(found.as_ref(), &content, only_if));
        let keeps_creation = matches!(action, Action::Update | Action::CompareAndSwap);
        let index = self.index + 1;
        // As in etcd, a directory whose TTL changes keeps its index, though its event has a new one.
        let kept_index = found.as_ref().filter(|old| old.is_dir()).map(|old| old.modified);
        let mut record = Record {
            value: match content {
                Content::File(value) if kept_index.is_none() => Some(value),
                Content::File(_) | Content::Directory => None,
            },
            created: found.as_ref().filter(|_| keeps_creation).map_or(index, |old| old.created),
            modified: kept_index.unwrap_or(index),
            ttl,
        };
        let previous = found.map(|old| self.node(key.clone(), old));
        self.make_parents(&key, index)?;
        self.write(&key, &record)?;
        self.pending.insert(key.clone(), ttl.map(|ttl| expiry::deadline(self.now, ttl)));
        record.modified = index;
        let node = self.node(key, record);
        Ok(Ok(self.record_event(action, node, previous, false)))
    }

    fn refresh(&mut self, key: Key, ttl: u64, only_if: &Condition) -> Outcome {
        if key == Key::root() {
            return Ok(Err(Refusal::RootIsReadOnly));
        }
        let mut record = accept!(self.find(&key)?);
        // What is written is what is there, so that nothing but where it stands can be wrong.
        let nothing_new = Content::File(Arc::default());
        let action = accept!(check_put(Some(&record), &nothing_new, only_if));
        let previous = self.node(key.clone(), record.clone());
        let index = self.index + 1;
        if action == Action::Set {
            record.created = index;
        }
        // As with a put, a directory keeps its index.
        if !record.is_dir() {
            record.modified = index;
        }
        record.ttl = Some(ttl);
        self.write(&key, &record)?;
        self.pending.insert(key.clone(), Some(expiry::deadline(self.now, ttl)));
        record.modified = index;
        let node = self.node(key, record);
        Ok(Ok(self.record_event(action, node, Some(previous), true)))
    }

    fn delete(&mut self, key: Key, scope: Scope, only_if: &Condition) -> Outcome {
        if key == Key::root() {
            let refusal = if only_if.compares() { Refusal::NotAFile } else { Refusal::RootIsReadOnly };
            return Ok(Err(refusal));
        }
        let record = accept!(self.find(&key)?);
        if only_if.compares() {
            accept!(compare(&record, only_if));
        } else if record.is_dir() {
            match scope {
                Scope::File => return Ok(Err(Refusal::NotAFile)),
                Scope::EmptyDirectory if self.has_children(&key)? => return Ok(Err(Refusal::NotEmpty)),
                Scope::EmptyDirectory | Scope::Tree => {}
            }
        }
        let action = if only_if.compares() { Action::CompareAndDelete } else { Action::Delete };
        Ok(Ok(self.remove(key, record, action)?))
    }

    /// Removes a node and what is under it, as one event.
    fn remove(&mut self, key: Key, record: Record, action: Action) -> Result<Event, Trouble> {
        let mut doomed = vec![key.clone()];
        if record.is_dir() {
            let (from, to) = under(key.as_str());
            for row in self.nodes.range(from.as_str()..to.as_str())? {
                let path = row?.0.value().to_owned();
                doomed.push(Key::parse(&path).map_err(|_| Trouble::BadRecord { path })?);
            }
        }
        let previous = self.node(key.clone(), record.clone());
        self.written.push((key.clone(), None));
        for key in doomed {
            if let Some(old) = self.nodes.remove(key.as_str())? {
                self.sums.remove(Kind::Node, key.as_str(), old.value());
            }
            self.pending.insert(key, None);
        }
        let mut node = self.node(key, Record { modified: self.index + 1, ttl: None, ..record });
        node.value = None;
        Ok(self.record_event(action, node, Some(previous), false))
    }

    fn record_event(&mut self, action: Action, node: Node, previous: Option<Node>, refresh: bool) -> Event {
        self.index += 1;
        self.dirty = true;
        let event = Event { action, index: self.index, at: self.now, node, previous, refresh };
        self.events.push(event.clone());
        event
    }

    /// The record at `key`, or why there is none: a part of the path is missing, or is a file.
    fn find(&self, key: &Key) -> Outcome<Record> {
        if let Some(record) = self.read(key)? {
            return Ok(Ok(record));
        }
        let mut at = Key::root();
        for segment in key.segments() {
            at = at.child(segment).map_err(|_| Trouble::BadRecord { path: key.to_string() })?;
            match self.read(&at)? {
                None => return Ok(Err(Refusal::NotFound { at: at.to_string() })),
                Some(record) if !record.is_dir() => {
                    return Ok(Err(Refusal::NotADirectory { at: at.to_string() }));
                }
                Some(_) => {}
            }
        }
        Ok(Err(Refusal::NotFound { at: key.to_string() }))
    }

    fn make_parents(&mut self, key: &Key, index: u64) -> Result<(), Trouble> {
        let mut at = key.parent();
        while let Some(parent) = at.filter(|parent| *parent != Key::root()) {
            if self.read(&parent)?.is_some() {
                break;
            }
            self.write(&parent, &Record { value: None, created: index, modified: index, ttl: None })?;
            at = parent.parent();
        }
        Ok(())
    }

    fn has_children(&self, key: &Key) -> Result<bool, Trouble> {
        let (from, to) = under(key.as_str());
        Ok(self.nodes.range(from.as_str()..to.as_str())?.next().transpose()?.is_some())
    }

    fn read(&self, key: &Key) -> Result<Option<Record>, Trouble> {
        let row = self.nodes.get(key.as_str())?;
        row.map(|bytes| Record::decode(bytes.value()))
            .transpose()
            .map_err(|_| Trouble::BadRecord { path: key.to_string() })
    }

    fn write(&mut self, key: &Key, record: &Record) -> Result<(), Trouble> {
        self.dirty = true;
        let row = record.encode();
        self.sums.add(Kind::Node, key.as_str(), &row);
        if let Some(old) = self.nodes.insert(key.as_str(), row.as_slice())? {
            self.sums.remove(Kind::Node, key.as_str(), old.value());
        }
        self.written.push((key.clone(), Some(record.clone())));
        Ok(())
    }

    fn expires(&self, key: &Key) -> Option<Instant> {
        self.pending.get(key).copied().unwrap_or_else(|| self.deadlines.get(key))
    }

    fn node(&self, key: Key, record: Record) -> Node {
        let expires = record.ttl.and_then(|_| self.expires(&key));
        let is_dir = record.is_dir();
        Node { key, is_dir, value: record.value, created: record.created, modified: record.modified, expires }
    }
}

/// Whether a put may go ahead, and what it is then called. What is missing has been dealt with before.
fn check_put(found: Option<&Record>, content: &Content, only_if: &Condition) -> Result<Action, Refusal> {
    match (found, only_if.exists) {
        (Some(_), Some(false)) => Err(Refusal::Exists),
        (None, Some(false)) => Ok(Action::Create),
        (Some(record), _) if only_if.compares() => compare(record, only_if).map(|()| Action::CompareAndSwap),
        (Some(record), Some(true)) => match content {
            _ if record.is_dir() && only_if.files_only => Err(Refusal::NotAFile),
            Content::File(value) if record.is_dir() && !value.is_empty() => Err(Refusal::NotAFile),
            _ => Ok(Action::Update),
        },
        (Some(record), None) if record.is_dir() => Err(Refusal::NotAFile),
        (_, _) => Ok(Action::Set),
    }
}

/// Compares in etcd's order, and says what was found in etcd's words.
fn compare(record: &Record, only_if: &Condition) -> Result<(), Refusal> {
    let Some(value) = &record.value else { return Err(Refusal::NotAFile) };
    let mut found = Vec::new();
    if let Some(expected) = only_if.value.as_ref().filter(|expected| ***expected != **value) {
        found.push([b"[", &**expected, b" != ", value, b"]"].concat());
    }
    if let Some(expected) = only_if.index.filter(|expected| *expected != record.modified) {
        found.push(format!("[{expected} != {}]", record.modified).into_bytes());
    }
    if found.is_empty() { Ok(()) } else { Err(Refusal::CompareFailed { found: found.join(&b' ') }) }
}
