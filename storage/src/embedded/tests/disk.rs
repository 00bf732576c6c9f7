//! The store over a disk that fails, and what becomes of those who read and write meanwhile.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redb::StorageBackend;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::super::handle::Handle;
use super::super::outage::AFTER_FAILURE;
use super::super::{Embedded, OpenError, Options, file, sound};
use crate::{Changed, Deadline, Expect, Key, Store, StoreError};

/// A disk that may be full, and that keeps what was written while it is closed.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
    /// Whether a sync fails once, after what was written has reached the disk all the same.
    sync_fails: Arc<AtomicBool>,
    /// Whether it fails once to become smaller, as at the end of a compaction.
    cut_fails: Arc<AtomicBool>,
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
        sound::open_unexamined(self.clone(), Path::new("disk"))
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
        let (mut bytes, len) = (self.bytes.lock().unwrap(), usize::try_from(len).unwrap());
        if len < bytes.len() && self.cut_fails.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("the cut failed"));
        }
        bytes.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync_fails.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("the sync was cut off"));
        }
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
    let probes = Arc::<AtomicUsize>::default();
    let probe = {
        let probes = Arc::clone(&probes);
        move || {
            probes.fetch_add(1, Ordering::SeqCst);
            probed.probe()
        }
    };
    let reopen = move || {
        assert!(!reopened.full.load(Ordering::SeqCst), "the file is closed though nothing can be written");
        reopened.open()
    };
    let handle = Handle::new(opened.database, Box::new(probe), Box::new(reopen));
    let store = Embedded::start(handle, opened.content, Options::default(), Path::new("disk")).unwrap();
    let key = Key::parse("/a").unwrap();
    let put = |value: &[u8]| store.put(&key, value, None, Expect::Anything);
    let first = put(b"before").unwrap();
    disk.full.store(true, Ordering::SeqCst);
    let failed = Instant::now();
    let mut refused = put(b"lost").unwrap_err();
    assert!(
        matches!(refused, StoreError::OutcomeUnknown { .. } | StoreError::Unavailable { .. }),
        "{refused:?}"
    );
    assert!(matches!(put(b"lost"), Err(StoreError::Unavailable { .. })));
    let tried = probes.load(Ordering::SeqCst);
    assert!(tried == 0 || failed.elapsed() > AFTER_FAILURE, "it is tried again at once");
    std::thread::sleep(AFTER_FAILURE + Duration::from_millis(100));
    refused = put(b"lost").unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
    assert!(
        !store.shared.trouble().is_some_and(|why| why.contains("panicked")),
        "{:?}",
        store.shared.trouble()
    );
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
    assert_eq!(opened.content.numbers.index, second.0, "what was acknowledged is on the disk");
}

/// A commit was reported as failed and was on the disk all the same. While the file is opened again, which may take as
/// long as it likes, readers have what was acknowledged; afterwards what is in the file.
#[test]
fn readers_are_served_while_the_file_is_opened_again() {
    let disk = Disk::default();
    let opened = disk.open().unwrap();
    let reopened = disk.clone();
    let (reopening, begun): (Sender<()>, Receiver<()>) = bounded(1);
    let (go_on, may_go_on): (Sender<()>, Receiver<()>) = bounded(1);
    let reopen = move || {
        reopening.send(()).unwrap();
        may_go_on.recv_timeout(Duration::from_secs(20)).unwrap();
        reopened.open()
    };
    let handle = Handle::new(opened.database, Box::new(|| Ok(())), Box::new(reopen));
    let store = Embedded::start(handle, opened.content, Options::default(), Path::new("disk")).unwrap();
    let key = Key::parse("/a").unwrap();
    let put = |value: &[u8]| store.put(&key, value, None, Expect::Anything);
    let value = || store.get(&key).unwrap().unwrap().value;
    let first = put(b"before").unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    assert!(matches!(put(b"after"), Err(StoreError::OutcomeUnknown { .. })));
    assert_eq!(value(), b"before", "nobody has been told that it is another");
    assert!(store.shared.trouble().is_some());
    std::thread::scope(|scope| {
        std::thread::sleep(Duration::from_millis(1100));
        let writer = scope.spawn(|| put(b"last"));
        begun.recv_timeout(Duration::from_secs(20)).unwrap();
        // The file is closed now.
        let (done, read) = bounded(1);
        let (value, store) = (&value, &store);
        scope.spawn(move || {
            let listing = store.list(&Key::root()).unwrap();
            let waited = store.watch(&Key::root(), first, Deadline::after(Duration::from_millis(10)));
            done.send((value(), listing.revision, waited.unwrap().revision)).unwrap();
        });
        let read = read.recv_timeout(Duration::from_secs(5));
        go_on.send(()).unwrap();
        assert_eq!(read, Ok((b"before".to_vec(), first, first)), "readers wait for the disk");
        let last = writer.join().unwrap().unwrap();
        assert_eq!(last.0, first.0 + 2, "what had reached the disk counts");
        assert_eq!(value(), b"last");
        let changes = store.watch(&Key::root(), first, Deadline::after(Duration::from_secs(5))).unwrap();
        assert_eq!(changes.what, Changed::Resync, "nobody knows what happened in between");
    });
    assert_eq!(store.shared.trouble(), None);
}

