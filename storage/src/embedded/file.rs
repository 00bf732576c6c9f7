//! Opening the file: made if it is missing, read if it is ours, and refused, never overwritten, if it is anything else.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::InMemoryBackend;
use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableError};

use super::record::{CLUSTER, FORMAT, FORMAT_VERSION, INDEX, META, NODES};

/// The store's file in its directory.
const FILE_NAME: &str = "store.redb";
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
                write!(f, "{} is not a sound store: {reason}", path.display())
            }
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

/// An open file and its own numbers.
#[derive(Debug)]
pub(super) struct Opened {
    pub database: Database,
    pub index: u64,
    pub cluster: u64,
}

/// Opens, or makes, the store in the directory `dir`.
pub(super) fn open(dir: &Path) -> Result<Opened, OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    // It holds every instance's passwords.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(dir))?;
    let path = dir.join(FILE_NAME);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io(&path))?;
    let database =
        redb::Builder::new().create_file(file).map_err(|error| database_error(error, path.clone()))?;
    let opened = prepare(database, &path)?;
    // A new file is durable once its directory entry is.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))?;
    Ok(opened)
}

/// Whether the disk under `dir` takes writes.
pub(super) fn probe(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(PROBE_NAME);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_data()
    });
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|source| io_error(source, path))
}

/// A store that lives as long as the process.
pub(super) fn in_memory() -> Result<Opened, OpenError> {
    let path = PathBuf::from("(in memory)");
    let database = redb::Builder::new()
        .create_with_backend(InMemoryBackend::new())
        .map_err(|error| database_error(error, path.clone()))?;
    prepare(database, &path)
}

/// What every open ends with.
pub(super) fn prepare(database: Database, path: &Path) -> Result<Opened, OpenError> {
    let (format, index, cluster) = match read_numbers(&database) {
        Ok(Some(numbers)) => numbers,
        Ok(None) => {
            initialise(&database).map_err(|error| broken(error, path))?;
            read_numbers(&database).map_err(|error| broken(error, path))?.unwrap_or_default()
        }
        Err(error) => return Err(broken(error, path)),
    };
    match format {
        FORMAT_VERSION => Ok(Opened { database, index, cluster }),
        newer if newer > FORMAT_VERSION => Err(OpenError::Newer { path: path.to_owned(), found: newer }),
        _ => {
            let reason = "it does not say which format it has".to_owned();
            Err(OpenError::Corrupt { path: path.to_owned(), reason })
        }
    }
}

/// Format, index and cluster id; `None` for a file in which nothing was ever written.
fn read_numbers(database: &Database) -> Result<Option<(u64, u64, u64)>, redb::Error> {
    let read = database.begin_read()?;
    if read.list_tables()?.next().is_none() {
        return Ok(None);
    }
    let meta = match read.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Some((0, 0, 0))),
        other => other?,
    };
    let number = |name| Ok::<_, StorageError>(meta.get(name)?.map_or(0, |value| value.value()));
    Ok(Some((number(FORMAT)?, number(INDEX)?, number(CLUSTER)?)))
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        meta.insert(FORMAT, FORMAT_VERSION)?;
        meta.insert(INDEX, 0)?;
        meta.insert(CLUSTER, rand::random::<u64>())?;
        write.open_table(NODES)?;
    }
    write.commit()?;
    Ok(())
}

fn broken(error: redb::Error, path: &Path) -> OpenError {
    let path = path.to_owned();
    match error {
        redb::Error::Io(source) => io_error(source, path),
        other => OpenError::Corrupt { path, reason: other.to_string() },
    }
}

fn database_error(error: DatabaseError, path: PathBuf) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path },
        DatabaseError::Storage(StorageError::Io(source)) => io_error(source, path),
        DatabaseError::UpgradeRequired(version) => {
            let reason = format!("it is a redb file of the old version {version}");
            OpenError::Corrupt { path, reason }
        }
        other => OpenError::Corrupt { path, reason: other.to_string() },
    }
}

fn io_error(source: io::Error, path: PathBuf) -> OpenError {
    match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            OpenError::Corrupt { path, reason: source.to_string() }
        }
        _ => OpenError::Io { path, source },
    }
}
