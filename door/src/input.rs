//! What a connection has received and nobody has looked at yet. Empty and without memory while a connection is idle.

/// Bytes that are taken from the front, without moving the rest each time.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    taken: usize,
}

impl Input {
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn consume(&mut self, length: usize) {
        self.taken += length;
        debug_assert!(self.taken <= self.bytes.len(), "only what has been seen is consumed");
    }

    /// Takes memory that is used by one connection after the other, so that reading costs no allocation.
    pub(crate) fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.bytes.capacity() == 0 {
            std::mem::swap(&mut self.bytes, spare);
        }
    }

    /// Gives it back, and keeps no more than what is still unread.
    pub(crate) fn give_back(&mut self, spare: &mut Vec<u8>) {
        if self.is_empty() {
            self.bytes.clear();
            self.taken = 0;
            if spare.capacity() == 0 {
                std::mem::swap(&mut self.bytes, spare);
            } else {
                self.bytes = Vec::new();
            }
        } else if spare.capacity() == 0 || self.bytes.capacity() > 4 * self.unread().len() {
            let mut kept = self.unread().to_vec();
            std::mem::swap(&mut self.bytes, &mut kept);
            self.taken = 0;
            if spare.capacity() == 0 {
                kept.clear();
                *spare = kept;
            }
        }
    }
}
