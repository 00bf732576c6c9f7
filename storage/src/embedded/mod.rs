//! The engine for one host: a redb file that one process serves, and an etcd v2 API for everybody else.
//!
//! ```text
//! Embedded ── changes ──> writer thread ── commit ──> file
//!     │                        └── publish ──> history ──> watchers
//!     └── reads ───────────────────────────────────────── file
//! ```
//!
//! One thread owns every write (`writer`), so that a change's expectation is checked and the change applied with
//! nothing in between (`apply`). Reads go to the file directly (`read`). The last 1,000 changes are kept in memory
//! for watchers (`history`), and so are the moments at which TTLs run out (`expiry`). [`http`] is the door for other
//! processes. It knows no domain type.
//!
//! Directories are those of etcd v2: a put makes the missing ones, they stay when they are emptied, and they are no
//! entries to [`Store`]. An entry cannot stand where a directory is, nor under an entry: that is
//! [`StoreError::Corrupt`], since no retry mends it, unless an expectation already says otherwise.

mod apply;
mod change;
mod expiry;
mod file;
mod handle;
mod history;
pub mod http;
mod read;
mod record;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, SendTimeoutError, Sender, bounded};

use crate::store::check_value;
use crate::{
    Changed, Changes, Clock, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, SystemClock,
    Ttl,
};
use change::{Change, Condition, Content, Event, Refusal, Scope};
use expiry::Deadlines;
pub use file::OpenError;
use handle::Handle;
use history::History;
use writer::{Answer, Request, WriteFailed};

/// What this engine calls itself in errors.
const ENGINE: &str = "embedded";
/// How many changes may wait for the writer before their askers wait too.
const QUEUE: usize = 1024;

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

/// A store in this process. Dropping it stops and joins its thread; what was acknowledged is on the disk by then.
pub struct Embedded {
    shared: Arc<Shared>,
    timeout: Duration,
    requests: Option<Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer and the readers share.
struct Shared {
    database: Handle,
    cluster: u64,
    clock: Arc<dyn Clock>,
    history: History,
    deadlines: Mutex<Deadlines>,
    commits: AtomicU64,
}

impl Shared {
    fn deadlines(&self) -> MutexGuard<'_, Deadlines> {
        // Each deadline is set as a whole, so that a panic elsewhere leaves nothing half done here.
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every TTL in the file run from now on, in full.
    fn begin_ttls(&self) -> Result<(), StoreError> {
        let (ttls, now) = (self.all_ttls()?, self.clock.now());
        let mut begun = Deadlines::default();
        for (key, ttl) in ttls {
            begun.set(key, Some(expiry::deadline(now, ttl)));
        }
        *self.deadlines() = begun;
        Ok(())
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
        let opened = file::open(dir)?;
        let (probed, reopened): (PathBuf, PathBuf) = (dir.to_owned(), dir.to_owned());
        let probe = Box::new(move || file::probe(&probed));
        let reopen = Box::new(move || file::open(&reopened));
        let handle = Handle::new(opened.database, probe, reopen);
        Self::start(handle, opened.index, opened.cluster, options, dir)
    }

    /// A store that lives as long as this value, for tests and try-outs. It keeps the whole contract but survival.
    ///
    /// # Errors
    /// [`OpenError::Io`] if the system has no thread to give.
    pub fn in_memory(options: Options) -> Result<Self, OpenError> {
        let opened = file::in_memory()?;
        // Memory does not fail; where it did, what was in it would be lost.
        let handle = Handle::new(opened.database, Box::new(|| Ok(())), Box::new(file::in_memory));
        Self::start(handle, opened.index, opened.cluster, options, Path::new("(in memory)"))
    }

