//! The open file, which can be opened again. After one failed write redb refuses every call until then, so that a full
//! disk would outlast the lack of space.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};

use super::compaction;
use super::content::Content;
use super::file::{OpenError, Opened};
use super::mark::Mark;
use super::numbers::Numbers;
use super::read::unavailable;
use super::unavailable as closed;
use crate::StoreError;

/// Opens the file once more, having made sure that it can be written. It was closed before.
pub(super) type Reopen = Box<dyn Fn() -> Result<Opened, OpenError> + Send + Sync>;
/// Looks whether there is any use in trying.
pub(super) type Probe = Box<dyn Fn() -> Result<(), OpenError> + Send + Sync>;

/// The file. Readers and the writer hold it open for one transaction at a time.
pub(super) struct Handle {
    /// None while opening it again has failed.
    database: RwLock<Option<Database>>,
    /// The file by itself, for its size; none for a store in memory.
    base: Mutex<Option<Arc<dyn StorageBackend>>>,
    /// None for a store in memory.
    mark: Option<Mark>,
    probe: Probe,
    reopen: Reopen,
}

/// The file for the length of one transaction.
pub(super) struct Open<'a>(RwLockReadGuard<'a, Option<Database>>);

impl Handle {
    pub(super) fn new(database: Database, probe: Probe, reopen: Reopen) -> Self {
        Self { database: RwLock::new(Some(database)), base: Mutex::default(), mark: None, probe, reopen }
    }

    /// Knows the file by itself besides.
    pub(super) fn over(self, base: Option<Arc<dyn StorageBackend>>) -> Self {
        Self { base: Mutex::new(base), ..self }
    }

    /// Keeps `mark` up to date besides.
    pub(super) fn marking(self, mark: Mark) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// Notes that a commit with these numbers is safe on the disk.
    pub(super) fn note(&self, numbers: &Numbers) {
        if let Some(mark) = &self.mark {
            mark.note(numbers);
        }
    }

    /// Whoever holds the answer keeps the file from being opened again.
    pub(super) fn open(&self) -> Open<'_> {
        Open(self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the file and opens it again; gives what is in it. Where the disk takes nothing it is not even tried: all of
    /// the file would be read for it.
    pub(super) fn open_again(&self) -> Result<Content, OpenError> {
        (self.probe)()?;
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The file's lock goes with it.
        drop(database.take());
        // Also where redb could not close it.
        self.base.lock().unwrap_or_else(PoisonError::into_inner).take();
        let opened = (self.reopen)()?;
        *database = Some(opened.database);
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = opened.base;
        Ok(opened.content)
    }

    /// Gives room back, if `worthwhile` says so of the file's size and of what is used of it, and nobody is reading in
    /// the file. Whether it did. Readers and writers wait for it; it runs to its end.
    pub(super) fn compact_if(&self, worthwhile: impl Fn(u64, u64) -> bool) -> Result<bool, redb::Error> {
        let Some(base) = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Ok(false);
        };
        let mut guard = match self.database.try_write() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        let Some(database) = guard.as_mut() else { return Ok(false) };
        match compaction::used_of(database, &*base)? {
            Some((len, used)) if worthwhile(len, used) => compaction::run(database, &*base),
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
impl Handle {
    /// Holds the file as if it were being opened again.
    pub(super) fn hold(&self) -> std::sync::RwLockWriteGuard<'_, Option<Database>> {
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compacts the file, however small it is.
    pub(super) fn compact_any(&self) -> Result<bool, redb::Error> {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let (Some(database), Some(base)) = (database.as_mut(), base) else { return Ok(false) };
        compaction::run(database, &*base)
    }
}

impl Open<'_> {
    fn database(&self) -> Result<&Database, StoreError> {
        self.0.as_ref().ok_or_else(|| closed("the file could not be opened again after the disk had failed"))
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        self.database()?.begin_read().map_err(unavailable)
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        self.database()?.begin_write().map_err(unavailable)
    }
}
