//! Basic authentication (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq};

use crate::model::Secret;

/// Who may order.
pub(super) struct Credentials {
    /// `name:password`, as it is sent.
    expected: Secret,
}

impl Credentials {
    pub(super) fn new(username: String, password: Secret) -> Self {
        Self { expected: Secret::new(format!("{username}:{}", password.expose())) }
    }

    /// Whether the header names the one who may. How long that takes says nothing of where, or in what length, a guess
    /// differs: the guess alone sets the pace.
    pub(super) fn accept(&self, header: Option<&str>) -> bool {
        let Some((scheme, encoded)) = header.and_then(|header| header.split_once(' ')) else { return false };
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(guess) = STANDARD.decode(encoded.trim()) else { return false };
        let expected = self.expected.expose().as_bytes();
        let mut same = guess.len().ct_eq(&expected.len());
        for (index, byte) in guess.iter().enumerate() {
            same &= byte.ct_eq(&expected[index % expected.len()]);
        }
        same &= Choice::from(u8::from(!guess.is_empty()));
        same.into()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::Credentials;
    use crate::model::Secret;

    #[test]
    fn only_the_one_with_the_password() {
        let credentials = Credentials::new("platform".to_owned(), Secret::new("pass:word ä"));
        let check = |header: Option<&str>, fine: bool| {
            assert_eq!(credentials.accept(header), fine, "{header:?}");
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(Some(&basic("platform:pass:word ä")), true);
        check(Some(&basic("platform:pass:word ä").replace("Basic", "bASIC ")), true);
        check(None, false);
        check(Some(""), false);
        check(Some("Basic"), false);
        check(Some("Basic "), false);
        check(Some("Basic ???"), false);
        check(Some(&basic("")), false);
        check(Some(&basic("platform:pass:word")), false);
        check(Some(&basic("platform:pass:word äplatform:pass:word ä")), false);
        check(Some(&basic("Platform:pass:word ä")), false);
        check(Some(&basic("platform:pass:word ä").replace("Basic", "Bearer")), false);
    }
}
