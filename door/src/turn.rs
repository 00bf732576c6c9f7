//! Moves a connection on until it waits for something: reads, writes, and calls upon `exchange` for what it all means.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::connection::{After, Connection, State};
use crate::handler::{Handler, Trouble};
use crate::mailbox::Mailbox;
use crate::render::{Date, chunk_size};
use crate::reply::Close;
use crate::scan::Scan;
use crate::server::Shared;
use crate::transport::{Received, Shaken};
use crate::workers::Job;

/// What is read at once. No more than this and a head wait unread in memory.
pub(crate) const READ_BYTES: usize = 16 << 10;
/// Answers to requests that were sent ahead are collected up to this size.
const BATCH_BYTES: usize = 32 << 10;
/// How often one connection is read from before the others have their turn.
const READS_PER_TURN: usize = 16;

/// What an event thread needs to move any of its connections; memory is used by one after the other.
pub(crate) struct Desk<H: Handler> {
    pub(crate) shared: Arc<Shared<H>>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) jobs: Sender<Job<H::Admitted>>,
    pub(crate) thread: usize,
    pub(crate) date: Date,
    pub(crate) now: Instant,
    pub(crate) scratch: Vec<u8>,
    /// What goes out on the connection whose turn it is, before anything of it has been tried.
    pub(crate) out: Vec<u8>,
    pub(crate) spare: Vec<u8>,
}

/// What becomes of a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits for an event, a message or its deadline.
    Waits,
    /// It could go on, but others are to have their turn.
    GoesOn,
    /// It is over.
    Ends,
}

/// What the present state asks for.
pub(crate) enum Step {
    Again,
    Read,
    Flush,
    Wait,
    End,
}

impl<H: Handler> Desk<H> {
    /// One turn of a connection.
    pub(crate) fn advance(&mut self, connection: &mut Connection<H::Admitted>) -> Fate {
        connection.input.borrow(&mut self.spare);
        let fate = self.run(connection);
        connection.input.give_back(&mut self.spare);
        connection.held = (!connection.input.is_empty()).then(|| {
            let mut held = self.shared.budget.hold();
            held.grow_to(connection.input.capacity());
            held
        });
        self.out.clear();
        fate
    }

    fn run(&mut self, connection: &mut Connection<H::Admitted>) -> Fate {
        let mut reads = 0;
        loop {
            let step = match connection.state {
                State::Handshake => self.shake(connection),
                State::Head => self.find_head(connection),
                State::Body(_) => self.take_body(connection),
                State::Streaming(_) => self.stream(connection),
                State::Leaving { linger } => self.leave(connection, linger),
                State::Lingering { left } => self.linger(connection, left),
                State::Judging(_) | State::Working(_) | State::Delayed(_) => Step::Wait,
            };
            let outcome = match step {
                Step::Again => continue,
                Step::End => return Fate::Ends,
                Step::Wait => return if self.flush(connection).is_ok() { Fate::Waits } else { Fate::Ends },
                Step::Flush => self.flush(connection).map(|()| connection.is_flushed()),
                Step::Read if !connection.readable => {
                    return if self.flush(connection).is_ok() { Fate::Waits } else { Fate::Ends };
                }
                Step::Read => self.flush(connection).and_then(|()| {
                    reads += 1;
                    self.read(connection)
                }),
            };
            match outcome {
                Ok(true) if reads >= READS_PER_TURN => {
                    return if self.flush(connection).is_ok() { Fate::GoesOn } else { Fate::Ends };
                }
                Ok(true) => {}
                Ok(false) => return Fate::Waits,
                Err(error) => {
                    log::debug!("a connection failed: {error}");
                    return Fate::Ends;
                }
            }
        }
    }

    /// Sends what there is; says nothing of how far that went.
    fn flush(&mut self, connection: &mut Connection<H::Admitted>) -> io::Result<()> {
        let nothing_was_due = connection.is_flushed();
        let mut moved = false;
        if !self.out.is_empty() {
            let mut written = 0;
            while connection.writable && connection.output.is_empty() && written < self.out.len() {
                match connection.transport.write(&[IoSlice::new(&self.out[written..])])? {
                    0 => connection.writable = false,
                    some => written += some,
                }
            }
            moved |= written > 0;
            if written < self.out.len() {
                connection.output.push(self.out[written..].to_vec());
            }
            self.out.clear();
        }
        if connection.writable && !connection.is_flushed() {
            moved |= connection.output.write_to(&mut connection.transport)?;
            moved |= connection.transport.flush()?;
            connection.writable = connection.is_flushed();
        }
        if moved || nothing_was_due {
            connection.progress = self.now;
        }
        Ok(())
    }

