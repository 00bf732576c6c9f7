//! The contract that every engine keeps.

use std::fmt;
use std::time::Duration;

use crate::{Deadline, Key};

/// The largest value that may be put, the same for every engine, so that what one holds can be moved to another. Consul
/// is the narrowest: 512 KiB for a whole transaction, in which values are base64.
pub const MAX_VALUE_BYTES: usize = 256 << 10;

/// A place for small values under path-like keys, shared with other programs.
///
/// Reads are linearizable. Every write says what it expects, so that nobody's change is lost blindly. Calls block,
/// each bounded by the engine's own deadline. "The store is down" is an error, never "the key is absent".
pub trait Store: Send + Sync {
    /// The entry at `key`, or `None` when the store says that there is none. A directory is not an entry.
    ///
    /// Engines that keep a tree (embedded, etcd v2) refuse an entry where others stand below, or below an entry, as
    /// [`StoreError::Corrupt`]; those that keep a flat list of keys (etcd v3, Consul) hold both.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Everything under `prefix/` (so `b1` never matches `b10`), sorted by key, with the revision it was read at:
    /// a watch after that revision misses nothing.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn list(&self, prefix: &Key) -> Result<Listing, StoreError>;

    /// Writes `value` if what is there is as expected, and gives the entry's new revision. Without `ttl` it stays.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the expectation did not hold; [`StoreError::OutcomeUnknown`] if the request was
    /// sent and its answer lost: it is never sent again by the engine; [`StoreError::Corrupt`] if the engine can never
    /// hold it, such as a value above [`MAX_VALUE_BYTES`], or where it speaks etcd's v2 API (embedded, etcd v2) a key
    /// with a segment that begins with `_`, which that hides.
    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError>;

    /// Runs the entry's TTL anew without changing its value, waking watchers or making a new lease. `held` is the
    /// revision of the caller's last `put` or `refresh`; the answer is the one to hold from now on (etcd v2 counts a
    /// refresh as a modification, the others do not).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the entry is gone or someone else's.
    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError>;

    /// Removes the entry. Removing what is not there is a `Conflict` for [`Expect::Unchanged`], and success for
    /// [`Expect::Anything`]; [`Expect::Absent`] makes no sense here and is a `Conflict`.
    ///
    /// # Errors
    /// As [`Store::put`].
    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError>;

    /// Blocks until something under `prefix/` changed after `after`, or the deadline. Always advances the revision,
    /// so that the next call begins where this one ended. Promises that the final state is seen, not every event on
    /// the way.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError>;

    /// Whether [`Store::get`] and [`Store::list`] wait for no other machine and for no write: a thread that must not
    /// block may call them. Defaults to no.
    fn reads_are_local(&self) -> bool {
        false
    }
}

/// A store's own count of changes; comparable only within one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// How long an entry lives without being refreshed. Whole seconds, at least one, since that is what engines keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(u64);

impl Ttl {
    /// A TTL of this many seconds; zero counts as one.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(if seconds == 0 { 1 } else { seconds })
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn as_seconds(self) -> u64 {
        self.0
    }

    /// Its length.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

/// What a writer believes is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing is there.
    Absent,
    /// What was read at this revision is there still.
    Unchanged(Revision),
    /// Whatever is there may go: spelled out, because it is rarely right.
    Anything,
}

/// One key with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub key: Key,
    /// Its bytes.
    pub value: Vec<u8>,
    /// When it last changed.
    pub revision: Revision,
}

/// Everything under a prefix at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The entries, sorted by key.
    pub entries: Vec<Entry>,
    /// The revision at which they were read.
    pub revision: Revision,
}

/// What a watch saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Where the next watch begins.
    pub revision: Revision,
    /// What to read again.
    pub what: Changed,
}

/// What to read again after a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// These keys, in no order, each once; none if the deadline passed first. A directory removed as a whole may
    /// show as its own key.
    Keys(Vec<Key>),
    /// Everything: the engine no longer knows what changed since.
    Resync,
}

/// Why a store call failed, sorted by what the caller should do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The expectation did not hold: reload and decide again.
    Conflict,
    /// Nothing was written: safe to retry.
    Unavailable {
        /// Which engine says so.
        engine: &'static str,
        /// What happened, for people.
        reason: String,
    },
    /// The write may have landed: read back before retrying.
    OutcomeUnknown {
        /// The key that was being written.
        key: Key,
    },
    /// What is stored, or was to be stored, cannot be right: a record nobody can read, a value the engine cannot
    /// hold, a directory where an entry should be. Trying again is of no use: stop and tell an operator.
    Corrupt {
        /// What is wrong, for people.
        reason: String,
    },
}

/// Refuses a value that not every engine could hold.
pub(crate) fn check_value(key: &Key, value: &[u8]) -> Result<(), StoreError> {
    if value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    let reason = format!(
        "the value for {key} is of {} bytes, and no engine is given more than {MAX_VALUE_BYTES}",
        value.len()
    );
    Err(StoreError::Corrupt { reason })
}

/// Refuses a key that etcd's v2 API would show to nobody who lists or watches.
pub(crate) fn check_shown(key: &Key) -> Result<(), StoreError> {
    if !key.segments().any(|segment| segment.starts_with('_')) {
        return Ok(());
    }
    let reason = format!("etcd v2 hides {key}, for a part of it begins with '_'");
    Err(StoreError::Corrupt { reason })
}

impl fmt::Debug for Entry {
    /// Leaves the value out: values hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("bytes", &self.value.len())
            .field("revision", &self.revision)
            .finish()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => f.write_str("somebody else changed it first"),
            Self::Unavailable { engine, reason } => {
                write!(f, "the store ({engine}) is unavailable: {reason}")
            }
            Self::OutcomeUnknown { key } => {
                write!(f, "no answer came for the write of {key}; it may have landed")
            }
            Self::Corrupt { reason } => write!(f, "the store needs an operator: {reason}"),
        }
    }
}

impl std::error::Error for StoreError {}
