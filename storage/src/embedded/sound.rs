//! Opens a file only if all of it is right, and leaves it untouched otherwise.
//!
//! ```text
//! file ──> overlay: redb repairs, checks and reads there ──> held against numbers and mark ──> the file itself
//! ```
//!
//! redb trusts what it finds in pages that it has written, and panics where these make no sense. So it meets a file
//! first where it can do no harm.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Once};

use redb::{Database, ReadableDatabase, StorageBackend};

use super::compaction;
use super::content::{self, Content, Found, Unsound};
use super::file::{OpenError, Opened, broken, database_error, io_error};
use super::mark::Noted;
use super::numbers::{FORMAT_VERSION, Numbers};
use super::overlay::{Overlay, Through};

/// What redb keeps of the file in memory: enough for what a batch of changes touches. Reads do not come from the file,
/// and what is missing here is in the system's memory as a rule.
const CACHE_BYTES: usize = 2 << 20;

/// Opens the file under `base` if it is sound and not behind what was `noted` of it. The rest of the path's directory is
/// not looked at.
pub(super) fn open(
    base: Arc<dyn StorageBackend>,
    noted: Option<Noted>,
    path: &Path,
) -> Result<Opened, OpenError> {
    let overlay = Overlay::new(Arc::clone(&base)).map_err(|source| io_error(source, path))?;
    let found = careful(path, || examine(overlay, path))?;
    let numbers = match &found {
        Found::Nothing => Numbers::default(),
        Found::Old(content) | Found::Current(content) => content.numbers,
    };
    if let Some(noted) = noted
        && (matches!(found, Found::Nothing) || noted.is_ahead_of(&numbers))
    {
        return Err(OpenError::Behind { path: path.to_owned(), index: numbers.index, noted: noted.index });
    }
    careful(path, || {
        let mut opened = take_up(open_with(Through(Arc::clone(&base)), path)?, found, path)?;
        if let Err(error) = slim(&mut opened, &*base) {
            log::warn!("{} could not be compacted: {error}", path.display());
            // After an error redb refuses everything until its file is opened again.
            let Opened { database, content, .. } = opened;
            drop(database);
            opened = take_up(open_with(Through(Arc::clone(&base)), path)?, Found::Current(content), path)?;
        }
        Ok(Opened { base: Some(base), ..opened })
    })
}

/// Gives back what is free of a file of which little is needed, while nobody waits for it.
fn slim(opened: &mut Opened, base: &dyn StorageBackend) -> Result<(), redb::Error> {
    if let Some((len, used)) = compaction::used_of(&opened.database, base)?
        && compaction::is_worthwhile(len, used)
    {
        compaction::run(&mut opened.database, base)?;
    }
    Ok(())
}

/// The index of the file under `base`, where its numbers at least are as they were written. Nothing is written.
pub(super) fn index_of(base: Arc<dyn StorageBackend>, path: &Path) -> Result<u64, OpenError> {
    let overlay = Overlay::new(base).map_err(|source| io_error(source, path))?;
    careful(path, || {
        let mut database = open_with(overlay, path)?;
        let read = database.begin_read().map_err(|error| broken(error.into(), path))?;
        let numbers = content::numbers(&read).map_err(|error| broken(error, path))?.unwrap_or_default();
        drop(read);
        // The layout before this one has no seal.
        let right = numbers.seal == numbers.right_seal()
            || (numbers.format < FORMAT_VERSION
                && database.check_integrity().map_err(|error| database_error(error, path))?);
        if right { Ok(numbers.index) } else { Err(refused(Unsound::Damaged("its numbers".to_owned()), path)) }
    })
}

/// A store on `backend`, which is new or was closed in good order; it is not examined.
pub(super) fn open_unexamined(backend: impl StorageBackend, path: &Path) -> Result<Opened, OpenError> {
    let database = open_with(backend, path)?;
    let found = content::read(&database).map_err(|unsound| refused(unsound, path))?;
    take_up(database, found, path)
}

fn open_with(backend: impl StorageBackend, path: &Path) -> Result<Database, OpenError> {
    let mut builder = redb::Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.create_with_backend(backend).map_err(|error| database_error(error, path))
}

/// What is in the file once redb has repaired it, if it had to.
fn examine(overlay: Overlay, path: &Path) -> Result<Found, OpenError> {
    let mut database = open_with(overlay, path)?;
    if !database.check_integrity().map_err(|error| database_error(error, path))? {
        let reason = "its own accounts do not agree with what is in it".to_owned();
        return Err(OpenError::Corrupt { path: path.to_owned(), reason });
    }
    content::read(&database).map_err(|unsound| refused(unsound, path))
}

/// Makes of a file that was examined one of the present layout.
fn take_up(database: Database, found: Found, path: &Path) -> Result<Opened, OpenError> {
    let settle = |numbers| content::settle(&database, numbers).map_err(|error| broken(error, path));
    let content = match found {
        Found::Nothing => {
            let numbers = settle(Numbers::new(rand::random::<u64>()))?;
            Content { numbers, nodes: Default::default(), ttls: Vec::new(), guests: Default::default() }
        }
        Found::Old(content) => {
            let numbers = settle(content.numbers)?;
            log::info!("{} had the format of an earlier version and has the present one now", path.display());
            Content { numbers, ..content }
        }
        Found::Current(content) => content,
    };
    let read = database.begin_read().map_err(|error| broken(error.into(), path))?;
    if content::numbers(&read).map_err(|error| broken(error, path))? != Some(content.numbers) {
        let reason = "it was changed while it was opened".to_owned();
        return Err(OpenError::Corrupt { path: path.to_owned(), reason });
    }
    drop(read);
    Ok(Opened { database, content, base: None })
}

fn refused(unsound: Unsound, path: &Path) -> OpenError {
    match unsound {
        Unsound::Redb(error) => broken(error, path),
        Unsound::Newer(found) => OpenError::Newer { path: path.to_owned(), found },
        Unsound::Damaged(reason) => OpenError::Corrupt { path: path.to_owned(), reason },
    }
}

thread_local! {
    static CAREFUL: Cell<bool> = const { Cell::new(false) };
}

/// Does what may panic on a file that is damaged. The panic becomes the answer, and is not printed as one.
fn careful<T>(path: &Path, open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            if !CAREFUL.get() {
                usual(panicked);
            }
        }));
    });
    CAREFUL.set(true);
    // What was being opened is dropped by the panic, and nothing else is touched.
    let outcome = panic::catch_unwind(AssertUnwindSafe(open));
    CAREFUL.set(false);
    outcome.unwrap_or_else(|panicked| {
        let text = said(&*panicked);
        let reason = format!("reading it fails in a way that only damage explains ({text})");
        Err(OpenError::Corrupt { path: path.to_owned(), reason })
    })
}

/// What a panic says.
pub(super) fn said(panicked: &(dyn Any + Send)) -> &str {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}
