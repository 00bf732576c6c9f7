//! What is in a file: read as a whole, and held against what the file says of itself. Knows redb; nothing of paths.

use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::guests::{GuestBook, KnownGuest};
use super::numbers::{FORMAT_VERSION, Kind, Numbers, Sums};
use super::record::{GUESTS, META, NODES, Record};
use super::tree::{At, Nodes};
use crate::Key;

/// The layout before this one, which had neither sums nor guests, and a row for each number.
const OLD_FORMAT: u64 = 1;
const OLD_META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// What is in a file.
pub(super) struct Content {
    pub numbers: Numbers,
    pub nodes: Nodes,
    /// The TTLs in seconds, of those nodes that have one.
    pub ttls: Vec<(Key, u64)>,
    /// By name.
    pub guests: GuestBook,
}

/// What was found in a file that is sound.
pub(super) enum Found {
    /// Nothing was ever written to it.
    Nothing,
    /// The layout before this one. The numbers are those that it is to have.
    Old(Content),
    /// This layout.
    Current(Content),
}

/// Why a file is not sound.
#[derive(Debug)]
pub(super) enum Unsound {
    /// redb could not read it.
    Redb(redb::Error),
    /// It has a format that a newer program knows.
    Newer(u64),
    /// What is wrong with it, for people.
    Damaged(String),
}

impl<E: Into<redb::Error>> From<E> for Unsound {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

/// Reads everything and holds it against the file's own numbers.
pub(super) fn read(database: &Database) -> Result<Found, Unsound> {
    let read = database.begin_read()?;
    let Some(numbers) = numbers(&read)? else { return Ok(Found::Nothing) };
    match numbers.format {
        FORMAT_VERSION => {
            let (content, sums) = rows(&read, numbers)?;
            if numbers.seal != numbers.right_seal() {
                return Err(damaged("its numbers are not those that were written"));
            }
            if sums != numbers.sums {
                let (found, said) = (sums.rows, numbers.sums.rows);
                return Err(damaged(&format!(
                    "its {found} records are not the {said} that were written last"
                )));
            }
            Ok(Found::Current(content))
        }
        OLD_FORMAT => {
            let (content, sums) = rows(&read, numbers)?;
            let numbers = Numbers { format: FORMAT_VERSION, sums, commits: 0, ..numbers };
            Ok(Found::Old(Content { numbers, ..content }))
        }
        newer if newer > FORMAT_VERSION => Err(Unsound::Newer(newer)),
        _ => Err(damaged("it does not say which format it has")),
    }
}

/// The numbers; `None` for a file in which nothing was ever written.
pub(super) fn numbers(read: &ReadTransaction) -> Result<Option<Numbers>, redb::Error> {
    if read.list_tables()?.next().is_none() {
        return Ok(None);
    }
    match read.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(Some(old_numbers(read)?)),
        other => Ok(Some(Numbers::read(&other?)?)),
    }
}

/// Those of the layout before this one; a number that is missing is zero.
fn old_numbers(read: &ReadTransaction) -> Result<Numbers, redb::Error> {
    let meta = match read.open_table(OLD_META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Numbers::default()),
        other => other?,
    };
    let number = |name| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |value| value.value()));
    let (format, index, cluster) = (number("format")?, number("index")?, number("cluster")?);
    Ok(Numbers { format, index, cluster, ..Numbers::default() })
}

/// Writes the numbers and makes the tables that are missing: a new store, or one of the layout before this one. All of
/// it in one commit, so that it is begun again if it is cut off.
pub(super) fn settle(database: &Database, numbers: Numbers) -> Result<Numbers, redb::Error> {
    let numbers = Numbers { commits: numbers.commits + 1, ..numbers };
    let write = database.begin_write()?;
    {
        numbers.write(&mut write.open_table(META)?)?;
        write.open_table(NODES)?;
        write.open_table(GUESTS)?;
    }
    write.delete_table(OLD_META)?;
    write.commit()?;
    Ok(Numbers { seal: numbers.right_seal(), ..numbers })
}

/// Every row, each of which must make sense by itself and stand in a directory that is there, and what they add up to.
fn rows(read: &ReadTransaction, numbers: Numbers) -> Result<(Content, Sums), Unsound> {
    let (mut nodes, mut ttls, mut guests) = (Nodes::default(), Vec::new(), GuestBook::new());
    let mut sums = Sums::default();
    for row in read.open_table(NODES)?.iter()? {
        let (path, bytes) = row?;
        let (Ok(key), Ok(record)) = (Key::parse(path.value()), Record::decode(bytes.value())) else {
            return Err(damaged(&format!("the record of {:?} cannot be read", path.value())));
        };
        if record.created > numbers.index || record.modified > numbers.index {
            return Err(damaged(&format!("the record of {key} is of a time that has not come")));
        }
        sums.add(Kind::Node, path.value(), bytes.value());
        // Rows come in the order of their paths: a directory before what is in it.
        let stands = key.parent().is_none_or(|parent| match nodes.at(&parent) {
            At::Root => true,
            At::Node(slot) => slot.is_dir(),
            At::Nothing { .. } | At::BehindFile { .. } => false,
        });
        if !stands {
            return Err(damaged(&format!("the directory of {key} is missing")));
        }
        let ttl = record.ttl;
        nodes.set(&key, record);
        ttls.extend(ttl.map(|ttl| (key, ttl)));
    }
    nodes.pack();
    match read.open_table(GUESTS) {
        Err(TableError::TableDoesNotExist(_)) if numbers.format == OLD_FORMAT => {}
        table => {
            for row in table?.iter()? {
                let (name, bytes) = row?;
                let Some(guest) = KnownGuest::parse(bytes.value()) else {
                    return Err(damaged(&format!("the row of the guest {:?} cannot be read", name.value())));
                };
                sums.add(Kind::Guest, name.value(), bytes.value());
                guests.insert(name.value().to_owned(), Arc::new(guest));
            }
        }
    }
    Ok((Content { numbers, nodes, ttls, guests }, sums))
}

fn damaged(reason: &str) -> Unsound {
    Unsound::Damaged(reason.to_owned())
}
