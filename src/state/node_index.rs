//! How many nodes stand on each cell, kept up to date by watching, so that placing a node reads no instance.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use log::warn;
use storage::{Changed, Deadline, Key, Revision, Store, StoreError};

use super::keys;
use crate::model::{CellGuid, InstanceId};

/// How long it rests when the store fails.
const REST: Duration = Duration::from_millis(500);

/// The index, with the thread that follows `/serviceinstances/<instance>/nodes/<node>/backend`.
pub struct NodeIndex {
    shared: Arc<Shared>,
    follower: Option<thread::JoinHandle<()>>,
}

struct Shared {
    store: Arc<dyn Store>,
    watch_for: Duration,
    index: Mutex<Index>,
    stop: AtomicBool,
}

/// Each backend key's cell, and how many name each cell.
#[derive(Default)]
struct Index {
    cells: HashMap<Key, String>,
    counts: HashMap<String, usize>,
}

impl Index {
    fn put(&mut self, key: Key, cell: String) {
        self.remove(&key);
        *self.counts.entry(cell.clone()).or_default() += 1;
        self.cells.insert(key, cell);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(cell) = self.cells.remove(key)
            && let Some(count) = self.counts.get_mut(&cell)
        {
            *count -= 1;
        }
    }
}

impl NodeIndex {
    /// Reads the index once and follows it from there. One watch waits for `watch_for`: also how soon the thread notices
    /// that it is to stop.
    ///
    /// # Errors
    /// When the first read fails, or the system gives no thread.
    pub fn start(store: Arc<dyn Store>, watch_for: Duration) -> Result<Self, StoreError> {
        let (index, stop) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { store, watch_for, index, stop });
        let revision = shared.read_all()?;
        let follower = thread::Builder::new()
            .name("node-index".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.follow(revision)
            })
            .map_err(|error| StoreError::Unavailable { engine: "node index", reason: error.to_string() })?;
        Ok(Self { shared, follower: Some(follower) })
    }

    /// Lets the thread end with the watch that it is in, which nothing cuts short, while others are stopped.
    pub fn begin_stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }

    /// How many nodes stand on this cell.
    #[must_use]
    pub fn nodes_on(&self, cell: &CellGuid) -> usize {
        let index = self.shared.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.counts.get(cell.as_str()).copied().unwrap_or_default()
    }

    /// The instances with nodes on this cell, from memory. It looks at every node that there is, which spares keeping
    /// them by cell for the few who ask.
    #[must_use]
    pub fn instances_on(&self, cell: &CellGuid) -> BTreeSet<InstanceId> {
        let index = self.shared.index.lock().unwrap_or_else(PoisonError::into_inner);
        let here = index.cells.iter().filter(|(_, on)| *on == cell.as_str());
        here.filter_map(|(key, _)| InstanceId::parse(key.segments().nth(1)?).ok()).collect()
    }
}

impl Drop for NodeIndex {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(follower) = self.follower.take()
            && follower.join().is_err()
        {
            warn!("the follower of the node index panicked");
        }
    }
}

impl Shared {
    fn follow(&self, mut revision: Revision) {
        while !self.stop.load(Ordering::SeqCst) {
            match self.advance(revision) {
                Ok(next) => revision = next,
                Err(error) => {
                    warn!("the node index cannot be followed: {error}");
                    thread::sleep(REST);
                }
            }
        }
    }

    fn advance(&self, after: Revision) -> Result<Revision, StoreError> {
        let changes = self.store.watch(&keys::service_instances(), after, Deadline::after(self.watch_for))?;
        match changes.what {
            Changed::Resync => return self.read_all(),
            Changed::Keys(changed) => {
                for key in changed.iter().filter(|key| is_backend(key)) {
                    let entry = self.store.get(key)?;
                    let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
                    match entry {
                        Some(entry) => index.put(key.clone(), text(&entry.value)),
                        None => index.remove(key),
                    }
                }
                // A directory that went as a whole shows as its own key.
                if changed.iter().any(is_above_backends) {
                    return self.read_all();
                }
            }
        }
        Ok(changes.revision)
    }

    fn read_all(&self) -> Result<Revision, StoreError> {
        let listing = self.store.list(&keys::service_instances())?;
        let backends = listing.entries.into_iter().filter(|entry| is_backend(&entry.key));
        let mut index = Index::default();
        for entry in backends {
            index.put(entry.key, text(&entry.value));
        }
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = index;
        Ok(listing.revision)
    }
}

fn is_backend(key: &Key) -> bool {
    key.segments().count() == 5 && key.name() == "backend"
}

fn is_above_backends(key: &Key) -> bool {
    key.segments().count() < 5 && key.segments().nth(2).is_none_or(|segment| segment == "nodes")
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
