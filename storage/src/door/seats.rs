//! How many requests wait apart from the workers at the same time, counted so that they have a bound, and so that
//! somebody can wait for the last one.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A counted number of places.
#[derive(Debug)]
pub struct Seats {
    free: Mutex<usize>,
    all: usize,
    freed: Condvar,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
}

impl Seats {
    /// So many, all of them free.
    #[must_use]
    pub fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(all), all, freed: Condvar::new() })
    }

    /// A place, if one is free.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Seat { seats: Arc::clone(self) })
    }

    /// Waits until every place is free; false when `patience` is over before.
    #[must_use]
    pub fn wait_until_empty(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < self.all {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            free = self.freed.wait_timeout(free, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Seat {
    /// Runs on a short-lived thread, of which there are no more than seats. Without a thread, `act` is dropped.
    pub fn apart(self, name: &str, act: impl FnOnce() + Send + 'static) {
        let begun = thread::Builder::new().name(name.to_owned()).spawn(move || {
            act();
            drop(self);
        });
        if let Err(error) = begun {
            log::error!("a request is not answered, since the system gives no thread: {error}");
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.seats.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.seats.freed.notify_all();
    }
}
