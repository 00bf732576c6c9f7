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

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{error, info, warn};
use storage::Store;

use crate::cells::{Cell, CellEvent, Cells};
use crate::model::ContainerName;
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
    stop: Arc<AtomicBool>,
    quit: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Registrar {
    /// Begins. Neither cells nor store need answer yet.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: &Arc<dyn Store>, cells: &Cells) -> io::Result<Self> {
        let (quit, quit_seen) = bounded::<()>(0);
        let mut registrar =
            Self { stop: Arc::new(AtomicBool::new(false)), quit: Some(quit), threads: Vec::new() };
        for (guid, cell) in cells {
            let (news, news_seen) = bounded(EVENTS);
            let keeper = Keeper::new(Arc::clone(cell), Arc::clone(store));
            let quit = quit_seen.clone();
            registrar.spawn(format!("registrar-{guid}"), move || keeper.run(&news_seen, &quit))?;
            let (cell, stop, quit) = (Arc::clone(cell), Arc::clone(&registrar.stop), quit_seen.clone());
            registrar.spawn(format!("cell-events-{guid}"), move || {
                watch(cell.as_ref(), &news, &stop, &quit);
            })?;
        }
        Ok(registrar)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.quit = None;
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
