//! The engine for one host: a redb file that one process serves, and an etcd v2 API for everybody else.
//!
//! ```text
//! Embedded ── changes ──> queue ──> writer thread ── commit ──> file
//!     │                                  └── publish ──> tree and history ──> watchers
//!     └── reads ───────────────────────────────────────── tree
//! ```
//!
//! One thread owns every write (`writer`), so that a change's expectation is checked and the change applied with
//! nothing in between (`apply`); what waits for it stands in a `queue`. All that is stored is kept in memory as well
//! (`tree`), and reads come from there (`read`): they wait for no disk and go on when it fails. So are the last 1,000
//! changes, for watchers (`history`), and the moments at which TTLs run out (`expiry`). Tree and history move on
//! together, after the commit. [`http`] is the door for other processes. It knows no domain type.
//!
//! Directories are those of etcd v2: a put makes the missing ones, they stay when they are emptied, and they are no
//! entries to [`crate::Store`] (`contract`). An entry cannot stand where a directory is, nor under an entry: that is
//! [`StoreError::Corrupt`], since no retry mends it, unless an expectation already says otherwise.

mod apply;
mod change;
mod compaction;
mod content;
mod contract;
mod expiry;
pub mod fetch;
mod file;
mod guests;
mod handle;
mod history;
pub mod http;
mod mark;
mod name;
mod numbers;
mod outage;
mod overlay;
mod pace;
mod password;
pub mod permissions;
mod queue;
mod read;
mod record;
pub mod restore;
pub mod snapshot;
mod sound;
#[cfg(test)]
mod tests;
mod tree;
#[cfg(test)]
mod trials;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::{Clock, Deadline, Key, StoreError, SystemClock};
use change::{Change, Event, Refusal};
use content::Content as FileContent;
pub use file::OpenError;
pub use guests::{GUEST_PREFIX, Guests};
use guests::{GuestBook, KnownGuest};
use handle::Handle;
use history::History;
use queue::{Queue, Refused};
use tree::View;
use writer::{Answer, GuestRow, Request, Then, WriteFailed};

/// What this engine calls itself in errors.
const ENGINE: &str = "embedded";
/// Why a change is refused that the writer never sees.
const FULL: &str = "too many changes wait for the disk";
const STOPPED: &str = "the writer has stopped";

/// How a store behaves.
#[derive(Clone)]
pub struct Options {
    /// What TTLs are measured with. Defaults to the machine's monotonic clock.
    pub clock: Arc<dyn Clock>,
    /// How long a change may wait for the disk before it is reported as unavailable (it never reached the writer) or
    /// of unknown outcome (it did). Defaults to 10 seconds.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), timeout: Duration::from_secs(10) }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A store in this process. Dropping it stops and joins its thread; what was acknowledged is on the disk by then. Where
/// it is dropped by who is told of a change, on that very thread, the thread ends by itself.
pub struct Embedded {
    shared: Arc<Shared>,
    timeout: Duration,
    writer: Option<JoinHandle<()>>,
}

/// What the writer and the readers share.
///
/// Whoever holds one lock takes only those that come after it: the backups' threads, the database, the history, the view;
/// and the guests, the API's users, the queue. While the view is held nothing is taken.
struct Shared {
    database: Handle,
    queue: Queue,
    cluster: u64,
    clock: Arc<dyn Clock>,
    history: History,
    view: RwLock<View>,
    guests: RwLock<GuestBook>,
    /// Counts how often it has changed who may do what.
    admissions: AtomicU64,
    /// Why nothing can be written at present.
    trouble: Mutex<Option<String>>,
    commits: AtomicU64,
    /// How many entries have expired since it was opened.
    expired: AtomicU64,
}

impl Shared {
    fn new(database: Handle, content: FileContent, clock: Arc<dyn Clock>) -> Self {
        let shared = Self {
            database,
            queue: Queue::default(),
            cluster: content.numbers.cluster,
            clock,
            history: History::starting_at(content.numbers.index),
            view: RwLock::default(),
            guests: RwLock::default(),
            trouble: Mutex::default(),
            admissions: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        };
        shared.take_over(content);
        shared
    }

    /// Begins anew with what is in a file that was opened: every TTL runs from now on, in full. Readers have what was
    /// there before until all of it is read. Where its index is another one, watchers read everything again.
    fn take_over(&self, content: FileContent) {
        let FileContent { numbers, nodes, ttls, guests } = content;
        let now = self.clock.now();
        let mut view = View { index: numbers.index, nodes, ..View::default() };
        for (key, ttl) in ttls {
            view.deadlines.set(key, Some(expiry::deadline(now, ttl)));
        }
        self.replace_guests(guests);
        // What was there before is dropped when nobody waits for it.
        let before =
            self.history.restart_at(numbers.index, || std::mem::replace(&mut *self.change_view(), view));
        drop(before);
    }

