//! How a node is written in the file: a fixed head, then the value. Owns the layout; knows nothing of transactions.

use std::sync::Arc;

use redb::TableDefinition;

use super::numbers::Row;

/// Everything stored, by absolute path; directories have records of their own.
pub(super) const NODES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("nodes");
/// Who else may use the API, by name: see `guests`.
pub(super) const GUESTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("guests");
/// The file's own numbers, which every commit writes: see `numbers`.
pub(super) const META: TableDefinition<'static, (), Row> = TableDefinition::new("numbers");

const HEAD: usize = 1 + 3 * 8;
const NO_TTL: u64 = u64::MAX;
const FILE: u8 = b'f';
const DIRECTORY: u8 = b'd';

/// One stored node.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The bytes of a file; `None` for a directory.
    pub value: Option<Arc<[u8]>>,
    /// The index at which it was made.
    pub created: u64,
    /// The index at which it last changed.
    pub modified: u64,
    /// Its TTL in seconds. When it runs out is not stored: it runs anew at every open.
    pub ttl: Option<u64>,
}

/// A record that cannot have been written by this code.
#[derive(Debug)]
pub(super) struct BadRecord;

impl Record {
    pub(super) fn is_dir(&self) -> bool {
        self.value.is_none()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let value = self.value.as_deref();
        let mut bytes = Vec::with_capacity(HEAD + value.map_or(0, <[u8]>::len));
        bytes.push(if value.is_some() { FILE } else { DIRECTORY });
        bytes.extend_from_slice(&self.created.to_le_bytes());
        bytes.extend_from_slice(&self.modified.to_le_bytes());
        bytes.extend_from_slice(&self.ttl.unwrap_or(NO_TTL).to_le_bytes());
        bytes.extend_from_slice(value.unwrap_or_default());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let (head, value) = bytes.split_at_checked(HEAD).ok_or(BadRecord)?;
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let value = match head[0] {
            FILE => Some(value.into()),
            DIRECTORY if value.is_empty() => None,
            _ => return Err(BadRecord),
        };
        let ttl = Some(number(17)).filter(|ttl| *ttl != NO_TTL);
        Ok(Self { value, created: number(1), modified: number(9), ttl })
    }
}

/// The range of paths strictly under `path`: from `path/` up to `path0`, `0` being what follows `/` in ASCII.
pub(super) fn under(path: &str) -> (String, String) {
    let base = path.trim_end_matches('/');
    (format!("{base}/"), format!("{base}0"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Record, under};

    #[test]
    fn a_record_survives_its_encoding() {
        let check = |value: Option<&[u8]>, ttl| {
            let record = Record { value: value.map(Arc::from), created: 3, modified: 1 << 40, ttl };
            assert!(Record::decode(&record.encode()).unwrap() == record, "{value:?} {ttl:?}");
        };
        check(Some(b""), None);
        check(Some(b"\xff\x00"), Some(0));
        check(None, Some(30));
        assert!(Record::decode(b"f").is_err());
        assert!(Record::decode(&[b'x'; 30]).is_err());
    }

    #[test]
    fn a_range_ends_at_a_segment() {
        let (from, to) = under("/b1");
        let inside = |path: &str| path > from.as_str() && path < to.as_str();
        assert!(inside("/b1/x") && inside("/b1/~"));
        assert!(!inside("/b10/x") && !inside("/b1") && !inside("/b1-x"));
    }
}
