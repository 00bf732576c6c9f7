//! Consul's ACL token: a secret that goes into one header and nowhere else.

use std::fmt;

/// An ACL token's secret. `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The text is no token: it is empty, or has something else than visible ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidToken;

impl Token {
    /// Reads a token, mostly a UUID, as it stands in a file: white space around it is left out.
    ///
    /// # Errors
    /// [`InvalidToken`].
    pub fn parse(raw: &str) -> Result<Self, InvalidToken> {
        let trimmed = raw.trim();
        if trimmed.is_empty() || !trimmed.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken);
        }
        Ok(Self(trimmed.to_owned()))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(<redacted>)")
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the token is empty or has something else than visible ASCII characters")
    }
}

impl std::error::Error for InvalidToken {}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_fits_into_a_header() {
        let check = |raw: &str, fine: bool| assert_eq!(Token::parse(raw).is_ok(), fine, "{raw:?}");
        check("3f0cd05b-1c84-4e1c-b2bd-3a3b2f0f2a55\n", true);
        check("", false);
        check(" \n", false);
        check("a b", false);
        check("a\r\nX-Evil: 1", false);
        check("\u{e4}", false);
    }
}
