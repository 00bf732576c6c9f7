//! What waits for the writer. The writer takes all of it at once, and is woken only where it sleeps.
//!
//! It is bounded twice: by the number of requests, of which everybody who may have one under way brings room for it
//! ([`Queue::make_room`]), and by the bytes that they hold. The second bound is only for those who hold many: who sends
//! large values keeps nobody's leader from its key.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::writer::Request;
use crate::Deadline;

/// Room for those in this process, who wait where there is none.
const ROOM: usize = 1024;
/// The bytes that may wait: one more is let in where nothing waits.
const MAX_BYTES: usize = 64 << 20;
/// What holds less than this is let in however many bytes wait: there is room for a number of them, which bounds theirs.
const SMALL: usize = 4 << 10;

/// The requests that wait.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Rings for the writer.
    filled: Condvar,
    /// Rings for those who wait for room.
    emptied: Condvar,
}

struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
    room: usize,
    /// What the writer waits for; none while it does not.
    wanted: Option<usize>,
    /// How many wait for room.
    shut_out: usize,
    closed: bool,
}

/// Why a request was not taken.
pub(super) enum Refused {
    /// There is no room.
    Full(Request),
    /// The writer takes nothing more.
    Closed(Request),
}

impl Default for Queue {
    fn default() -> Self {
        let waiting = Waiting {
            requests: VecDeque::new(),
            bytes: 0,
            room: ROOM,
            wanted: None,
            shut_out: 0,
            closed: false,
        };
        Self { waiting: Mutex::new(waiting), filled: Condvar::new(), emptied: Condvar::new() }
    }
}

impl Queue {
    /// Puts a request at the end, and never blocks.
    pub(super) fn push(&self, request: Request) -> Result<(), Refused> {
        self.add(self.look(), request)
    }