    fn start(
        database: Handle,
        index: u64,
        cluster: u64,
        options: Options,
        path: &Path,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            database,
            cluster,
            clock: options.clock,
            history: History::starting_at(index),
            deadlines: Mutex::default(),
            commits: AtomicU64::new(0),
        });
        shared
            .begin_ttls()
            .map_err(|error| OpenError::Corrupt { path: path.to_owned(), reason: error.to_string() })?;
        let (requests, queue) = bounded(QUEUE);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || writer::run(&shared, &queue)
            })
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self { shared, timeout: options.timeout, requests: Some(requests), writer: Some(writer) })
    }

    /// How often the disk was synced for changes since the store was opened; several changes may share one.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Hands a change to the writer and waits for its answer.
    fn ask(&self, key: &Key, change: Change) -> Result<Result<Event, Refusal>, StoreError> {
        let stopped = || unavailable("the writer has stopped");
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        let (answer, answered) = bounded::<Answer>(1);
        requests.send_timeout(Request { change, answer }, self.timeout).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => unavailable("too many changes wait for the disk"),
            SendTimeoutError::Disconnected(_) => stopped(),
        })?;
        let unknown = || StoreError::OutcomeUnknown { key: key.clone() };
        match answered.recv_timeout(self.timeout) {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(WriteFailed::NothingWritten { reason })) => {
                Err(StoreError::Unavailable { engine: ENGINE, reason })
            }
            Ok(Err(WriteFailed::Corrupt { reason })) => Err(StoreError::Corrupt { reason }),
            Ok(Err(WriteFailed::CommitFailed { .. }))
            | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(unknown()),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            log::error!("the embedded store's writer had panicked");
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Store for Embedded {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.shared.get(key)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.shared.list(prefix)
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        check_value(key, value)?;
        let change = Change::Put {
            key: key.clone(),
            content: Content::File(value.to_vec()),
            ttl: ttl.map(Ttl::as_seconds),
            only_if: condition(expect),
        };
        match self.ask(key, change)? {
            Ok(event) => Ok(Revision(event.index)),
            Err(refusal) => Err(refused(key, refusal, expect)),
        }
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        let expect = Expect::Unchanged(held);
        let change = Change::Refresh { key: key.clone(), ttl: ttl.as_seconds(), only_if: condition(expect) };
        match self.ask(key, change)? {
            Ok(event) => Ok(Revision(event.index)),
            Err(refusal) => Err(refused(key, refusal, expect)),
        }
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        if expect == Expect::Absent {
            return Err(StoreError::Conflict);
        }
        let change = Change::Delete { key: key.clone(), scope: Scope::File, only_if: condition(expect) };
        match (self.ask(key, change)?, expect) {
            (Ok(_), _) => Ok(()),
            // A directory is not an entry, so that there was nothing to remove.
            (Err(_), Expect::Anything) => Ok(()),
            (Err(_), _) => Err(StoreError::Conflict),
        }
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        let history = &self.shared.history;
        let mut recent = history.look();
        loop {
            let current = recent.current();
            let Some(events) = recent.after(after.0) else {
                return Ok(Changes { revision: Revision(current), what: Changed::Resync });
            };
            let mut keys: Vec<Key> =
                events.filter(|event| event.concerns(prefix)).map(|event| event.node.key.clone()).collect();
            if after.0 > current {
                // A listing may be a moment ahead of the history; more than that, it comes from another store.
                drop(recent);
                let stored = self.shared.read_index()?;
                if after.0 > stored {
                    return Ok(Changes { revision: Revision(stored), what: Changed::Resync });
                }
                recent = history.look();
                if recent.current() >= after.0 {
                    continue;
                }
            }
            if !keys.is_empty() || deadline.has_passed() {
                keys.sort();
                keys.dedup();
                let revision = Revision(current.max(after.0));
                return Ok(Changes { revision, what: Changed::Keys(keys) });
            }
            recent = history.wait(recent, deadline);
        }
    }

    /// The file is small and in the system's memory. Only while a disk that has failed is tried again, and the file
    /// opened anew, do readers wait.
    fn reads_are_local(&self) -> bool {
        true
    }
}

fn condition(expect: Expect) -> Condition {
    match expect {
        Expect::Absent => Condition { exists: Some(false), ..Condition::default() },
        Expect::Unchanged(revision) => Condition { index: Some(revision.0), ..Condition::default() },
        Expect::Anything => Condition::default(),
    }
}

