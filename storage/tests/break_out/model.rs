//! What may be read, said a second time and differently: by trying every key of a small world.

/// Whether a pattern covers a path, segment by segment.
pub fn covers(pattern: &str, path: &str) -> bool {
    let segments = |text: &str| -> Vec<String> {
        text.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
    };
    fn all(pattern: &[String], path: &[String]) -> bool {
        match (pattern, path) {
            ([rest], _) if rest == "**" => true,
            ([], []) => true,
            ([first, pattern @ ..], [found, path @ ..]) => one(first, found) && all(pattern, path),
            _ => false,
        }
    }
    fn one(pattern: &str, found: &str) -> bool {
        match pattern.split_once(":*:*") {
            Some((host, "")) => {
                let rest = found.strip_prefix(host).and_then(|rest| rest.strip_prefix(':'));
                let parts: Vec<&str> = rest.unwrap_or_default().split(':').collect();
                rest.is_some() && parts.len() == 2 && parts.iter().all(|part| !part.is_empty())
            }
            _ => pattern == "*" || pattern == found,
        }
    }
    all(&segments(pattern), &segments(path))
}

/// What somebody may do, as texts.
#[derive(Clone, Debug, Default)]
pub struct Role {
    pub read: Vec<String>,
    pub write: Vec<String>,
    pub never: Vec<String>,
}

impl Role {
    pub fn of(read: &str, write: &str, never: &str) -> Self {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Self { read: words(read), write: words(write), never: words(never) }
    }

    fn is_never(&self, path: &str) -> bool {
        self.never.iter().any(|never| covers(&format!("{never}/**"), path))
    }

    pub fn reads(&self, path: &str) -> bool {
        !self.is_never(path) && self.read.iter().chain(&self.write).any(|pattern| covers(pattern, path))
    }

    pub fn writes(&self, path: &str) -> bool {
        !self.is_never(path) && self.write.iter().any(|pattern| covers(pattern, path))
    }

    /// Whether it may know of a directory: itself or something in it could be read, wherever `world` has names.
    pub fn knows(&self, path: &str, world: &[String]) -> bool {
        let inside = |key: &&String| path == "/" || *key == path || key.starts_with(&format!("{path}/"));
        let open = Self { never: Vec::new(), ..self.clone() };
        !self.is_never(path) && (open.reads(path) || world.iter().filter(inside).any(|key| open.reads(key)))
    }
}

#[test]
fn the_model_itself() {
    let check = |pattern: &str, path: &str, expected: bool| {
        assert_eq!(covers(pattern, path), expected, "{pattern} {path}");
    };
    check("/**", "/", true);
    check("/**", "/a/b", true);
    check("/a/**", "/a", true);
    check("/a/**", "/ab", false);
    check("/a/*", "/a/b", true);
    check("/a/*", "/a", false);
    check("/*/h:*:*", "/i/h:c:1", true);
    check("/*/h:*:*", "/i/h:c", false);
    check("/*/h:*:*", "/i/h:c:d:1", false);
    check("/", "/", true);
    check("/", "/a", false);
}
