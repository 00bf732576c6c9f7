//! Making a store's file from a backup, while nobody serves it. Whatever cuts this off, the directory holds the file that
//! was there, or the new one, each whole; and no file there is written to under two names (`file::remove_other_names`).

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{StorageBackend, WriteTransaction};

use super::content;
use super::file::{self, FILE_NAME};
use super::mark;
use super::numbers::{Kind, Numbers, Sums};
use super::record::{GUESTS, META, NODES};
use super::snapshot::{self, BadBackup, Row, Summary};
use super::sound;
use crate::Key;

/// How far the index jumps, so that whoever watched the store that was is told that it has forgotten, and reads anew:
/// no store gets as far by itself in what a backup can be late.
pub const JUMP: u64 = 1_000_000_000;

/// The file that is being made.
const UNFINISHED: &str = "store.redb.restoring";
const COPIED: usize = 256 << 10;

/// What is to be done.
pub struct Plan<'a> {
    /// The backup.
    pub backup: &'a Path,
    /// The store's directory; made if it is missing.
    pub directory: &'a Path,
    /// Whether a store that is there is put aside. Without it, one that is there is refused.
    pub replace: bool,
    /// Whether a file is taken over, by its key and whether it has a TTL.
    pub keep: &'a dyn Fn(&Key, bool) -> bool,
    /// What the name of the store that is put aside ends with.
    pub suffix: &'a str,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub backup: Summary,
    /// The new store's index.
    pub index: u64,
    /// How many files were left out.
    pub left_out: u64,
    /// Where the store that was there is now.
    pub aside: Option<PathBuf>,
}

/// Why nothing was restored. What was there is as it was.
#[derive(Debug)]
pub enum RestoreError {
    /// The backup cannot be used.
    Backup(BadBackup),
    /// There is a store, and it is not to be replaced.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process serves the store, or restores one.
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The new file could not be made.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup(error) => write!(f, "the backup cannot be used: {error}"),
            Self::Exists { path } => write!(f, "{} is there already", path.display()),
            Self::Locked { path } => write!(f, "{} is in use by another process", path.display()),
            Self::Io { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<BadBackup> for RestoreError {
    fn from(error: BadBackup) -> Self {
        Self::Backup(error)
    }
}

impl Plan<'_> {
    /// Checks the whole backup, makes a store of it, and puts that in its place.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn perform(&self) -> Result<Restored, RestoreError> {
        let mut backup = File::open(self.backup).map_err(BadBackup::Io)?;
        snapshot::check(&mut BufReader::with_capacity(COPIED, &mut backup))?;
        let path = self.directory.join(FILE_NAME);
        // Held to the end, so that nobody begins to serve what is being replaced.
        let old = open_locked(&path)?;
        if old.is_some() && !self.replace {
            return Err(RestoreError::Exists { path });
        }
        file::make_directory(self.directory).map_err(at(self.directory))?;
        // One at a time.
        let _directory = open_locked(self.directory)?;
        let unfinished = self.directory.join(UNFINISHED);
        // One that was cut off may have left its own, which may be the store itself by now: only the name may go.
        file::remove_if_there(&unfinished).map_err(at(&unfinished))?;
        file::remove_other_names(&path).map_err(at(&path))?;
        let new = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(at(&unfinished))?;
        let known = known_index(self.directory, old.as_ref(), &path);
        let made = self.make(&mut backup, new, &unfinished, known).and_then(|(backup, made)| {
            let aside = old.is_some().then(|| self.directory.join(format!("{FILE_NAME}.{}", self.suffix)));
            self.put_in_place(&unfinished, &path, aside.as_deref())?;
            Ok(Restored { backup, index: made.index, left_out: made.left_out, aside })
        });
        if made.is_err()
            && let Err(error) = fs::remove_file(&unfinished)
        {
            log::warn!("{} stays: {error}", unfinished.display());
        }
        made
    }

