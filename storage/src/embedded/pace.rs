//! How long the writer waits for more to write with the same sync of the disk.

use std::time::{Duration, Instant};

use super::queue::Queue;

/// A part of the time that the last ones took.
const PART: u32 = 4;
const LONGEST: Duration = Duration::from_millis(1);

/// Whoever is answered together comes again together, a moment later: the first of them must not have a sync of the disk
/// to itself, behind which all the others wait. One who is alone waits for nobody.
#[derive(Default)]
pub(super) struct Pace {
    count: usize,
    begun: Option<Instant>,
    took: Duration,
}

impl Pace {
    /// Waits for as many as there were last time, and for a part of the time that these took.
    pub(super) fn gather(&self, queue: &Queue) {
        if self.count > 1 {
            queue.wait_for(self.count, (self.took / PART).min(LONGEST));
        }
    }

    /// So many are being written.
    pub(super) fn begin(&mut self, count: usize) {
        self.count = count;
        self.begun = Some(Instant::now());
    }

    /// They are on the disk.
    pub(super) fn end(&mut self) {
        self.took = self.begun.take().map_or(Duration::ZERO, |begun| begun.elapsed());
    }
}
