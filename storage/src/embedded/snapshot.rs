//! A backup of the store: what it held at one index, as one stream of bytes that shows when it is cut off or damaged.
//!
//! ```text
//! {"patroni-broker-backup":1,"cluster":"…","index":…,"time_s":…}\n
//! n <length: u32> <path> <length: u32> <record>     for each node, as `record` writes it
//! g <length: u32> <name> <length: u32> <row>        for each guest
//! e <rows: u64> <digest of the rows: u64> <xxh3 of all bytes before: u128>
//! ```
//!
//! Numbers are little-endian. It owns the format; where the bytes come from or go is others' business.

use std::fmt;
use std::io::{self, Read, Write};

use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::Shared;
use super::numbers::{Kind, Numbers, Sums};
use super::read::unavailable;
use super::record::{GUESTS, META, NODES, Record};
use crate::{Key, StoreError};

/// The one format there is so far.
const FORMAT: u64 = 1;
/// No header is longer.
const MAX_HEADER: u64 = 4096;
const NODE: u8 = b'n';
const GUEST: u8 = b'g';
const END: u8 = b'e';

/// What a backup says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Which store it is of.
    pub cluster: u64,
    /// The index of the last change in it.
    pub index: u64,
    /// When it was taken, in seconds since 1970 by that machine's clock.
    pub time_s: u64,
    /// How many files and directories it holds.
    pub nodes: u64,
    /// How many guests it holds.
    pub guests: u64,
}

/// Why a backup is not one, or none that can be used.
#[derive(Debug)]
pub enum BadBackup {
    /// It cannot be read.
    Io(io::Error),
    /// It is something else.
    Other,
    /// It was written by a newer program.
    Newer {
        /// The format found.
        found: u64,
    },
    /// It ends too early.
    CutOff,
    /// It is not what was written.
    Damaged {
        /// What shows it, for people.
        reason: String,
    },
}

impl fmt::Display for BadBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Other => f.write_str("it is no backup of a store"),
            Self::Newer { found } => {
                write!(f, "it has format {found}; this program knows formats up to {FORMAT}")
            }
            Self::CutOff => f.write_str("it is cut off"),
            Self::Damaged { reason } => write!(f, "it is damaged: {reason}"),
        }
    }
}

impl std::error::Error for BadBackup {}

impl From<io::Error> for BadBackup {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutOff,
            _ => Self::Io(error),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "patroni-broker-backup")]
    format: u64,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    index: u64,
    #[serde(default)]
    time_s: u64,
}

/// The store as it is at one index, for as long as this lives: what changes meanwhile takes other pages of the file.
pub(super) struct Snapshot {
    read: ReadTransaction,
    numbers: Numbers,
    time_s: u64,
}

impl Shared {
    /// The store as it is now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let read = self.database.open().begin_read()?;
        let numbers = Numbers::read(&read.open_table(META).map_err(unavailable)?).map_err(unavailable)?;
        let since_1970 = self.clock.wall().duration_since(std::time::UNIX_EPOCH);
        Ok(Snapshot { read, numbers, time_s: since_1970.map_or(0, |time| time.as_secs()) })
    }
}

impl Snapshot {
    /// Writes the whole backup.
    ///
    /// # Errors
    /// What `out` says, or that the file cannot be read, or that what is in it is not what was written.
    pub(super) fn write_to(&self, out: &mut impl Write) -> io::Result<Summary> {
        let Numbers { cluster, index, .. } = self.numbers;
        let mut out = Hashing { inner: out, hasher: Xxh3::new() };
        let header = Header { format: FORMAT, cluster: format!("{cluster:x}"), index, time_s: self.time_s };
        serde_json::to_writer(&mut out, &header)?;
        out.write_all(b"\n")?;
        let mut sums = Sums::default();
        for row in self.read.open_table(NODES).map_err(io::Error::other)?.iter().map_err(io::Error::other)? {
            let (path, bytes) = row.map_err(io::Error::other)?;
            write_row(&mut out, NODE, path.value(), bytes.value())?;
            sums.add(Kind::Node, path.value(), bytes.value());
        }
        let nodes = sums.rows;
        for row in self.read.open_table(GUESTS).map_err(io::Error::other)?.iter().map_err(io::Error::other)? {
            let (name, bytes) = row.map_err(io::Error::other)?;
            write_row(&mut out, GUEST, name.value(), bytes.value())?;
            sums.add(Kind::Guest, name.value(), bytes.value());
        }
        if sums != self.numbers.sums {
            return Err(io::Error::other("the store's file is damaged: its rows do not add up"));
        }
        out.write_all(&[END])?;
        out.write_all(&sums.rows.to_le_bytes())?;
        out.write_all(&sums.digest.to_le_bytes())?;
        let digest = out.hasher.digest128();
        out.inner.write_all(&digest.to_le_bytes())?;
        out.inner.flush()?;
        Ok(Summary { cluster, index, time_s: self.time_s, nodes, guests: sums.rows - nodes })
    }
}