    /// Writes the rows into the new file, which is sound and on the disk when this returns.
    fn make(
        &self,
        backup: &mut File,
        new: File,
        path: &Path,
        known: u64,
    ) -> Result<(Summary, Made), RestoreError> {
        backup.rewind().map_err(BadBackup::Io)?;
        let database = redb::Builder::new().create_file(new).map_err(broken(path))?;
        let write = database.begin_write().map_err(broken(path))?;
        let mut made = Made { sums: Sums::default(), index: 0, left_out: 0 };
        let mut input = BufReader::with_capacity(COPIED, backup);
        let summary = made.fill(&write, &mut input, self.keep, path)?;
        // Nobody may have watched further than this.
        made.index = summary.index.max(known).saturating_add(JUMP);
        let numbers = Numbers { index: made.index, sums: made.sums, ..Numbers::new(summary.cluster) };
        numbers.write(&mut write.open_table(META).map_err(broken(path))?).map_err(broken(path))?;
        write.commit().map_err(broken(path))?;
        // It is read as it will be when it is served.
        content::read(&database).map_err(|error| broken(path)(format!("{error:?}")))?;
        drop(database);
        File::open(path).and_then(|file| file.sync_all()).map_err(at(path))?;
        Ok((summary, made))
    }

    /// From one moment to the next, the new file is the store. What was there has another name besides by then.
    fn put_in_place(&self, new: &Path, path: &Path, aside: Option<&Path>) -> Result<(), RestoreError> {
        let sync = || File::open(self.directory).and_then(|dir| dir.sync_all()).map_err(at(self.directory));
        if let Some(aside) = aside {
            fs::hard_link(path, aside).map_err(at(aside))?;
        }
        // A mark speaks for the file that it was made beside, also where that is missing. Without one, a file is taken as
        // it is.
        let mark = mark::path(self.directory);
        if mark.exists() {
            let aside = self.directory.join(format!("{}.{}", mark::FILE_NAME, self.suffix));
            fs::rename(&mark, &aside).map_err(at(&aside))?;
        }
        sync()?;
        if aside.is_some() {
            fs::rename(new, path).map_err(at(path))?;
        } else {
            // A link does not overwrite what somebody else has begun to serve meanwhile.
            fs::hard_link(new, path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => RestoreError::Exists { path: path.to_owned() },
                _ => at(path)(error),
            })?;
            sync()?;
            fs::remove_file(new).map_err(at(new))?;
        }
        sync()
    }
}

/// What has been made so far.
struct Made {
    sums: Sums,
    index: u64,
    left_out: u64,
}

impl Made {
    fn fill(
        &mut self,
        write: &WriteTransaction,
        input: &mut impl io::Read,
        keep: &dyn Fn(&Key, bool) -> bool,
        path: &Path,
    ) -> Result<Summary, RestoreError> {
        let mut nodes = write.open_table(NODES).map_err(broken(path))?;
        let mut guests = write.open_table(GUESTS).map_err(broken(path))?;
        snapshot::read(input, |row| {
            match row {
                Row::Node(key, record) => {
                    if !record.is_dir() && !keep(&key, record.ttl.is_some()) {
                        self.left_out += 1;
                        return Ok(());
                    }
                    let bytes = record.encode();
                    nodes.insert(key.as_str(), bytes.as_slice()).map_err(broken(path))?;
                    self.sums.add(Kind::Node, key.as_str(), &bytes);
                }
                Row::Guest(name, bytes) => {
                    guests.insert(name.as_str(), bytes.as_slice()).map_err(broken(path))?;
                    self.sums.add(Kind::Guest, &name, &bytes);
                }
            }
            Ok(())
        })
    }
}

/// A file or directory that nobody else has locked, or nothing where there is none.
fn open_locked(path: &Path) -> Result<Option<File>, RestoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(RestoreError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(at(path)(error)),
    }
}

/// How far the store that is there has come, as it says itself or, where it is damaged, the mark beside it.
fn known_index(directory: &Path, old: Option<&File>, path: &Path) -> u64 {
    let noted = mark::read(directory).ok().flatten().map_or(0, |noted| noted.index);
    let own = old.and_then(|old| old.try_clone().ok());
    noted.max(own.and_then(|old| sound::index_of(Arc::new(Seen(old)), path).ok()).unwrap_or(0))
}

