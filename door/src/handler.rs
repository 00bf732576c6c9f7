//! What the owner of a door implements, and what the door refuses without asking.

use std::sync::Arc;
use std::time::Instant;

use crate::head::Head;
use crate::reply::Reply;
use crate::response::Response;

/// Says what requests mean.
pub trait Handler: Send + Sync + 'static {
    /// What is known of a request before its body has been read.
    type Admitted: Send + 'static;

    /// Looks at a head, on an event thread: it must not block. What can be answered from memory is answered here.
    fn admit(&self, head: &Arc<Head>) -> Verdict<Self::Admitted>;

    /// The same on a worker, after [`Verdict::Ask`]. Asking again is a bug and answered as one.
    fn judge(&self, head: &Arc<Head>) -> Verdict<Self::Admitted> {
        self.admit(head)
    }

    /// Works on a request whose body is complete: on a worker, or on an event thread where [`Verdict::Go`] says that it
    /// never blocks. A panic is answered for it.
    fn handle(&self, call: Call<Self::Admitted>);

    /// The words of what the door refuses by itself, on an event thread: it must not block. The status is
    /// [`Trouble::status`], whatever this says.
    fn refuse(&self, _head: Option<&Head>, trouble: Trouble) -> Response {
        trouble.response()
    }
}

/// What becomes of a request by its head.
pub enum Verdict<A> {
    /// Its body is read, and it is worked on.
    Go {
        /// What is known of it.
        admitted: A,
        /// The largest body that it may have.
        body_limit: usize,
        /// Whether working on it never blocks. Then it is worked on where it was read, which spares waking a worker for
        /// it, and the event thread again for its answer.
        at_once: bool,
    },
    /// It is answered, without its body.
    Answer(Response),
    /// To tell takes time: [`Handler::judge`] says.
    Ask,
}

/// A request to be worked on.
pub struct Call<A> {
    /// Its head.
    pub head: Arc<Head>,
    /// What [`Handler::admit`] knew of it.
    pub admitted: A,
    /// Its body.
    pub body: Vec<u8>,
    /// How it is answered.
    pub reply: Reply,
    /// When its head was there.
    pub since: Instant,
}

/// What the door refuses by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The head or the framing of the body breaks HTTP's rules, in this way.
    Malformed(&'static str),
    /// The sender ended in the middle of its request.
    BrokenOff,
    /// The head or the body did not arrive in time.
    TooSlow,
    /// The body is larger than it may be.
    TooLarge {
        /// What was allowed.
        limit: usize,
    },
    /// The head, or what stands around a body's chunks, is larger than it may be.
    HeadTooLarge,
    /// The sender expects something else than `100-continue`.
    Expectation,
    /// The body is coded in a way that is not known here.
    Coding,
    /// It is another version of HTTP.
    Version,
    /// The handler panicked.
    Panicked,
    /// The handler dropped the reply.
    Lost,
    /// The queue or the memory for bodies is full.
    Full,
    /// The door is being closed.
    Stopping,
}

impl Trouble {
    /// The status that tells it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::BrokenOff => 400,
            Self::TooSlow => 408,
            Self::TooLarge { .. } => 413,
            Self::Expectation => 417,
            Self::HeadTooLarge => 431,
            Self::Panicked | Self::Lost => 500,
            Self::Coding => 501,
            Self::Full | Self::Stopping => 503,
            Self::Version => 505,
        }
    }

    /// A sentence for the sender.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed(reason) => reason,
            Self::BrokenOff => "the request broke off",
            Self::TooSlow => "the request did not arrive in time",
            Self::TooLarge { .. } => "the body is too large",
            Self::Expectation => "no expectation but 100-continue is known here",
            Self::HeadTooLarge => "the head is too large",
            Self::Panicked | Self::Lost => "the server failed",
            Self::Coding => "no coding of bodies but chunked is known here",
            Self::Full => "the server is busy; try again",
            Self::Stopping => "the server is stopping",
            Self::Version => "only HTTP/1.1 and HTTP/1.0 are spoken here",
        }
    }

    /// The answer in plain text.
    #[must_use]
    pub fn response(self) -> Response {
        Response::text(self.status(), &format!("{}\n", self.reason()))
    }
}
