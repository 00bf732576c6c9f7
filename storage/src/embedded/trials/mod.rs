//! What happens to a store whose disk, or whose power, fails. It is told from inside, since the disk is a simulated one.

mod between;
mod damage;
mod damaged_later;
mod disk;
mod migration;
mod power_loss;
mod sense;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;
use redb::TableDefinition;

use super::change::{Change, Condition, Content, Event, Refusal, Scope};
use super::handle::Handle;
use super::mark::{self, Mark};
use super::{Embedded, OpenError, Options, sound};
use crate::{Key, Store};
use disk::Disk;

/// Whether everything is to be tried, or a sample of it.
fn all() -> bool {
    std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some()
}

/// What is in a store: paths of files and their bytes, and the index.
type State = (u64, BTreeMap<String, Vec<u8>>);

fn state_of(store: &Embedded) -> State {
    let listing = store.list(&Key::root()).unwrap();
    let entries = listing.entries.into_iter().map(|entry| (entry.key.to_string(), entry.value));
    (listing.revision.0, entries.collect())
}

/// Opens the store on a disk, with its mark on another.
fn open(disk: &Disk, mark: &Disk) -> Result<Embedded, OpenError> {
    let path = Path::new("disk/store.redb");
    let noted = mark::read_from(mark).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let opened = sound::open(Arc::new(disk.clone()), noted, path)?;
    let mark = Mark::on(Box::new(mark.clone()));
    mark.note(&opened.content.numbers);
    let again = disk.clone();
    let handle = Handle::new(
        opened.database,
        Box::new(|| Ok(())),
        Box::new(move || sound::open(Arc::new(again.clone()), None, Path::new("disk/store.redb"))),
    );
    Embedded::start(handle.over(opened.base).marking(mark), opened.content, Options::default(), path)
}

/// A change of one of a few keys, with a value like no other, or the removal of one.
fn some_change(random: &mut StdRng, number: u64) -> Change {
    let key =
        Key::parse(&format!("/d{}/k{}", random.random_range(0..3), random.random_range(0..12))).unwrap();
    let only_if = Condition::default();
    if random.random_bool(0.2) {
        return Change::Delete { key, scope: Scope::Tree, only_if };
    }
    let mut value = number.to_string().into_bytes();
    let lengths = [10, 10, 300, 300, 5_000, 40_000];
    value.resize(lengths[random.random_range(0..lengths.len())], b'.');
    Change::Put { key, content: Content::File(value.into()), ttl: None, only_if }
}

/// What was asked for: a key, and its bytes or nothing.
type Asked = (Key, Option<Vec<u8>>);

/// What a change does to a store in which it is made.
fn make(state: &mut State, change: &Asked) {
    match change {
        (key, Some(value)) => {
            state.0 += 1;
            state.1.insert(key.to_string(), value.clone());
        }
        (key, None) => {
            if state.1.remove(key.as_str()).is_some() {
                state.0 += 1;
            }
        }
    }
}

/// What a change was, as [`make`] wants it.
fn told(change: &Change) -> Asked {
    let value = match change {
        Change::Put { content: Content::File(value), .. } => Some(value.to_vec()),
        _ => None,
    };
    (change.key().clone(), value)
}

type Outcome = Result<Result<Event, Refusal>, super::writer::WriteFailed>;

/// A file of the layout before this one, as the program then wrote it, and what is in it.
fn old_file(keys: u64) -> (Disk, State) {
    let disk = Disk::default();
    let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
    let write = database.begin_write().unwrap();
    let mut state = State::default();
    {
        let mut nodes = write.open_table(TableDefinition::<&str, &[u8]>::new("nodes")).unwrap();
        let row = |kind: u8, index: u64, value: &[u8]| {
            let numbers = [index, index, u64::MAX];
            [vec![kind], numbers.iter().flat_map(|n| n.to_le_bytes()).collect(), value.to_vec()].concat()
        };
        nodes.insert("/d", row(b'd', 1, b"").as_slice()).unwrap();
        for index in 1..=keys {
            let path = format!("/d/{index}");
            nodes.insert(path.as_str(), row(b'f', index, b"old").as_slice()).unwrap();
            state.1.insert(path, b"old".to_vec());
        }
        let mut meta = write.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap();
        for (name, number) in [("format", 1), ("index", keys), ("cluster", 7)] {
            meta.insert(name, number).unwrap();
        }
    }
    write.commit().unwrap();
    state.0 = keys;
    drop(database);
    (disk, state)
}
