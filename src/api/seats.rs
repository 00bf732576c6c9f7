//! How many synchronous requests wait at the same time, counted so that they have a bound, and so that somebody can
//! wait for the last one.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A counted number of places.
pub(super) struct Seats {
    free: Mutex<usize>,
    all: usize,
    freed: Condvar,
}

/// One place, given back when it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
}

impl Seats {
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(all), all, freed: Condvar::new() })
    }

    /// A place, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Seat> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Seat { seats: Arc::clone(self) })
    }

    /// Waits until every place is free; false when `patience` is over before.
    pub(super) fn wait_until_empty(&self, patience: Duration) -> bool {
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

impl Drop for Seat {
    fn drop(&mut self) {
        *self.seats.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.seats.freed.notify_all();
    }
}
