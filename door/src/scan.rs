//! Finds the end of a head while it arrives, each byte looked at once. Pure.
//!
//! It sees to what the parser of heads would let pass (lines that end without a carriage return) and to what would
//! otherwise wait for an end that never comes: other versions of the protocol, and what is no HTTP at all.

use crate::handler::Trouble;

/// How far the search for the end of a head has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// What has been looked at.
    at: usize,
    /// Where the line begins that has no end yet.
    line: usize,
}

impl Scan {
    /// The length of the head, once it is all there. `bytes` begin with it and may only have grown since the last call.
    pub(crate) fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Trouble> {
        if bytes.first().is_some_and(|first| !is_token(*first)) {
            return Err(Trouble::Malformed("this is not HTTP"));
        }
        while let Some(found) = bytes[self.at..].iter().position(|byte| *byte == b'\n') {
            let newline = self.at + found;
            if newline == 0 || bytes[newline - 1] != b'\r' {
                return Err(Trouble::Malformed("a line ends without a carriage return"));
            }
            let line = &bytes[self.line..newline - 1];
            if self.line == 0 {
                check_version(line)?;
            }
            (self.at, self.line) = (newline + 1, newline + 1);
            if line.is_empty() {
                return Ok(Some(self.at));
            }
        }
        self.at = bytes.len();
        Ok(None)
    }
}

/// Looks at the end of a request line only; the rest is the parser's.
fn check_version(line: &[u8]) -> Result<(), Trouble> {
    let word = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match word.strip_prefix(b"HTTP/") {
        Some(b"1.1" | b"1.0") => Ok(()),
        Some([b'0'..=b'9'] | [b'0'..=b'9', b'.', b'0'..=b'9']) => Err(Trouble::Version),
        _ => Err(Trouble::Malformed("the request line names no version of HTTP")),
    }
}

/// What a method may begin with.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
