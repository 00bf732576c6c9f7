//! What a connection's reader has not taken yet. Empty and without memory while there is nothing.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::transport::Transport;

/// How many pieces go out in one write.
const AT_ONCE: usize = 8;

enum Piece {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Pieces in order, of which the first may have gone out in part.
#[derive(Default)]
pub(crate) struct Output {
    pieces: VecDeque<Piece>,
    sent: usize,
}

impl Output {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.pieces.push_back(Piece::Own(bytes));
        }
    }

    pub(crate) fn share(&mut self, bytes: Arc<[u8]>) {
        if !bytes.is_empty() {
            self.pieces.push_back(Piece::Shared(bytes));
        }
    }

    /// Writes until all is out or the other side takes no more; says whether anything went.
    ///
    /// # Errors
    /// What the socket says, except that it would block.
    pub(crate) fn write_to(&mut self, transport: &mut Transport) -> io::Result<bool> {
        let mut moved = false;
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); AT_ONCE];
            for (number, (slice, piece)) in slices.iter_mut().zip(&self.pieces).enumerate() {
                let begin = if number == 0 { self.sent } else { 0 };
                *slice = IoSlice::new(&piece.bytes()[begin..]);
            }
            let count = self.pieces.len().min(AT_ONCE);
            match transport.write(&slices[..count])? {
                0 => return Ok(moved),
                written => self.advance(written),
            }
            moved = true;
        }
        // Where many pieces have been, none are needed for long.
        self.pieces = VecDeque::new();
        Ok(moved)
    }

    fn advance(&mut self, written: usize) {
        self.sent += written;
        while let Some(first) = self.pieces.front().map(|piece| piece.bytes().len()) {
            if self.sent < first {
                return;
            }
            self.sent -= first;
            self.pieces.pop_front();
        }
    }
}
