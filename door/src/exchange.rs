//! One request and its answer: what the handler is asked, what the door refuses, and how an answer leaves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::TrySendError;

use crate::connection::{After, Body, Connection, Delayed, Pending, State, Streaming};
use crate::framing::{Decoder, Framing};
use crate::handler::{Call, Handler, Trouble, Verdict};
use crate::head::{Head, Request};
use crate::render::{Ending, has_body, render_head};
use crate::reply::{Buffer, Reply};
use crate::response::Response;
use crate::turn::Desk;
use crate::workers::{self, Job};

/// Bodies up to this size are copied, so that head and body go out in one write; larger ones are sent as they are.
const COPIED_BYTES: usize = 16 << 10;

/// A bug in one request must not take the thread from all the others.
pub(crate) fn guard<T>(act: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(act)).ok()
}

impl<H: Handler> Desk<H> {
    /// A head is there.
    pub(crate) fn admit(&mut self, connection: &mut Connection<H::Admitted>, request: Request) {
        let Request { mut head, framing, expects_continue } = request;
        head.peer = connection.peer;
        head.since = self.now;
        head.certificate.clone_from(&connection.certificate);
        let head = Arc::new(head);
        let verdict = guard(|| self.shared.handler.admit(&head));
        let pending = Pending { head, framing, expects_continue };
        match verdict {
            Some(Verdict::Ask) => self.ask(connection, pending),
            other => self.decide(connection, pending, other),
        }
    }

    fn ask(&mut self, connection: &mut Connection<H::Admitted>, pending: Pending) {
        let job = Job::Judge { head: Arc::clone(&pending.head), key: connection.key, thread: self.thread };
        // Who is known must not stand behind a crowd of whom nobody knows.
        let crowded = self.jobs.len() >= self.shared.limits.queue.div_ceil(2);
        self.shared.counts.working.fetch_add(1, Ordering::SeqCst);
        if crowded || self.jobs.try_send(job).is_err() {
            self.shared.counts.working.fetch_sub(1, Ordering::SeqCst);
            return self.refuse_early(connection, &pending, Trouble::Full);
        }
        connection.state = State::Judging(pending);
    }

    /// The verdict is there; nothing, where the handler panicked.
    pub(crate) fn decide(
        &mut self,
        connection: &mut Connection<H::Admitted>,
        pending: Pending,
        verdict: Option<Verdict<H::Admitted>>,
    ) {
        match verdict {
            Some(Verdict::Go { admitted, body_limit, at_once }) => {
                self.begin_body(connection, pending, admitted, body_limit, at_once);
            }
            Some(Verdict::Answer(response)) => self.answer_early(connection, &pending, response),
            Some(Verdict::Ask) | None => self.refuse_early(connection, &pending, Trouble::Panicked),
        }
    }

    fn begin_body(
        &mut self,
        connection: &mut Connection<H::Admitted>,
        pending: Pending,
        admitted: H::Admitted,
        limit: usize,
        at_once: bool,
    ) {
        let decoder = match Decoder::new(pending.framing, limit) {
            Ok(decoder) => decoder,
            Err(trouble) => return self.refuse_early(connection, &pending, trouble),
        };
        let ended = decoder.has_ended();
        if !ended && self.shared.is_stopping() {
            return self.refuse_early(connection, &pending, Trouble::Stopping);
        }
        let Pending { head, expects_continue, .. } = pending;
        let held = self.shared.budget.hold();
        let body = Body { head, admitted, decoder, bytes: Vec::new(), held, at_once };
        if ended {
            return self.submit(connection, body);
        }
        if expects_continue && connection.input.is_empty() {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        connection.began = self.now;
        connection.state = State::Body(Box::new(body));
    }

    /// Takes of `input` what belongs to the body; says how much that was.
    pub(crate) fn feed(&mut self, connection: &mut Connection<H::Admitted>, input: &[u8]) -> usize {
        let State::Body(body) = &mut connection.state else { return 0 };
        make_room(body, input.len());
        match body.decoder.decode(input, &mut body.bytes) {
            Err(trouble) => {
                self.refuse_body(connection, trouble);
                input.len()
            }
            Ok(decoded) => {
                if decoded.ended
                    && let State::Body(body) = std::mem::replace(&mut connection.state, State::Head)
                {
                    self.submit(connection, *body);
                }
                decoded.consumed
            }
        }
    }

    /// A request is complete and goes to a worker, or is worked on here.
    fn submit(&mut self, connection: &mut Connection<H::Admitted>, body: Body<H::Admitted>) {
        let Body { head, admitted, bytes, held, at_once, .. } = body;
        let reply = Reply::new(connection.key, Arc::clone(&self.mailbox), connection.sender());
        let call = Call { head: Arc::clone(&head), admitted, body: bytes, reply, since: head.since };
        if at_once {
            drop(held);
            connection.state = State::Working(head);
            // The answer lies in our own mailbox, which is read before this thread sleeps.
            return workers::handle(&self.shared, call);
        }
        self.shared.counts.working.fetch_add(1, Ordering::SeqCst);
        match self.jobs.try_send(Job::Handle { call, held }) {
            Ok(()) => connection.state = State::Working(head),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                self.shared.counts.working.fetch_sub(1, Ordering::SeqCst);
                if let Job::Handle { call, .. } = job {
                    call.reply.forget();
                }
                self.refuse(connection, Some(&head), Trouble::Full, After::complete(&head));
            }
        }
    }