/// What a refused put or refresh means to its asker.
fn refused(key: &Key, refusal: Refusal, expect: Expect) -> StoreError {
    match (refusal, expect) {
        (Refusal::NotADirectory { at }, _) => {
            StoreError::Corrupt { reason: format!("{key} cannot be written: {at} is no directory") }
        }
        (Refusal::NotAFile, Expect::Anything) => {
            StoreError::Corrupt { reason: format!("{key} cannot be written: it is a directory") }
        }
        (Refusal::RootIsReadOnly, _) => {
            StoreError::Corrupt { reason: "the root cannot be written".to_owned() }
        }
        _ => StoreError::Conflict,
    }
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable { engine: ENGINE, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use redb::StorageBackend;

    use super::handle::Handle;
    use super::{Embedded, OpenError, Options, file};
    use crate::{Changed, Deadline, Expect, Key, Store, StoreError};

    /// A disk that may be full, and that keeps what was written while it is closed.
    #[derive(Clone, Debug, Default)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        full: Arc<AtomicBool>,
    }

    impl Disk {
        fn check(&self) -> io::Result<()> {
            match self.full.load(Ordering::SeqCst) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }

        fn probe(&self) -> Result<(), OpenError> {
            self.check().map_err(|source| OpenError::Io { path: PathBuf::from("disk"), source })
        }

        fn open(&self) -> Result<file::Opened, OpenError> {
            let database = redb::Builder::new().create_with_backend(self.clone()).unwrap();
            file::prepare(database, Path::new("disk"))
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().unwrap().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let from = usize::try_from(offset).unwrap();
            out.copy_from_slice(&self.bytes.lock().unwrap()[from..from + out.len()]);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check()?;
            self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            self.check()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.check()?;
            let from = usize::try_from(offset).unwrap();
            self.bytes.lock().unwrap()[from..from + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    /// The disk was full for a moment; the store refused every write from then on until its process was started anew,
    /// with words about an earlier error instead of the disk's.
    #[test]
    fn a_disk_that_has_room_again_is_written_to_again() {
        let disk = Disk::default();
        let opened = disk.open().unwrap();
        let (probed, reopened) = (disk.clone(), disk.clone());
        let handle =
            Handle::new(opened.database, Box::new(move || probed.probe()), Box::new(move || reopened.open()));
        let store =
            Embedded::start(handle, opened.index, opened.cluster, Options::default(), Path::new("disk"))
                .unwrap();
        let key = Key::parse("/a").unwrap();
        let put = |value: &[u8]| store.put(&key, value, None, Expect::Anything);
        let first = put(b"before").unwrap();
        disk.full.store(true, Ordering::SeqCst);
        let mut refused = put(b"lost").unwrap_err();
        assert!(
            matches!(refused, StoreError::OutcomeUnknown { .. } | StoreError::Unavailable { .. }),
            "{refused:?}"
        );
        std::thread::sleep(Duration::from_millis(1100));
        refused = put(b"lost").unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
        assert!(
            refused.to_string().contains(&io::Error::from(io::ErrorKind::StorageFull).to_string()),
            "{refused}"
        );
        assert_eq!(store.get(&key).unwrap().unwrap().value, b"before", "reads go on");
        disk.full.store(false, Ordering::SeqCst);
        let deadline = Deadline::after(Duration::from_secs(10));
        let second = loop {
            match put(b"after") {
                Ok(revision) => break revision,
                Err(error) => assert!(!deadline.has_passed(), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(second > first);
        let Changed::Keys(keys) = store.watch(&Key::root(), first, deadline).unwrap().what else {
            panic!("watchers lose nothing")
        };
        assert_eq!(keys, std::slice::from_ref(&key));
        drop(store);
        let opened = disk.open().unwrap();
        assert_eq!(opened.index, second.0, "what was acknowledged is on the disk");
    }
}
