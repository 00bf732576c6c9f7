//! A note beside the file of how far it had come, so that a file that has gone back is known.
//!
//! After an unclean end redb takes the newest commit that can be verified. Where the newest of all cannot, it was either
//! torn by the end itself, and nobody had an answer; or it had been acknowledged and was damaged later. The file alone
//! does not tell the one from the other. The mark does: it is written only after the commit's sync has returned, so that
//! whatever it speaks of had reached the disk. Losing the mark's own last writes, as a loss of power does, makes it say
//! less, never more. Hence a file that is behind its mark is never one that merely ended uncleanly: something that was
//! acknowledged is missing from it.
//!
//! It is not synced. A mark that is missing, torn or another store's says nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;
use xxhash_rust::xxh3::xxh3_64;

use super::numbers::Numbers;

/// The mark's file, in the directory of the store's.
pub(super) const FILE_NAME: &str = "store.mark";
const MAGIC: u64 = u64::from_le_bytes(*b"pb-mark\x01");
const BYTES: usize = 5 * 8;

/// What a mark says: a store that is this one has come at least as far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// Which store.
    pub cluster: u64,
    /// How many commits it had seen.
    pub commits: u64,
    /// The index of its last change.
    pub index: u64,
}

impl Noted {
    fn encode(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let put = |bytes: &mut [u8; BYTES], at: usize, number: u64| {
            bytes[at * 8..][..8].copy_from_slice(&number.to_le_bytes());
        };
        for (at, number) in [MAGIC, self.cluster, self.commits, self.index].into_iter().enumerate() {
            put(&mut bytes, at, number);
        }
        let sum = xxh3_64(&bytes[..BYTES - 8]);
        put(&mut bytes, 4, sum);
        bytes
    }

    fn decode(bytes: &[u8; BYTES]) -> Option<Self> {
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at * 8..][..8]);
            u64::from_le_bytes(word)
        };
        let noted = Self { cluster: number(1), commits: number(2), index: number(3) };
        (noted.encode() == *bytes).then_some(noted)
    }

    /// Whether a store with these numbers lacks what this speaks of.
    pub(super) fn is_ahead_of(&self, numbers: &Numbers) -> bool {
        self.cluster == numbers.cluster && (self.index > numbers.index || self.commits > numbers.commits)
    }
}

impl From<&Numbers> for Noted {
    fn from(numbers: &Numbers) -> Self {
        Self { cluster: numbers.cluster, commits: numbers.commits, index: numbers.index }
    }
}

/// The mark's path in the directory `dir`.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE_NAME)
}

/// What the mark in `dir` says, if it says anything.
///
/// # Errors
/// What the system says, but that there is none.
pub(super) fn read(dir: &Path) -> io::Result<Option<Noted>> {
    let file = match File::open(path(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    read_from(&FileBackend::new(file).map_err(io::Error::other)?)
}

/// What this says, if it says anything.
pub(super) fn read_from(medium: &dyn StorageBackend) -> io::Result<Option<Noted>> {
    let mut bytes = [0; BYTES];
    if medium.len()? < BYTES as u64 {
        return Ok(None);
    }
    medium.read(0, &mut bytes)?;
    Ok(Noted::decode(&bytes))
}

/// A mark that is kept up to date.
#[derive(Debug)]
pub(super) struct Mark {
    medium: Box<dyn StorageBackend>,
    failed: AtomicBool,
}

impl Mark {
    /// Opens the mark in `dir`, or makes it.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path(dir))?;
        Ok(Self::on(Box::new(FileBackend::new(file).map_err(io::Error::other)?)))
    }

    /// A mark that stands there.
    pub(super) fn on(medium: Box<dyn StorageBackend>) -> Self {
        Self { medium, failed: AtomicBool::new(false) }
    }

    /// Notes how far the store has come. Must only be called once that is safe on the disk. A mark that cannot be
    /// written says less than it might, which is no reason to stop.
    pub(super) fn note(&self, numbers: &Numbers) {
        let bytes = Noted::from(numbers).encode();
        let grown = self.medium.len().and_then(|len| {
            // A file grows by being written; other media do not.
            if len < BYTES as u64 { self.medium.set_len(BYTES as u64) } else { Ok(()) }
        });
        match grown.and_then(|()| self.medium.write(0, &bytes)) {
            Ok(()) => self.failed.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    log::warn!("the embedded store's mark could not be written: {error}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers::Numbers;
    use super::{BYTES, Noted};

    #[test]
    fn only_a_whole_mark_speaks() {
        let noted = Noted { cluster: 7, commits: 3, index: 9 };
        let bytes = noted.encode();
        assert_eq!(Noted::decode(&bytes), Some(noted));
        for bit in 0..BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Noted::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(Noted::decode(&[0; BYTES]), None);
    }

    #[test]
    fn it_speaks_of_its_own_store_and_only_of_what_is_missing() {
        let check = |cluster, commits, index, expected| {
            let noted = Noted { cluster: 7, commits: 3, index: 9 };
            let numbers = Numbers { commits, index, ..Numbers::new(cluster) };
            assert_eq!(noted.is_ahead_of(&numbers), expected, "{numbers:?}");
        };
        check(7, 3, 9, false);
        check(7, 4, 10, false);
        check(7, 2, 8, true);
        check(7, 2, 9, true);
        check(7, 3, 8, true);
        check(8, 0, 0, false);
    }
}
