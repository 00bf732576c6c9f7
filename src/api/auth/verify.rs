//! Verification of argon2 hashes. Each takes some 19 MiB and some 20 ms of a processor, which is the point of it: only
//! so many are made at the same time, and whoever would wait too long is told to come again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use argon2::{Argon2, PasswordVerifier};

/// At the same time.
const MOST: usize = 2;
/// How many may wait for their turn: each holds a worker.
const WAITING: usize = 6;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Verifier {
    at_work: Mutex<AtWork>,
    ended: Condvar,
    made: AtomicU64,
}

#[derive(Default)]
struct AtWork {
    running: usize,
    waiting: usize,
}

/// Too many verifications are under way.
pub(super) struct Crowded;

/// A turn, which ends with it.
struct Turn<'a>(&'a Verifier);

impl Verifier {
    /// Whether the password has this hash. It may wait, and it computes for long.
    pub(super) fn verify(&self, password: &[u8], hash: &str) -> Result<bool, Crowded> {
        let _turn = self.turn()?;
        self.made.fetch_add(1, Ordering::Relaxed);
        Ok(Argon2::default().verify_password(password, hash).is_ok())
    }

    /// How many have been made.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    fn turn(&self) -> Result<Turn<'_>, Crowded> {
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        if at_work.running >= MOST {
            if at_work.waiting >= WAITING {
                return Err(Crowded);
            }
            at_work.waiting += 1;
            let full = |at_work: &mut AtWork| at_work.running >= MOST;
            (at_work, _) = self
                .ended
                .wait_timeout_while(at_work, PATIENCE, full)
                .unwrap_or_else(PoisonError::into_inner);
            at_work.waiting -= 1;
            if at_work.running >= MOST {
                return Err(Crowded);
            }
        }
        at_work.running += 1;
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.at_work.lock().unwrap_or_else(PoisonError::into_inner).running -= 1;
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;
    use std::time::Instant;

    use super::{MOST, PATIENCE, Verifier, WAITING};

    #[test]
    fn two_at_a_time_and_a_few_who_wait() {
        let verifier = Verifier::default();
        let turns: Vec<_> = (0..MOST).map(|_| verifier.turn().ok().expect("a turn is free")).collect();
        let gate = Barrier::new(WAITING + 1);
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..WAITING)
                .map(|_| {
                    scope.spawn(|| {
                        gate.wait();
                        verifier.turn().is_ok()
                    })
                })
                .collect();
            gate.wait();
            while verifier.at_work.lock().expect("nobody panics").waiting < WAITING {
                thread::yield_now();
            }
            let begun = Instant::now();
            assert!(verifier.turn().is_err() && begun.elapsed() < PATIENCE, "one more does not wait");
            assert_eq!(verifier.at_work.lock().expect("nobody panics").running, MOST);
            drop(turns);
            assert!(waiters.into_iter().all(|waiter| waiter.join().expect("no panic")));
        });
        assert_eq!(verifier.at_work.lock().expect("nobody panics").running, 0);
    }
}
