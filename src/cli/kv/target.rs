//! What an import would do to the store as it is: what is to be written, or everything that speaks against it. Pure.

use std::collections::BTreeMap;

use storage::{Entry, Expect, Key};

use super::document::Document;
use crate::config::StorageConfig;
use crate::state::keys;

/// What the target may hold already, beside what the document holds alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// Nothing.
    Nothing,
    /// Other keys.
    OtherKeys,
    /// Other values, which are overwritten.
    OtherValues,
}

/// What an engine cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// etcd v2 and the embedded store: a tree of texts, in which an entry has none below it.
    Tree,
    /// etcd v3 and Consul: a flat list of keys with bytes.
    Flat,
}

impl Shape {
    pub(super) fn of(storage: &StorageConfig) -> Self {
        match storage {
            StorageConfig::Embedded { .. } | StorageConfig::EtcdV2 { .. } => Self::Tree,
            StorageConfig::EtcdV3 { .. } | StorageConfig::Consul { .. } => Self::Flat,
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// In the order of their keys.
    pub(super) writes: Vec<Write<'a>>,
    /// How many entries are there as they should be.
    pub(super) there: usize,
}

/// One entry to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write<'a> {
    pub(super) key: &'a Key,
    pub(super) value: &'a [u8],
    pub(super) expect: Expect,
}

/// Compares the document with what is `present` under its prefix.
pub(super) fn plan<'a>(
    document: &'a Document,
    present: &[Entry],
    welcome: Welcome,
    shape: Shape,
) -> Result<Plan<'a>, Vec<String>> {
    let mut problems = Vec::new();
    let present: BTreeMap<&Key, &Entry> = present.iter().map(|entry| (&entry.key, entry)).collect();
    if shape == Shape::Tree {
        problems.extend(no_tree(document, &present));
    }
    if welcome == Welcome::Nothing {
        problems.extend(not_empty(document, &present));
    }
    let mut plan = Plan { writes: Vec::new(), there: 0 };
    for (key, value) in &document.entries {
        let expect = match present.get(key) {
            None => Expect::Absent,
            Some(entry) if entry.value == *value => {
                plan.there += 1;
                continue;
            }
            Some(entry) if welcome == Welcome::OtherValues => Expect::Unchanged(entry.revision),
            Some(_) => {
                problems.push(format!("{key}: the target holds another value; --replace overwrites it"));
                continue;
            }
        };
        plan.writes.push(Write { key, value, expect });
    }
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

fn not_empty(document: &Document, present: &BTreeMap<&Key, &Entry>) -> Option<String> {
    let mut others =
        present.keys().filter(|key| !document.entries.contains_key(**key) && !keys::is_ephemeral(key));
    let first = others.next()?;
    Some(format!(
        "the target is not empty: of what it holds under {}, {} are not in the document, such as {first}; \
         --into-non-empty leaves them as they are",
        document.prefix,
        others.count() + 1
    ))
}

/// What a tree of texts cannot hold.
fn no_tree(document: &Document, present: &BTreeMap<&Key, &Entry>) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in &document.entries {
        if std::str::from_utf8(value).is_err() {
            problems.push(format!("{key}: its value is no text, and this engine holds text only"));
        }
        if key.segments().any(|segment| segment.starts_with('_')) {
            problems.push(format!("{key}: a part of it begins with '_', which this engine hides"));
        }
        let mut above = key.parent();
        while let Some(upper) = above {
            if document.entries.contains_key(&upper) || present.contains_key(&upper) {
                let message = format!("{key}: {upper} is an entry, and this engine holds none below another");
                problems.push(message);
            }
            above = upper.parent();
        }
        let below = first_under(key, present);
        if let Some(other) = below.filter(|other| !document.entries.contains_key(*other)) {
            problems.push(format!("{key}: {other} is there, and this engine holds none below another"));
        }
    }
    problems
}

fn first_under<'a>(key: &Key, present: &BTreeMap<&'a Key, &Entry>) -> Option<&'a Key> {
    // A blank is the first of the characters that a segment may begin with. A key that has no room for one more
    // segment has none below it.
    let first = key.child(" ").ok()?;
    let (other, _) = present.range::<Key, _>(first..).next()?;
    other.is_under(key).then_some(*other)
}

