//! What a role may do, and what has to change so that it is what a guest may do. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::etcd_v3::answer::{Bytes, Header};
use crate::etcd_v3::range::Range;
use crate::{Key, Rights};

/// A role as etcd tells of it.
#[derive(Default, Deserialize)]
pub(super) struct Role {
    #[serde(rename = "header")]
    _header: Option<Header>,
    #[serde(default)]
    perm: Vec<Permission>,
}

/// What may be done with the keys of a range. etcd keeps one for each pair of beginning and end.
#[derive(Deserialize)]
struct Permission {
    #[serde(default, rename = "permType")]
    kind: Kind,
    key: Bytes,
    #[serde(default)]
    range_end: Bytes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Kind {
    /// The one that is left out of answers.
    #[default]
    Read,
    Write,
    ReadWrite,
}

/// One step on the way.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Grant(Range, &'static str),
    Revoke(Range),
}

impl Role {
    /// What takes away all other rights, and then gives those that are missing.
    pub(super) fn changes_for(&self, rights: &Rights) -> Vec<Change> {
        let wanted = wanted(rights);
        let there: BTreeMap<Range, Kind> =
            self.perm.iter().map(|permission| (permission.range(), permission.kind)).collect();
        let extra = there.keys().filter(|range| !wanted.contains_key(range)).cloned().map(Change::Revoke);
        let missing = wanted.iter().filter(|(range, kind)| there.get(range) != Some(kind));
        extra.chain(missing.map(|(range, kind)| Change::Grant(range.clone(), kind.name()))).collect()
    }
}

/// Whatever may be written may be read as well, by itself or with the tree around it: comparing needs it.
fn wanted(rights: &Rights) -> BTreeMap<Range, Kind> {
    let read = |key: &Key| rights.read_under.iter().any(|tree| key.is_under(tree));
    let trees = rights.read_under.iter().map(|tree| (Range::under(tree), Kind::Read));
    let keys = rights.write.iter().map(|key| {
        let kind = if read(key) { Kind::Write } else { Kind::ReadWrite };
        (Range::one(key), kind)
    });
    trees.chain(keys).collect()
}

impl Permission {
    fn range(&self) -> Range {
        Range { key: self.key.0.clone(), end: self.range_end.0.clone() }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::ReadWrite => "READWRITE",
        }
    }
}

impl Change {
    /// What to ask etcd for.
    pub(super) fn request(&self, role: &str) -> (&'static str, Value) {
        match self {
            Self::Grant(range, kind) => {
                ("role/grant", json!({"name": role, "perm": range.with(json!({"permType": kind}))}))
            }
            Self::Revoke(range) => ("role/revoke", range.with(json!({"role": role}))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Change, Kind, Permission, Role};
    use crate::etcd_v3::range::Range;
    use crate::{Key, Rights};

    fn key(raw: &str) -> Key {
        Key::parse(raw).unwrap()
    }

    #[test]
    fn only_what_differs_is_changed() {
        let rights =
            Rights { read_under: vec![key("/s/b1")], write: vec![key("/s/b1/leader"), key("/o/alone")] };
        let tree = || Range::under(&key("/s/b1"));
        let (leader, alone) = (|| Range::one(&key("/s/b1/leader")), || Range::one(&key("/o/alone")));
        let check = |there: Vec<(Range, Kind)>, expected: &[Change]| {
            let perm = there.into_iter().map(|(range, kind)| Permission {
                kind,
                key: Bytes(range.key),
                range_end: Bytes(range.end),
            });
            let role = Role { _header: None, perm: perm.collect() };
            assert_eq!(role.changes_for(&rights), expected);
        };
        let grant = Change::Grant;
        check(vec![], &[grant(alone(), "READWRITE"), grant(tree(), "READ"), grant(leader(), "WRITE")]);
        let right = || vec![(alone(), Kind::ReadWrite), (tree(), Kind::Read), (leader(), Kind::Write)];
        check(right(), &[]);
        let mut more = right();
        more.push((Range::one(&key("/s/b1/state")), Kind::Write));
        more[1].1 = Kind::ReadWrite;
        check(more, &[Change::Revoke(Range::one(&key("/s/b1/state"))), grant(tree(), "READ")]);
        // A range that only begins alike is another one.
        check(
            vec![
                right()[0].clone(),
                right()[2].clone(),
                (Range { end: b"0".to_vec(), ..tree() }, Kind::Read),
            ],
            &[Change::Revoke(Range { end: b"0".to_vec(), ..tree() }), grant(tree(), "READ")],
        );
    }
}
