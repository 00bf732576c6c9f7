//! What somebody may see and change of the tree: patterns of keys, and the questions that the API asks of them. Pure.
//!
//! A role shows its holder a part of the tree as if the rest were not there: listings and watches from above hold what
//! it may read and nothing else. What lies wholly outside of it is refused, whether it is there or not.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Key, Rights};

/// Keys by the shape of their paths.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Whether everything under such a key belongs to it as well.
    tree: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Segment {
    Word(String),
    Any,
    /// Words with colons between them; where there is none, any that is not empty stands.
    Words(Vec<Option<String>>),
}

impl Segment {
    fn parse(raw: &str) -> Self {
        let word = |word: &str| (word != "*").then(|| word.to_owned());
        match raw.split(':').map(word).collect::<Vec<_>>() {
            words if words == [None] => Self::Any,
            words if words.contains(&None) => Self::Words(words),
            _ => Self::Word(raw.to_owned()),
        }
    }

    fn covers(&self, found: &str) -> bool {
        match self {
            Self::Word(word) => word == found,
            Self::Any => true,
            Self::Words(words) => {
                found.split(':').count() == words.len()
                    && words.iter().zip(found.split(':')).all(|(word, found)| match word {
                        Some(word) => word == found,
                        None => !found.is_empty(),
                    })
            }
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Any => f.write_str("*"),
            Self::Words(words) => {
                let words: Vec<&str> = words.iter().map(|word| word.as_deref().unwrap_or("*")).collect();
                f.write_str(&words.join(":"))
            }
        }
    }
}

impl Pattern {
    /// Reads a path of which a segment `*` stands for any one, a `*` between colons (`host:*:*`) for any word without a
    /// colon, and `/**` at the end for the key before it with everything under it. Any other `*` is itself.
    ///
    /// # Errors
    /// As [`Key::parse`].
    pub fn parse(raw: &str) -> Result<Self, crate::InvalidKey> {
        let (path, tree) = match raw.strip_suffix("/**") {
            Some(path) => (if path.is_empty() { "/" } else { path }, true),
            None => (raw, false),
        };
        let key = Key::parse(path)?;
        Ok(Self { segments: key.segments().map(Segment::parse).collect(), tree })
    }

    /// This very key.
    #[must_use]
    pub fn key(key: &Key) -> Self {
        let segments = key.segments().map(|segment| Segment::Word(segment.to_owned())).collect();
        Self { segments, tree: false }
    }

    /// The key with everything under it.
    #[must_use]
    pub fn tree(key: &Key) -> Self {
        Self { tree: true, ..Self::key(key) }
    }

    fn covers(&self, key: &Key) -> bool {
        self.begins(key) && {
            let count = key.segments().count();
            count == self.segments.len() || (self.tree && count > self.segments.len())
        }
    }

    fn covers_tree(&self, key: &Key) -> bool {
        self.tree && self.covers(key)
    }

    /// Whether something under `key` may be covered, or `key` itself.
    fn reaches_into(&self, key: &Key) -> bool {
        self.begins(key) && (self.tree || key.segments().count() <= self.segments.len())
    }

    /// Whether the two agree as far as the shorter goes.
    fn begins(&self, key: &Key) -> bool {
        self.segments.iter().zip(key.segments()).all(|(segment, found)| segment.covers(found))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))?;
        f.write_str(if self.tree { "/**" } else { "" })
    }
}

/// What somebody may do. Whoever may write a key may read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    read: Vec<Pattern>,
    write: Vec<Pattern>,
    /// What is not among the above, whatever these say: with everything under it.
    never: Vec<Key>,
    /// How much is asked and done.
    statistics: bool,
}

/// How much of what is under a key somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// All of it.
    All,
    /// What [`Permissions::may_read`] says.
    Part,
    /// Nothing, nor whether it is there.
    Nothing,
}

impl Permissions {
    /// To read what `read` covers, to read and write what `write` covers, and neither under any of `never`.
    #[must_use]
    pub fn new(read: Vec<Pattern>, write: Vec<Pattern>, never: Vec<Key>) -> Self {
        Self { read, write, never, statistics: false }
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::new(Vec::new(), vec![Pattern::tree(&Key::root())], Vec::new()).with_statistics()
    }

    /// The same, and to see how much everybody does to the store.
    #[must_use]
    pub fn with_statistics(self) -> Self {
        Self { statistics: true, ..self }
    }

    pub(super) fn may_see_statistics(&self) -> bool {
        self.statistics
    }

    /// Whether this file may be read.
    pub(super) fn may_read(&self, key: &Key) -> bool {
        !self.is_never(key) && self.read.iter().chain(&self.write).any(|pattern| pattern.covers(key))
    }

