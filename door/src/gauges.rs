//! What is counted: for metrics, for the door's own decisions, and for whoever waits until it has become quiet.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A look at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauges {
    /// Connections.
    pub open: usize,
    /// Those of which the door is to answer a request: judged, worked on, parked or streamed.
    pub busy: usize,
    /// Requests that wait for a worker.
    pub queued: usize,
    /// Requests that are with a worker or wait for one.
    pub working: usize,
    /// Bytes of requests that are arriving or wait for a worker.
    pub request_bytes: usize,
    /// Connections let in since the start.
    pub accepted: u64,
    /// Requests that the door has refused by itself.
    pub refused: u64,
    /// Connections closed to make room.
    pub given_up: u64,
}

/// Of one event thread.
#[derive(Debug, Default)]
pub(crate) struct ThreadCounts {
    pub(crate) open: AtomicUsize,
    pub(crate) busy: AtomicUsize,
}

/// The counts themselves.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) threads: Vec<ThreadCounts>,
    pub(crate) working: AtomicUsize,
    /// Requests that have been taken on and whose answers are not all out.
    pub(crate) unanswered: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) given_up: AtomicU64,
    /// Set when somebody waits, so that nobody rings a bell that is not heard.
    awaited: AtomicBool,
    bell: (Mutex<()>, Condvar),
}

impl Counts {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads: (0..threads).map(|_| ThreadCounts::default()).collect(),
            working: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            bell: (Mutex::new(()), Condvar::new()),
        }
    }

    pub(crate) fn open(&self) -> usize {
        self.threads.iter().map(|thread| thread.open.load(Ordering::SeqCst)).sum()
    }

    pub(crate) fn busy(&self) -> usize {
        self.threads.iter().map(|thread| thread.busy.load(Ordering::SeqCst)).sum()
    }

    /// Told whenever a count has gone down that may be waited for.
    pub(crate) fn ring(&self) {
        if self.awaited.load(Ordering::SeqCst) {
            drop(self.bell.0.lock().unwrap_or_else(PoisonError::into_inner));
            self.bell.1.notify_all();
        }
    }

    /// Waits until `done`; false when `patience` is over before.
    pub(crate) fn wait_until(&self, patience: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        self.awaited.store(true, Ordering::SeqCst);
        let mut guard = self.bell.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = self.bell.1.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
