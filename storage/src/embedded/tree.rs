//! The tree in memory: every committed node, by the segments of its path, and the index and the deadlines that belong
//! to it. Reads come from here and wait for no disk. The writer alone changes it, after each commit.
//!
//! A directory holds its own entries, so that listing one level walks nothing below it, a subtree goes as a whole, and
//! no path is kept twice. Whoever takes a [`Directory`] has it as it was, with everything under it: what the writer
//! changes there meanwhile it changes in copies, of no more than the directories on its way.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expiry::Deadlines;
use super::name::Name;
use super::record::Record;
use crate::Key;

/// What readers see: as it was at one index.
#[derive(Default)]
pub(super) struct View {
    /// The index of the last change.
    pub index: u64,
    pub nodes: Nodes,
    pub deadlines: Deadlines,
}

/// All nodes.
#[derive(Default)]
pub(super) struct Nodes {
    root: Directory,
}

/// What is in a directory, by the last segment.
#[derive(Clone, Default)]
pub(super) struct Directory(Arc<Entries>);

type Entries = BTreeMap<Name, Slot>;

/// One node. There may be very many: it takes 40 bytes beside its value, and 24 more for its name.
#[derive(Clone)]
pub(super) struct Slot {
    content: Content,
    created: u64,
    modified: u64,
    /// [`NO_TTL`] for none.
    ttl: u64,
}

#[derive(Clone)]
enum Content {
    File(Arc<[u8]>),
    Directory(Directory),
}

/// No TTL can be as long: the file uses the same number.
const NO_TTL: u64 = u64::MAX;

/// What a path leads to.
pub(super) enum At<'a> {
    /// The root, which has no record.
    Root,
    Node(&'a Slot),
    /// Nothing; `depth` segments of the path are looked at, of which the last is not there.
    Nothing {
        depth: usize,
    },
    /// Nothing: what the first `depth` segments lead to is a file.
    BehindFile {
        depth: usize,
    },
}

impl Directory {
    /// What is in it, sorted by name.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Slot)> {
        self.0.iter().map(|(name, slot)| (name.as_str(), slot))
    }

    /// What is in it under this name.
    pub(super) fn entry(&self, name: &str) -> Option<&Slot> {
        self.0.get(name.as_bytes())
    }

    /// To be changed, apart from what others hold of it.
    fn change(&mut self) -> &mut Entries {
        Arc::make_mut(&mut self.0)
    }
}

impl Nodes {
    /// What `key` leads to.
    pub(super) fn at(&self, key: &Key) -> At<'_> {
        let mut at = At::Root;
        for (depth, segment) in key.segments().enumerate() {
            let entries = match at {
                At::Node(slot) => match &slot.content {
                    Content::Directory(entries) => entries,
                    Content::File(_) => return At::BehindFile { depth },
                },
                _ => &self.root,
            };
            match entries.entry(segment) {
                Some(slot) => at = At::Node(slot),
                None => return At::Nothing { depth: depth + 1 },
            }
        }
        at
    }

    /// The directory `key`, if it is one.
    pub(super) fn directory(&self, key: &Key) -> Option<&Directory> {
        match self.at(key) {
            At::Root => Some(&self.root),
            At::Node(slot) => slot.directory(),
            At::Nothing { .. } | At::BehindFile { .. } => None,
        }
    }

    /// Writes a node; gives the one that it takes the place of. Parents that are missing are made, to be written in their
    /// turn; a directory keeps what is in it.
    pub(super) fn set(&mut self, key: &Key, record: Record) -> Option<Slot> {
        let Record { value, created, modified, ttl } = record;
        let ttl = ttl.unwrap_or(NO_TTL);
        let content = match value {
            Some(value) => Content::File(value),
            None => Content::Directory(Directory::default()),
        };
        let (parent, name) = self.parent_of(key)?;
        let mut slot = Slot { content, created, modified, ttl };
        let Some(old) = parent.get_mut(name.as_bytes()) else { return parent.insert(name.into(), slot) };
        if old.is_dir() && slot.is_dir() {
            std::mem::swap(&mut old.content, &mut slot.content);
        }
        Some(std::mem::replace(old, slot))
    }

    /// Takes a node away with everything under it, and gives it.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Slot> {
        let mut entries = self.root.change();
        let mut segments = key.segments();
        let mut name = segments.next()?;
        for next in segments {
            entries = entries.get_mut(name.as_bytes())?.directory_mut()?;
            name = next;
        }
        entries.remove(name.as_bytes())
    }

    /// The directory in which `key` is to stand, and its name there; the root stands nowhere, nor what is behind a file.
    fn parent_of<'a>(&'a mut self, key: &'a Key) -> Option<(&'a mut Entries, &'a str)> {
        let mut entries = self.root.change();
        let mut segments = key.segments();
        let mut name = segments.next()?;
        for next in segments {
            if !entries.contains_key(name.as_bytes()) {
                entries.insert(name.into(), Slot::empty_directory());
            }
            entries = entries.get_mut(name.as_bytes())?.directory_mut()?;
            name = next;
        }
        Some((entries, name))
    }

    /// Packs the nodes of every directory side by side. What was read in order leaves them half empty.
    pub(super) fn pack(&mut self) {
        pack(self.root.change());
    }
}

