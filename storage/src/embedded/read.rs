//! Reading: each call in one transaction, so that entries and revision belong together, and linearizable, since an
//! answered write has been committed.

use std::collections::HashMap;
use std::time::Instant;

use redb::{ReadTransaction, ReadableTable};

use super::record::{INDEX, META, NODES, Record, under};
use super::{ENGINE, Shared};
use crate::{Entry, Key, Listing, Revision, StoreError};

/// A node with what is in it, as deep as was asked for.
pub(super) struct Tree {
    pub key: Key,
    pub record: Record,
    /// When its TTL runs out.
    pub expires: Option<Instant>,
    /// What is in the directory, sorted by key; empty below the depth asked for.
    pub children: Vec<Tree>,
}

/// What a path leads to, and the index at which this was so.
pub(super) struct Found {
    pub index: u64,
    pub what: Result<Tree, Missing>,
}

/// Why a path leads nowhere.
pub(super) enum Missing {
    /// `at` is the first part that is not there.
    Nothing { at: String },
    /// `at`, a part of the path, is a file.
    BehindFile { at: String },
}

impl Shared {
    /// The index of the last committed change.
    pub(super) fn read_index(&self) -> Result<u64, StoreError> {
        let database = self.database.open();
        read_index(&database.begin_read()?)
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let database = self.database.open();
        let read = database.begin_read()?;
        let nodes = read.open_table(NODES).map_err(unavailable)?;
        let Some(row) = nodes.get(key.as_str()).map_err(unavailable)? else { return Ok(None) };
        let record = decode(key.as_str(), row.value())?;
        let revision = Revision(record.modified);
        Ok(record.value.map(|value| Entry { key: key.clone(), value, revision }))
    }

    pub(super) fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        let database = self.database.open();
        let read = database.begin_read()?;
        let nodes = read.open_table(NODES).map_err(unavailable)?;
        let (from, to) = under(prefix.as_str());
        let mut entries = Vec::new();
        for row in nodes.range(from.as_str()..to.as_str()).map_err(unavailable)? {
            let (path, bytes) = row.map_err(unavailable)?;
            let record = decode(path.value(), bytes.value())?;
            if let Some(value) = record.value {
                let key = parse(path.value())?;
                entries.push(Entry { key, value, revision: Revision(record.modified) });
            }
        }
        // The table is in the order of its bytes, which sorts `/a-b` before `/a/b`; so are keys.
        Ok(Listing { entries, revision: Revision(read_index(&read)?) })
    }

    /// The node at `key`: with its children, or with everything under it.
    pub(super) fn tree(&self, key: &Key, recursive: bool) -> Result<Found, StoreError> {
        let database = self.database.open();
        let read = database.begin_read()?;
        let nodes = read.open_table(NODES).map_err(unavailable)?;
        let index = read_index(&read)?;
        let fetch = |at: &Key| -> Result<Option<Record>, StoreError> {
            let row = nodes.get(at.as_str()).map_err(unavailable)?;
            row.map(|row| decode(at.as_str(), row.value())).transpose()
        };
        let mut record = Record { value: None, created: 0, modified: 0, ttl: None };
        let mut at = Key::root();
        for segment in key.segments() {
            if !record.is_dir() {
                return Ok(Found { index, what: Err(Missing::BehindFile { at: at.to_string() }) });
            }
            at = parse(&format!("{}/{segment}", at.as_str().trim_end_matches('/')))?;
            match fetch(&at)? {
                Some(found) => record = found,
                None => return Ok(Found { index, what: Err(Missing::Nothing { at: at.to_string() }) }),
            }
        }
        let mut below = HashMap::<Key, Vec<Tree>>::new();
        let (from, to) = under(key.as_str());
        // Backwards, so that whatever is in a directory has been met when the directory is.
        for row in nodes.range(from.as_str()..to.as_str()).map_err(unavailable)?.rev() {
            let (path, bytes) = row.map_err(unavailable)?;
            let child = parse(path.value())?;
            let parent = child.parent().unwrap_or_else(Key::root);
            if recursive || parent == *key {
                let record = decode(path.value(), bytes.value())?;
                let children = below.remove(&child).unwrap_or_default();
                below.entry(parent).or_default().push(self.branch(child, record, children));
            }
        }
        let children = below.remove(key).unwrap_or_default();
        let tree = self.branch(key.clone(), record, children);
        Ok(Found { index, what: Ok(tree) })
    }

    /// Every key with a TTL and its seconds: what an open begins with.
    pub(super) fn all_ttls(&self) -> Result<Vec<(Key, u64)>, StoreError> {
        let database = self.database.open();
        let read = database.begin_read()?;
        let nodes = read.open_table(NODES).map_err(unavailable)?;
        let mut ttls = Vec::new();
        for row in nodes.iter().map_err(unavailable)? {
            let (path, bytes) = row.map_err(unavailable)?;
            if let Some(ttl) = decode(path.value(), bytes.value())?.ttl {
                ttls.push((parse(path.value())?, ttl));
            }
        }
        Ok(ttls)
    }

    fn branch(&self, key: Key, record: Record, mut children: Vec<Tree>) -> Tree {
        children.reverse();
        let expires = record.ttl.and_then(|_| self.deadlines().get(&key));
        Tree { key, record, expires, children }
    }
}

fn read_index(read: &ReadTransaction) -> Result<u64, StoreError> {
    let meta = read.open_table(META).map_err(unavailable)?;
    let index = meta.get(INDEX).map_err(unavailable)?;
    Ok(index.map_or(0, |index| index.value()))
}

fn decode(path: &str, bytes: &[u8]) -> Result<Record, StoreError> {
    Record::decode(bytes)
        .map_err(|_| StoreError::Corrupt { reason: format!("the record of {path} cannot be read") })
}

fn parse(path: &str) -> Result<Key, StoreError> {
    Key::parse(path)
        .map_err(|error| StoreError::Corrupt { reason: format!("stored under {path:?}: {error}") })
}

pub(super) fn unavailable(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(reason) => StoreError::Corrupt { reason },
        other => StoreError::Unavailable { engine: ENGINE, reason: other.to_string() },
    }
}
