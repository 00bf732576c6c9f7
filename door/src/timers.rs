//! When to look at which connection again. A connection has one entry as a rule, which is looked at when it is due and
//! put off then, since deadlines mostly move away. Those of connections that have ended are thrown out now and then, so
//! that entries are few, whoever comes and goes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::mailbox::Key;

/// Keys by moment, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Timers {
    pub(crate) fn push(&mut self, at: Instant, key: Key) {
        self.heap.push(Reverse((at, key)));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Throws out what is not `alive`, once there are more than this.
    pub(crate) fn prune(&mut self, most: usize, alive: impl Fn(Key) -> bool) {
        if self.heap.len() > most {
            self.heap.retain(|Reverse((_, key))| alive(*key));
        }
    }

    /// The earliest, whenever it is.
    pub(crate) fn pop(&mut self) -> Option<(Instant, Key)> {
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// The earliest, if it is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Key)> {
        if self.next()? <= now { self.pop() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::Timers;
    use crate::mailbox::Key;

    /// Each connection that had come and gone once left an entry for ever.
    #[test]
    fn what_has_ended_is_thrown_out() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let key = |number| Key { number, place: 0 };
        for number in 0..10_000 {
            timers.push(now, key(number));
            timers.prune(100, |one| one == key(number));
            assert!(timers.heap.len() <= 100);
        }
        timers.prune(0, |one| one == key(9_999));
        assert_eq!(timers.pop(), Some((now, key(9_999))));
    }
}