    /// Puts a request at the end, waiting for room until the deadline.
    pub(super) fn push_within(&self, request: Request, deadline: Deadline) -> Result<(), Refused> {
        let bytes = request.bytes();
        let mut waiting = self.look();
        while !waiting.closed && !waiting.has_room(bytes) && !deadline.has_passed() {
            let patience = deadline.remaining();
            waiting.shut_out += 1;
            waiting = self.emptied.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner).0;
            waiting.shut_out -= 1;
        }
        self.add(waiting, request)
    }

    fn add(&self, mut waiting: MutexGuard<'_, Waiting>, request: Request) -> Result<(), Refused> {
        if waiting.closed {
            return Err(Refused::Closed(request));
        }
        let bytes = request.bytes();
        if !waiting.has_room(bytes) {
            return Err(Refused::Full(request));
        }
        waiting.bytes += bytes;
        waiting.requests.push_back(request);
        let wake = waiting.wanted.is_some_and(|wanted| waiting.requests.len() >= wanted);
        if wake {
            waiting.wanted = None;
        }
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits until `count` requests are there, or `patience` is over.
    pub(super) fn wait_for(&self, count: usize, patience: Duration) {
        let until = Instant::now() + patience;
        let mut waiting = self.look();
        while waiting.requests.len() < count && !waiting.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting.wanted = Some(count);
            waiting = self.filled.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.wanted = None;
    }

    /// Takes up to `most` requests, the oldest first; `None` where there will never be any.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Request>> {
        let mut waiting = self.look();
        if waiting.requests.is_empty() && waiting.closed {
            return None;
        }
        let count = waiting.requests.len().min(most);
        let taken: Vec<Request> = waiting.requests.drain(..count).collect();
        waiting.bytes -= taken.iter().map(Request::bytes).sum::<usize>();
        if waiting.requests.is_empty() {
            // A crowd leaves nothing behind.
            waiting.requests.shrink_to(ROOM);
        }
        let shut_out = waiting.shut_out > 0;
        drop(waiting);
        if shut_out {
            self.emptied.notify_all();
        }
        Some(taken)
    }

    /// Room for so many requests more, of somebody who cannot wait for it.
    pub(super) fn make_room(&self, count: usize) {
        self.look().room += count;
    }

    /// That room is no longer needed.
    pub(super) fn give_room_back(&self, count: usize) {
        self.look().room -= count;
    }

    /// Takes nothing more. What waits is still dealt with.
    pub(super) fn close(&self) {
        self.look().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    fn look(&self) -> MutexGuard<'_, Waiting> {
        // Requests are added and taken whole, so that a panic elsewhere leaves nothing half done here.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn has_room(&self, bytes: usize) -> bool {
        let fits = bytes < SMALL || self.bytes + bytes <= MAX_BYTES;
        self.requests.is_empty() || (self.requests.len() < self.room && fits)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::change::{Change, Condition, Content};
    use super::super::writer::Request;
    use super::{MAX_BYTES, Queue, ROOM, Refused, SMALL};
    use crate::{Deadline, Key};

    fn request(bytes: usize) -> Request {
        let (key, content) = (Key::parse("/a").unwrap(), Content::File(vec![0; bytes].into()));
        let change = Change::Put { key, content, ttl: None, only_if: Condition::default() };
        Request::Change(change, Box::new(|_| {}))
    }

    fn is_full(result: Result<(), Refused>) -> bool {
        matches!(result, Err(Refused::Full(_)))
    }

    #[test]
    fn it_is_bounded_by_number_and_by_bytes() {
        let queue = Queue::default();
        queue.make_room(10);
        for number in 0..ROOM + 10 {
            assert!(queue.push(request(1)).is_ok(), "{number}");
        }
        assert!(is_full(queue.push(request(1))));
        assert_eq!(queue.take(5).map(|taken| taken.len()), Some(5));
        queue.give_room_back(10);
        assert!(is_full(queue.push(request(1))));
        assert_eq!(queue.take(ROOM * 2).map(|taken| taken.len()), Some(ROOM + 5));
        assert!(queue.push(request(MAX_BYTES * 2)).is_ok(), "one alone is let in, or it never would be");
        assert!(is_full(queue.push(request(SMALL))));
        assert_eq!(queue.take(1).map(|taken| taken.len()), Some(1));
        assert!(queue.push(request(SMALL)).is_ok());
    }

    /// One who sends many large values refused everybody the refresh of a leader's key.
    #[test]
    fn what_is_small_waits_beside_what_is_large() {
        let queue = Queue::default();
        (0..MAX_BYTES >> 20).for_each(|_| assert!(queue.push(request((1 << 20) - 100)).is_ok()));
        assert!(is_full(queue.push(request(1 << 20))));
        for number in MAX_BYTES >> 20..ROOM {
            assert!(queue.push(request(SMALL / 2)).is_ok(), "{number}");
        }
        assert!(is_full(queue.push(request(1))), "their number is bounded");
    }

    #[test]
    fn who_may_wait_is_let_in_when_there_is_room() {
        let (queue, begun) = (Arc::new(Queue::default()), Instant::now());
        (0..ROOM).for_each(|_| assert!(queue.push(request(1)).is_ok()));
        assert!(is_full(queue.push_within(request(1), Deadline::after(Duration::from_millis(20)))));
        thread::scope(|scope| {
            let waiting =
                scope.spawn(|| queue.push_within(request(1), Deadline::after(Duration::from_secs(20))));
            thread::sleep(Duration::from_millis(20));
            assert_eq!(queue.take(1).map(|taken| taken.len()), Some(1));
            assert!(waiting.join().unwrap().is_ok());
        });
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody was told that there is room");
    }

    #[test]
    fn what_waits_is_dealt_with_after_it_was_closed() {
        let queue = Queue::default();
        assert!(queue.push(request(1)).is_ok());
        queue.close();
        assert!(matches!(queue.push(request(1)), Err(Refused::Closed(_))));
        assert_eq!(queue.take(9).map(|taken| taken.len()), Some(1));
        assert!(queue.take(9).is_none());
    }

    #[test]
    fn the_writer_wakes_for_as_many_as_it_waits_for() {
        let queue = Queue::default();
        let patient = Duration::from_secs(20);
        let begun = Instant::now();
        queue.wait_for(1, Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                queue.wait_for(3, patient);
                queue.take(9).map(|taken| taken.len())
            });
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(5));
                assert!(queue.push(request(1)).is_ok());
            }
            assert_eq!(writer.join().unwrap(), Some(3));
        });
        assert!(begun.elapsed() < patient);
    }
}
