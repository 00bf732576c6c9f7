//! What an event thread decides about a connection that has not asked for it: its time is over, its handler failed, the
//! door stops. And how connections are counted.

use std::sync::atomic::Ordering;

use crate::connection::{After, Connection, State};
use crate::exchange::guard;
use crate::gauges::ThreadCounts;
use crate::handler::{Handler, Trouble};
use crate::head::Head;
use crate::mailbox::Message;
use crate::response::Response;
use crate::turn::{Desk, Fate};

impl<H: Handler> Desk<H> {
    /// A connection whose time is over.
    pub(crate) fn expire(&mut self, connection: &mut Connection<H::Admitted>) -> Fate {
        let stalled = !connection.is_flushed();
        match connection.state {
            State::Head | State::Body(_) if !stalled && connection.is_arriving() => {
                self.refuse_arrival(connection, Trouble::TooSlow);
            }
            State::Delayed(_) if !stalled => self.answer_delayed(connection),
            _ => return Fate::Ends,
        }
        self.advance(connection)
    }

    /// What the handler says to what the door refuses.
    pub(crate) fn words(&self, head: Option<&Head>, trouble: Trouble) -> Response {
        let mut response =
            guard(|| self.shared.handler.refuse(head, trouble)).unwrap_or_else(|| trouble.response());
        response.status = trouble.status();
        let told = response.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        if response.status == 503 && !told {
            response.headers.push(("Retry-After", "1".to_owned()));
        }
        response
    }

    /// A worker has the request no more, and there is no answer.
    pub(crate) fn fail(&mut self, connection: &mut Connection<H::Admitted>, trouble: Trouble) -> Fate {
        match std::mem::replace(&mut connection.state, State::Head) {
            State::Working(head) => self.refuse(connection, Some(&head), trouble, After::complete(&head)),
            State::Judging(pending) => self.decide(connection, pending, None),
            other => {
                connection.state = other;
                return Fate::Waits;
            }
        }
        self.advance(connection)
    }

    /// A request that has not arrived completely, and is not waited for any more.
    pub(crate) fn refuse_arrival(&mut self, connection: &mut Connection<H::Admitted>, trouble: Trouble) {
        match connection.state {
            State::Body(_) => self.refuse_body(connection, trouble),
            _ => self.refuse(connection, None, trouble, After::Linger),
        }
    }

    /// The door is being closed: what keeps it waiting is not waited for.
    pub(crate) fn stop(&mut self, connection: &mut Connection<H::Admitted>) -> Fate {
        match connection.state {
            State::Handshake => return Fate::Ends,
            State::Head if connection.is_idle() => {
                connection.transport.end();
                return Fate::Ends;
            }
            State::Head | State::Body(_) if connection.is_arriving() => {
                self.refuse_arrival(connection, Trouble::Stopping);
            }
            _ => return Fate::Waits,
        }
        self.advance(connection)
    }

    pub(crate) fn counts(&self) -> &ThreadCounts {
        &self.shared.counts.threads[self.thread]
    }

    /// Brings the counts in line with what the connection is now.
    pub(crate) fn count(&self, connection: &mut Connection<H::Admitted>) {
        self.set_counts(connection, connection.is_busy(), connection.is_unanswered());
    }

    pub(crate) fn uncount(&self, connection: &mut Connection<H::Admitted>) {
        self.set_counts(connection, false, false);
    }

    fn set_counts(&self, connection: &mut Connection<H::Admitted>, busy: bool, unanswered: bool) {
        if unanswered != std::mem::replace(&mut connection.counted_unanswered, unanswered) {
            if unanswered {
                self.shared.counts.unanswered.fetch_add(1, Ordering::SeqCst);
            } else {
                self.shared.counts.unanswered.fetch_sub(1, Ordering::SeqCst);
                self.shared.counts.ring();
            }
        }
        if busy != std::mem::replace(&mut connection.counted_busy, busy) {
            if busy {
                self.counts().busy.fetch_add(1, Ordering::SeqCst);
            } else {
                self.counts().busy.fetch_sub(1, Ordering::SeqCst);
                self.tell_of_room();
            }
        }
    }

    /// Whoever waits to be let in may come now.
    pub(crate) fn tell_of_room(&self) {
        let paused = &self.shared.accept_paused;
        if paused.load(Ordering::SeqCst) && paused.swap(false, Ordering::SeqCst) {
            self.shared.mailboxes[0].post(Message::Room);
        }
    }
}