    /// What there is. Held for as short a time as can be, for the writer waits for it.
    fn view(&self) -> RwLockReadGuard<'_, View> {
        // Each node is set as a whole, so that a panic elsewhere leaves nothing half done here.
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the writer alone.
    fn change_view(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing can be written at present, if that is so.
    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    fn count_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Embedded {
    /// Opens the store in the directory `dir`, making directory and file if they are missing. Every TTL begins anew,
    /// in full.
    ///
    /// # Errors
    /// [`OpenError`]; the file is then as it was.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let (opened, mark) = file::open(dir)?;
        let (probed, reopened): (PathBuf, PathBuf) = (dir.to_owned(), dir.to_owned());
        let probe = Box::new(move || file::probe(&probed));
        let reopen = Box::new(move || file::open(&reopened).map(|(opened, _)| opened));
        let handle = Handle::new(opened.database, probe, reopen).over(opened.base).marking(mark);
        Self::start(handle, opened.content, options, dir)
    }

    /// A store that lives as long as this value, for tests and try-outs. It keeps the whole contract but survival.
    ///
    /// # Errors
    /// [`OpenError::Io`] if the system has no thread to give.
    pub fn in_memory(options: Options) -> Result<Self, OpenError> {
        let opened = file::in_memory()?;
        // Memory does not fail.
        let handle = Handle::new(opened.database, Box::new(|| Ok(())), Box::new(file::in_memory));
        Self::start(handle, opened.content, options, Path::new("(in memory)"))
    }

    fn start(
        database: Handle,
        content: FileContent,
        options: Options,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared::new(database, content, options.clock));
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || writer::run(&shared)
            })
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self { shared, timeout: options.timeout, writer: Some(writer) })
    }

    /// How often the disk was synced for changes since the store was opened; several changes may share one.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Hands a change to the writer, and never blocks. Once the change is on the disk, or has come to nothing, `then`
    /// is told on the writer's thread, which waits for it: it must be quick. It may drop the store.
    ///
    /// Refused where too much waits for the disk, but never for who has brought room for it ([`Queue::make_room`]), as
    /// long as what waits is not of too many bytes.
    fn submit(&self, change: Change, then: Then) {
        let Err(refused) = self.shared.queue.push(Request::Change(change, then)) else { return };
        let (request, reason) = match refused {
            Refused::Full(request) => (request, FULL),
            Refused::Closed(request) => (request, STOPPED),
        };
        request.fail(&WriteFailed::NothingWritten { reason: reason.to_owned() });
    }

    /// Hands a change to the writer and waits for its answer.
    fn ask(&self, key: &Key, change: Change) -> Result<Result<Event, Refusal>, StoreError> {
        let (answer, answered) = bounded::<Answer>(1);
        // Whoever has stopped waiting knows that the outcome is unknown.
        self.send(Request::Change(change, Box::new(move |outcome| drop(answer.send(outcome)))))?;
        self.outcome(key, &answered)
    }

    /// Writes the row of a guest, or removes it, and waits until that is on the disk and known.
    fn write_guest(&self, name: &str, guest: Option<Arc<KnownGuest>>) -> Result<(), StoreError> {
        let (answer, answered) = bounded(1);
        let then = Box::new(move |outcome| drop(answer.send(outcome)));
        self.send(Request::Guest(GuestRow { name: name.to_owned(), guest }, then))?;
        self.outcome(&Key::root(), &answered)
    }

    /// Waits until the writer has dealt with everything that was handed to it before.
    fn catch_up(&self) -> Result<(), StoreError> {
        // Nobody's name is empty, so that there is no such row to remove.
        self.write_guest("", None)
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        self.shared.queue.push_within(request, Deadline::after(self.timeout)).map_err(|refused| match refused
        {
            Refused::Full(_) => unavailable(FULL),
            Refused::Closed(_) => unavailable(STOPPED),
        })
    }

    fn outcome<T>(&self, key: &Key, answered: &Receiver<Result<T, WriteFailed>>) -> Result<T, StoreError> {
        match answered.recv_timeout(self.timeout) {
            Ok(answer) => answer.map_err(|failure| failure.told(key)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(StoreError::OutcomeUnknown { key: key.clone() })
            }
        }
    }
}

impl WriteFailed {
    /// What it means to whoever wanted to write `key`.
    fn told(self, key: &Key) -> StoreError {
        match self {
            Self::NothingWritten { reason } => StoreError::Unavailable { engine: ENGINE, reason },
            Self::Corrupt { reason } => StoreError::Corrupt { reason },
            Self::CommitFailed { .. } => StoreError::OutcomeUnknown { key: key.clone() },
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.queue.close();
        let Some(writer) = self.writer.take() else { return };
        // A thread cannot wait for its own end. It sees to what waits, and is gone.
        if writer.thread().id() != thread::current().id() && writer.join().is_err() {
            log::error!("the embedded store's writer had panicked");
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { engine: ENGINE, reason: reason.to_owned() }
}