fn pack(entries: &mut Entries) {
    for slot in entries.values_mut() {
        slot.directory_mut().into_iter().for_each(pack);
    }
    *entries = std::mem::take(entries).into_iter().collect();
}

#[cfg(test)]
impl FromIterator<(Key, Record)> for Nodes {
    fn from_iter<T: IntoIterator<Item = (Key, Record)>>(rows: T) -> Self {
        let mut nodes = Self::default();
        rows.into_iter().for_each(|(key, record)| drop(nodes.set(&key, record)));
        nodes.pack();
        nodes
    }
}

impl Slot {
    fn empty_directory() -> Self {
        Self { content: Content::Directory(Directory::default()), created: 0, modified: 0, ttl: NO_TTL }
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self.content, Content::Directory(_))
    }

    /// The bytes of a file.
    pub(super) fn value(&self) -> Option<&Arc<[u8]>> {
        match &self.content {
            Content::File(value) => Some(value),
            Content::Directory(_) => None,
        }
    }

    /// The index at which it last changed.
    pub(super) fn modified(&self) -> u64 {
        self.modified
    }

    /// What is stored of it; the value is shared.
    pub(super) fn record(&self) -> Record {
        let ttl = Some(self.ttl).filter(|ttl| *ttl != NO_TTL);
        Record { value: self.value().cloned(), created: self.created, modified: self.modified, ttl }
    }

    /// What is in it, if it is a directory.
    pub(super) fn directory(&self) -> Option<&Directory> {
        match &self.content {
            Content::Directory(directory) => Some(directory),
            Content::File(_) => None,
        }
    }

    fn directory_mut(&mut self) -> Option<&mut Entries> {
        match &mut self.content {
            Content::Directory(directory) => Some(directory.change()),
            Content::File(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::super::record::{Record, under};
    use super::{At, Directory, Nodes, Slot};
    use crate::Key;

    fn key(path: &str) -> Key {
        Key::parse(path).unwrap()
    }

    fn file(value: &str, modified: u64) -> Record {
        Record { value: Some(value.as_bytes().into()), created: modified, modified, ttl: None }
    }

    fn directory(modified: u64) -> Record {
        Record { value: None, created: modified, modified, ttl: Some(9) }
    }

    /// What a path leads to, in a few words.
    fn words(at: At<'_>) -> String {
        match at {
            At::Root => "root".to_owned(),
            At::Node(slot) if slot.is_dir() => format!("directory {}", slot.modified()),
            At::Node(slot) => String::from_utf8_lossy(slot.value().unwrap()).into_owned(),
            At::Nothing { depth } => format!("nothing at {depth}"),
            At::BehindFile { depth } => format!("file at {depth}"),
        }
    }

    #[test]
    fn a_path_leads_to_a_node_or_to_where_it_ends() {
        let rows =
            [("/a", directory(1)), ("/a/b", directory(2)), ("/a/b/c", file("c", 3)), ("/d", file("d", 4))];
        let nodes: Nodes = rows.into_iter().map(|(path, record)| (key(path), record)).collect();
        let check = |path: &str, expected: &str| assert_eq!(words(nodes.at(&key(path))), expected, "{path}");
        check("/", "root");
        check("/a", "directory 1");
        check("/a/b/c", "c");
        check("/a/b/c/d", "file at 3");
        check("/a/b/c/d/e", "file at 3");
        check("/d/e", "file at 1");
        check("/x", "nothing at 1");
        check("/x/y/z", "nothing at 1");
        check("/a/x/y", "nothing at 2");
        check("/a/b/cc", "nothing at 3");
    }

    #[test]
    fn a_directory_that_is_written_again_keeps_what_is_in_it() {
        let mut nodes = Nodes::default();
        // As the writer tells it: the parents after what is in them.
        nodes.set(&key("/a/b"), directory(1));
        nodes.set(&key("/a"), directory(1));
        nodes.set(&key("/a/b/c"), file("c", 1));
        nodes.set(&key("/a"), directory(2));
        let At::Node(slot) = nodes.at(&key("/a")) else { panic!("it is there") };
        assert!(slot.record() == directory(2));
        assert_eq!(words(nodes.at(&key("/a/b/c"))), "c");
        assert!(nodes.remove(&key("/a/b")).is_some());
        assert_eq!(words(nodes.at(&key("/a/b/c"))), "nothing at 2");
        assert!(nodes.remove(&key("/a/b")).is_none());
        assert!(nodes.remove(&key("/")).is_none());
    }

    #[test]
    fn a_directory_that_is_held_stays_as_it_was() {
        let mut nodes = Nodes::default();
        for path in ["/a/b/c", "/a/b/d", "/a/e/f"] {
            nodes.set(&key(path), file(path, 1));
        }
        let held = nodes.directory(&key("/a")).unwrap().clone();
        let e = std::ptr::from_ref(nodes.directory(&key("/a/e")).unwrap().entry("f").unwrap());
        nodes.set(&key("/a/b/c"), file("other", 2));
        nodes.set(&key("/a/b/new"), file("new", 2));
        nodes.remove(&key("/a/b/d"));
        let names = |directory: &Directory| -> Vec<String> {
            directory.entries().map(|(name, _)| name.to_owned()).collect()
        };
        let b = held.entry("b").and_then(Slot::directory).unwrap();
        assert_eq!(names(b), ["c", "d"]);
        assert_eq!(b.entry("c").unwrap().modified(), 1);
        assert_eq!(names(nodes.directory(&key("/a/b")).unwrap()), ["c", "new"]);
        assert_eq!(words(nodes.at(&key("/a/b/c"))), "other");
        assert_eq!(std::ptr::from_ref(held.entry("e").unwrap().directory().unwrap().entry("f").unwrap()), e);
        let now = nodes.directory(&key("/a/e")).unwrap().entry("f").unwrap();
        assert_eq!(std::ptr::from_ref(now), e, "what nobody changes is not copied");
    }

    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<Slot>() <= 40, "{}", size_of::<Slot>());
    }

    /// The model is one sorted list of paths.
    fn same(nodes: &Nodes, model: &BTreeMap<Key, Record>, paths: &[Key], seed: u64) {
        for path in paths {
            let found = match nodes.at(path) {
                At::Node(slot) => Some(slot.record()),
                _ => None,
            };
            assert!(found.as_ref() == model.get(path), "seed {seed}: {path}");
            let (from, to) = under(path.as_str());
            let listed = nodes.directory(path).into_iter().flat_map(Directory::entries);
            let listed: Vec<String> = listed.map(|(name, _)| format!("{from}{name}")).collect();
            let expected: Vec<String> = model
                .keys()
                .map(Key::as_str)
                .filter(|one| *one > from.as_str() && *one < to.as_str() && !one[from.len()..].contains('/'))
                .map(str::to_owned)
                .collect();
            assert_eq!(listed, expected, "seed {seed}: under {path}");
        }
    }

    #[test]
    fn it_is_what_a_list_of_paths_would_be() {
        let names = ["a", "a-b", "a0", "b", "_c"];
        let mut paths = vec![Key::root()];
        for depth in 0..3 {
            for parent in paths.clone().iter().filter(|path| path.segments().count() == depth) {
                paths.extend(names.iter().map(|name| parent.child(name).unwrap()));
            }
        }
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut nodes, mut model) = (Nodes::default(), BTreeMap::<Key, Record>::new());
            for step in 1..400 {
                let path = paths[random.random_range(1..paths.len())].clone();
                if random.random_bool(0.3) {
                    assert_eq!(nodes.remove(&path).is_some(), model.contains_key(&path), "seed {seed}");
                    model.retain(|key, _| *key != path && !key.is_under(&path));
                } else {
                    let record = if random.random_bool(0.5) { directory(step) } else { file("v", step) };
                    let mut parents: Vec<Key> = std::iter::successors(path.parent(), Key::parent)
                        .filter(|key| *key != Key::root())
                        .collect();
                    let behind_file =
                        parents.iter().any(|key| model.get(key).is_some_and(|one| !one.is_dir()));
                    let is_dir = model.get(&path).map(Record::is_dir);
                    if behind_file || is_dir.is_some_and(|is_dir| is_dir != record.is_dir()) {
                        continue;
                    }
                    parents.retain(|key| !model.contains_key(key));
                    for parent in parents {
                        nodes.set(&parent, directory(step));
                        model.insert(parent, directory(step));
                    }
                    nodes.set(&path, record.clone());
                    model.insert(path, record);
                }
            }
            same(&nodes, &model, &paths, seed);
            same(&model.clone().into_iter().collect(), &model, &paths, seed);
        }
    }
}
