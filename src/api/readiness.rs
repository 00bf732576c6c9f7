//! Whether the broker is ready, looked at no more than once a second: everybody may ask, and asking costs a call to
//! the store and to a cell.

use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

const FRESH: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Readiness {
    /// Held while somebody looks; the others go by what was last seen.
    look: Mutex<Option<Instant>>,
    seen: Mutex<bool>,
}

impl Readiness {
    /// Whether it is ready. The reason why not goes to the log: who asks here need not say who he is.
    pub(super) fn check(&self, look: impl FnOnce() -> Result<(), String>) -> bool {
        let mut looked = match self.look.try_lock() {
            Ok(looked) => looked,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return *self.seen(),
        };
        if looked.is_some_and(|at| at.elapsed() < FRESH) {
            return *self.seen();
        }
        let found = look();
        if let Err(reason) = &found {
            log::warn!("not ready: {reason}");
        }
        *self.seen() = found.is_ok();
        *looked = Some(Instant::now());
        found.is_ok()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, bool> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
