//! Who else may use a store that several share. Engines that know users give each guest rights of its own.

use std::fmt;

use crate::{ClientAccess, Key, StoreError};

/// Lets guests into a store, each with its own credentials, and out again. Whoever does this is the store's
/// administrator, and nobody else's credentials can.
pub trait AccessControl: Send + Sync {
    /// Lets `guest` in with exactly these rights: those that it had before and are not among them are taken away.
    /// Admitting it twice equals admitting it once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] and [`StoreError::OutcomeUnknown`]: do it again.
    fn admit(&self, guest: &Guest) -> Result<(), StoreError>;

    /// Ends what [`AccessControl::admit`] began, and everything that the guest could do; nothing if there is no such
    /// guest.
    ///
    /// # Errors
    /// As [`AccessControl::admit`].
    fn dismiss(&self, name: &str) -> Result<(), StoreError>;

    /// The names of every guest.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    fn guests(&self) -> Result<Vec<String>, StoreError>;

    /// How the guest reaches the store as itself.
    fn client_access(&self, guest: &Guest) -> ClientAccess;
}

/// A program with credentials of its own. `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its name: 1 to 100 characters of `[A-Za-z0-9._~-]`. Engines add a prefix of their own where users are named.
    pub name: String,
    /// Its password, a random UUID in lower case: what Consul takes for a token's secret.
    pub password: String,
    /// What it may do.
    pub rights: Rights,
}

/// What a guest may do, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// It may read and watch everything under `key/`.
    pub read_under: Vec<Key>,
    /// It may write and delete these very keys, not what is under them.
    pub write: Vec<Key>,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("name", &self.name)
            .field("password", &"<redacted>")
            .field("rights", &self.rights)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Guest, Rights};

    #[test]
    fn debug_leaves_the_password_out() {
        let guest = Guest { name: "b1".to_owned(), password: "hush".to_owned(), rights: Rights::default() };
        assert!(!format!("{guest:?}").contains("hush"));
    }
}
