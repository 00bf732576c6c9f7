//! The last changes, in memory, for watchers: who asks for older ones reads everything again.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::change::Event;
use crate::Deadline;

/// As many as etcd v2 keeps.
const MAX_EVENTS: usize = 1_000;
/// As many are kept while somebody who follows them has not seen them: a moment without the processor is no reason to
/// lose every watcher.
const MAX_BEHIND: usize = 50_000;
/// Events hold values, so their number alone bounds nothing.
const MAX_BYTES: usize = 64 << 20;

/// The last changes, and a bell that rings for those who listen.
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
    /// Up to where the one who follows has come, if anybody does.
    followed: Option<u64>,
    /// How many sleep until there is news. Most writers have nobody who waits for theirs, and waking costs them.
    listeners: usize,
}

impl History {
    /// An empty history that begins at the index the file was opened with.
    pub(super) fn starting_at(index: u64) -> Self {
        let recent = Recent::starting_at(index, None);
        Self { recent: Mutex::new(recent), bell: Condvar::new() }
    }

    /// Adds committed changes, in order, and wakes those who listen. `show` makes them readable: nobody sees a change here that
    /// cannot be read yet, and who has read it and looks here afterwards sees it.
    pub(super) fn publish<T>(&self, events: Vec<Event>, show: impl FnOnce() -> T) -> T {
        let mut recent = self.look();
        let shown = show();
        let news = !events.is_empty() && recent.listeners > 0;
        events.into_iter().for_each(|event| recent.push(event));
        drop(recent);
        if news {
            self.bell.notify_all();
        }
        shown
    }

    /// Goes on at `index`, to which `show` brings what can be read. Where that is another one, everything is forgotten:
    /// whoever watches reads everything again.
    pub(super) fn restart_at<T>(&self, index: u64, show: impl FnOnce() -> T) -> T {
        let mut recent = self.look();
        let shown = show();
        if index != recent.current {
            *recent = Recent { listeners: recent.listeners, ..Recent::starting_at(index, recent.followed) };
            self.bell.notify_all();
        }
        shown
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

    /// Waits for news, a ring, the deadline, or nothing at all: the caller looks again.
    pub(super) fn wait<'a>(
        &self,
        mut recent: MutexGuard<'a, Recent>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Recent> {
        recent.listeners += 1;
        let mut recent = self.rest(recent, deadline);
        recent.listeners -= 1;
        recent
    }

