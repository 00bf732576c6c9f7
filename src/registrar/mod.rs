//! Announces containers in the store: `/<image>/<host>:<container>:<container port>` says on which `host:port` a
//! container's port is published. That is how a container learns its own public address.
//!
//! ```text
//! cell ── watch ── events ──> keep ── put, refresh, delete ──> store
//! ```
//!
//! Two threads for each cell. Entries live by a TTL: what an earlier process announced and nobody speaks for any more
//! ends by itself. Knows nothing of clusters.

mod announcement;
mod keep;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{error, info, warn};
use storage::Store;

use crate::cells::{Cell, CellEvent, Cells};
use crate::model::{CellGuid, ContainerName};
use keep::Keeper;

/// How many events may wait while the store is slow; beyond them the cell is listed anew instead.
const EVENTS: usize = 256;
/// How long a cell whose stream broke is left alone, first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What a cell's watcher tells its keeper.
#[derive(Debug)]
enum News {
    /// Look at this container again.
    Changed(ContainerName),
    /// Look at everything again: the stream is open, and what was before it is unknown.
    Everything,
}

/// A registrar at work, for every cell. Dropping it stops and joins its threads, within about a second while cells
/// and store answer; what it announced stays until its TTL ends, since the containers run on.
pub struct Registrar {
    store: Arc<dyn Store>,
    followed: Mutex<Followed>,
}

#[derive(Default)]
struct Followed {
    cells: BTreeMap<CellGuid, Following>,
    /// Told to stop, and not joined yet: one that asks a cell that does not answer takes as long as its deadline.
    stopping: Vec<Following>,
}

/// One cell's threads.
struct Following {
    cell: Arc<dyn Cell>,
    stop: Arc<AtomicBool>,
    /// Closed to end them.
    quit: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Registrar {
    /// Begins. Neither cells nor store need answer yet.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: &Arc<dyn Store>, cells: &Cells) -> io::Result<Self> {
        let registrar = Self { store: Arc::clone(store), followed: Mutex::default() };
        registrar.follow(cells)?;
        Ok(registrar)
    }

    /// Follows these cells from now on: begins with those that are new, or made anew, and leaves the others' alone. What
    /// was announced of one that is gone stays until its TTL ends.
    ///
    /// # Errors
    /// When the system has no thread to give: those cells are not followed.
    pub fn follow(&self, cells: &Cells) -> io::Result<()> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let Followed { cells: known, stopping } = &mut *followed;
        stopping.retain(|following| !following.has_ended());
        for (guid, mut following) in mem::take(known) {
            if cells.get(&guid).is_some_and(|cell| Arc::ptr_eq(&cell, &following.cell)) {
                known.insert(guid, following);
            } else {
                following.begin_stop();
                stopping.push(following);
            }
        }
        let mut outcome = Ok(());
        for cell in cells.all() {
            if let Entry::Vacant(place) = known.entry(cell.site().guid.clone()) {
                match Following::begin(cell, &self.store) {
                    Ok(following) => drop(place.insert(following)),
                    Err(error) => outcome = Err(error),
                }
            }
        }
        outcome
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        self.cells.values_mut().for_each(Following::begin_stop);
    }
}

impl Following {
    fn begin(cell: Arc<dyn Cell>, store: &Arc<dyn Store>) -> io::Result<Self> {
        let (quit, quit_seen) = bounded::<()>(0);
        let stop = Arc::new(AtomicBool::new(false));
        let mut following =
            Self { cell: Arc::clone(&cell), stop: Arc::clone(&stop), quit: Some(quit), threads: Vec::new() };
        let guid = cell.site().guid.clone();
        let (news, news_seen) = bounded(EVENTS);
        let keeper = Keeper::new(Arc::clone(&cell), Arc::clone(store));
        let keeper_quits = quit_seen.clone();
        following.spawn(format!("registrar-{guid}"), move || keeper.run(&news_seen, &keeper_quits))?;
        following.spawn(format!("cell-events-{guid}"), move || {
            watch(cell.as_ref(), &news, &stop, &quit_seen);
        })?;
        Ok(following)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    fn begin_stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.quit = None;
    }

    fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.begin_stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a thread of the registrar had panicked");
            }
        }
    }
}

/// Hands a cell's events on until `stop`, through any number of broken streams.
fn watch(cell: &dyn Cell, news: &Sender<News>, stop: &AtomicBool, quit: &Receiver<()>) {
    let mut backoff = BACKOFF.0;
    let mut troubled = false;
    // Set while a listing is owed that did not fit into the queue.
    let mut owes_listing = false;
    while !stop.load(Ordering::SeqCst) {
        let outcome = cell.watch(stop, &mut |event| {
            let item = match event {
                CellEvent::Connected => {
                    if troubled {
                        info!("cell {} answers the registrar again", cell.site().guid);
                    }
                    (troubled, backoff) = (false, BACKOFF.0);
                    News::Everything
                }
                CellEvent::Changed(_) if owes_listing => News::Everything,
                CellEvent::Changed(name) => News::Changed(name),
            };
            // The keeper of a full queue lists everything each minute in any case; with the next event it does sooner.
            owes_listing = news.try_send(item).is_err();
        });
        if let Err(error) = outcome {
            if !troubled {
                warn!("the registrar cannot follow a cell and keeps what it has announced: {error}");
            }
            troubled = true;
        }
        if quit.recv_timeout(backoff) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}
