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
    let keys = match changes.what {
        Changed::Keys(keys) if keys.len() <= MANY => keys,
        Changed::Keys(_) | Changed::Resync => return everything(store),
    };
    let mut updates = Vec::new();
    for key in keys {
        match Meaning::of(&key) {
            Meaning::Foreign => {}
            Meaning::Above if key == Key::root() => return everything(store),
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
