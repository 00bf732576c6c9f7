//! The one thread that watches members, of the instances that have an operation under way and somebody waiting for
//! them. An instance without an operation costs nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;
use storage::{Changed, Deadline, Revision, Store, StoreError};

use crate::model::InstanceId;
use crate::patroni::Progress;
use crate::services::Containers;
use crate::state::{InstanceRecord, keys};

/// How long one watch waits: also how soon the thread notices that nobody waits any more.
const WATCH: Duration = Duration::from_millis(500);
/// How long it rests when the store fails.
const REST: Duration = Duration::from_millis(500);
/// How many sightings may wait for a slow reader; what does not fit is seen with the next change.
const SIGHTINGS: usize = 16;

/// Watches members and sends what it sees.
pub(super) struct Members {
    shared: Arc<Shared>,
    watcher: Option<thread::JoinHandle<()>>,
}

struct Shared {
    store: Arc<dyn Store>,
    watched: Mutex<Vec<Arc<Watched>>>,
    wake: Condvar,
    stop: AtomicBool,
}

struct Watched {
    record: InstanceRecord,
    containers: Arc<dyn Containers>,
    sightings: Sender<Progress>,
}

/// A wait for an instance's members; it ends when dropped.
pub(super) struct Watching {
    shared: Arc<Shared>,
    watched: Arc<Watched>,
    first: Progress,
    changes: Receiver<Progress>,
}

impl Members {
    pub(super) fn start(store: Arc<dyn Store>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            store,
            watched: Mutex::default(),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let watcher = thread::Builder::new().name("members".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.watch()
        })?;
        Ok(Self { shared, watcher: Some(watcher) })
    }

    /// Begins to watch the members of a record's nodes.
    pub(super) fn watch(
        &self,
        containers: &Arc<dyn Containers>,
        record: &InstanceRecord,
    ) -> Result<Watching, StoreError> {
        let (sightings, changes) = bounded(SIGHTINGS);
        let watched =
            Arc::new(Watched { record: record.clone(), containers: Arc::clone(containers), sightings });
        self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&watched));
        self.shared.wake.notify_all();
        // Read after the watch has begun, so that no change falls between.
        let first = containers.progress(record);
        let shared = Arc::clone(&self.shared);
        let watching =
            |first| Watching { shared: Arc::clone(&shared), watched: Arc::clone(&watched), first, changes };
        first.map(watching).inspect_err(|_| shared.forget(&watched))
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        {
            // Not between its look and its sleep.
            let _watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.stop.store(true, Ordering::SeqCst);
            self.shared.wake.notify_all();
        }
        if let Some(watcher) = self.watcher.take()
            && watcher.join().is_err()
        {
            warn!("the watcher of members panicked");
        }
    }
}

impl Watching {
    /// How they stood when the watch began.
    pub(super) fn first(&self) -> &Progress {
        &self.first
    }

    /// How they stand, after each change.
    pub(super) fn changes(&self) -> &Receiver<Progress> {
        &self.changes
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.forget(&self.watched);
    }
}

impl Shared {
    fn forget(&self, gone: &Arc<Watched>) {
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|watched| !Arc::ptr_eq(watched, gone));
    }

    fn watch(&self) {
        // `None` after a rest in which changes were missed: everything is read again.
        let mut after = None;
        while let Some(watched) = self.wait_for_somebody(&mut after) {
            if let Err(error) = self.advance(&watched, &mut after) {
                warn!("members cannot be watched: {error}");
                after = None;
                thread::sleep(REST);
            }
        }
    }

    /// Who waits now; blocks while nobody does; `None` to stop.
    fn wait_for_somebody(&self, after: &mut Option<Revision>) -> Option<Vec<Arc<Watched>>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        while watched.is_empty() {
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            *after = None;
            let (guard, _) = self.wake.wait_timeout(watched, WATCH).unwrap_or_else(PoisonError::into_inner);
            watched = guard;
        }
        (!self.stop.load(Ordering::SeqCst)).then(|| watched.clone())
    }

    fn advance(&self, watched: &[Arc<Watched>], after: &mut Option<Revision>) -> Result<(), StoreError> {
        let Some(from) = *after else {
            let revision = self.store.list(&keys::routers())?.revision;
            *after = Some(revision);
            return watched.iter().try_for_each(|watched| watched.look());
        };
        let changes = self.store.watch(&keys::services(), from, Deadline::after(WATCH))?;
        *after = Some(changes.revision);
        // Somebody may have come during the watch.
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match changes.what {
            Changed::Resync => watched.iter().try_for_each(|watched| watched.look()),
            Changed::Keys(changed) => {
                let scopes: BTreeSet<&str> = changed.iter().filter_map(|key| key.segments().nth(1)).collect();
                let concerned = watched.iter().filter(|watched| scopes.contains(watched.instance().as_str()));
                concerned.into_iter().try_for_each(|watched| watched.look())
            }
        }
    }
}

impl Watched {
    fn instance(&self) -> &InstanceId {
        &self.record.instance_id
    }

    fn look(&self) -> Result<(), StoreError> {
        let progress = self.containers.progress(&self.record)?;
        // A full channel means that its reader has enough to read and sees the next change.
        drop(self.sightings.try_send(progress));
        Ok(())
    }
}
