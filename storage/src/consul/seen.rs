//! What was where at which revision: the history that Consul does not keep. Bounded, and only ever exact: what is
//! remembered of a prefix at a revision is what stood there at that revision.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Key, Revision};

/// So many places are remembered, the least used forgotten first; fewer where they hold more than this many keys.
const MOST: usize = 64;
const MOST_KEYS: usize = 200_000;
const LEAST: usize = 8;
/// Consul forgets after 15 minutes that a key was deleted.
const RECENT: Duration = Duration::from_secs(600);

/// The keys under a prefix, with the revision of each.
pub(super) struct Snapshot {
    /// Consul's index for the prefix then.
    pub index: u64,
    keys: BTreeMap<Key, Revision>,
}

#[derive(Default)]
pub(super) struct Seen {
    places: Mutex<VecDeque<Place>>,
    counts: Mutex<Counts>,
}

/// A prefix at a revision; the least used first.
struct Place {
    prefix: Key,
    revision: Revision,
    snapshot: Arc<Snapshot>,
}

/// How far the store's count was, and when.
#[derive(Default)]
struct Counts {
    older: Option<(Revision, Instant)>,
    newer: Option<(Revision, Instant)>,
}

impl Snapshot {
    pub(super) fn of(index: u64, keys: impl Iterator<Item = (Key, Revision)>) -> Self {
        Self { index, keys: keys.collect() }
    }

    /// The keys that are another entry's, or no entry's, in `later`.
    pub(super) fn changed(&self, later: &Self) -> Vec<Key> {
        let gone = self.keys.keys().filter(|key| !later.keys.contains_key(*key));
        let news = later.keys.iter().filter(|(key, revision)| self.keys.get(*key) != Some(*revision));
        gone.chain(news.map(|(key, _)| key)).cloned().collect()
    }
}

impl Seen {
    pub(super) fn at(&self, prefix: &Key, revision: Revision) -> Option<Arc<Snapshot>> {
        let mut places = self.places();
        let at = places.iter().rposition(|place| place.revision == revision && place.prefix == *prefix)?;
        let place = places.remove(at)?;
        let snapshot = Arc::clone(&place.snapshot);
        places.push_back(place);
        Some(snapshot)
    }

    pub(super) fn remember(&self, prefix: &Key, revision: Revision, snapshot: Arc<Snapshot>) {
        let mut places = self.places();
        places.retain(|place| place.revision != revision || place.prefix != *prefix);
        places.push_back(Place { prefix: prefix.clone(), revision, snapshot });
        let mut keys: usize = places.iter().map(|place| place.snapshot.keys.len()).sum();
        while places.len() > MOST || (places.len() > LEAST && keys > MOST_KEYS) {
            keys -= places.pop_front().map_or(0, |place| place.snapshot.keys.len());
        }
    }

    /// Says that the store's count is at this revision now.
    pub(super) fn note(&self, revision: Revision) {
        let mut counts = self.counts();
        if counts.newer.is_none_or(|(_, noted)| noted.elapsed() > RECENT / 2) {
            counts.older = counts.newer;
            counts.newer = Some((revision, Instant::now()));
        }
    }

    /// Whether Consul certainly still knows of every deletion after this revision: then a prefix whose index is not
    /// beyond it has not changed since.
    pub(super) fn is_recent(&self, revision: Revision) -> bool {
        let counts = self.counts();
        let noted = [counts.older, counts.newer];
        noted.iter().flatten().any(|(count, noted)| noted.elapsed() <= RECENT && *count <= revision)
    }

    /// Forgets everything: the store is another one.
    pub(super) fn forget(&self) {
        self.places().clear();
        *self.counts() = Counts::default();
    }

    fn places(&self) -> MutexGuard<'_, VecDeque<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Counts, MOST, RECENT, Seen, Snapshot};
    use crate::{Key, Revision};

    fn snapshot(keys: &str) -> Snapshot {
        let keys = keys.split_whitespace().map(|key| {
            let (key, revision) = key.split_once('@').unwrap();
            (Key::parse(key).unwrap(), Revision(revision.parse().unwrap()))
        });
        Snapshot::of(1, keys)
    }

    #[test]
    fn what_changed_is_what_differs() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            let changed = snapshot(before).changed(&snapshot(after));
            let changed: Vec<&str> = changed.iter().map(Key::as_str).collect();
            assert_eq!(changed, expected, "{before} -> {after}");
        };
        check("", "", &[]);
        check("/a@1 /b@2", "/a@1 /b@2", &[]);
        check("/a@1", "/a@2", &["/a"]);
        check("/a@2", "/a@1", &["/a"]);
        check("/a@1 /b@2", "/b@2 /c@3", &["/a", "/c"]);
    }

    #[test]
    fn the_least_used_is_forgotten_first() {
        let (seen, prefix) = (Seen::default(), Key::root());
        for revision in 0..MOST as u64 {
            seen.remember(&prefix, Revision(revision), snapshot("").into());
        }
        assert!(seen.at(&prefix, Revision(0)).is_some());
        seen.remember(&prefix, Revision(1000), snapshot("").into());
        assert!(seen.at(&prefix, Revision(0)).is_some(), "used");
        assert!(seen.at(&prefix, Revision(1)).is_none(), "least used");
        assert!(seen.at(&Key::parse("/a").unwrap(), Revision(0)).is_none(), "another place");
    }

    #[test]
    fn only_what_was_noted_is_recent() {
        let seen = Seen::default();
        assert!(!seen.is_recent(Revision(9)));
        seen.note(Revision(5));
        assert!(!seen.is_recent(Revision(4)) && seen.is_recent(Revision(5)) && seen.is_recent(Revision(9)));
        seen.forget();
        assert!(!seen.is_recent(Revision(5)));
    }

    #[test]
    fn what_was_noted_is_not_recent_for_long() {
        let check = |older_s: u64, newer_s: u64, expected: [bool; 3]| {
            let (seen, now) = (Seen::default(), Instant::now());
            let noted = |revision, ago_s| {
                Some((Revision(revision), now.checked_sub(Duration::from_secs(ago_s)).unwrap()))
            };
            *seen.counts() = Counts { older: noted(5, older_s), newer: noted(7, newer_s) };
            let recent = [4, 5, 7].map(|revision| seen.is_recent(Revision(revision)));
            assert_eq!(recent, expected, "noted {older_s} s and {newer_s} s ago");
        };
        check(590, 290, [false, true, true]);
        check(610, 310, [false, false, true]);
        check(910, 610, [false, false, false]);
        // While somebody watches, something is always recent: what is newer takes the place of what is older in time.
        let seen = Seen::default();
        let ago = Instant::now().checked_sub(RECENT / 2 + Duration::from_secs(1)).unwrap();
        *seen.counts() = Counts { older: None, newer: Some((Revision(5), ago)) };
        seen.note(Revision(9));
        assert!(seen.is_recent(Revision(5)) && seen.is_recent(Revision(9)));
    }
}