fn write_row(out: &mut impl Write, kind: u8, key: &str, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&[kind])?;
    for part in [key.as_bytes(), bytes] {
        let length = u32::try_from(part.len()).map_err(|_| io::Error::other("a row is too large"))?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(part)?;
    }
    Ok(())
}

/// One row of a backup.
pub(super) enum Row {
    Node(Key, Record),
    Guest(String, Vec<u8>),
}

/// Reads a backup to its end, and gives every row to `take` as it comes: that they are sound is known only when this
/// returns.
///
/// # Errors
/// [`BadBackup`], or what `take` says.
pub(super) fn read<E: From<BadBackup>>(
    input: &mut impl Read,
    mut take: impl FnMut(Row) -> Result<(), E>,
) -> Result<Summary, E> {
    let mut input = Hashing { inner: input, hasher: Xxh3::new() };
    let header = read_header(&mut input)?;
    let cluster =
        u64::from_str_radix(&header.cluster, 16).map_err(|_| damaged("its header says no cluster"))?;
    let mut sums = Sums::default();
    let mut nodes = 0;
    loop {
        let kind = input.byte()?;
        if kind == END {
            break;
        }
        let key = String::from_utf8(input.part()?).map_err(|_| damaged("a name is no text"))?;
        let bytes = input.part()?;
        let row = match kind {
            NODE => {
                sums.add(Kind::Node, &key, &bytes);
                nodes += 1;
                let (Ok(key), Ok(record)) = (Key::parse(&key), Record::decode(&bytes)) else {
                    return Err(damaged("a record cannot be read").into());
                };
                Row::Node(key, record)
            }
            GUEST => {
                sums.add(Kind::Guest, &key, &bytes);
                Row::Guest(key, bytes)
            }
            _ => return Err(damaged("a row is of no known kind").into()),
        };
        take(row)?;
    }
    let stated = Sums { rows: input.number()?, digest: input.number()? };
    let digest = input.hasher.digest128();
    let mut written = [0; 16];
    input.inner.read_exact(&mut written).map_err(BadBackup::from)?;
    if digest != u128::from_le_bytes(written) || sums != stated {
        return Err(damaged("its digest is another one").into());
    }
    if input.inner.read(&mut [0]).map_err(BadBackup::from)? != 0 {
        return Err(damaged("something follows its end").into());
    }
    let Header { index, time_s, .. } = header;
    Ok(Summary { cluster, index, time_s, nodes, guests: sums.rows - nodes })
}

/// Holds a backup against what it says of itself.
///
/// # Errors
/// [`BadBackup`].
pub fn check(input: &mut impl Read) -> Result<Summary, BadBackup> {
    read(input, |_| Ok(()))
}

fn read_header<R: Read>(input: &mut Hashing<&mut R>) -> Result<Header, BadBackup> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        if line.len() as u64 > MAX_HEADER {
            return Err(BadBackup::Other);
        }
        match input.byte() {
            Ok(byte) => line.push(byte),
            Err(BadBackup::CutOff) if !line.starts_with(b"{\"patroni-broker-backup\"") => {
                return Err(BadBackup::Other);
            }
            Err(error) => return Err(error),
        }
    }
    let header: Header = serde_json::from_slice(&line).map_err(|_| BadBackup::Other)?;
    match header.format {
        FORMAT => Ok(header),
        0 => Err(BadBackup::Other),
        found => Err(BadBackup::Newer { found }),
    }
}

fn damaged(reason: &str) -> BadBackup {
    BadBackup::Damaged { reason: reason.to_owned() }
}

