//! The open file, which can be opened again. After one failed write redb refuses every call until then, so that a full
//! disk would outlast the lack of space.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::file::{OpenError, Opened};
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
    probe: Probe,
    reopen: Reopen,
}

/// The file for the length of one transaction.
pub(super) struct Open<'a>(RwLockReadGuard<'a, Option<Database>>);

impl Handle {
    pub(super) fn new(database: Database, probe: Probe, reopen: Reopen) -> Self {
        Self { database: RwLock::new(Some(database)), probe, reopen }
    }

    /// Whoever holds the answer keeps the file from being opened again.
    pub(super) fn open(&self) -> Open<'_> {
        Open(self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the file and opens it again; gives the index that it is at. Where there is no use in it the file stays
    /// as it is, so that what can be read still is.
    pub(super) fn open_again(&self) -> Result<u64, OpenError> {
        (self.probe)()?;
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The file's lock goes with it.
        drop(database.take());
        let opened = (self.reopen)()?;
        *database = Some(opened.database);
        Ok(opened.index)
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