    /// An answer to a request of which the body has not been looked at.
    fn answer_early(
        &mut self,
        connection: &mut Connection<H::Admitted>,
        pending: &Pending,
        response: Response,
    ) {
        let after = skip_body(connection, pending);
        self.respond(connection, Some(&pending.head), response, after);
    }

    fn refuse_early(
        &mut self,
        connection: &mut Connection<H::Admitted>,
        pending: &Pending,
        trouble: Trouble,
    ) {
        let after = skip_body(connection, pending);
        self.refuse(connection, Some(&pending.head), trouble, after);
    }

    /// The body cannot be had.
    pub(crate) fn refuse_body(&mut self, connection: &mut Connection<H::Admitted>, trouble: Trouble) {
        if let State::Body(body) = std::mem::replace(&mut connection.state, State::Head) {
            self.refuse(connection, Some(&body.head), trouble, After::Linger);
        }
    }

    /// The door's own answer.
    pub(crate) fn refuse(
        &mut self,
        connection: &mut Connection<H::Admitted>,
        head: Option<&Arc<Head>>,
        trouble: Trouble,
        after: After,
    ) {
        self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
        let response = self.words(head.map(|head| &**head), trouble);
        self.respond(connection, head, response, after);
    }

    /// An answer, now or when its time comes.
    pub(crate) fn respond(
        &mut self,
        connection: &mut Connection<H::Admitted>,
        head: Option<&Arc<Head>>,
        mut response: Response,
        after: After,
    ) {
        let Some(delay) = response.delay.take() else {
            return self.emit(connection, head, &response, after);
        };
        let (at, head) = (self.now + delay, head.cloned());
        connection.state = State::Delayed(Box::new(Delayed { at, response, head, after }));
    }

    pub(crate) fn answer_delayed(&mut self, connection: &mut Connection<H::Admitted>) {
        if let State::Delayed(delayed) = std::mem::replace(&mut connection.state, State::Head) {
            self.emit(connection, delayed.head.as_ref(), &delayed.response, delayed.after);
        }
    }

    fn emit(
        &mut self,
        connection: &mut Connection<H::Admitted>,
        head: Option<&Arc<Head>>,
        response: &Response,
        after: After,
    ) {
        let head = head.map(|head| &**head);
        let keep = after == After::Keep && !self.shared.is_stopping();
        let linger = after == After::Linger;
        render_head(&mut self.out, response, head, Ending::Length, keep, &self.date);
        if has_body(head, response.status) {
            if response.body.len() <= COPIED_BYTES {
                self.out.extend_from_slice(&response.body);
            } else {
                self.queue_out(connection);
                connection.output.share(Arc::clone(&response.body));
            }
        }
        self.rest(connection);
        connection.state = if keep { State::Head } else { State::Leaving { linger } };
    }

    /// The head of an answer that goes out in pieces.
    pub(crate) fn begin_stream(
        &mut self,
        connection: &mut Connection<H::Admitted>,
        head: &Arc<Head>,
        response: &Response,
        buffer: Arc<Buffer>,
    ) {
        let ending = if head.is_1_1 { Ending::Chunks } else { Ending::Close };
        let keep = head.keep_alive && head.is_1_1 && !self.shared.is_stopping();
        render_head(&mut self.out, response, Some(head), ending, keep, &self.date);
        self.queue_out(connection);
        self.rest(connection);
        let silent = !has_body(Some(head), response.status);
        let streaming = Streaming { buffer, chunked: head.is_1_1, silent, keep };
        connection.state = State::Streaming(Box::new(streaming));
    }

    /// What has been rendered goes before what is shared.
    fn queue_out(&mut self, connection: &mut Connection<H::Admitted>) {
        if connection.is_flushed() {
            connection.progress = self.now;
        }
        connection.output.push(std::mem::take(&mut self.out));
    }

    /// From here on it is the connection that keeps the door waiting.
    fn rest(&mut self, connection: &mut Connection<H::Admitted>) {
        (connection.since, connection.began) = (self.now, self.now);
    }
}

/// Passes over a body that is there already, so that the connection can be kept.
fn skip_body<A>(connection: &mut Connection<A>, pending: &Pending) -> After {
    let Framing::Length(length) = pending.framing else { return After::Linger };
    match usize::try_from(length) {
        Ok(length) if length <= connection.input.unread().len() => {
            connection.input.consume(length);
            After::complete(&pending.head)
        }
        _ => After::Linger,
    }
}

/// Memory for what has arrived, not for what was announced: it grows with what is sent.
fn make_room<A>(body: &mut Body<A>, arrived: usize) {
    let needed = body.bytes.len() + arrived.min(body.decoder.announced().max(1));
    if needed > body.bytes.capacity() {
        let whole = body.bytes.len().saturating_add(body.decoder.announced());
        let room = needed.max((2 * body.bytes.capacity()).min(whole.max(needed)));
        body.bytes.reserve_exact(room - body.bytes.len());
        body.held.grow_to(body.bytes.capacity());
    }
}
