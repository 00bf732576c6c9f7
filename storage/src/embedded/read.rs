//! Reading: from memory, at one index, so that entries and revision belong together; and linearizable, since an answered
//! write is in the tree. Nothing here waits for a disk, whatever has become of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::permissions::{Permissions, Sight};
use super::record::Record;
use super::tree::{At, Directory, Slot};
use super::{ENGINE, Shared};
use crate::{Entry, Key, Listing, Revision, StoreError};

/// A tree of no more nodes than these is walked where the writer waits for it; a larger one is taken as it is, so that the
/// writer copies what it changes of it meanwhile.
const SMALL: usize = 1_000;

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
    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        let view = self.view();
        let At::Node(slot) = view.nodes.at(key) else { return None };
        let (value, revision) = (Arc::clone(slot.value()?), Revision(slot.modified()));
        drop(view);
        Some(Entry { key: key.clone(), value: value.to_vec(), revision })
    }

    /// Whether a file stands at `key`.
    pub(super) fn is_file(&self, key: &Key) -> bool {
        matches!(self.view().nodes.at(key), At::Node(slot) if !slot.is_dir())
    }

    pub(super) fn list(&self, prefix: &Key) -> Listing {
        let view = self.view();
        let revision = Revision(view.index);
        let directory = view.nodes.directory(prefix).cloned();
        // Neither the walk nor the copies of values hold up the writer.
        drop(view);
        let mut entries = Vec::new();
        directory.iter().for_each(|directory| collect(prefix, directory, &mut entries));
        drop(directory);
        // Directory by directory, `/a/b` came before `/a-b`; keys are in the order of their bytes.
        entries.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Listing { entries, revision }
    }

    /// The node at `key`: with its children, or with everything under it, as far as `may` says. As in etcd, what is
    /// hidden is there for who names it, and in no directory.
    pub(super) fn tree(&self, key: &Key, recursive: bool, may: &Permissions) -> Found {
        match self.look(key, recursive, may) {
            Look::Done(found) => found,
            Look::Large(large) => large.walk(recursive, may),
        }
    }

    /// The same, where it is small. It is not walked in the way of the writer, and of all who read after it, otherwise.
    fn look(&self, key: &Key, recursive: bool, may: &Permissions) -> Look {
        let view = self.view();
        let index = view.index;
        let missing = |missing| Look::Done(Found { index, what: Err(missing) });
        let (record, directory) = match view.nodes.at(key) {
            At::Root => {
                let record = Record { value: None, created: 0, modified: 0, ttl: None };
                (record, view.nodes.directory(key))
            }
            At::Node(slot) => (slot.record(), slot.directory()),
            At::Nothing { depth } => return missing(Missing::Nothing { at: begin(key, depth) }),
            At::BehindFile { depth } => return missing(Missing::BehindFile { at: begin(key, depth) }),
        };
        let sight = may.sight(key);
        if !is_shown(sight, key, record.is_dir(), may) {
            return missing(Missing::Nothing { at: key.to_string() });
        }
        let expires = record.ttl.and_then(|_| view.deadlines.get(key));
        let mut tree = Tree { key: key.clone(), record, expires, children: Vec::new() };
        let Some(directory) = directory else { return Look::Done(Found { index, what: Ok(tree) }) };
        let mut walk = Walk { recursive, may, deadlines: view.deadlines.by_key(), left: SMALL };
        if let Some(children) = walk.children(key, directory, sight) {
            tree.children = children;
            return Look::Done(Found { index, what: Ok(tree) });
        }
        let (directory, deadlines) = (directory.clone(), Arc::clone(view.deadlines.by_key()));
        Look::Large(Large { index, tree, directory, deadlines, sight })
    }
}

/// What a first look at a tree gives.
enum Look {
    Done(Found),
    Large(Large),
}

/// A tree that is to be walked without holding up anybody: as it was at one index.
struct Large {
    index: u64,
    /// Without children so far.
    tree: Tree,
    directory: Directory,
    deadlines: Arc<HashMap<Key, Instant>>,
    sight: Sight,
}

impl Large {
    fn walk(self, recursive: bool, may: &Permissions) -> Found {
        let Self { index, mut tree, directory, deadlines, sight } = self;
        let mut walk = Walk { recursive, may, deadlines: &deadlines, left: usize::MAX };
        let children = walk.children(&tree.key, &directory, sight);
        tree.children = children.expect("there are fewer nodes than numbers");
        Found { index, what: Ok(tree) }
    }
}

/// A walk through a tree, of what somebody may see of it.
struct Walk<'a> {
    recursive: bool,
    may: &'a Permissions,
    deadlines: &'a HashMap<Key, Instant>,
    /// How many nodes it may look at.
    left: usize,
}

