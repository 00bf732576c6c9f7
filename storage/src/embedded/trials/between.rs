//! What may happen to a file between the look at it and the open: nobody else comes in, and where it is another one all
//! the same, that is told.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{BackendError, StorageBackend};

use super::disk::Disk;
use super::power_loss::prepared;
use crate::embedded::{OpenError, sound};

/// Is `then` from the second time on that its length is asked for, which is when it is opened after it was looked at.
#[derive(Debug)]
struct Base {
    first: Disk,
    then: Disk,
    looks: AtomicU64,
    /// How often a lock was given back.
    let_go: AtomicU64,
}

impl Base {
    fn new(first: &[u8], then: &[u8]) -> Arc<Self> {
        let (first, then) = (Disk::with(first.to_vec()), Disk::with(then.to_vec()));
        Arc::new(Self { first, then, looks: AtomicU64::new(0), let_go: AtomicU64::new(0) })
    }

    fn now(&self) -> &Disk {
        if self.looks.load(Ordering::SeqCst) > 1 { &self.then } else { &self.first }
    }
}

impl StorageBackend for Base {
    fn len(&self) -> io::Result<u64> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.now().len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.now().read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.now().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.now().sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.now().write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.let_go.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        self.let_go.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn nobody_else_comes_in() {
    let (bytes, _) = prepared(1, 5);
    let base = Base::new(&bytes, &bytes);
    let opened = sound::open(base.clone(), None, Path::new("store.redb")).unwrap();
    assert!(base.looks.load(Ordering::SeqCst) > 1, "it is opened twice");
    assert_eq!(base.let_go.load(Ordering::SeqCst), 0, "its lock was given back in between");
    drop(opened);
    assert!(base.let_go.load(Ordering::SeqCst) > 0, "and is when it is closed");
}

#[test]
fn a_file_that_is_another_one_by_then_is_known() {
    let ((bytes, _), (other, _)) = (prepared(1, 5), prepared(1, 6));
    let opened = sound::open(Base::new(&bytes, &other), None, Path::new("store.redb"));
    let error = opened.err().unwrap();
    assert!(
        matches!(&error, OpenError::Corrupt { reason, .. } if reason.contains("while it was opened")),
        "{error}"
    );
}
