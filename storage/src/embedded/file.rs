//! The store's directory: its file is made if it is missing, read if it is ours and sound (`sound`), and refused, never
//! overwritten, if it is anything else.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, DatabaseError, StorageBackend, StorageError};

use super::content::Content;
use super::mark::{self, Mark};
use super::numbers::FORMAT_VERSION;
use super::sound;

/// The store's file in its directory.
pub(super) const FILE_NAME: &str = "store.redb";
/// What the names begin with that a restore gives.
const OTHER_NAMES: &str = "store.redb.";
/// What a new store is called until all of it is on the disk.
const NEW_NAME: &str = "store.new";
/// What shows whether the disk takes writes again, and how much of it: opening a file again writes too.
const PROBE_NAME: &str = "store.probe";
const PROBE_BYTES: usize = 256 << 10;

/// Why a store cannot be opened. Nothing in the file was changed.
#[derive(Debug)]
pub enum OpenError {
    /// Another process serves it: go through that one's API.
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a newer program.
    Newer {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u64,
    },
    /// It is damaged, or not a store at all: restore a copy, or move it away.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong, for people.
        reason: String,
    },
    /// It lacks what was acknowledged, as the mark beside it shows: it was damaged, or an older copy took its place.
    Behind {
        /// The file.
        path: PathBuf,
        /// The index that it ends with.
        index: u64,
        /// The index that it had come to.
        noted: u64,
    },
    /// The file or its directory cannot be reached.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path } => write!(f, "{} is in use by another process", path.display()),
            Self::Newer { path, found } => write!(
                f,
                "{} has format {found}; this program knows formats up to {FORMAT_VERSION}",
                path.display()
            ),
            Self::Corrupt { path, reason } => {
                write!(
                    f,
                    "{} is not a sound store: {reason}. Nothing was changed. {}",
                    path.display(),
                    advice(path)
                )
            }
            Self::Behind { path, index, noted } => write!(
                f,
                "{} ends with change {index}, but changes up to {noted} were acknowledged: it was damaged, or an older \
                 copy was put in its place. Nothing was changed. Restore a backup with `kv restore`; if the older copy \
                 is meant, remove {}",
                path.display(),
                mark::path(path.parent().unwrap_or(path)).display()
            ),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What somebody can do about a file that is not sound.
fn advice(path: &Path) -> String {
    let mark = mark::path(path.parent().unwrap_or(path));
    format!(
        "Restore a backup with `kv restore`, or move it away, with {}, to begin with nothing",
        mark.display()
    )
}

/// An open file and what was found in it.
pub(super) struct Opened {
    pub database: Database,
    pub content: Content,
    /// The file by itself; none for a store in memory.
    pub base: Option<Arc<dyn StorageBackend>>,
}

/// Opens, or makes, the store in the directory `dir`.
pub(super) fn open(dir: &Path) -> Result<(Opened, Mark), OpenError> {
    make_directory(dir).map_err(|source| io_error(source, dir))?;
    let path = dir.join(FILE_NAME);
    let mark_path = mark::path(dir);
    let noted = mark::read(dir).map_err(|source| io_error(source, &mark_path))?;
    if is_missing(&path).map_err(|source| io_error(source, &path))? {
        if let Some(noted) = noted {
            return Err(OpenError::Behind { path, index: 0, noted: noted.index });
        }
        make(dir, &path)?;
    }
    let file =
        OpenOptions::new().read(true).write(true).open(&path).map_err(|source| io_error(source, &path))?;
    let backend = FileBackend::new(file).map_err(|error| database_error(error, &path))?;
    let opened = sound::open(Arc::new(backend), noted, &path)?;
    // From here on it is locked, and changes.
    remove_other_names(&path).map_err(|source| io_error(source, &path))?;
    let mark = Mark::open(dir).map_err(|source| io_error(source, &mark_path))?;
    mark.note(&opened.content.numbers);
    Ok((opened, mark))
}

/// Makes the store's directory if it is missing. What is made is there after a loss of power, too.
pub(super) fn make_directory(dir: &Path) -> io::Result<()> {
    let entered_in = entered_in(dir)?;
    // It holds every instance's passwords.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    entered_in.iter().try_for_each(|parent| File::open(parent)?.sync_all())
}