impl Walk<'_> {
    /// What is in a directory; nothing where it has come too far.
    fn children(&mut self, parent: &Key, directory: &Directory, sight: Sight) -> Option<Vec<Tree>> {
        let names = if sight == Sight::Part { self.may.names_in(parent) } else { None };
        let Some(names) = names else { return self.branches(parent, directory.entries(), sight) };
        let entries = names.into_iter().filter_map(|name| Some((name, directory.entry(name)?)));
        self.branches(parent, entries, sight)
    }

    fn branches<'e>(
        &mut self,
        parent: &Key,
        entries: impl Iterator<Item = (&'e str, &'e Slot)>,
        sight: Sight,
    ) -> Option<Vec<Tree>> {
        let mut branches = Vec::new();
        for (name, slot) in entries.filter(|(name, _)| !name.starts_with('_')) {
            self.left = self.left.checked_sub(1)?;
            let key = parent.below(name);
            let sight = if sight == Sight::All { sight } else { self.may.sight(&key) };
            if !is_shown(sight, &key, slot.is_dir(), self.may) {
                continue;
            }
            let children = match slot.directory().filter(|_| self.recursive) {
                Some(directory) => self.children(&key, directory, sight)?,
                None => Vec::new(),
            };
            let record = slot.record();
            let expires = record.ttl.and_then(|_| self.deadlines.get(&key).copied());
            branches.push(Tree { key, record, expires, children });
        }
        Some(branches)
    }
}

/// Whether it is there for somebody who sees this much of it: a file that may be read, a directory in which something may.
fn is_shown(sight: Sight, key: &Key, is_dir: bool, may: &Permissions) -> bool {
    match sight {
        Sight::All => true,
        Sight::Part => is_dir || may.may_read(key),
        Sight::Nothing => false,
    }
}

fn collect(parent: &Key, directory: &Directory, entries: &mut Vec<Entry>) {
    for (name, slot) in directory.entries() {
        let key = parent.below(name);
        slot.directory().into_iter().for_each(|directory| collect(&key, directory, entries));
        if let Some(value) = slot.value() {
            entries.push(Entry { key, value: value.to_vec(), revision: Revision(slot.modified()) });
        }
    }
}

/// The first segments of a key, as a path.
fn begin(key: &Key, depth: usize) -> String {
    key.segments().take(depth).flat_map(|segment| ["/", segment]).collect()
}

pub(super) fn unavailable(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(reason) => StoreError::Corrupt { reason },
        other => StoreError::Unavailable { engine: ENGINE, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Embedded, Options};
    use super::{Found, Look, SMALL, Tree};
    use crate::embedded::permissions::{Pattern, Permissions};
    use crate::{Expect, Key, Store};

    fn key(path: &str) -> Key {
        Key::parse(path).unwrap()
    }

    fn put(store: &Embedded, path: &str) {
        store.put(&key(path), b"x", None, Expect::Anything).unwrap();
    }

    fn reading(patterns: &str) -> Permissions {
        let patterns = patterns.split(' ').map(|raw| Pattern::parse(raw).unwrap()).collect();
        Permissions::new(patterns, vec![], vec![])
    }

    fn paths(tree: &Tree, paths: &mut Vec<String>) {
        paths.push(tree.key.to_string());
        tree.children.iter().for_each(|child| self::paths(child, paths));
    }

    fn shown(found: Found) -> Vec<String> {
        let mut shown = Vec::new();
        found.what.iter().for_each(|tree| paths(tree, &mut shown));
        shown
    }

    fn store_of(count: usize) -> Embedded {
        let store = Embedded::in_memory(Options::default()).unwrap();
        (0..count).for_each(|n| put(&store, &format!("/service/b{n}/state")));
        store
    }

    /// Everything was gathered first, for whoever may see a little of it.
    #[test]
    fn a_listing_costs_what_is_seen_of_it() {
        let store = store_of(SMALL + 1);
        let check = |read: &str, small: bool, count: usize| {
            let may = reading(read);
            let look = store.shared.look(&Key::root(), true, &may);
            assert_eq!(matches!(look, Look::Done(_)), small, "{read}");
            assert_eq!(shown(store.shared.tree(&Key::root(), true, &may)).len(), count, "{read}");
        };
        check("/service/b7/** /service/b8/state /service/none/** /service/b9/other", true, 7);
        check("/service/*/nothing", false, SMALL + 3);
        check("/service/**", false, 2 * SMALL + 4);
    }

    /// The writer waited for the whole walk, and everybody who read waited for the writer.
    #[test]
    fn what_is_large_is_walked_in_nobodys_way() {
        let store = store_of(SMALL + 1);
        let may = Permissions::all();
        let before = shown(store.shared.tree(&Key::root(), true, &may));
        let index = store.shared.view().index;
        let Look::Large(large) = store.shared.look(&Key::root(), true, &may) else { panic!("it is large") };
        put(&store, "/service/b0/new");
        put(&store, "/new");
        store.delete(&key("/service/b7/state"), Expect::Anything).unwrap();
        let found = large.walk(true, &may);
        assert_eq!(found.index, index);
        assert_eq!(shown(found), before, "as it was at its index");
        let after = shown(store.shared.tree(&Key::root(), true, &may));
        assert!(after.contains(&"/new".to_owned()) && !after.contains(&"/service/b7/state".to_owned()));
    }
}
