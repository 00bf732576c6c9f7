//! Keys: absolute paths of safe segments, parsed once at the edge.

use std::fmt;

/// A key: `/` and one or more segments. `/` alone is the root, good for listing and watching everything.
///
/// A segment is 1 to 255 bytes of UTF-8 without `/` and control characters, and is neither `.` nor `..`, so that no
/// engine's HTTP path can be made to mean another key. A key has at most 2,048 bytes and 32 segments.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKey {
    reason: &'static str,
}

/// The longest key in bytes; well below what any engine's URL or key limit allows.
const MAX_LEN: usize = 2048;
/// The most segments. An etcd v2 answers with trees, and what reads JSON gives up at a depth of 128, two for each.
const MAX_SEGMENTS: usize = 32;

impl Key {
    /// The root, above every key.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Reads an absolute path. A trailing slash is not a key.
    ///
    /// # Errors
    /// Says which rule of [`Key`] the text breaks.
    pub fn parse(raw: &str) -> Result<Self, InvalidKey> {
        let Some(path) = raw.strip_prefix('/') else {
            return Err(InvalidKey { reason: "does not start with '/'" });
        };
        if raw.len() > MAX_LEN {
            return Err(InvalidKey { reason: "is longer than 2048 bytes" });
        }
        if path.split('/').count() > MAX_SEGMENTS {
            return Err(InvalidKey { reason: "has more than 32 segments" });
        }
        if !path.is_empty() {
            path.split('/').try_for_each(check_segment)?;
        }
        Ok(Self(raw.to_owned()))
    }

    /// This key with one more segment.
    ///
    /// # Errors
    /// As [`Key::parse`]; a segment with a `/` in it is refused.
    pub fn child(&self, segment: &str) -> Result<Self, InvalidKey> {
        check_segment(segment)?;
        if segment.contains('/') {
            return Err(InvalidKey { reason: "has '/' inside one segment" });
        }
        Self::parse(&format!("{}/{segment}", self.0.trim_end_matches('/')))
    }

    /// This key with one more segment, which is one of a key already.
    pub(crate) fn below(&self, segment: &str) -> Self {
        let base = self.0.trim_end_matches('/');
        let mut path = String::with_capacity(base.len() + 1 + segment.len());
        path.push_str(base);
        path.push('/');
        path.push_str(segment);
        Self(path)
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The segments in order; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The key one segment shorter; `None` for the root, which has none above it.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (above, last) = self.0.rsplit_once('/')?;
        (!last.is_empty()).then(|| if above.is_empty() { Self::root() } else { Self(above.to_owned()) })
    }

    /// Whether this key lies strictly under `prefix/`, so that `/b10` is not under `/b1`.
    #[must_use]
    pub fn is_under(&self, prefix: &Self) -> bool {
        let base = prefix.0.trim_end_matches('/');
        self.0.len() > base.len() + 1 && self.0.starts_with(base) && self.0.as_bytes()[base.len()] == b'/'
    }
}

fn check_segment(segment: &str) -> Result<(), InvalidKey> {
    let reason = match segment {
        "" => "has an empty segment",
        "." | ".." => "has a segment '.' or '..'",
        _ if segment.len() > 255 => "has a segment longer than 255 bytes",
        _ if segment.chars().any(char::is_control) => "has a control character",
        _ => return Ok(()),
    };
    Err(InvalidKey { reason })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key {}", self.reason)
    }
}

impl std::error::Error for InvalidKey {}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn keys_are_paths_of_safe_segments() {
        let check = |raw: &str, fine: bool| assert_eq!(Key::parse(raw).is_ok(), fine, "{raw:?}");
        check("/", true);
        check("/service/b1/state", true);
        check("/postgresql-patroni/10.0.0.1:pb-1:5432", true);
        check("/service/äöü", true);
        check("", false);
        check("service", false);
        check("/service/", false);
        check("//service", false);
        check("/service/../b1", false);
        check("/service/./b1", false);
        check("/service/b\0", false);
        check(&format!("/{}", "x".repeat(256)), false);
        check(&"/x".repeat(5000), false);
        check(&"/x".repeat(32), true);
        check(&"/x".repeat(33), false);
        check(&format!("/{}", "x".repeat(10_000)), false);
        check(&format!("/{}", "x".repeat(255)).repeat(8), true);
        check("/service//b1", false);
        check("/..", false);
        check("/service/b1/..", false);
        check("/service/b\u{7f}", false);
        check("/service/b\u{85}", false);
        check("/service/b\r\nX: y", false);
        // What is no UTF-8 can't be had as a text at all; what replaces it is a character like others.
        check(&String::from_utf8_lossy(b"/service/\xff"), true);
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let check = |key: &str, prefix: &str, under: bool| {
            let (key, prefix) = (Key::parse(key).unwrap(), Key::parse(prefix).unwrap());
            assert_eq!(key.is_under(&prefix), under, "{key} under {prefix}");
        };
        check("/b1/x", "/b1", true);
        check("/b10/x", "/b1", false);
        check("/b1", "/b1", false);
        check("/b1", "/", true);
        check("/", "/", false);
    }

    #[test]
    fn a_child_is_one_segment() {
        let base = Key::parse("/a").unwrap();
        assert_eq!(base.child("b").unwrap().as_str(), "/a/b");
        assert_eq!(Key::root().child("b").unwrap().as_str(), "/b");
        assert_eq!(base.child("b").unwrap().parent(), Some(base.clone()));
        assert_eq!(base.parent(), Some(Key::root()));
        assert_eq!(Key::root().parent(), None);
        assert!(base.child("b/c").is_err());
        assert!(base.child("..").is_err());
    }
}