    /// Whether it may be known that this is there: a file that may be read, a directory in which something may.
    pub(super) fn sees(&self, key: &Key, is_dir: bool) -> bool {
        if is_dir { self.sight(key) != Sight::Nothing } else { self.may_read(key) }
    }

    /// Whether this file may be written.
    pub(super) fn may_write(&self, key: &Key) -> bool {
        !self.is_never(key) && self.write.iter().any(|pattern| pattern.covers(key))
    }

    /// Whether this directory may be written or removed, with everything under it.
    pub(super) fn may_write_tree(&self, key: &Key) -> bool {
        !self.is_never(key)
            && !self.never.iter().any(|never| never.is_under(key))
            && self.write.iter().any(|pattern| pattern.covers_tree(key))
    }

    /// How much may be seen of what is at and under `key`.
    pub(super) fn sight(&self, key: &Key) -> Sight {
        if self.is_never(key) {
            return Sight::Nothing;
        }
        let mut patterns = self.read.iter().chain(&self.write);
        if !self.never.iter().any(|never| never.is_under(key))
            && patterns.clone().any(|pattern| pattern.covers_tree(key))
        {
            return Sight::All;
        }
        if patterns.any(|pattern| pattern.reaches_into(key)) { Sight::Part } else { Sight::Nothing }
    }

    /// The names in the directory `key` under which there can be something to see, where they are known: elsewhere they
    /// need not be looked for.
    pub(super) fn names_in(&self, key: &Key) -> Option<BTreeSet<&str>> {
        let depth = key.segments().count();
        let mut names = BTreeSet::new();
        for pattern in self.read.iter().chain(&self.write).filter(|pattern| pattern.begins(key)) {
            match pattern.segments.get(depth) {
                Some(Segment::Word(word)) => {
                    names.insert(word.as_str());
                }
                // It is of this very key.
                None if !pattern.tree => {}
                Some(Segment::Any | Segment::Words(_)) | None => return None,
            }
        }
        Some(names)
    }

    fn is_never(&self, key: &Key) -> bool {
        self.never.iter().any(|never| never == key || key.is_under(never))
    }
}

