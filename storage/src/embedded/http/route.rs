//! Paths as Go's `ServeMux` takes them: decoded, and sent to their clean form where they are not in it. Pure.

use super::form::decode;

/// What a path as it came means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// It is clean.
    Path(Vec<u8>),
    /// It is to be asked for at this location, but for the query.
    Moved(String),
    /// It cannot be decoded.
    Malformed,
}

impl Route {
    pub(super) fn of(raw: &str) -> Self {
        let Ok(path) = decode(raw.as_bytes(), false) else { return Self::Malformed };
        let clean = clean(&path);
        if clean == path { Self::Path(path) } else { Self::Moved(encode(&clean)) }
    }
}

/// Without empty segments, `.` and `..`; a slash at the end stays.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let mut clean: Vec<u8> = segments.iter().flat_map(|segment| [b"/", *segment].concat()).collect();
    if path.ends_with(b"/") || clean.is_empty() {
        clean.push(b'/');
    }
    clean
}

/// Every byte that Go escapes in a path.
fn encode(path: &[u8]) -> String {
    let mut encoded = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::Route;

    #[test]
    fn unclean_paths_are_sent_elsewhere() {
        let path = |text: &str| Route::Path(text.as_bytes().to_vec());
        let moved = |text: &str| Route::Moved(text.to_owned());
        let check = |raw: &str, expected: Route| assert_eq!(Route::of(raw), expected, "{raw}");
        check("/", path("/"));
        check("/a/b", path("/a/b"));
        check("/a/b/", path("/a/b/"));
        check("/a%2Fb+c", path("/a/b+c"));
        check("/a//b", moved("/a/b"));
        check("/a%2F%2fb", moved("/a/b"));
        check("/a/../../%20%3F/", moved("/%20%3F/"));
        check("/a/./b", moved("/a/b"));
        check("/a/%2e%2e/b", moved("/b"));
        check("/a/..", moved("/"));
        check("//", moved("/"));
        check("/a%", Route::Malformed);
        check("/%zz", Route::Malformed);
    }
}
