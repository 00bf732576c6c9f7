//! The last changes, in memory, for watchers: who asks for older ones reads everything again.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::change::Event;
use crate::Deadline;

/// As many as etcd v2 keeps.
const MAX_EVENTS: usize = 1_000;
/// Events hold values, so their number alone bounds nothing.
const MAX_BYTES: usize = 64 << 20;

/// The last changes and a bell that rings at each.
pub(super) struct History {
    recent: Mutex<Recent>,
    bell: Condvar,
}

/// What a look into the history gives.
pub(super) struct Recent {
    events: VecDeque<Event>,
    bytes: usize,
    /// Changes up to this index are forgotten, or were made before the file was opened.
    forgotten: u64,
    /// The index of the newest change.
    current: u64,
}

impl History {
    /// An empty history that begins at the index the file was opened with.
    pub(super) fn starting_at(index: u64) -> Self {
        let recent = Recent { events: VecDeque::new(), bytes: 0, forgotten: index, current: index };
        Self { recent: Mutex::new(recent), bell: Condvar::new() }
    }

    /// Adds committed changes, in order, and wakes everybody.
    pub(super) fn publish(&self, events: Vec<Event>) {
        let mut recent = self.look();
        events.into_iter().for_each(|event| recent.push(event));
        drop(recent);
        self.bell.notify_all();
    }

    /// Forgets everything, after which the newest change is `index`: whoever watches reads everything again.
    pub(super) fn restart_at(&self, index: u64) {
        let mut recent = self.look();
        *recent = Recent { events: VecDeque::new(), bytes: 0, forgotten: index, current: index };
        drop(recent);
        self.bell.notify_all();
    }

    /// Wakes everybody without news, so that they look whether they should stop.
    pub(super) fn ring(&self) {
        // Taking the lock orders this after the check of whoever is about to wait.
        drop(self.look());
        self.bell.notify_all();
    }

    pub(super) fn look(&self) -> MutexGuard<'_, Recent> {
        // Events are pushed whole, so that a panic elsewhere leaves nothing half done here.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the bell, the deadline, or nothing at all: the caller looks again.
    pub(super) fn wait<'a>(
        &self,
        recent: MutexGuard<'a, Recent>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Recent> {
        let patience = deadline.remaining().min(Duration::from_secs(3600));
        self.bell.wait_timeout(recent, patience).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Recent {
    fn push(&mut self, event: Event) {
        self.current = event.index;
        self.bytes += size(&event);
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || (self.bytes > MAX_BYTES && self.events.len() > 1) {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= size(&oldest);
                self.forgotten = oldest.index;
            }
        }
    }

    /// The index of the newest change.
    pub(super) fn current(&self) -> u64 {
        self.current
    }

    /// Changes up to this index are not known.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The changes after `index`, in order; `None` if some of them are forgotten.
    pub(super) fn after(&self, index: u64) -> Option<impl Iterator<Item = &Event>> {
        let first = self.events.partition_point(|event| event.index <= index);
        (index >= self.forgotten).then(|| self.events.range(first..))
    }
}

fn size(event: &Event) -> usize {
    let of = |node: &super::change::Node| node.value.as_ref().map_or(0, Vec::len) + node.key.as_str().len();
    of(&event.node) + event.previous.as_ref().map_or(0, of)
}

#[cfg(test)]
mod tests {
    use super::super::change::{Action, Event, Node};
    use super::{History, MAX_EVENTS};
    use crate::Key;

    fn event(index: u64, bytes: usize) -> Event {
        let key = Key::parse("/a").unwrap();
        let value = Some(vec![0; bytes]);
        let node = Node { key, is_dir: false, value, created: 1, modified: index, expires: None };
        Event { action: Action::Set, index, node, previous: None }
    }

    #[test]
    fn it_begins_where_the_file_was_opened() {
        let history = History::starting_at(7);
        assert!(history.look().after(6).is_none());
        assert_eq!(history.look().after(7).map(Iterator::count), Some(0));
    }

    #[test]
    fn it_forgets_by_number_and_by_size() {
        let history = History::starting_at(0);
        history.publish((1..=MAX_EVENTS as u64 + 5).map(|index| event(index, 1)).collect());
        assert_eq!(history.look().forgotten(), 5);
        assert!(history.look().after(4).is_none());
        assert_eq!(history.look().after(5).map(Iterator::count), Some(MAX_EVENTS));
        history.publish((2001..2100).map(|index| event(index, 1 << 20)).collect());
        assert!(history.look().after(2000).is_none());
        assert_eq!(history.look().after(2090).map(Iterator::count), Some(9));
    }
}
