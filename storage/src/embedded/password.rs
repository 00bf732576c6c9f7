//! Passwords as hashes: what is compared, and what is kept of guests.
//!
//! A fast hash without salt is enough here. A guest's password is a random UUID: nobody tries 2^122 of them, and no two
//! are equal. Other users' passwords are hashed in this process's memory only, so that a comparison takes as long
//! whatever was guessed; guesses over the network are slowed by their number, not by their price.

use std::fmt;

use blake2::{Blake2s256, Digest};
use subtle::ConstantTimeEq;

/// What is hashed with it, so that no hash made for another purpose is one of ours.
const DOMAIN: &[u8] = b"patroni-broker: a password of the embedded store\0";

/// What a password hashes to. `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PasswordHash([u8; 32]);

impl PasswordHash {
    pub(super) fn of(password: &[u8]) -> Self {
        Self(Blake2s256::new().chain_update(DOMAIN).chain_update(password).finalize().into())
    }

    /// One that no password is known to have.
    pub(super) fn of_nobody() -> Self {
        Self([0; 32])
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the other is the same; how long that takes says nothing of where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::PasswordHash;

    #[test]
    fn a_hash_is_its_passwords_alone() {
        let hash = PasswordHash::of(b"hush");
        assert!(hash.is(&PasswordHash::of(b"hush")));
        assert!(!hash.is(&PasswordHash::of(b"hush\0")) && !hash.is(&PasswordHash::of(b"")));
        assert!(!hash.is(&PasswordHash::of_nobody()));
        assert_eq!(PasswordHash::from_bytes(hash.as_bytes()), Some(hash.clone()));
        assert_eq!(PasswordHash::from_bytes(b"short"), None);
        assert_eq!(format!("{hash:?}"), "<redacted>");
        // What is in a file must be understood by later versions.
        assert_eq!(hash.as_bytes()[..4], [240, 113, 209, 33]);
    }
}
