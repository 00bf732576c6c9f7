//! One connection: what state it is in, what it waits for, and until when.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::budget::Held;
use crate::framing::{Decoder, Framing};
use crate::head::Head;
use crate::input::Input;
use crate::limits::Limits;
use crate::mailbox::Key;
use crate::output::Output;
use crate::reply::{Buffer, Sender};
use crate::response::Response;
use crate::scan::Scan;
use crate::transport::Transport;

/// What a connection is about.
pub(crate) enum State<A> {
    /// TLS is being agreed on.
    Handshake,
    /// The next request is waited for, or its head is arriving.
    Head,
    /// A worker judges whether the request may be made.
    Judging(Pending),
    /// The body is arriving.
    Body(Box<Body<A>>),
    /// A worker has the request, or somebody has parked its reply.
    Working(Arc<Head>),
    /// The answer is there and its time is not.
    Delayed(Box<Delayed>),
    /// The answer goes out in pieces.
    Streaming(Box<Streaming>),
    /// The last answer goes out; then the connection ends.
    Leaving { linger: bool },
    /// Our end is closed; what still arrives is thrown away.
    Lingering { left: usize },
}

/// A request whose body has not been looked at.
pub(crate) struct Pending {
    pub(crate) head: Arc<Head>,
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
}

/// A request whose body is arriving.
pub(crate) struct Body<A> {
    pub(crate) head: Arc<Head>,
    pub(crate) admitted: A,
    pub(crate) decoder: Decoder,
    pub(crate) bytes: Vec<u8>,
    pub(crate) held: Held,
    /// Whether it is worked on by the event thread.
    pub(crate) at_once: bool,
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It is kept for the next request.
    Keep,
    /// It is closed.
    Close,
    /// It is closed, but what may still arrive is read first: closing with something unread is a reset, and that can
    /// overtake the answer.
    Linger,
}

impl After {
    /// After a request that has arrived completely.
    pub(crate) fn complete(head: &Head) -> Self {
        if head.keep_alive { Self::Keep } else { Self::Close }
    }
}

/// An answer whose time has not come.
pub(crate) struct Delayed {
    pub(crate) at: Instant,
    pub(crate) response: Response,
    pub(crate) head: Option<Arc<Head>>,
    pub(crate) after: After,
}

/// An answer in pieces.
pub(crate) struct Streaming {
    pub(crate) buffer: Arc<Buffer>,
    /// Whether each piece is a chunk.
    pub(crate) chunked: bool,
    /// Whether the answer has no body, as one to `HEAD`.
    pub(crate) silent: bool,
    pub(crate) keep: bool,
}

/// One connection.
pub(crate) struct Connection<A> {
    pub(crate) key: Key,
    pub(crate) peer: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) state: State<A>,
    pub(crate) input: Input,
    /// What the input holds between two turns.
    pub(crate) held: Option<Held>,
    pub(crate) scan: Scan,
    pub(crate) output: Output,
    /// Made when the first request is handed over.
    pub(crate) sender: Option<Arc<Sender>>,
    pub(crate) certificate: Option<Arc<[u8]>>,
    /// Since when it keeps the door waiting: the oldest is the first to be given up.
    pub(crate) since: Instant,
    /// When what is going on now began: the handshake, the head, the body, the lingering.
    pub(crate) began: Instant,
    /// When the reader last took something.
    pub(crate) progress: Instant,
    /// The earliest moment at which the event thread looks at it anyway.
    pub(crate) timer: Option<Instant>,
    /// Whether it has asked for nothing yet.
    pub(crate) fresh: bool,
    /// Whether an empty line before the next request has been passed over.
    pub(crate) skipped: bool,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Whether the other side has ended its half.
    pub(crate) finished: bool,
    /// Whether it is among those that may be given up.
    pub(crate) listed: bool,
    /// How it is counted at present.
    pub(crate) counted_busy: bool,
    pub(crate) counted_unanswered: bool,
}

impl<A> Connection<A> {
    pub(crate) fn new(key: Key, peer: SocketAddr, transport: Transport, now: Instant) -> Self {
        let state = if transport.is_tls() { State::Handshake } else { State::Head };
        Self {
            key,
            peer,
            transport,
            state,
            input: Input::default(),
            held: None,
            scan: Scan::default(),
            output: Output::default(),
            sender: None,
            certificate: None,
            since: now,
            began: now,
            progress: now,
            timer: None,
            fresh: true,
            skipped: false,
            readable: false,
            writable: true,
            finished: false,
            listed: false,
            counted_busy: false,
            counted_unanswered: false,
        }
    }

    /// Whether the reader has taken everything.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty() && self.transport.is_flushed()
    }

    /// Whether it is the door that keeps it waiting: it is not given up to make room.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.state, State::Judging(_) | State::Working(_) | State::Streaming(_))
    }

    /// Whether a request has been taken on and its answer is not all out.
    pub(crate) fn is_unanswered(&self) -> bool {
        match self.state {
            State::Handshake | State::Body(_) | State::Lingering { .. } => false,
            State::Head | State::Leaving { .. } => !self.is_flushed(),
            State::Judging(_) | State::Working(_) | State::Delayed(_) | State::Streaming(_) => true,
        }
    }

    /// Whether nothing of a request is there.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.input.is_empty() && self.is_flushed()
    }

    /// Whether a request is arriving, and holds memory meanwhile.
    pub(crate) fn is_arriving(&self) -> bool {
        match self.state {
            State::Body(_) => true,
            State::Head => !self.input.is_empty() && self.is_flushed(),
            _ => false,
        }
    }

    /// What is shared with the replies to its requests.
    pub(crate) fn sender(&mut self) -> Arc<Sender> {
        let sender = Arc::clone(self.sender.get_or_insert_default());
        if self.finished {
            sender.set_finished();
        }
        sender
    }

    /// Until when it may stay as it is; nothing where only the door is to act.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let reader = (!self.is_flushed()).then(|| self.progress + limits.write_timeout);
        let writer = match &self.state {
            State::Handshake => Some(self.began + limits.handshake_timeout),
            State::Head if reader.is_some() => None,
            State::Head if self.input.is_empty() && !self.fresh => Some(self.began + limits.idle_timeout),
            State::Head => Some(self.began + limits.head_timeout),
            State::Body(_) => Some(self.began + limits.body_timeout),
            State::Delayed(delayed) => Some(delayed.at),
            State::Lingering { .. } => Some(self.began + limits.linger_timeout),
            State::Judging(_) | State::Working(_) | State::Streaming(_) | State::Leaving { .. } => None,
        };
        [reader, writer].into_iter().flatten().min()
    }
}