    /// The same for who is not interested in news, which do not wake it.
    pub(super) fn rest<'a>(
        &self,
        recent: MutexGuard<'a, Recent>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Recent> {
        let patience = deadline.remaining().min(Duration::from_secs(3600));
        self.bell.wait_timeout(recent, patience).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Recent {
    fn starting_at(index: u64, followed: Option<u64>) -> Self {
        let events = VecDeque::new();
        Self { events, bytes: 0, forgotten: index, current: index, followed, listeners: 0 }
    }

    fn push(&mut self, event: Event) {
        self.current = event.index;
        self.bytes += size(&event);
        self.events.push_back(event);
        self.forget();
    }

    fn forget(&mut self) {
        while let Some(oldest) = self.events.front() {
            let seen = self.followed.is_none_or(|followed| followed >= oldest.index);
            let most = if seen { MAX_EVENTS } else { MAX_BEHIND };
            let too_many = self.events.len() > most || (self.bytes > MAX_BYTES && self.events.len() > 1);
            let Some(oldest) = too_many.then(|| self.events.pop_front()).flatten() else { return };
            self.bytes -= size(&oldest);
            self.forgotten = oldest.index;
        }
    }

    /// Says up to where somebody has come who must not miss a change; `None` when nobody follows any more.
    pub(super) fn follow(&mut self, seen: Option<u64>) {
        self.followed = seen;
        self.forget();
    }

    /// What the one who follows has not seen; `None` where even of that something is forgotten.
    pub(super) fn unseen(&self, index: u64) -> Option<impl Iterator<Item = &Event>> {
        let first = self.events.partition_point(|event| event.index <= index);
        (index >= self.forgotten).then(|| self.events.range(first..))
    }

    /// The index of the newest change.
    pub(super) fn current(&self) -> u64 {
        self.current
    }

    /// Changes up to this index are not told any more.
    pub(super) fn forgotten(&self) -> u64 {
        let beyond = self.events.len().checked_sub(MAX_EVENTS + 1);
        beyond.map_or(self.forgotten, |last| self.events[last].index)
    }

    /// The changes after `index`, in order; `None` if some of them are forgotten.
    pub(super) fn after(&self, index: u64) -> Option<impl Iterator<Item = &Event>> {
        let first = self.events.partition_point(|event| event.index <= index);
        (index >= self.forgotten()).then(|| self.events.range(first..))
    }
}

fn size(event: &Event) -> usize {
    let of = |node: &super::change::Node| {
        node.value.as_ref().map_or(0, |value| value.len()) + node.key.as_str().len()
    };
    of(&event.node) + event.previous.as_ref().map_or(0, of)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::change::{Action, Event, Node};
    use super::{History, MAX_BEHIND, MAX_EVENTS};
    use crate::{Deadline, Key};

    fn event(index: u64, bytes: usize) -> Event {
        let key = Key::parse("/a").unwrap();
        let value = Some(vec![0; bytes].into());
        let node = Node { key, is_dir: false, value, created: 1, modified: index, expires: None };
        Event { action: Action::Set, index, at: Instant::now(), node, previous: None, refresh: false }
    }

    #[test]
    fn it_begins_where_the_file_was_opened() {
        let history = History::starting_at(7);
        assert!(history.look().after(6).is_none());
        assert_eq!(history.look().after(7).map(Iterator::count), Some(0));
    }

    /// Who looked in between heard of what could not be read, or read what nobody who watched from there would hear of.
    #[test]
    fn nobody_looks_while_changes_are_made_readable() {
        let history = History::starting_at(0);
        let is_locked = || history.recent.try_lock().is_err();
        assert!(history.publish(vec![event(1, 1)], is_locked));
        assert_eq!(history.look().current(), 1);
        assert!(history.restart_at(1, is_locked));
        assert_eq!(
            history.look().after(0).map(Iterator::count),
            Some(1),
            "nothing is lost where nothing changed"
        );
        assert!(history.restart_at(2, is_locked));
        assert!(history.look().after(1).is_none());
    }

    #[test]
    fn it_forgets_by_number_and_by_size() {
        let history = History::starting_at(0);
        history.publish((1..=MAX_EVENTS as u64 + 5).map(|index| event(index, 1)).collect(), || ());
        assert_eq!(history.look().forgotten(), 5);
        assert!(history.look().after(4).is_none());
        assert_eq!(history.look().after(5).map(Iterator::count), Some(MAX_EVENTS));
        history.publish((2001..2100).map(|index| event(index, 1 << 20)).collect(), || ());
        assert!(history.look().after(2000).is_none());
        assert_eq!(history.look().after(2090).map(Iterator::count), Some(9));
    }

    #[test]
    fn who_follows_misses_nothing_that_others_are_not_told_any_more() {
        let history = History::starting_at(0);
        history.look().follow(Some(0));
        history.publish((1..=MAX_EVENTS as u64 * 3).map(|index| event(index, 1)).collect(), || ());
        assert!(history.look().after(5).is_none());
        assert_eq!(history.look().unseen(0).map(Iterator::count), Some(MAX_EVENTS * 3));
        history.look().follow(Some(MAX_EVENTS as u64));
        assert!(history.look().unseen(0).is_none());
        assert_eq!(history.look().unseen(MAX_EVENTS as u64).map(Iterator::count), Some(MAX_EVENTS * 2));
        history.publish(
            (1..=MAX_BEHIND as u64).map(|index| event(MAX_EVENTS as u64 * 3 + index, 1)).collect(),
            || (),
        );
        assert!(history.look().unseen(MAX_EVENTS as u64).is_none());
        history.look().follow(None);
        assert_eq!(history.look().events.len(), MAX_EVENTS);
    }

    /// A writer must not pay for waking somebody who would only go to sleep again.
    #[test]
    fn news_wake_who_listens_and_nobody_else() {
        let history = History::starting_at(0);
        let patience = Duration::from_millis(200);
        thread::scope(|scope| {
            let resting = scope.spawn(|| {
                let deadline = Deadline::after(patience);
                drop(history.rest(history.look(), deadline));
                deadline.has_passed()
            });
            for index in 1.. {
                history.publish(vec![event(index, 1)], || ());
                if resting.is_finished() {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
            assert!(resting.join().unwrap(), "it was woken");
        });
        let seen = history.look().current();
        thread::scope(|scope| {
            let listening = scope.spawn(|| {
                let (mut recent, deadline) = (history.look(), Deadline::after(Duration::from_secs(20)));
                while recent.current() == seen && !deadline.has_passed() {
                    recent = history.wait(recent, deadline);
                }
                deadline.has_passed()
            });
            while history.look().listeners == 0 && !listening.is_finished() {
                thread::sleep(Duration::from_millis(1));
            }
            history.publish(vec![event(seen + 1, 1)], || ());
            assert!(!listening.join().unwrap(), "nobody woke it");
        });
        assert_eq!(history.look().listeners, 0);
    }
}
