//! The pure parts on input that nobody sends on purpose: they neither panic nor read it differently in pieces.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use door::{Decoder, Framing, Trouble, parse};

/// Numbers that look random and are the same each time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }

    /// `text` with some of its bytes changed, doubled or left out.
    fn spoil(&mut self, text: &[u8]) -> Vec<u8> {
        let mut spoiled = text.to_vec();
        for _ in 0..self.next(4) {
            let at = self.next(spoiled.len());
            let byte = b"\r\n\0 :;,0aF\xff\t"[self.next(12)];
            match self.next(3) {
                0 => spoiled[at] = byte,
                1 => spoiled.insert(at, byte),
                _ => drop(spoiled.remove(at)),
            }
        }
        spoiled
    }
}

const HEAD: &[u8] =
    b"PUT /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nConnection: close\r\nX:  y \r\n\r\n";
const BODY: &[u8] = b"5\r\nhello\r\n1;a=b\r\n \r\n5\r\nworld\r\n0\r\nX: y\r\n\r\nGET /";

#[test]
fn a_head_is_whole_or_refused_and_never_changes_its_mind() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let spoiled = numbers.spoil(HEAD);
        let whole = parse(&spoiled, 1 << 10).map(|found| found.map(|(_, length)| length));
        for end in 0..spoiled.len() {
            match (parse(&spoiled[..end], 1 << 10), &whole) {
                (Ok(None), _) => {}
                (Ok(Some((_, length))), whole) => {
                    assert_eq!(whole, &Ok(Some(length)), "{}", spoiled[..end].escape_ascii());
                }
                (Err(trouble), whole) => {
                    assert_eq!(whole, &Err(trouble), "{}", spoiled[..end].escape_ascii());
                }
            }
        }
    }
}

/// The body, and what is left behind it.
fn decode(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Result<(Vec<u8>, usize, bool), Trouble> {
    let mut decoder = Decoder::new(Framing::Chunked, 64).unwrap();
    let (mut body, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let end = bytes.len().min(at + piece());
        let decoded = decoder.decode(&bytes[at..end], &mut body)?;
        at += decoded.consumed;
        if decoded.ended {
            return Ok((body, at, true));
        }
        assert_eq!(at, end, "a body that goes on takes all there is");
    }
    Ok((body, at, false))
}

#[test]
fn a_body_is_the_same_in_pieces_of_any_size() {
    let expected = (b"hello world".to_vec(), BODY.len() - "GET /".len(), true);
    assert_eq!(decode(BODY, || BODY.len()), Ok(expected));
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for _ in 0..50_000 {
        let spoiled = numbers.spoil(BODY);
        let whole = decode(&spoiled, || spoiled.len());
        assert_eq!(decode(&spoiled, || 1), whole, "{}", spoiled.escape_ascii());
        assert_eq!(decode(&spoiled, || 1 + numbers.next(9)), whole, "{}", spoiled.escape_ascii());
    }
}
