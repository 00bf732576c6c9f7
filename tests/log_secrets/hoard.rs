//! Every password that a test made, and where it looks for them, in every shape that a program gives a text.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The passwords, each with where it is used.
#[derive(Default)]
pub struct Hoard {
    secrets: Vec<Kept>,
    /// Which shapes of which secrets begin like this: there are thousands, and one look at each place tells.
    beginnings: HashMap<[u8; BEGINNING], Vec<(usize, usize)>>,
}

/// No shape is shorter.
const BEGINNING: usize = 6;

struct Kept {
    what: String,
    /// As a log may show it.
    shapes: Vec<(&'static str, Vec<u8>)>,
}

impl Hoard {
    /// A new password, which no other text has in it. What programs escape is in it too.
    pub fn mint(&mut self, what: &str) -> String {
        let core = uuid::Uuid::new_v4().simple().to_string();
        // Alone it is what is left of the whole one where that is escaped or cut.
        self.keep(what, &core);
        let secret = format!("{core}/+ %&ü?#'=~");
        self.keep(what, &secret);
        secret
    }

    /// One that may stand where only letters and digits do.
    pub fn mint_plain(&mut self, what: &str) -> String {
        let secret = uuid::Uuid::new_v4().simple().to_string();
        self.keep(what, &secret);
        secret
    }

    /// One that somebody else made.
    pub fn keep(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 8, "{what}: so short a text is found by chance");
        let mut shapes = vec![("plain", secret.as_bytes().to_vec())];
        for lower in [false, true] {
            shapes.push(("percent-encoded", percent_encoded(secret, lower).into_bytes()));
        }
        for offset in 0..3 {
            shapes.push(("base64", inside_base64(&STANDARD_NO_PAD, secret, offset)));
            shapes.push(("base64 for URLs", inside_base64(&URL_SAFE_NO_PAD, secret, offset)));
        }
        // As Debug shows bytes.
        shapes.push(("a list of bytes", format!("{:?}", secret.as_bytes()).trim_matches(['[', ']']).into()));
        for (number, (_, shape)) in shapes.iter().enumerate() {
            let (beginning, _) =
                shape.split_first_chunk().expect("a secret of eight bytes has no shorter shape");
            self.beginnings.entry(*beginning).or_default().push((self.secrets.len(), number));
        }
        self.secrets.push(Kept { what: what.to_owned(), shapes });
    }

    /// Which passwords are in the text, each with its shape and the beginning of its line. Never the password.
    pub fn found_in(&self, place: &str, text: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for at in 0..text.len().saturating_sub(BEGINNING) {
            let Some((beginning, _)) = text[at..].split_first_chunk() else { break };
            for (secret, shape) in self.beginnings.get(beginning).into_iter().flatten() {
                let kept = &self.secrets[*secret];
                let (shape, wanted) = &kept.shapes[*shape];
                if text[at..].starts_with(wanted) {
                    let begin = text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    let before = String::from_utf8_lossy(&text[begin..at]);
                    found.push(format!("{place}: {} ({shape}), after: {before}", kept.what));
                }
            }
        }
        found
    }

    /// As [`Hoard::found_in`], of every file below a directory but the store's own; names count too.
    pub fn found_below(&self, directory: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for path in files(directory) {
            let place = path.display().to_string();
            found.extend(self.found_in("a file's name", place.as_bytes()));
            if path.file_name().is_some_and(|name| name == "store.redb") {
                continue;
            }
            // A socket is no file to be read.
            if let Ok(text) = fs::read(&path) {
                found.extend(self.found_in(&place, &text));
            }
        }
        found
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Every byte but the unreserved characters of RFC 3986.
pub fn percent_encoded(text: &str, lower: bool) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if lower => format!("%{byte:02x}"),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// What is the same in the base64 of every text that has the secret in it, after this many bytes (modulo 3).
fn inside_base64(alphabet: &impl Engine, secret: &str, offset: usize) -> Vec<u8> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(secret.as_bytes());
    // Characters that bits of other bytes go into are left out.
    bytes.truncate(bytes.len() / 3 * 3);
    let encoded = alphabet.encode(&bytes);
    encoded.as_bytes()[(offset * 4).div_ceil(3)..].to_vec()
}

/// What is not found cannot be told from what is not looked for.
#[test]
fn every_shape_is_found() {
    let mut hoard = Hoard::default();
    let secret = hoard.mint("the password");
    let check = |text: String, shape: &str| {
        let found = hoard.found_in("a log", text.as_bytes());
        assert!(found.iter().any(|line| line.contains(shape)), "{shape} in {text}: {found:?}");
        assert!(found.iter().all(|line| !line.contains(&secret)), "{found:?}");
    };
    check(format!("said {secret}."), "(plain)");
    check(format!("said {}.", &secret[..32]), "(plain)");
    check(serde_json::json!({"said": secret}).to_string(), "(plain)");
    check(percent_encoded(&secret, false), "(percent-encoded)");
    check(percent_encoded(&secret, true), "(percent-encoded)");
    check(format!("{:?}", secret.as_bytes()), "(a list of bytes)");
    for user in ["", "a", "ab", "abc", "starkandwayne"] {
        check(base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}")), "(base64)");
        check(URL_SAFE_NO_PAD.encode(format!("{user}:{secret}!")), "(base64 for URLs)");
    }
    assert_eq!(hoard.found_in("a log", b"nothing of it"), [""; 0]);
}
