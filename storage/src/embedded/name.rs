//! The name of a node in its directory. There are very many, and most are short: those take no memory of their own.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// The longest name that is kept in place.
const SHORT: usize = 22;

/// The last segment of a path, ordered by its bytes.
#[derive(Clone)]
pub(super) enum Name {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

impl Name {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short { .. } => str::from_utf8(self.as_bytes()).expect("it was made of a text"),
            Self::Long(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(length), Some(room)) => {
                room.copy_from_slice(text.as_bytes());
                Self::Short { length, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, SHORT};

    #[test]
    fn a_name_is_its_text_however_long() {
        for length in 0..=255 {
            let text: String = "aä0-".chars().cycle().take(length).collect();
            assert_eq!(Name::from(text.as_str()).as_str(), text);
        }
        assert!(size_of::<Name>() <= 24, "{}", size_of::<Name>());
    }

    #[test]
    fn names_are_in_the_order_of_their_texts() {
        let short = "b".repeat(SHORT);
        let texts = ["", "a", "a\u{1}", "b", &short, &format!("{short}a"), "bc", "ä"];
        for (one, other) in texts.iter().flat_map(|one| texts.iter().map(move |other| (*one, *other))) {
            assert_eq!(Name::from(one).cmp(&Name::from(other)), one.cmp(other), "{one:?} {other:?}");
        }
    }
}
