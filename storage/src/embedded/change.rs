//! What may be asked of the writer and what it answers: plain data.
//!
//! The vocabulary is that of etcd's v2 API, because Patroni speaks it; the [`crate::Store`] trait maps onto it.

use std::sync::Arc;
use std::time::Instant;

use crate::Key;

/// One change asked for. It is checked and applied as a whole or not at all.
#[derive(Debug)]
pub(super) enum Change {
    /// Writes a file or a directory; missing parents are made.
    Put {
        /// Where.
        key: Key,
        /// What.
        content: Content,
        /// Its TTL in seconds; none makes it permanent.
        ttl: Option<u64>,
        /// When.
        only_if: Condition,
    },
    /// Writes a file under `parent`, named after the index of this change, so that names sort as they were made.
    Append {
        /// Under which directory; it is made if it is missing.
        parent: Key,
        /// What.
        content: Content,
        /// As in `Put`.
        ttl: Option<u64>,
    },
    /// Runs the TTL anew, leaving the value as it is: a change like others, but one that wakes nobody.
    Refresh {
        /// Which entry.
        key: Key,
        /// The TTL in seconds.
        ttl: u64,
        /// When.
        only_if: Condition,
    },
    /// Removes a file or a directory.
    Delete {
        /// Which.
        key: Key,
        /// How far it may go.
        scope: Scope,
        /// When. `exists` is not looked at: what is not there is [`Refusal::NotFound`] anyway.
        only_if: Condition,
    },
}

impl Change {
    /// What it holds beside itself.
    pub(super) fn bytes(&self) -> usize {
        let only_if = match self {
            Self::Put { only_if, .. } | Self::Refresh { only_if, .. } | Self::Delete { only_if, .. } => {
                Some(only_if)
            }
            Self::Append { .. } => None,
        };
        let content = match self {
            Self::Put { content: Content::File(value), .. }
            | Self::Append { content: Content::File(value), .. } => value.len(),
            _ => 0,
        };
        let compared = only_if.and_then(|only_if| only_if.value.as_ref()).map_or(0, Vec::len);
        self.key().as_str().len() + content + compared
    }

    /// The key that it names: of an appended one, its parent.
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Refresh { key, .. } | Self::Delete { key, .. } => key,
            Self::Append { parent, .. } => parent,
        }
    }
}

/// What a put writes.
pub(super) enum Content {
    /// A file with these bytes.
    File(Arc<[u8]>),
    /// A directory. What is in it stays, if it is there already.
    Directory,
}

/// How far a delete may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// One file.
    File,
    /// A file, or a directory with nothing in it.
    EmptyDirectory,
    /// Whatever is there, with everything under it.
    Tree,
}

/// What must hold for a change to be made. Checked inside the write transaction.
#[derive(Clone, Default)]
pub(super) struct Condition {
    /// Whether something must be there, or must not.
    pub exists: Option<bool>,
    /// The index at which it must have changed last.
    pub index: Option<u64>,
    /// The bytes that must be there.
    pub value: Option<Vec<u8>>,
    /// Whether a directory that is there is not to be touched: its TTL is that of everything in it.
    pub files_only: bool,
}

impl Condition {
    pub(super) fn compares(&self) -> bool {
        self.index.is_some() || self.value.is_some()
    }
}

/// A change that was made.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// What was done.
    pub action: Action,
    /// The index of the change.
    pub index: u64,
    /// When it was made.
    pub at: Instant,
    /// What is there now; of something deleted, what it was without its value.
    pub node: Node,
    /// What was there before.
    pub previous: Option<Node>,
    /// Whether only a TTL began anew, of which watchers are not told.
    pub refresh: bool,
}

impl Event {
    /// Whether someone watching what is under `prefix` must hear of it: something under it changed, or a directory
    /// at or above it went as a whole.
    pub(super) fn concerns(&self, prefix: &Key) -> bool {
        let removes_tree = self.node.is_dir && self.action.removes();
        let concerns = self.node.key.is_under(prefix)
            || (removes_tree && (self.node.key == *prefix || prefix.is_under(&self.node.key)));
        concerns && !self.refresh
    }
}

/// What was done, in etcd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Set,
    Create,
    Update,
    CompareAndSwap,
    Delete,
    CompareAndDelete,
    Expire,
}

impl Action {
    pub(super) fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::CompareAndDelete | Self::Expire)
    }
}

/// A node as it was at some index.
#[derive(Clone)]
pub(super) struct Node {
    pub key: Key,
    pub is_dir: bool,
    /// A file's bytes; `None` for directories and for what was deleted.
    pub value: Option<Arc<[u8]>>,
    pub created: u64,
    pub modified: u64,
    /// When its TTL runs out.
    pub expires: Option<Instant>,
}

/// Why a change was not made. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing is there; `at` is the first part of the path that is missing.
    NotFound { at: String },
    /// What is there is not what was expected; `found` says so in etcd's manner, values and all: whoever may write
    /// something may read it.
    CompareFailed { found: Vec<u8> },
    /// A directory is there.
    NotAFile,
    /// `at`, a part of the path, is a file.
    NotADirectory { at: String },
    /// Something is there.
    Exists,
    /// The root can be neither written nor deleted.
    RootIsReadOnly,
    /// The directory is not empty.
    NotEmpty,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(value) => write!(f, "File({} bytes)", value.len()),
            Self::Directory => f.write_str("Directory"),
        }
    }
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Condition")
            .field("exists", &self.exists)
            .field("index", &self.index)
            .field("compares_value", &self.value.is_some())
            .finish()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("key", &self.key)
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Action, Event, Node};
    use crate::Key;

    #[test]
    fn a_watcher_hears_of_what_is_under_its_prefix_and_of_trees_removed_above() {
        let check = |action, key: &str, is_dir, prefix: &str, expected| {
            let key = Key::parse(key).unwrap();
            let node = Node { key, is_dir, value: None, created: 1, modified: 1, expires: None };
            let at = Instant::now();
            let event = Event { action, index: 1, at, node, previous: None, refresh: false };
            assert_eq!(event.concerns(&Key::parse(prefix).unwrap()), expected, "{event:?} for {prefix}");
        };
        check(Action::Set, "/b1/x", false, "/b1", true);
        check(Action::Set, "/b10/x", false, "/b1", false);
        check(Action::Set, "/b1", true, "/b1", false);
        check(Action::Delete, "/b1", true, "/b1", true);
        check(Action::Expire, "/b1", true, "/b1/x/y", true);
        check(Action::Delete, "/b1", true, "/b10", false);
        check(Action::Delete, "/b1", false, "/b1", false);
    }
}