impl From<&Rights> for Permissions {
    fn from(rights: &Rights) -> Self {
        let read = rights.read_under.iter().map(Pattern::tree).collect();
        Self::new(read, rights.write.iter().map(Pattern::key).collect(), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Permissions, Sight};
    use crate::{Key, Rights};

    fn permissions(read: &str, write: &str, never: &str) -> Permissions {
        let patterns = |text: &str| text.split_whitespace().map(|raw| Pattern::parse(raw).unwrap()).collect();
        let never = never.split_whitespace().map(|raw| Key::parse(raw).unwrap()).collect();
        Permissions::new(patterns(read), patterns(write), never)
    }

    #[test]
    fn a_role_reaches_as_far_as_its_patterns() {
        let guest = permissions("/service/b1/**", "/service/b1/leader", "");
        let router = permissions("/service/*/leader /service/*/members/**", "/broker/routers/h", "");
        let registrar = permissions("", "/*/*", "/service /broker");
        let check = |who: &Permissions, key: &str, read: bool, write: bool, sight: Sight| {
            let key = Key::parse(key).unwrap();
            let found = (who.may_read(&key), who.may_write(&key), who.sight(&key));
            assert_eq!(found, (read, write, sight), "{who:?}: {key}");
        };
        check(&guest, "/service/b1", true, false, Sight::All);
        check(&guest, "/service/b1/state", true, false, Sight::All);
        check(&guest, "/service/b1/leader", true, true, Sight::All);
        check(&guest, "/service/b1/leader/x", true, false, Sight::All);
        check(&guest, "/service/b10/state", false, false, Sight::Nothing);
        check(&guest, "/service", false, false, Sight::Part);
        check(&guest, "/", false, false, Sight::Part);
        check(&guest, "/broker", false, false, Sight::Nothing);
        check(&router, "/service/b1/leader", true, false, Sight::Part);
        check(&router, "/service/b1/state", false, false, Sight::Nothing);
        check(&router, "/service/b1/members/n1", true, false, Sight::All);
        check(&router, "/service/b1", false, false, Sight::Part);
        check(&router, "/broker/routers/h", true, true, Sight::Part);
        check(&router, "/broker/routers/other", false, false, Sight::Nothing);
        check(&registrar, "/postgresql/h:c:1", true, true, Sight::Part);
        check(&registrar, "/postgresql/h/c", false, false, Sight::Nothing);
        check(&registrar, "/service/b1", false, false, Sight::Nothing);
        check(&registrar, "/", false, false, Sight::Part);
        let announcer = permissions("", "/*/h:*:* /*/fd00::1:*:*", "/service /broker");
        check(&announcer, "/postgresql/h:c:5432", true, true, Sight::Part);
        check(&announcer, "/postgresql/h2:c:5432", false, false, Sight::Nothing);
        check(&announcer, "/postgresql/h:5432", false, false, Sight::Nothing);
        check(&announcer, "/postgresql/h:c:d:5432", false, false, Sight::Nothing);
        check(&announcer, "/postgresql/h::5432", false, false, Sight::Nothing);
        check(&announcer, "/postgresql/*:c:5432", false, false, Sight::Nothing);
        check(&announcer, "/postgresql/fd00::1:c:5432", true, true, Sight::Part);
        check(&announcer, "/postgresql/fd00::1:2:c:5432", false, false, Sight::Nothing);
        check(&announcer, "/postgresql/h:c:5432/x", false, false, Sight::Nothing);
        check(&announcer, "/postgresql", false, false, Sight::Part);
        check(&announcer, "/service/h:c:5432", false, false, Sight::Nothing);
        check(&announcer, "/service", false, false, Sight::Nothing);
        // What is a `*` to a pattern is a name like others where keys are given.
        let literal = Rights { read_under: vec![], write: vec![Key::parse("/service/*").unwrap()] };
        check(&Permissions::from(&literal), "/service/*", true, true, Sight::Part);
        check(&Permissions::from(&literal), "/service/b1", false, false, Sight::Nothing);
        check(&permissions("/a*/b", "", ""), "/ax/b", false, false, Sight::Nothing);
        let nobody = Permissions::default();
        check(&nobody, "/", false, false, Sight::Nothing);
        check(&nobody, "/a", false, false, Sight::Nothing);
        check(&permissions("/**", "", "/a"), "/", true, false, Sight::Part);
        check(&permissions("/**", "", "/a"), "/b/c", true, false, Sight::All);
        check(&permissions("/**", "/a/b", "/a"), "/a/b", false, false, Sight::Nothing);
        check(&permissions("/", "", ""), "/", true, false, Sight::Part);
        check(&permissions("/", "", ""), "/a", false, false, Sight::Nothing);
        check(&permissions("/a /a/b", "", ""), "/a", true, false, Sight::Part);
        check(&permissions("/a /a/b", "", ""), "/a/c", false, false, Sight::Nothing);
        let all = Permissions::all();
        check(&all, "/", true, true, Sight::All);
        check(&all, "/a/b", true, true, Sight::All);
    }

    #[test]
    fn where_to_look_is_known_of_some() {
        let check = |read: &str, never: &str, key: &str, expected: Option<&[&str]>| {
            let who = permissions(read, "", never);
            let found = who.names_in(&Key::parse(key).unwrap());
            let found: Option<Vec<&str>> = found.map(|names| names.into_iter().collect());
            assert_eq!(found.as_deref(), expected, "{read} in {key}");
        };
        let guest = "/service/b1/** /service/b1/x /postgresql/** /service/a/b";
        check(guest, "", "/", Some(&["postgresql", "service"]));
        check(guest, "", "/service", Some(&["a", "b1"]));
        check(guest, "", "/service/b1", None);
        check(guest, "", "/service/a/b", Some(&[]));
        check(guest, "", "/other", Some(&[]));
        check("/service/*/leader", "", "/service", None);
        check("/service/*/leader", "", "/service/b1", Some(&["leader"]));
        check("/*/h:*", "", "/a", None);
        check("/**", "/a", "/", None);
    }

    #[test]
    fn a_tree_is_only_its_owners() {
        let check = |write: &str, never: &str, key: &str, expected: bool| {
            let found = permissions("", write, never).may_write_tree(&Key::parse(key).unwrap());
            assert_eq!(found, expected, "{write} but {never}: {key}");
        };
        check("/a/**", "", "/a", true);
        check("/a/**", "", "/a/b", true);
        check("/a/**", "", "/", false);
        check("/a/*", "", "/a/b", false);
        check("/a/**", "/a/b", "/a", false);
        check("/a/**", "/a/b", "/a/b/c", false);
        check("/a/**", "/b", "/a", true);
        check("/**", "", "/", true);
        check("/**", "/a", "/", false);
        // A very key is not what would be under it, were it a directory.
        check("/a/leader", "", "/a/leader", false);
        check("/*/h:*:*", "", "/a/h:c:1", false);
    }
}
