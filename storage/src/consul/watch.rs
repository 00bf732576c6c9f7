//! Watching without a history: a blocking query says that something has changed, and what that was is found by comparing
//! what stands there with what stood there.
//!
//! Two counts matter. Consul's index of a prefix is when something under it last changed, and rests while only others
//! do; it falls back when Consul forgets old deletions. The index of a key that is not there is the whole table's: that
//! is the revision we speak of, for one revision then stands for every prefix, and it only grows. Read before a prefix,
//! it says that everything up to it was seen there.

use std::sync::Arc;
use std::time::Duration;

use super::client::shown;
use super::seen::Snapshot;
use super::{Consul, target, tree};
use crate::{Changed, Changes, Deadline, Key, Revision, StoreError};

/// The least time between two waits that brought nothing: where nothing stands under a prefix, every change elsewhere
/// ends them.
const PAUSE: Duration = Duration::from_millis(20);
/// A name that nobody uses. Were it used, a revision would be too small, and a watch say more than is news.
const ABSENT: &str = "~patroni-broker-asks-for-the-index~";

impl Consul {
    /// The store's count of changes. Asks under the prefix, so that who may not read there is told.
    pub(super) fn table_index(&self, prefix: &Key) -> Result<Revision, StoreError> {
        let absent = format!("{}{ABSENT}", tree(&shown(prefix)));
        let revision = Revision(self.client.kv(&target(&absent, "consistent"))?.index);
        self.seen.note(revision);
        Ok(revision)
    }

    fn snapshot(&self, prefix: &Key) -> Result<Arc<Snapshot>, StoreError> {
        let (index, raw) = self.client.tree(prefix)?;
        let keys = raw.iter().filter_map(|raw| Some((raw.key()?, Revision(raw.modify_index))));
        Ok(Snapshot::of(index, keys.filter(|(key, _)| key.is_under(prefix))).into())
    }

    pub(super) fn wait_for_changes(
        &self,
        prefix: &Key,
        after: Revision,
        deadline: Deadline,
    ) -> Result<Changes, StoreError> {
        let now = self.table_index(prefix)?;
        if now < after {
            // The store has gone back in time: it is another one, or was restored.
            self.seen.forget();
            return self.resync(prefix, now);
        }
        let mut before = match (self.seen.at(prefix, after), self.seen.is_recent(after)) {
            (Some(before), true) => before,
            (Some(before), false) => {
                let there = self.snapshot(prefix)?;
                let changed = before.changed(&there);
                if !changed.is_empty() {
                    return Ok(self.ended(prefix, now, there, Changed::Keys(changed)));
                }
                there
            }
            (None, recent) => {
                let there = self.snapshot(prefix)?;
                if there.index > after.0 || !recent {
                    return Ok(self.ended(prefix, now, there, Changed::Resync));
                }
                there
            }
        };
        loop {
            let index = self.client.wait(prefix, before.index, deadline)?;
            if index != before.index {
                let there = self.snapshot(prefix)?;
                let changed = before.changed(&there);
                if !changed.is_empty() {
                    return Ok(self.ended(prefix, now, there, Changed::Keys(changed)));
                }
                before = there;
            }
            if deadline.has_passed() {
                return Ok(self.ended(prefix, now, before, Changed::Keys(Vec::new())));
            }
            std::thread::sleep(PAUSE.min(deadline.remaining()));
        }
    }

    fn resync(&self, prefix: &Key, now: Revision) -> Result<Changes, StoreError> {
        let there = self.snapshot(prefix)?;
        Ok(self.ended(prefix, now, there, Changed::Resync))
    }

    /// `there` was read after `now`, so that it is what stood there at the later of `now` and its own index.
    fn ended(&self, prefix: &Key, now: Revision, there: Arc<Snapshot>, what: Changed) -> Changes {
        let revision = now.max(Revision(there.index));
        self.seen.remember(prefix, revision, there);
        Changes { revision, what }
    }
}
