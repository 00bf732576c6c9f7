//! Who may ask the broker for what, as the configuration lists them.

use std::fmt;

use super::Secret;

/// Somebody who may ask. Names are unique and hold no colon (RFC 7617); the configuration checks that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As it is sent, and as the access log has it.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// By what he is known.
    pub password: Password,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Order: everything under `/v2`.
    Platform,
    /// Everything.
    Admin,
    /// Look at what has no secret in it: the catalog, the admin's views, metrics.
    Viewer,
}

/// How a password is known to the broker.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// As it is.
    Plain(Secret),
    /// By its argon2 hash, in PHC's string format (`$argon2id$v=19$…`); the configuration checks that it is one.
    Argon2(String),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hash of a poor password is nearly the password.
        f.write_str("<redacted>")
    }
}

impl Role {
    /// Its name in the configuration and the documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Password, Role, User};
    use crate::model::Secret;

    #[test]
    fn a_user_prints_without_his_password() {
        let check = |password: Password| {
            let user = User { name: "cf".to_owned(), role: Role::Platform, password };
            let expected = "User { name: \"cf\", role: Platform, password: <redacted> }";
            assert_eq!(format!("{user:?}"), expected);
        };
        check(Password::Plain(Secret::new("hunter2")));
        check(Password::Argon2("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".to_owned()));
    }
}