/// The directories that get an entry by making `dir`: parents of what is missing of its path.
fn entered_in(dir: &Path) -> io::Result<Vec<&Path>> {
    let mut parents = Vec::new();
    for missing in dir.ancestors() {
        let here = missing.as_os_str().is_empty();
        if here || missing.try_exists()? {
            break;
        }
        if let Some(parent) = missing.parent() {
            parents.push(if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        }
    }
    Ok(parents)
}

/// Takes every other name from the store's file. A restore that was cut off may have given it that of the store put
/// aside, or not yet have taken that of the unfinished one; what is written to the store must not show there.
pub(super) fn remove_other_names(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let Some(dir) = path.parent().filter(|_| found.nlink() > 1) else { return Ok(()) };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let other = entry.metadata()?;
        // A link that somebody made elsewhere, or called otherwise, is theirs.
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(OTHER_NAMES.as_bytes());
        if is_ours && (other.dev(), other.ino()) == (found.dev(), found.ino()) {
            log::warn!("{} was the store itself, and is removed", entry.path().display());
            fs::remove_file(entry.path())?;
        }
    }
    File::open(dir)?.sync_all()
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether there is no file, or one to which nothing was written before whoever made it ended.
fn is_missing(path: &Path) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        other => other?,
    };
    if !found.is_file() {
        // A link would be replaced by a restore, and the mark belongs beside the file itself.
        let what = if found.is_symlink() { "a symbolic link" } else { "something else" };
        return Err(io::Error::other(format!("{what} stands where the store's file should be")));
    }
    Ok(found.len() == 0)
}

/// Makes a new store under another name, and gives it its own once all of it is on the disk: whatever cuts that off
/// leaves no store, instead of half of one.
fn make(dir: &Path, path: &Path) -> Result<(), OpenError> {
    let io = |source| io_error(source, path);
    // Whoever else makes one here at the same time waits, and finds this one.
    let directory = File::open(dir).map_err(io)?;
    directory.lock().map_err(io)?;
    if !is_missing(path).map_err(io)? {
        return Ok(());
    }
    let new = dir.join(NEW_NAME);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new);
    let made = file.map_err(io).and_then(|file| {
        let backend = FileBackend::new(file).map_err(|error| database_error(error, path))?;
        drop(sound::open_unexamined(backend, path)?);
        // redb's last words at closing are not synced by themselves.
        File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
        fs::rename(&new, path).map_err(io)?;
        // A new file is durable once its directory entry is.
        directory.sync_all().map_err(io)
    });
    if made.is_err() {
        // Where even that fails, the next attempt begins with truncating it.
        drop(fs::remove_file(&new));
    }
    made
}

/// Whether the disk under `dir` takes writes.
pub(super) fn probe(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(PROBE_NAME);
    let written = write_probe(&path);
    let removed = remove_if_there(&path);
    written.map(drop).and(removed).map_err(|source| io_error(source, &path))
}

/// Writes a new file, wherever what stands there under its name may lead.
fn write_probe(path: &Path) -> io::Result<File> {
    remove_if_there(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&vec![0; PROBE_BYTES])?;
    file.sync_data()?;
    Ok(file)
}

/// A store that lives as long as the process.
pub(super) fn in_memory() -> Result<Opened, OpenError> {
    sound::open_unexamined(InMemoryBackend::new(), Path::new("(in memory)"))
}

/// What redb says while it reads a file that it has opened.
pub(super) fn broken(error: redb::Error, path: &Path) -> OpenError {
    match error {
        redb::Error::Io(source) => io_error(source, path),
        other => OpenError::Corrupt { path: path.to_owned(), reason: other.to_string() },
    }
}

/// What redb says when it opens a file.
pub(super) fn database_error(error: DatabaseError, path: &Path) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path: path.to_owned() },
        DatabaseError::Storage(StorageError::Io(source)) => io_error(source, path),
        DatabaseError::UpgradeRequired(version) => {
            let reason = format!("it is a redb file of the old version {version}");
            OpenError::Corrupt { path: path.to_owned(), reason }
        }
        other => OpenError::Corrupt { path: path.to_owned(), reason: other.to_string() },
    }
}

/// What the system says. It complains of what a damaged file made redb ask for, too.
pub(super) fn io_error(source: io::Error, path: &Path) -> OpenError {
    match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
            OpenError::Corrupt { path: path.to_owned(), reason: source.to_string() }
        }
        _ => OpenError::Io { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::{PROBE_NAME, entered_in, make_directory, probe, write_probe};

    #[test]
    fn every_directory_that_gets_a_new_one_is_known() {
        let there = tempfile::tempdir().unwrap();
        let there = there.path();
        let check = |dir: &Path, expected: &[&Path]| assert_eq!(entered_in(dir).unwrap(), expected);
        check(there, &[]);
        check(&there.join("a"), &[there]);
        check(&there.join("a/b/c"), &[&there.join("a/b"), &there.join("a"), there]);
        check(Path::new("missing/too"), &[Path::new("missing"), Path::new(".")]);
        check(Path::new("."), &[]);
        let made = there.join("a/b");
        make_directory(&made).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
        check(&made, &[]);
    }

    /// It is written by whoever may write the store, where others may write beside it.
    #[test]
    fn the_probe_writes_nowhere_else_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join(PROBE_NAME));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&path).is_err(), "it stays");
        fs::write(&path, "left by a crash").unwrap();
        let mode = write_probe(&path).unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
