//! When the file gives back the room that it no longer needs. redb reuses freed pages, but its file stays as large as it
//! ever was until it is compacted, which holds the one writer up and so is done only where little is asked and much won.

use std::time::{Duration, Instant};

use redb::{Database, StorageBackend};

use super::handle::Handle;

/// Files up to this size are left alone.
const SMALLEST_BYTES: u64 = 16 << 20;
/// What is compacted while others wait to write: it takes about a second on a slow disk.
const LARGEST_USED_BYTES: u64 = 64 << 20;
/// How often is looked whether there is something to win.
pub(super) const EVERY: Duration = Duration::from_secs(10);
/// How long it rests where that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(600);
/// As many requests in that time are no load.
const FEW_REQUESTS: usize = 1_000;

/// Whether most of a file of `len` bytes is free, `used` of them being needed.
pub(super) fn is_worthwhile(len: u64, used: u64) -> bool {
    len > SMALLEST_BYTES && used < len / 4
}

/// What is in use of a file that is open: `None` if it is too small to ask.
pub(super) fn used_of(
    database: &Database,
    base: &dyn StorageBackend,
) -> Result<Option<(u64, u64)>, redb::Error> {
    let len = base.len()?;
    if len <= SMALLEST_BYTES {
        return Ok(None);
    }
    let write = database.begin_write()?;
    let stats = write.stats()?;
    write.abort()?;
    Ok(Some((len, stats.allocated_pages() * stats.page_size() as u64)))
}

/// Compacts the file, whatever there is to win; redb syncs it on the way. Whether it became smaller. Cut off at any point,
/// it leaves a file in which everything is.
pub(super) fn run(database: &mut Database, base: &dyn StorageBackend) -> Result<bool, redb::Error> {
    let (before, begun) = (base.len()?, Instant::now());
    database.compact()?;
    let after = base.len()?;
    let took_ms = begun.elapsed().as_millis();
    log::info!("the embedded store's file of {before} bytes was compacted to {after} bytes in {took_ms} ms");
    Ok(after < before)
}

/// The writer's knowledge of how much was asked lately.
pub(super) struct Watch {
    since: Instant,
    requests: usize,
    /// For how long it counts before it looks.
    rest: Duration,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), requests: 0, rest: EVERY }
    }

    /// Counts what was asked; now and then, and while that is little, compacts the file if that is worthwhile.
    ///
    /// # Errors
    /// What redb says; it then refuses everything until the file is opened again.
    pub(super) fn count(&mut self, requests: usize, handle: &Handle) -> Result<(), redb::Error> {
        self.requests += requests;
        if self.since.elapsed() < self.rest {
            return Ok(());
        }
        let few = self.requests < FEW_REQUESTS;
        *self = Self::new();
        if few {
            // Failing costs the writers a moment, and is not done again soon.
            self.rest = AFTER_FAILURE;
            handle.compact_if(|len, used| is_worthwhile(len, used) && used < LARGEST_USED_BYTES)?;
            self.rest = EVERY;
        }
        Ok(())
    }
}
