//! Where a body ends, and what of the bytes is body. Pure. Whatever two parties could read differently is refused: a
//! request hidden in another one's body begins with a disagreement about its length.

use crate::handler::Trouble;
use crate::head::Head;

/// All extensions of chunks and all trailers of one body; they are thrown away.
const MAX_EXTRAS_BYTES: usize = 8 << 10;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its length; 0 where there is none.
    Length(u64),
    /// By a last chunk.
    Chunked,
}

impl Framing {
    /// What the headers say (RFC 9112, 6).
    pub(crate) fn of(head: &Head) -> Result<Self, Trouble> {
        let named = |name: &'static str| {
            head.headers().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let (mut lengths, mut codings) = (named("content-length"), named("transfer-encoding"));
        match (lengths.next(), codings.next()) {
            (None, None) => Ok(Self::Length(0)),
            (Some(_), Some(_)) => Err(Trouble::Malformed("the body has a length and a coding")),
            (Some(length), None) => {
                if lengths.next().is_some() {
                    return Err(Trouble::Malformed("the body has more than one length"));
                }
                // Rust, too, would take a sign.
                let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                let length = if digits { length.parse().ok() } else { None };
                length.map(Self::Length).ok_or(Trouble::Malformed("the body's length is no number"))
            }
            (None, Some(_)) if !head.is_1_1 => Err(Trouble::Malformed("HTTP/1.0 knows no codings of bodies")),
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") && codings.next().is_none() => {
                Ok(Self::Chunked)
            }
            (None, Some(_)) => Err(Trouble::Coding),
        }
    }
}

/// What a piece of input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How much of it was the body's; more may be another request's.
    pub consumed: usize,
    /// Whether the body is complete.
    pub ended: bool,
}

/// Takes a body out of what arrives, in pieces of any size.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    limit: usize,
    extras: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    /// In the digits of a chunk's size.
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeNewline {
        size: u64,
    },
    Data(u64),
    DataReturn,
    DataNewline,
    /// At the beginning of a line after the last chunk.
    Trailer,
    TrailerLine,
    TrailerNewline,
    LastNewline,
    Ended,
}

impl Decoder {
    /// For a body of at most `limit` bytes.
    ///
    /// # Errors
    /// `TooLarge` where it is announced to be longer.
    pub fn new(framing: Framing, limit: usize) -> Result<Self, Trouble> {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(length) if length > limit as u64 => return Err(Trouble::TooLarge { limit }),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Ok(Self { state, limit, extras: 0 })
    }

    /// Whether the body is complete.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// How much is known to be still to come.
    pub(crate) fn announced(&self) -> usize {
        match self.state {
            State::Length(left) | State::Data(left) => usize::try_from(left).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// Appends to `body` what of `input` belongs to it.
    ///
    /// # Errors
    /// What is wrong; the decoder is of no use afterwards.
    pub fn decode(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<Decoded, Trouble> {
        let mut at = 0;
        while self.state != State::Ended && at < input.len() {
            match self.state {
                State::Length(left) | State::Data(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                    debug_assert!(
                        body.len() + taken <= self.limit,
                        "sizes are looked at as they are announced"
                    );
                    body.extend_from_slice(&input[at..at + taken]);
                    at += taken;
                    self.state = self.after_data(left - taken as u64);
                }
                _ => {
                    self.state = self.step(input[at], body.len())?;
                    at += 1;
                }
            }
        }
        Ok(Decoded { consumed: at, ended: self.has_ended() })
    }

    fn after_data(&self, left: u64) -> State {
        match self.state {
            State::Length(_) if left == 0 => State::Ended,
            State::Length(_) => State::Length(left),
            _ if left == 0 => State::DataReturn,
            _ => State::Data(left),
        }
    }

    /// One byte of what stands around the data of chunks.
    fn step(&mut self, byte: u8, received: usize) -> Result<State, Trouble> {
        let malformed = Err(Trouble::Malformed("a chunk of the body is malformed"));
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 16 => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { size, digits: 1.. }, b'\r') => State::SizeNewline { size },
            (State::Size { size, digits: 1.. }, b';') => State::Extension { size },
            (State::Extension { size }, b'\r') => State::SizeNewline { size },
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_extra()?;
                State::Extension { size }
            }
            (State::SizeNewline { size: 0 }, b'\n') => State::Trailer,
            (State::SizeNewline { size }, b'\n') => {
                if size > self.limit.saturating_sub(received) as u64 {
                    return Err(Trouble::TooLarge { limit: self.limit });
                }
                State::Data(size)
            }
            (State::DataReturn, b'\r') => State::DataNewline,
            (State::DataNewline, b'\n') => State::Size { size: 0, digits: 0 },
            (State::Trailer, b'\r') => State::LastNewline,
            (State::LastNewline, b'\n') => State::Ended,
            (State::TrailerLine, b'\r') => State::TrailerNewline,
            (State::TrailerNewline, b'\n') => State::Trailer,
            (State::Trailer | State::TrailerLine, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_extra()?;
                State::TrailerLine
            }
            _ => return malformed,
        })
    }

    fn count_extra(&mut self) -> Result<(), Trouble> {
        self.extras += 1;
        if self.extras > MAX_EXTRAS_BYTES { Err(Trouble::HeadTooLarge) } else { Ok(()) }
    }
}
