//! Follows the store and reads what changed. One thread; it hands batches on and decides nothing.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, select};
use log::{info, warn};
use storage::{Changed, Deadline, Entry, Key, Revision, Store, StoreError};

use super::table::Meaning;
use crate::state::keys;

/// How long one watch lasts; also how long a stop may take.
const WATCH: Duration = Duration::from_secs(1);
/// How long a failed call is followed by nothing, first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// When more keys than this changed at once, everything is read anew.
const MANY: usize = 500;

/// What changed up to a revision.
#[derive(Debug)]
pub struct Batch {
    /// Up to where the store has been seen.
    pub revision: Revision,
    /// What was read.
    pub updates: Vec<Update>,
}

/// Something that was read.
#[derive(Debug)]
pub enum Update {
    /// What stands at a key now.
    One(Key, Option<Entry>),
    /// Everything under a prefix.
    All(Key, Vec<Entry>),
}

/// Reads everything, then what changes, until `quit` is closed. Batches wait in `out` while the router is busy.
pub fn follow(store: &Arc<dyn Store>, out: &Sender<Batch>, quit: &Receiver<()>) {
    let mut position = None;
    let mut troubled = false;
    let mut backoff = BACKOFF.0;
    loop {
        match next(store.as_ref(), position) {
            Ok(batch) => {
                if troubled {
                    info!("the router reads the store again");
                }
                (troubled, backoff) = (false, BACKOFF.0);
                position = Some(batch.revision);
                // What means nothing to a router is not passed on, above all its own report: told of it, it would report
                // again, for ever.
                if !batch.updates.is_empty() {
                    select! {
                        send(out, batch) -> sent => if sent.is_err() { return },
                        recv(quit) -> _ => return,
                    }
                }
                if quit.try_recv() == Err(TryRecvError::Disconnected) {
                    return;
                }
            }
            Err(error) => {
                if !troubled {
                    warn!("the router cannot read the store and keeps the routes that it has: {error}");
                }
                troubled = true;
                if quit.recv_timeout(backoff) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
}

fn next(store: &dyn Store, position: Option<Revision>) -> Result<Batch, StoreError> {
    let Some(position) = position else { return everything(store) };
    // From the root, so that one revision stands for all that was seen.
    let changes = store.watch(&Key::root(), position, Deadline::after(WATCH))?;
    // What was read after the watch is told once more at the most. From where it was read, a store that keeps no history
    // could not go on where others write meanwhile: it remembers where its watches ended.
    let everything = || Ok(Batch { revision: changes.revision, ..everything(store)? });
    let keys = match changes.what {
        Changed::Keys(keys) if keys.len() <= MANY => keys,
        Changed::Keys(_) | Changed::Resync => return everything(),
    };
    let mut updates = Vec::new();
    for key in keys {
        match Meaning::of(&key) {
            Meaning::Foreign => {}
            Meaning::Above if key == Key::root() => return everything(),
            Meaning::Above => {
                let entries = store.list(&key)?.entries;
                updates.push(Update::All(key, entries));
            }
            _ => {
                let entry = store.get(&key)?;
                updates.push(Update::One(key, entry));
            }
        }
    }
    Ok(Batch { revision: changes.revision, updates })
}

fn everything(store: &dyn Store) -> Result<Batch, StoreError> {
    let mut updates = Vec::new();
    let mut revision: Option<Revision> = None;
    for prefix in [keys::allocations(), keys::services()] {
        let listing = store.list(&prefix)?;
        // Watching from the earlier of the two misses nothing.
        revision = Some(revision.map_or(listing.revision, |first| first.min(listing.revision)));
        updates.push(Update::All(prefix, listing.entries));
    }
    Ok(Batch { revision: revision.unwrap_or(Revision(0)), updates })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use storage::{
        Changed, Changes, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl,
    };

    use super::next;

    /// A store like Consul, which others write to between any two calls: it keeps no history, and can only compare with
    /// what stood there at the revision that its last watch ended at.
    #[derive(Default)]
    struct Busy {
        count: Mutex<u64>,
        compared: Mutex<Option<Revision>>,
    }

    impl Busy {
        fn now(&self) -> Revision {
            let mut count = self.count.lock().unwrap();
            *count += 1;
            Revision(*count)
        }
    }

    impl Store for Busy {
        fn get(&self, _: &Key) -> Result<Option<Entry>, StoreError> {
            Ok(None)
        }

        fn list(&self, _: &Key) -> Result<Listing, StoreError> {
            Ok(Listing { entries: Vec::new(), revision: self.now() })
        }

        fn put(&self, _: &Key, _: &[u8], _: Option<Ttl>, _: Expect) -> Result<Revision, StoreError> {
            Err(StoreError::Conflict)
        }

        fn refresh(&self, _: &Key, _: Ttl, _: Revision) -> Result<Revision, StoreError> {
            Err(StoreError::Conflict)
        }

        fn delete(&self, _: &Key, _: Expect) -> Result<(), StoreError> {
            Ok(())
        }

        fn watch(&self, _: &Key, after: Revision, _: Deadline) -> Result<Changes, StoreError> {
            let revision = self.now();
            let known = self.compared.lock().unwrap().replace(revision) == Some(after);
            let what = if known { Changed::Keys(Vec::new()) } else { Changed::Resync };
            Ok(Changes { revision, what })
        }
    }

    /// The router went on from where its listings were read. Consul knew nothing of the root at that revision, since
    /// somebody had written meanwhile, and said Resync; on a busy Consul again and again, without a pause.
    #[test]
    fn a_resync_on_a_busy_store_is_the_last_for_now() {
        let store = Busy::default();
        let first = next(&store, None).unwrap();
        let second = next(&store, Some(first.revision)).unwrap();
        assert_eq!(second.updates.len(), 2, "everything is read again");
        let third = next(&store, Some(second.revision)).unwrap();
        assert!(third.updates.is_empty(), "{third:?}");
    }
}