/// What goes through it is counted into the digest.
struct Hashing<T> {
    inner: T,
    hasher: Xxh3,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Hashing<T> {
    fn byte(&mut self) -> Result<u8, BadBackup> {
        let mut byte = [0];
        self.inner.read_exact(&mut byte)?;
        self.hasher.update(&byte);
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64, BadBackup> {
        let mut bytes = [0; 8];
        self.inner.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn part(&mut self) -> Result<Vec<u8>, BadBackup> {
        let mut length = [0; 4];
        self.inner.read_exact(&mut length)?;
        self.hasher.update(&length);
        let length = u64::from(u32::from_le_bytes(length));
        // A length that is damaged must not take all memory: what is not there is not made room for.
        let mut bytes = Vec::new();
        if (&mut self.inner).take(length).read_to_end(&mut bytes)? as u64 != length {
            return Err(BadBackup::CutOff);
        }
        self.hasher.update(&bytes);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BadBackup, check};
    use crate::embedded::{Guests, Options};
    use crate::{AccessControl, Embedded, Expect, Guest, Key, Rights, Store};

    fn backup() -> Vec<u8> {
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        for name in ["/a/b", "/a/c", "/d"] {
            store.put(&Key::parse(name).unwrap(), b"value", None, Expect::Absent).unwrap();
        }
        let password = "0b6c8a5e-0c4e-4c9e-9d5e-2f1f4b8f0a11".to_owned();
        let guest = Guest { name: "somebody".to_owned(), password, rights: Rights::default() };
        Guests::new(Arc::clone(&store), Vec::new()).admit(&guest).unwrap();
        let mut bytes = Vec::new();
        let written = store.shared.snapshot().unwrap().write_to(&mut bytes).unwrap();
        assert_eq!((written.index, written.nodes, written.guests), (3, 4, 1));
        assert_eq!(check(&mut bytes.as_slice()).unwrap(), written);
        bytes
    }

    #[test]
    fn a_backup_that_is_cut_off_anywhere_is_told() {
        let whole = backup();
        for length in 0..whole.len() {
            let found = check(&mut &whole[..length]).unwrap_err();
            assert!(matches!(found, BadBackup::CutOff | BadBackup::Other), "{length}: {found:?}");
        }
    }

    #[test]
    fn a_bit_that_flips_anywhere_is_told() {
        let whole = backup();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(check(&mut bytes.as_slice()).is_err(), "bit {bit} of byte {at}");
            }
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert!(check(&mut longer.as_slice()).is_err());
    }

    /// Whoever wrote it had lost a row, and made a digest of what was left.
    #[test]
    fn rows_that_do_not_add_up_are_told() {
        let mut bytes = backup();
        let rows = bytes.len() - 16 - 16;
        bytes[rows] += 1;
        let digest = xxhash_rust::xxh3::xxh3_128(&bytes[..bytes.len() - 16]).to_le_bytes();
        let at = bytes.len() - 16;
        bytes[at..].copy_from_slice(&digest);
        assert!(matches!(check(&mut bytes.as_slice()), Err(BadBackup::Damaged { .. })));
    }

    #[test]
    fn no_backup_is_taken_of_a_file_that_is_not_what_was_written() {
        let store = Embedded::in_memory(Options::default()).unwrap();
        store.put(&Key::parse("/a").unwrap(), b"value", None, Expect::Absent).unwrap();
        let write = store.shared.database.open().begin_write().unwrap();
        write.open_table(super::NODES).unwrap().remove("/a").unwrap();
        write.commit().unwrap();
        let told = store.shared.snapshot().unwrap().write_to(&mut Vec::new()).unwrap_err().to_string();
        assert!(told.contains("do not add up"), "{told}");
    }

    #[test]
    fn what_is_no_backup_is_told_from_a_newer_one() {
        let check = |text: &str, expected: &str| {
            let found = check(&mut text.as_bytes()).unwrap_err().to_string();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", "it is no backup of a store");
        check("{}\n", "it is no backup of a store");
        check(&"x".repeat(9000), "it is no backup of a store");
        check("{\"format\": 1, \"prefix\": \"/\", \"entries\": []}\n", "it is no backup of a store");
        check(
            "{\"patroni-broker-backup\":2,\"shape\":\"other\"}\n",
            "it has format 2; this program knows formats up to 1",
        );
        check("{\"patroni-broker-backup\":1,\"clu", "it is cut off");
    }
}
