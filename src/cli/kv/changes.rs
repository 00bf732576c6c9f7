//! What changed between two looks at the store. Pure.

use std::collections::BTreeMap;

use storage::{Entry, Key, Revision};

/// One key that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: Key,
    /// Of its new value; `None` when it is gone.
    pub(super) put: Option<Revision>,
}

/// What was seen last.
pub(super) struct Seen {
    entries: BTreeMap<Key, (Revision, Vec<u8>)>,
}

impl Seen {
    pub(super) fn of(entries: Vec<Entry>) -> Self {
        Self { entries: entries.into_iter().map(keyed).collect() }
    }

    /// Everything under `top`, looked at anew. An equal value of another revision is no change: etcd v2 counts a TTL
    /// that begins anew as one.
    pub(super) fn look(&mut self, top: &Key, now: Vec<Entry>) -> Vec<Change> {
        let now: BTreeMap<Key, (Revision, Vec<u8>)> = now.into_iter().map(keyed).collect();
        let gone: Vec<Key> =
            self.entries.keys().filter(|key| key.is_under(top) && !now.contains_key(*key)).cloned().collect();
        let mut changes: Vec<Change> = Vec::new();
        for key in gone {
            self.entries.remove(&key);
            changes.push(Change { key, put: None });
        }
        for (key, (revision, value)) in now {
            let before = self.entries.insert(key.clone(), (revision, value));
            let same =
                before.is_some_and(|(_, before)| self.entries.get(&key).is_some_and(|now| now.1 == before));
            if !same {
                changes.push(Change { key, put: Some(revision) });
            }
        }
        changes
    }

    /// One key of which the store says that it changed, looked at anew.
    pub(super) fn look_at(&mut self, key: &Key, now: Option<Entry>) -> Option<Change> {
        let before = match now {
            Some(entry) => {
                let revision = entry.revision;
                let (key, state) = keyed(entry);
                let before = self.entries.insert(key.clone(), state);
                // Seen already, at the last look.
                let seen = before.is_some_and(|(before, _)| before == revision);
                return (!seen).then_some(Change { key, put: Some(revision) });
            }
            None => self.entries.remove(key),
        };
        before.map(|_| Change { key: key.clone(), put: None })
    }

    /// Whether something under the key was there.
    pub(super) fn any_under(&self, key: &Key) -> bool {
        self.entries.keys().any(|other| other.is_under(key))
    }
}

fn keyed(entry: Entry) -> (Key, (Revision, Vec<u8>)) {
    (entry.key, (entry.revision, entry.value))
}

#[cfg(test)]
mod tests {
    use storage::{Entry, Key, Revision};

    use super::{Change, Seen};

    fn entries(text: &str) -> Vec<Entry> {
        let entry = |raw: &str| {
            let (key, rest) = raw.split_once('=').unwrap();
            let (value, revision) = rest.split_once('@').unwrap();
            let revision = Revision(revision.parse().unwrap());
            Entry { key: Key::parse(key).unwrap(), value: value.as_bytes().to_vec(), revision }
        };
        text.split_whitespace().map(entry).collect()
    }

    fn told(changes: &[Change]) -> String {
        let one = |change: &Change| match change.put {
            Some(revision) => format!("put {}@{}", change.key, revision.0),
            None => format!("gone {}", change.key),
        };
        changes.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_look_at_everything() {
        let check = |before: &str, top: &str, now: &str, expected: &str| {
            let mut seen = Seen::of(entries(before));
            let top = Key::parse(top).unwrap();
            assert_eq!(told(&seen.look(&top, entries(now))), expected, "{before} → {now}");
            assert_eq!(told(&seen.look(&top, entries(now))), "", "{before} → {now}, seen twice");
        };
        check("/a=1@1", "/", "/a=1@1", "");
        check("/a=1@1", "/", "/a=2@2", "put /a@2");
        check("/a=1@1", "/", "/a=1@2", "");
        check("/a=1@1 /b=1@2", "/", "/b=1@2 /c=1@3", "gone /a, put /c@3");
        check("/a=1@1 /b/c=1@2 /b-c=1@2", "/b", "", "gone /b/c");
        // A store that was restored, or another one.
        check("/a=1@9", "/", "/a=0@3", "put /a@3");
    }

    #[test]
    fn a_look_at_one_key() {
        let check = |before: &str, key: &str, now: &str, expected: &str| {
            let mut seen = Seen::of(entries(before));
            let key = Key::parse(key).unwrap();
            let change = seen.look_at(&key, entries(now).pop());
            assert_eq!(told(change.as_slice()), expected, "{before} → {now}");
        };
        check("", "/a", "/a=1@1", "put /a@1");
        check("/a=1@1", "/a", "/a=1@1", "");
        check("/a=1@1", "/a", "/a=1@2", "put /a@2");
        check("/a=1@1", "/a", "", "gone /a");
        check("", "/a", "", "");
    }
}
