//! What the engines that are reached over a network share: endpoints and TLS, deadlines, and the one rule of writes
//! (bytes which may have arrived are never sent again). Knows no engine's protocol.
//!
//! [`wire`] carries requests and chooses the endpoint; an engine judges what comes back.

mod dial;
mod endpoint;
mod message;
pub(crate) mod survey;
mod tls;
mod unusable;
pub(crate) mod wire;

use std::fmt;
use std::time::Duration;

pub use endpoint::InvalidReach;
pub use tls::{ClientCertificate, Tls};
pub use unusable::Unusable;

/// No single wait for changes is longer, whatever its caller's deadline: a server that hangs is noticed by then, and
/// the next endpoint is asked.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How a store's servers are reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// URLs like `http://10.244.4.2:4001`, all `http` or all `https`, in order of preference.
    pub endpoints: Vec<String>,
    /// For `https`. Without it, the publicly known authorities are trusted.
    pub tls: Option<Tls>,
    /// How long calls may take.
    pub timeouts: Timeouts,
}

impl Reach {
    /// These endpoints, with the default timeouts.
    #[must_use]
    pub fn of(endpoints: &[String]) -> Self {
        Self { endpoints: endpoints.to_vec(), tls: None, timeouts: Timeouts::default() }
    }
}

/// How long calls may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To find and reach one endpoint. Defaults to 2 seconds.
    pub connect: Duration,
    /// For a whole call, over all endpoints, but for watches, which have the deadline of their caller. Defaults to 5
    /// seconds.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), total: Duration::from_secs(5) }
    }
}

/// A user and password. `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"<redacted>")
            .finish()
    }
}

/// Percent-encodes everything but letters, digits and `-._~`, so that nothing in a key can change a request.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{Credentials, percent_encoded};

    #[test]
    fn debug_leaves_the_password_out() {
        let who = Credentials { username: "u".to_owned(), password: "hush".to_owned() };
        assert!(!format!("{who:?}").contains("hush"));
    }

    #[test]
    fn only_plain_characters_stay() {
        assert_eq!(percent_encoded("a b/c?d=1&e#%2F/ä~"), "a%20b%2Fc%3Fd%3D1%26e%23%252F%2F%C3%A4~");
    }
}