/// A file that is only looked at. Whoever does so has locked it.
#[derive(Debug)]
struct Seen(File);

impl StorageBackend for Seen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> RestoreError {
    move |error| RestoreError::Io { path: path.to_owned(), reason: error.to_string() }
}

fn broken<E: fmt::Display>(path: &Path) -> impl Fn(E) -> RestoreError {
    move |error| RestoreError::Io { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::super::numbers::{Kind, Numbers};
    use super::super::record::{META, NODES, Record};
    use super::super::{Embedded, Options};
    use super::{Plan, RestoreError, Restored};
    use crate::{Expect, Key, Store};

    /// A backup of a store with a file in it, or with one that stands in no directory.
    fn backup(at: &Path, makes_sense: bool) {
        let store = Embedded::in_memory(Options::default()).unwrap();
        store.put(&Key::parse("/a/b").unwrap(), b"1", None, Expect::Absent).unwrap();
        if !makes_sense {
            let write = store.shared.database.open().begin_write().unwrap();
            {
                let row = Record { value: Some(b"1".as_slice().into()), created: 1, modified: 1, ttl: None };
                let row = row.encode();
                write.open_table(NODES).unwrap().insert("/no/f", row.as_slice()).unwrap();
                let mut meta = write.open_table(META).unwrap();
                let mut numbers = Numbers::read(&meta).unwrap();
                numbers.sums.add(Kind::Node, "/no/f", &row);
                numbers.write(&mut meta).unwrap();
            }
            write.commit().unwrap();
        }
        store.shared.snapshot().unwrap().write_to(&mut File::create(at).unwrap()).unwrap();
    }

    fn restore(
        backup: &Path,
        directory: &Path,
        keep: &dyn Fn(&Key, bool) -> bool,
    ) -> Result<Restored, RestoreError> {
        Plan { backup, directory, replace: false, keep, suffix: "aside" }.perform()
    }

    fn names(directory: &Path) -> Vec<String> {
        let names =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    /// It is whole, and no store can be made of it: that is known before it is put in place.
    #[test]
    fn a_backup_that_makes_no_sense_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("backup"), directory.path().join("store"));
        backup(&from, false);
        let told = restore(&from, &to, &|_, _| true).unwrap_err();
        assert!(matches!(&told, RestoreError::Io { reason, .. } if reason.contains("/no/f")), "{told}");
        assert_eq!(names(&to), [""; 0]);
        backup(&from, true);
        restore(&from, &to, &|_, _| true).unwrap();
        let store = Embedded::open(&to, Options::default()).unwrap();
        assert_eq!(store.list(&Key::root()).unwrap().entries.len(), 1);
    }

    /// Somebody else began to serve a store there while it was made.
    #[test]
    fn a_store_that_is_made_meanwhile_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("backup"), directory.path().join("store"));
        backup(&from, true);
        let keep = |_: &Key, _| {
            fs::write(to.join("store.redb"), "another's").unwrap();
            true
        };
        let told = restore(&from, &to, &keep).unwrap_err();
        assert!(matches!(told, RestoreError::Exists { .. }), "{told}");
        assert_eq!(fs::read_to_string(to.join("store.redb")).unwrap(), "another's");
        assert_eq!(names(&to), ["store.redb"]);
    }

    #[test]
    fn one_restores_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("backup"), directory.path().join("store"));
        backup(&from, true);
        fs::create_dir(&to).unwrap();
        let another = File::open(&to).unwrap();
        another.lock().unwrap();
        let told = restore(&from, &to, &|_, _| true).unwrap_err();
        assert!(matches!(told, RestoreError::Locked { .. }), "{told}");
        assert_eq!(names(&to), [""; 0]);
        drop(another);
        restore(&from, &to, &|_, _| true).unwrap();
    }
}
