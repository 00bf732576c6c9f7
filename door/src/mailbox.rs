//! How other threads tell an event thread something. It is woken only where it sleeps: one wake for many messages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::net::TcpStream;
use mio::{Registry, Token, Waker};

use crate::handler::Trouble;
use crate::reply::Buffer;
use crate::response::Response;

/// Which connection of an event thread; places are used again, numbers are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) number: u64,
    pub(crate) place: usize,
}

/// What an event thread is told. There are never more than a few for each connection.
pub(crate) enum Message {
    Arrived(TcpStream, SocketAddr),
    Answered(Key, Response),
    Failed(Key, Trouble),
    StreamBegun(Key, Response, Arc<Buffer>),
    StreamGrown(Key),
    /// Look at what was judged.
    Judged,
    /// Close so many connections that keep the door waiting.
    GiveUp(usize),
    /// There may be room again for who waits to be let in.
    Room,
    /// Let nobody in and close who keeps the door waiting.
    Stop,
    /// Close everything and end.
    Quit,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Mailbox {
    sender: Sender<Message>,
    waker: Waker,
    asleep: AtomicBool,
    /// What a stream over this mailbox may hold back.
    pub(crate) max_stream_bytes: usize,
}

impl Mailbox {
    /// # Errors
    /// When the system gives no descriptor.
    pub(crate) fn new(
        registry: &Registry,
        token: Token,
        max_stream_bytes: usize,
    ) -> io::Result<(Self, Receiver<Message>)> {
        let (sender, receiver) = unbounded();
        let waker = Waker::new(registry, token)?;
        Ok((Self { sender, waker, asleep: AtomicBool::new(false), max_stream_bytes }, receiver))
    }

    pub(crate) fn post(&self, message: Message) {
        // An event thread that has ended has closed every connection that a message could be about.
        let sleeps = self.sender.send(message).is_ok() && self.asleep.swap(false, Ordering::SeqCst);
        if sleeps && let Err(error) = self.waker.wake() {
            log::error!("an event thread cannot be woken: {error}");
        }
    }

    /// Told by the event thread before it looks a last time for messages and sleeps, and after.
    pub(crate) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::SeqCst);
    }
}
