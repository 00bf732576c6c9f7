//! How many requests wait for their operations at the same time, counted so that they have a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A counted number of places.
#[derive(Debug)]
pub(super) struct Seats {
    free: AtomicUsize,
}

/// One place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
}

impl Seats {
    /// So many, all of them free.
    #[must_use]
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { free: AtomicUsize::new(all) })
    }

    /// A place, if one is free.
    #[must_use]
    pub(super) fn take(self: &Arc<Self>) -> Option<Seat> {
        let one_less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).ok()?;
        Some(Seat { seats: Arc::clone(self) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.free.fetch_add(1, Ordering::SeqCst);
    }
}
