//! Basic authentication (RFC 7617): what a header claims.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A name and a password that somebody claims to be his. No `Debug`.
pub(super) struct Guess {
    /// `name:password`, as it is sent.
    bytes: Vec<u8>,
    /// Where the name ends.
    colon: usize,
}

impl Guess {
    /// Reads the header; none where there is no header of that kind, or it is broken.
    pub(super) fn read(header: Option<&str>) -> Option<Self> {
        let (scheme, encoded) = header?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = STANDARD.decode(encoded.trim()).ok()?;
        let colon = bytes.iter().position(|byte| *byte == b':')?;
        Some(Self { bytes, colon })
    }

    /// Name and password as one.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.bytes[..self.colon]
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.bytes[self.colon + 1..]
    }
}