/// What was opened again is what readers see, though nobody writes since.
#[test]
fn what_had_reached_the_disk_is_read_after_it_was_opened_again() {
    let disk = Disk::default();
    let opened = disk.open().unwrap();
    let reopened = disk.clone();
    let handle = Handle::new(opened.database, Box::new(|| Ok(())), Box::new(move || reopened.open()));
    let store = Embedded::start(handle, opened.content, Options::default(), Path::new("disk")).unwrap();
    let (key, other) = (Key::parse("/a").unwrap(), Key::parse("/other").unwrap());
    let first = store.put(&key, b"before", None, Expect::Anything).unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    store.put(&key, b"after", None, Expect::Anything).unwrap_err();
    std::thread::sleep(Duration::from_millis(1100));
    // This is refused, and writes nothing.
    assert_eq!(store.put(&other, b"x", None, Expect::Unchanged(first)), Err(StoreError::Conflict));
    let listing = store.list(&Key::root()).unwrap();
    assert_eq!(listing.entries[0].value, b"after");
    assert_eq!(listing.revision.0, first.0 + 1);
    let changes = store.watch(&Key::root(), first, Deadline::after(Duration::from_secs(5))).unwrap();
    assert_eq!((changes.what, changes.revision), (Changed::Resync, listing.revision));
}

/// A compaction that fails leaves redb refusing everything, and was only warned of: nothing was written until somebody
/// restarted the store.
#[test]
fn a_compaction_that_fails_is_mended_like_any_other_failure() {
    let disk = Disk::default();
    let opened = disk.open().unwrap();
    let reopened = disk.clone();
    let handle = Handle::new(opened.database, Box::new(|| Ok(())), Box::new(move || reopened.open()));
    let handle = handle.over(Some(Arc::new(disk.clone())));
    let store = Embedded::start(handle, opened.content, Options::default(), Path::new("disk")).unwrap();
    let key = Key::parse("/a").unwrap();
    let files = (0..90).map(|number| Key::parse(&format!("/large/{number}")).unwrap());
    for bytes in [256 << 10, 0] {
        for file in files.clone() {
            store.put(&file, &vec![b'x'; bytes], None, Expect::Anything).unwrap();
        }
    }
    assert!(disk.bytes.lock().unwrap().len() > 17 << 20);
    disk.cut_fails.store(true, Ordering::SeqCst);
    let within = |seconds, what: &str, done: &dyn Fn() -> bool| {
        let deadline = Deadline::after(Duration::from_secs(seconds));
        while !done() {
            assert!(!deadline.has_passed(), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    within(60, "nothing was compacted", &|| !disk.cut_fails.load(Ordering::SeqCst));
    within(5, "nobody is told", &|| store.shared.trouble().is_some());
    within(20, "it stays broken", &|| store.put(&key, b"after", None, Expect::Anything).is_ok());
    assert_eq!(store.shared.trouble(), None);
}

/// Compacting takes the file for itself: it does not wait for those who have it, with all others waiting behind it.
#[test]
fn nothing_is_compacted_while_somebody_has_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path(), Options::default()).unwrap();
    let (done, heard) = bounded(1);
    std::thread::scope(|scope| {
        let held = store.shared.database.open();
        let compact = || store.shared.database.compact_if(|_, _| true);
        scope.spawn(move || done.send(compact().unwrap()));
        let compacted = heard.recv_timeout(Duration::from_secs(20));
        drop(held);
        assert_eq!(compacted, Ok(false));
    });
}
