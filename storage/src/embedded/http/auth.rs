//! Who may come in.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

/// Who may use the API.
#[derive(Clone)]
pub enum Access {
    /// Only who gives this user and password, by HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// Everybody who reaches it. Must be said aloud: whoever writes here rules every cluster.
    NoAuth,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => {
                f.debug_struct("Basic").field("username", username).field("password", &"<redacted>").finish()
            }
            Self::NoAuth => f.write_str("NoAuth"),
        }
    }
}

impl Access {
    /// Whether an `Authorization` header lets its sender in. The comparison's time tells the length at most.
    pub(super) fn admits(&self, authorization: Option<&str>) -> bool {
        let Self::Basic { username, password } = self else { return true };
        let Some((scheme, encoded)) = authorization.and_then(|header| header.split_once(' ')) else {
            return false;
        };
        let Ok(given) = STANDARD.decode(encoded.trim()) else { return false };
        let expected = format!("{username}:{password}");
        scheme.eq_ignore_ascii_case("basic") && bool::from(given.ct_eq(expected.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::Access;

    #[test]
    fn only_the_right_user_and_password_come_in() {
        let access = Access::Basic { username: "u".to_owned(), password: "p:w".to_owned() };
        let check = |header: Option<&str>, admitted| {
            assert_eq!(access.admits(header), admitted, "{header:?}");
        };
        check(Some("Basic dTpwOnc="), true);
        check(Some("basic dTpwOnc="), true);
        check(Some("Basic dTpwOg=="), false);
        check(Some("Basic dTo="), false);
        check(Some("Basic Og=="), false);
        check(Some("Basic ???"), false);
        check(Some("Bearer dTpwOnc="), false);
        check(Some("dTpwOnc="), false);
        check(None, false);
        assert!(Access::NoAuth.admits(None));
        assert!(!format!("{access:?}").contains("p:w"));
    }
}
