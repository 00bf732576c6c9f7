//! The ways to answer, from any thread and at any time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::handler::Trouble;
use crate::mailbox::{Key, Mailbox, Message};
use crate::response::Response;

/// What is known of the other end of a connection.
#[derive(Debug, Default)]
pub(crate) struct Sender(AtomicU8);

const FINISHED: u8 = 1;
const GONE: u8 = 2;

impl Sender {
    pub(crate) fn set_finished(&self) {
        self.0.fetch_or(FINISHED, Ordering::Relaxed);
    }

    pub(crate) fn set_gone(&self) {
        self.0.fetch_or(FINISHED | GONE, Ordering::Relaxed);
    }

    fn has(&self, flag: u8) -> bool {
        self.0.load(Ordering::Relaxed) & flag != 0
    }
}

/// Where an answer goes.
#[derive(Clone)]
struct Address {
    key: Key,
    mailbox: Arc<Mailbox>,
    sender: Arc<Sender>,
}

/// The right to answer one request. It may be kept and used anywhere; dropped, its request is answered with `500`.
pub struct Reply(Option<Address>);

impl Reply {
    pub(crate) fn new(key: Key, mailbox: Arc<Mailbox>, sender: Arc<Sender>) -> Self {
        Self(Some(Address { key, mailbox, sender }))
    }

    /// Answers. False where the sender is known to be gone.
    pub fn send(mut self, response: Response) -> bool {
        let Some(Address { key, mailbox, sender }) = self.0.take() else { return false };
        let listens = !sender.has(GONE);
        if listens {
            mailbox.post(Message::Answered(key, response));
        }
        listens
    }

    /// Sends the head now, and the body in pieces; that of `response` is its first, if it has one.
    #[must_use]
    pub fn stream(mut self, response: Response) -> Stream {
        let address =
            self.0.take().expect("only send, stream and drop take the address, and each is the last");
        let buffer = Arc::new(Buffer::new(address.mailbox.max_stream_bytes));
        if !response.body.is_empty() {
            buffer.push(Arc::clone(&response.body));
        }
        address.mailbox.post(Message::StreamBegun(address.key, response, Arc::clone(&buffer)));
        Stream { buffer, address }
    }

    /// Whether the connection is known to be gone: nobody will read an answer.
    #[must_use]
    pub fn sender_has_gone(&self) -> bool {
        self.0.as_ref().is_none_or(|address| address.sender.has(GONE))
    }

    /// Whether the sender has said that it sends nothing more. It may have gone, or wait for its answer.
    #[must_use]
    pub fn sender_has_finished(&self) -> bool {
        self.0.as_ref().is_none_or(|address| address.sender.has(FINISHED))
    }

    /// The request is answered by somebody else.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(Address { key, mailbox, .. }) = self.0.take() {
            let trouble = if std::thread::panicking() { Trouble::Panicked } else { Trouble::Lost };
            mailbox.post(Message::Failed(key, trouble));
        }
    }
}

/// An answer that goes out in pieces. Dropped before its end, it is cut off, so that nobody takes a part for the whole.
pub struct Stream {
    buffer: Arc<Buffer>,
    address: Address,
}

impl Stream {
    /// Sends a piece; an empty one is nothing. False where nobody reads any more: the sender has gone, or has let so
    /// much wait that the stream was cut off.
    pub fn push(&self, bytes: impl Into<Arc<[u8]>>) -> bool {
        if self.address.sender.has(GONE) {
            return false;
        }
        let (first, taken) = self.buffer.push(bytes.into());
        if first {
            self.tell();
        }
        taken
    }

    /// Waits until nothing of what has been pushed is held back any more: the next push is then never the one too much.
    /// False where nobody reads any more, or the reader has not taken enough within `patience`.
    #[must_use]
    pub fn wait_for_room(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            if self.address.sender.has(GONE) {
                return false;
            }
            // A connection that ends tells nobody: it is looked at in between.
            let slice = until.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
            match self.buffer.wait_until_taken(slice) {
                Some(room) => return room,
                None if Instant::now() >= until => return false,
                None => {}
            }
        }
    }

    /// All of the body has been pushed.
    pub fn end(self) {
        self.buffer.set(Close::Ended);
    }

    /// Whether nobody reads any more.
    #[must_use]
    pub fn reader_has_gone(&self) -> bool {
        self.address.sender.has(GONE)
    }

    fn tell(&self) {
        self.address.mailbox.post(Message::StreamGrown(self.address.key));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.buffer.set(Close::Cut);
        self.tell();
    }
}

/// How often a stream that waits for its reader looks whether there still is one.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    Open,
    Ended,
    Cut,
}

/// The pieces of a stream on their way to the event thread.
#[derive(Debug)]
pub(crate) struct Buffer {
    inner: Mutex<Pieces>,
    taken: Condvar,
    max_bytes: usize,
}

#[derive(Debug)]
struct Pieces {
    waiting: VecDeque<Arc<[u8]>>,
    bytes: usize,
    close: Close,
}

impl Buffer {
    fn new(max_bytes: usize) -> Self {
        let pieces = Pieces { waiting: VecDeque::new(), bytes: 0, close: Close::Open };
        Self { inner: Mutex::new(pieces), taken: Condvar::new(), max_bytes }
    }

    /// Whether the event thread has to be told, and whether the piece was taken.
    fn push(&self, bytes: Arc<[u8]>) -> (bool, bool) {
        let mut pieces = self.lock();
        if pieces.close != Close::Open {
            return (false, false);
        }
        if bytes.is_empty() {
            return (false, true);
        }
        if pieces.bytes > 0 && pieces.bytes + bytes.len() > self.max_bytes {
            pieces.close = Close::Cut;
            pieces.waiting.clear();
            return (true, false);
        }
        pieces.bytes += bytes.len();
        pieces.waiting.push_back(bytes);
        (pieces.waiting.len() == 1, true)
    }

    /// The first word counts.
    fn set(&self, close: Close) {
        let mut pieces = self.lock();
        if pieces.close == Close::Open {
            pieces.close = close;
        }
    }

    /// What has been pushed since the last call, and whether more may come.
    pub(crate) fn take(&self) -> (VecDeque<Arc<[u8]>>, Close) {
        let mut pieces = self.lock();
        if pieces.bytes > 0 {
            pieces.bytes = 0;
            self.taken.notify_all();
        }
        (std::mem::take(&mut pieces.waiting), pieces.close)
    }

    /// Whether there is room; nothing where that has not come about within `patience`.
    fn wait_until_taken(&self, patience: Duration) -> Option<bool> {
        let held = |pieces: &mut Pieces| pieces.bytes > 0 && pieces.close == Close::Open;
        let waited = self.taken.wait_timeout_while(self.lock(), patience, held);
        let (pieces, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if pieces.close == Close::Open { (pieces.bytes == 0).then_some(true) } else { Some(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Pieces> {
        // A piece is pushed as a whole, so that a panic elsewhere leaves nothing half done here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
