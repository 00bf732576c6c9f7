//! When entries run out. Kept in memory only: at every open each TTL runs anew in full, so that a leader does not lose
//! its key because the store was down. The writer alone changes it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Key;

/// TTLs longer than this are as good as none, and an instant that far ahead can still be reckoned.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The moments at which entries run out, by key and in order.
#[derive(Default)]
pub(super) struct Deadlines {
    /// Whoever holds it has it as it was.
    by_key: Arc<HashMap<Key, Instant>>,
    in_order: BTreeSet<(Instant, Key)>,
}

impl Deadlines {
    pub(super) fn get(&self, key: &Key) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// All of them as they are now. What is set while that is held costs a copy.
    pub(super) fn by_key(&self) -> &Arc<HashMap<Key, Instant>> {
        &self.by_key
    }

    /// Sets or, with `None`, takes away the deadline of `key`.
    pub(super) fn set(&mut self, key: Key, deadline: Option<Instant>) {
        let by_key = Arc::make_mut(&mut self.by_key);
        if let Some(old) = by_key.remove(&key) {
            self.in_order.remove(&(old, key.clone()));
        }
        if let Some(new) = deadline {
            by_key.insert(key.clone(), new);
            self.in_order.insert((new, key));
        }
    }

    /// The next deadline to pass.
    pub(super) fn next(&self) -> Option<Instant> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Up to `most` of the keys whose deadline has passed, the oldest first.
    pub(super) fn due(&self, now: Instant, most: usize) -> Vec<Key> {
        self.in_order.iter().take_while(|(at, _)| *at <= now).take(most).map(|(_, key)| key.clone()).collect()
    }
}

/// The instant `ttl_s` seconds from `now`.
pub(super) fn deadline(now: Instant, ttl_s: u64) -> Instant {
    let ttl = Duration::from_secs(ttl_s).min(LONGEST);
    now.checked_add(ttl).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Deadlines, deadline};
    use crate::Key;

    #[test]
    fn a_later_deadline_replaces_the_earlier() {
        let (now, key) = (Instant::now(), Key::parse("/a").unwrap());
        let mut deadlines = Deadlines::default();
        deadlines.set(key.clone(), Some(now));
        deadlines.set(key.clone(), Some(now + Duration::from_secs(1)));
        assert!(deadlines.due(now, 9).is_empty());
        assert_eq!(deadlines.due(now + Duration::from_secs(1), 9), std::slice::from_ref(&key));
        deadlines.set(key, None);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn an_absurd_ttl_does_not_overflow() {
        let now = Instant::now();
        assert!(deadline(now, u64::MAX) > now + Duration::from_secs(1 << 30));
    }
}
