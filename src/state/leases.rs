//! Leases: who performs an instance's operation. A lease is a key with a TTL, made with `Absent` and refreshed by its
//! holder; when its holder dies it expires, and another broker goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, tick};
use log::warn;
use storage::{Expect, Revision, Store, StoreError, Ttl};

use super::keys;
use crate::model::InstanceId;

/// How long a lease lives after its holder's last sign of life.
pub const TTL: Ttl = Ttl::seconds(10);
/// How often a holder gives one.
const REFRESH_EVERY: Duration = Duration::from_secs(3);

/// Takes leases, and keeps those it holds alive from one thread.
pub struct Leases {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    keeper: Option<thread::JoinHandle<()>>,
}

struct Shared {
    store: Arc<dyn Store>,
    holder: String,
    held: Mutex<Vec<Arc<Held>>>,
}

struct Held {
    instance: InstanceId,
    revision: Mutex<Revision>,
    /// Until when it lives for certain: its TTL after the last sign of life was sent.
    until: Mutex<Instant>,
    lost: AtomicBool,
}

/// A lease that is held. It is given back when dropped.
pub struct Lease {
    shared: Arc<Shared>,
    held: Arc<Held>,
}

impl Leases {
    /// Leases in this store, for this holder.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Arc<dyn Store>, holder: String) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { store, holder, held: Mutex::default() });
        let (stop, stopped) = bounded(0);
        let keeper = thread::Builder::new().name("leases".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.keep(&stopped)
        })?;
        Ok(Self { shared, stop: Some(stop), keeper: Some(keeper) })
    }

    /// Takes the instance's lease; `None` when another has it.
    ///
    /// # Errors
    /// As [`Store::put`]. A lost answer counts as not taken: the lease expires by itself.
    pub fn take(&self, instance: &InstanceId) -> Result<Option<Lease>, StoreError> {
        let value = self.shared.holder.as_bytes();
        let until = Instant::now() + TTL.duration();
        let revision = match self.shared.store.put(&keys::lease(instance), value, Some(TTL), Expect::Absent) {
            Ok(revision) => revision,
            Err(StoreError::Conflict) => return Ok(None),
            Err(error) => return Err(error),
        };
        let held = Arc::new(Held {
            instance: instance.clone(),
            revision: Mutex::new(revision),
            until: Mutex::new(until),
            lost: AtomicBool::new(false),
        });
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&held));
        Ok(Some(Lease { shared: Arc::clone(&self.shared), held }))
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            warn!("the keeper of leases panicked");
        }
    }
}

impl Shared {
    fn keep(&self, stopped: &Receiver<()>) {
        let ticks = tick(REFRESH_EVERY);
        loop {
            select! {
                recv(ticks) -> _ => {}
                recv(stopped) -> _ => return,
            }
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for held in held {
                self.refresh(&held);
            }
        }
    }

    fn refresh(&self, held: &Held) {
        let mut revision = held.revision.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + TTL.duration();
        match self.store.refresh(&keys::lease(&held.instance), TTL, *revision) {
            Ok(now) => {
                *revision = now;
                *held.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
            }
            Err(StoreError::Conflict) => {
                warn!("lost the lease of instance {}", held.instance);
                held.lost.store(true, Ordering::SeqCst);
            }
            // The lease may have expired by the next try, which then says so.
            Err(error) => warn!("cannot refresh the lease of instance {}: {error}", held.instance),
        }
    }
}

impl Lease {
    /// Whether it is still held for certain: a holder that could not give a sign of life for the lease's TTL, since the
    /// store was away or the process slept, must take it for another's.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let until = *self.held.until.lock().unwrap_or_else(PoisonError::into_inner);
        !self.held.lost.load(Ordering::SeqCst) && Instant::now() < until
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|held| !Arc::ptr_eq(held, &self.held));
        let revision = *self.held.revision.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_held()
            && let Err(error) =
                self.shared.store.delete(&keys::lease(&self.held.instance), Expect::Unchanged(revision))
        {
            warn!("cannot give the lease of instance {} back, it expires: {error}", self.held.instance);
        }
    }
}