#[cfg(test)]
mod tests {
    use storage::{Entry, Expect, Key, Revision};

    use super::{Shape, Welcome, plan};
    use crate::cli::kv::document::Document;

    fn entries(text: &str) -> Vec<Entry> {
        let entry = |(index, pair): (usize, &str)| {
            let (key, value) = pair.split_once('=').unwrap();
            let revision = Revision(u64::try_from(index).unwrap() + 1);
            Entry { key: Key::parse(key).unwrap(), value: value.as_bytes().to_vec(), revision }
        };
        text.split_whitespace().enumerate().map(entry).collect()
    }

    #[track_caller]
    fn check(document: &str, present: &str, welcome: Welcome, shape: Shape, expected: Result<&str, &[&str]>) {
        let document = Document::of(&Key::root(), entries(document), false);
        let present = entries(present);
        let found = plan(&document, &present, welcome, shape);
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                let write = |write: &super::Write<'_>| match write.expect {
                    Expect::Absent => write.key.to_string(),
                    Expect::Unchanged(revision) => format!("{}@{}", write.key, revision.0),
                    Expect::Anything => "blindly".to_owned(),
                };
                let mut said: Vec<String> = found.writes.iter().map(write).collect();
                said.push(format!("there {}", found.there));
                assert_eq!(said.join(" "), expected);
            }
            (Err(found), Err(expected)) => {
                let fits = found.len() == expected.len()
                    && found.iter().zip(expected).all(|(found, begin)| found.starts_with(begin));
                assert!(fits, "expected {expected:#?}\n  found {found:#?}");
            }
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn nothing_is_overwritten_unless_told() {
        use Welcome::{Nothing, OtherKeys, OtherValues};
        let run = |document, present, welcome, expected| {
            check(document, present, welcome, Shape::Tree, expected);
        };
        run("/a=1 /b=2", "", Nothing, Ok("/a /b there 0"));
        // What was cut off goes on.
        run("/a=1 /b=2", "/a=1", Nothing, Ok("/b there 1"));
        run("/a=1", "/broker/leases/b1=x /nginx/h:c:80=x", Nothing, Ok("/a there 0"));
        run("/a=1", "/b=1 /c=1", Nothing, Err(&["the target is not empty: of what it holds under /, 2 are"]));
        run("/a=1", "/a=2", Nothing, Err(&["/a: the target holds another value"]));
        run("/a=1", "/b=1 /c=1", OtherKeys, Ok("/a there 0"));
        run(
            "/a=1 /b=1 /c=1",
            "/a=2 /b=2 /c=1",
            OtherKeys,
            Err(&["/a: the target holds another", "/b: the target holds another"]),
        );
        run("/a=1 /b=1 /c=1", "/x=0 /a=2 /b=1", OtherValues, Ok("/a@2 /c there 1"));
    }

    #[test]
    fn a_tree_holds_no_entry_below_another() {
        let both = "/a=1 /a-b=1 /a/b/c=2";
        check(both, "", Welcome::Nothing, Shape::Flat, Ok("/a /a-b /a/b/c there 0"));
        check(both, "", Welcome::Nothing, Shape::Tree, Err(&["/a/b/c: /a is an entry"]));
        check("/a/b=1", "/a=1", Welcome::OtherKeys, Shape::Tree, Err(&["/a/b: /a is an entry"]));
        check("/a=1", "/a-b=1 /a/b=1", Welcome::OtherKeys, Shape::Tree, Err(&["/a: /a/b is there"]));
        check("/a/_b=1", "", Welcome::OtherKeys, Shape::Tree, Err(&["/a/_b: a part of it begins"]));
    }

    #[test]
    fn a_tree_holds_text() {
        let bytes = Entry { key: Key::parse("/a").unwrap(), value: vec![255], revision: Revision(1) };
        let document = Document::of(&Key::root(), vec![bytes], false);
        assert!(plan(&document, &[], Welcome::Nothing, Shape::Flat).is_ok());
        assert!(plan(&document, &[], Welcome::Nothing, Shape::Tree).is_err());
    }
}
