//! The file's own numbers, which stand in it beside the rows: how far it has come, and what all of its rows add up to, so
//! that a file that was damaged is known from one that was not.

use redb::{ReadableTable, StorageError, Table};
use xxhash_rust::xxh3::Xxh3;

/// The layout that this code writes. Format 1 had neither sums nor a seal.
pub(super) const FORMAT_VERSION: u64 = 2;

/// How they stand in the file: format, index, cluster, commits, rows, digest, seal.
pub(super) type Row = [u64; 7];

/// The table of numbers, while it is written: one row.
pub(super) type Meta<'txn> = Table<'txn, (), Row>;

/// What the file says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Which layout it has.
    pub format: u64,
    /// The index of the last change.
    pub index: u64,
    /// A random number that tells this store from another one.
    pub cluster: u64,
    /// How many commits of this layout it has seen: also those that left the index as it was.
    pub commits: u64,
    /// What its rows add up to.
    pub sums: Sums,
    /// Over all of the above, as it was written.
    pub seal: u64,
}

impl Numbers {
    /// Those of a new and empty store.
    pub(super) fn new(cluster: u64) -> Self {
        Self { format: FORMAT_VERSION, index: 0, cluster, commits: 0, sums: Sums::default(), seal: 0 }
    }

    /// What stands in the file; all zeros where nothing does.
    pub(super) fn read(meta: &impl ReadableTable<(), Row>) -> Result<Self, StorageError> {
        let row = meta.get(())?.map_or([0; _], |row| row.value());
        let [format, index, cluster, commits, rows, digest, seal] = row;
        Ok(Self { format, index, cluster, commits, sums: Sums { rows, digest }, seal })
    }

    /// Writes them, sealed anew.
    pub(super) fn write(&self, meta: &mut Meta<'_>) -> Result<(), StorageError> {
        let Self { format, index, cluster, commits, sums: Sums { rows, digest }, .. } = *self;
        meta.insert((), [format, index, cluster, commits, rows, digest, self.right_seal()])?;
        Ok(())
    }

    /// The seal that belongs to these numbers.
    pub(super) fn right_seal(&self) -> u64 {
        let mut hasher = Xxh3::new();
        let Sums { rows, digest } = self.sums;
        for number in [self.format, self.index, self.cluster, self.commits, rows, digest] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.digest()
    }
}

/// What rows add up to, in whatever order. A row that is added and taken away again changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// How many there are.
    pub rows: u64,
    /// The sum of what each of them hashes to.
    pub digest: u64,
}

/// Which table a row stands in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A node of the tree.
    Node,
    /// A guest.
    Guest,
}

impl Sums {
    /// Counts a row in.
    pub(super) fn add(&mut self, kind: Kind, key: &str, bytes: &[u8]) {
        self.rows = self.rows.wrapping_add(1);
        self.digest = self.digest.wrapping_add(hash(kind, key, bytes));
    }

    /// Takes a row that was counted in out again.
    pub(super) fn remove(&mut self, kind: Kind, key: &str, bytes: &[u8]) {
        self.rows = self.rows.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(hash(kind, key, bytes));
    }
}

fn hash(kind: Kind, key: &str, bytes: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[kind as u8]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(bytes);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::{Kind, Numbers, Sums};

    type Row<'a> = (Kind, &'a str, &'a [u8]);

    #[test]
    fn sums_know_neither_order_nor_what_has_gone() {
        let of = |rows: &[Row<'_>]| {
            let mut sums = Sums::default();
            rows.iter().for_each(|(kind, key, bytes)| sums.add(*kind, key, bytes));
            sums
        };
        let a: Row<'_> = (Kind::Node, "/a", b"1");
        let b: Row<'_> = (Kind::Node, "/b", b"2");
        assert_eq!(of(&[a, b]), of(&[b, a]));
        let mut sums = of(&[a, b]);
        sums.remove(b.0, b.1, b.2);
        assert_eq!(sums, of(&[a]));
        assert_ne!(of(&[a]), of(&[(Kind::Guest, "/a", b"1")]));
        assert_ne!(of(&[a]), of(&[(Kind::Node, "/a1", b"")]));
    }

    #[test]
    fn a_seal_breaks_with_any_number() {
        let sound = Numbers { index: 3, ..Numbers::new(7) };
        let seal = sound.right_seal();
        for other in [
            Numbers { index: 4, ..sound },
            Numbers { cluster: 8, ..sound },
            Numbers { format: 1, ..sound },
            Numbers { commits: 1, ..sound },
            Numbers { sums: Sums { rows: 1, digest: 0 }, ..sound },
            Numbers { sums: Sums { rows: 0, digest: 1 }, ..sound },
        ] {
            assert_ne!(other.right_seal(), seal, "{other:?}");
        }
    }
}
