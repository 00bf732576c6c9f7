//! Lets connections in and shares them out among the event threads. Whatever goes wrong, it tries again.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mio::net::TcpListener;
use mio::{Interest, Registry};

use crate::event_loop::LISTENER;
use crate::handler::Handler;
use crate::mailbox::Message;
use crate::server::Shared;

/// How many are let in before the others have their turn.
const AT_ONCE: usize = 64;
/// How many connections each event thread closes when the system refuses a descriptor.
pub(crate) const GIVEN_UP_AT_ONCE: usize = 8;
/// The system has no descriptor or no memory for another connection: ENOMEM, ENFILE, EMFILE, ENOBUFS.
const SHORTAGES: [i32; 4] = [12, 23, 24, 105];

/// The listening end, on the first event thread.
pub(crate) struct Acceptor {
    listener: TcpListener,
    /// Whether there may be somebody who wants to come in.
    waiting: bool,
    /// Whether there is: the system says that descriptors are short before it looks whether anybody wants one.
    certain: bool,
    /// When to try again.
    retry_at: Option<Instant>,
    /// Whether the present trouble has been logged.
    troubled: bool,
}

/// How letting in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// Nobody waits, or nobody can be let in for now.
    Done,
    /// There may be more.
    More,
    /// Descriptors are short and somebody waits: connections have to go.
    Short,
    /// Descriptors are short and perhaps nobody waits: the listener is to be watched anew, which tells.
    Unsure,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, waiting: true, certain: false, retry_at: None, troubled: false }
    }

    /// The listener has somebody at this moment.
    pub(crate) fn set_waiting(&mut self) {
        (self.waiting, self.certain) = (true, true);
    }

    /// Begins to watch the listener, or does so anew: who waits already is then announced once more.
    pub(crate) fn watch(&mut self, registry: &Registry, anew: bool) -> io::Result<()> {
        if anew {
            registry.reregister(&mut self.listener, LISTENER, Interest::READABLE)
        } else {
            registry.register(&mut self.listener, LISTENER, Interest::READABLE)
        }
    }

    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Lets in who waits, as far as there is room.
    pub(crate) fn accept<H: Handler>(&mut self, shared: &Arc<Shared<H>>, now: Instant) -> Accepted {
        if !self.waiting || self.retry_at.is_some_and(|at| at > now) {
            return Accepted::Done;
        }
        self.retry_at = None;
        for _ in 0..AT_ONCE {
            let Some(thread) = room(shared) else { return Accepted::Done };
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    self.certain = false;
                    shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
                    let open = shared.counts.threads[thread].open.fetch_add(1, Ordering::SeqCst);
                    shared.mailboxes[thread].post(Message::Arrived(stream, peer));
                    // Somebody has to go for this one: not one who has only just come and has not been read yet.
                    if open >= shared.share() {
                        return Accepted::More;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.waiting = false;
                    if std::mem::take(&mut self.troubled) {
                        log::info!("connections are accepted again");
                    }
                    return Accepted::Done;
                }
                // Somebody was gone before he was let in, which is no trouble of ours.
                Err(error) if is_the_senders(&error) => {}
                Err(error) => return self.rest(&error, shared, now),
            }
        }
        Accepted::More
    }

    fn rest<H: Handler>(&mut self, error: &io::Error, shared: &Arc<Shared<H>>, now: Instant) -> Accepted {
        let short = error.raw_os_error().is_some_and(|code| SHORTAGES.contains(&code));
        if short && !self.certain {
            self.waiting = false;
            return Accepted::Unsure;
        }
        if !std::mem::replace(&mut self.troubled, true) {
            log::error!("no connection can be accepted for now, which is tried again: {error}");
        }
        self.retry_at = Some(now + shared.limits.accept_pause);
        if short { Accepted::Short } else { Accepted::Done }
    }
}

fn is_the_senders(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

/// The event thread with the fewest connections, if it has room or can make some. Where there is none, whoever closes a
/// connection, or answers on one, says so.
fn room<H: Handler>(shared: &Arc<Shared<H>>) -> Option<usize> {
    let find = || {
        let counts = shared.counts.threads.iter().enumerate();
        let looked = counts.map(|(number, counts)| {
            (counts.open.load(Ordering::SeqCst), counts.busy.load(Ordering::SeqCst), number)
        });
        let fit = looked.filter(|(open, busy, _)| *open < shared.share() || busy < open);
        fit.min().map(|(_, _, number)| number)
    };
    find().or_else(|| {
        shared.accept_paused.store(true, Ordering::SeqCst);
        // Somebody may have gone in between, without having seen that it matters.
        find()
    })
}
