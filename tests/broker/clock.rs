//! A wall clock that stands still: what waits for its time is under way until a test lets that pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use storage::Clock;

use crate::lab::Lab;

pub struct Standing {
    since: SystemTime,
    passed_ms: AtomicU64,
}

impl Standing {
    pub fn pass(&self, ms: u64) {
        self.passed_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Standing {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        self.since + Duration::from_millis(self.passed_ms.load(Ordering::SeqCst))
    }
}

impl Lab {
    /// Starts a broker for which no time passes but what its clock is told, as for those after it.
    pub fn stop_the_clock(&mut self) -> Arc<Standing> {
        let clock = Arc::new(Standing { since: SystemTime::now(), passed_ms: AtomicU64::new(0) });
        self.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        self.start();
        clock
    }
}