    /// True where there is something new to look at.
    fn read(&mut self, connection: &mut Connection<H::Admitted>) -> io::Result<bool> {
        // Who does not take the answers gets no more of them.
        if !connection.is_flushed() && matches!(connection.state, State::Head) {
            return Ok(false);
        }
        match connection.transport.read(&mut self.scratch)? {
            Received::Data { length, drained } => {
                // The end of the other side may be all that is left, and is not announced twice.
                connection.readable = !drained || connection.finished;
                if matches!(connection.state, State::Body(_)) && connection.input.is_empty() {
                    let scratch = std::mem::take(&mut self.scratch);
                    let consumed = self.feed(connection, &scratch[..length]);
                    connection.input.push(&scratch[consumed..length]);
                    self.scratch = scratch;
                } else {
                    if matches!(connection.state, State::Head) && connection.input.is_empty() {
                        connection.began = self.now;
                    }
                    connection.input.push(&self.scratch[..length]);
                }
                Ok(true)
            }
            Received::Blocked => {
                connection.readable = false;
                Ok(false)
            }
            Received::Ended => {
                connection.finished = true;
                match connection.state {
                    State::Body(_) => self.refuse_body(connection, Trouble::BrokenOff),
                    State::Head if !connection.input.is_empty() => {
                        self.refuse(connection, None, Trouble::BrokenOff, After::Close);
                    }
                    _ => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
                Ok(true)
            }
        }
    }

    fn shake(&mut self, connection: &mut Connection<H::Admitted>) -> Step {
        if !connection.readable {
            return Step::Wait;
        }
        match connection.transport.shake() {
            Ok(Shaken::Done) => {
                connection.certificate = connection.transport.certificate();
                connection.began = self.now;
                connection.state = State::Head;
                Step::Again
            }
            Ok(Shaken::Blocked) => {
                connection.readable = false;
                Step::Wait
            }
            Ok(Shaken::Plain) => {
                let trouble = Trouble::Malformed("this port speaks TLS: use https");
                self.refuse(connection, None, trouble, After::Linger);
                Step::Again
            }
            Err(error) => {
                log::debug!("{}: a TLS handshake failed: {error}", connection.peer);
                connection.state = State::Leaving { linger: true };
                Step::Again
            }
        }
    }

    fn find_head(&mut self, connection: &mut Connection<H::Admitted>) -> Step {
        if !connection.is_flushed() || self.out.len() > BATCH_BYTES {
            return Step::Flush;
        }
        // RFC 9112, 2.2: an empty line that some send after a body. One: with more of them nobody keeps a connection.
        if !connection.skipped && connection.input.unread().starts_with(b"\r\n") {
            connection.input.consume(2);
            connection.scan = Scan::default();
            connection.skipped = true;
        }
        let max = self.shared.limits.max_head_bytes;
        let unread = connection.input.unread();
        if unread.is_empty() || unread == b"\r" {
            return Step::Read;
        }
        let trouble = match connection.scan.find_end(unread) {
            Ok(Some(end)) if end <= max => match crate::head::parse_whole(&unread[..end]) {
                Ok(request) => {
                    connection.input.consume(end);
                    connection.scan = Scan::default();
                    connection.fresh = false;
                    connection.skipped = false;
                    self.admit(connection, request);
                    return Step::Again;
                }
                Err(trouble) => trouble,
            },
            Ok(None) if unread.len() <= max => return Step::Read,
            Ok(_) => Trouble::HeadTooLarge,
            Err(trouble) => trouble,
        };
        self.refuse(connection, None, trouble, After::Linger);
        Step::Again
    }

    fn take_body(&mut self, connection: &mut Connection<H::Admitted>) -> Step {
        if connection.input.is_empty() {
            return Step::Read;
        }
        let mut input = std::mem::take(&mut connection.input);
        let consumed = self.feed(connection, input.unread());
        input.consume(consumed);
        connection.input = input;
        Step::Again
    }

    fn stream(&self, connection: &mut Connection<H::Admitted>) -> Step {
        if !connection.is_flushed() {
            return Step::Flush;
        }
        connection.progress = self.now;
        let State::Streaming(streaming) = &connection.state else { return Step::Wait };
        let (pieces, close) = streaming.buffer.take();
        let (chunked, silent, keep) = (streaming.chunked, streaming.silent, streaming.keep);
        let nothing_new = pieces.is_empty();
        for piece in pieces.into_iter().filter(|_| !silent) {
            if chunked {
                connection.output.push(chunk_size(piece.len()));
                connection.output.share(piece);
                connection.output.push(b"\r\n".to_vec());
            } else {
                connection.output.share(piece);
            }
        }
        match close {
            Close::Cut => return Step::End,
            // Nothing tells a reader that has gone from one that only listens; in doubt nobody waits for it for ever.
            Close::Open if nothing_new && connection.finished => return Step::End,
            Close::Open if nothing_new => return Step::Wait,
            Close::Open => {}
            Close::Ended => {
                if chunked && !silent {
                    connection.output.push(b"0\r\n\r\n".to_vec());
                }
                connection.state = if keep { State::Head } else { State::Leaving { linger: false } };
            }
        }
        Step::Again
    }

    /// The last answer is on its way; once it is out, our end is closed.
    fn leave(&mut self, connection: &mut Connection<H::Admitted>, linger: bool) -> Step {
        if !connection.is_flushed() || !self.out.is_empty() {
            return Step::Flush;
        }
        connection.transport.end();
        // To close with something unread would be a reset, which can overtake the answer.
        if connection.finished || !linger && connection.input.is_empty() && !connection.readable {
            return Step::End;
        }
        connection.began = self.now;
        connection.input = crate::input::Input::default();
        connection.state = State::Lingering { left: self.shared.limits.linger_bytes };
        Step::Again
    }

    fn linger(&mut self, connection: &mut Connection<H::Admitted>, left: usize) -> Step {
        if !connection.readable {
            return Step::Wait;
        }
        match connection.transport.discard(&mut self.scratch) {
            Ok(Received::Data { length, .. }) if length < left => {
                connection.state = State::Lingering { left: left - length };
                Step::Again
            }
            Ok(Received::Blocked) => {
                connection.readable = false;
                Step::Wait
            }
            _ => Step::End,
        }
    }
}
