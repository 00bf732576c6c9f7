//! One event thread: waits for readiness, messages and deadlines, and gives each connection its turn.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::accept::{Accepted, Acceptor, GIVEN_UP_AT_ONCE};
use crate::connection::{After, Connection, State};
use crate::handler::{Handler, Trouble, Verdict};
use crate::mailbox::{Key, Message};
use crate::timers::Timers;
use crate::transport::Transport;
use crate::turn::{Desk, Fate};

pub(crate) const WAKE: Token = Token(usize::MAX);
pub(crate) const LISTENER: Token = Token(usize::MAX - 1);
const EVENTS: usize = 1024;
/// How long a thread rests whose system call for events fails, which none of ours is known to.
const POLL_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct EventLoop<H: Handler> {
    pub(crate) poll: Poll,
    pub(crate) desk: Desk<H>,
    pub(crate) messages: Receiver<Message>,
    pub(crate) judged: Receiver<(Key, Verdict<H::Admitted>)>,
    pub(crate) acceptor: Option<Acceptor>,
    connections: Vec<Option<Box<Connection<H::Admitted>>>>,
    free: Vec<usize>,
    next_number: u64,
    deadlines: Timers,
    /// Who may be given up, by how long they have kept the door waiting.
    waiting: Timers,
    /// Who can go on without an event.
    ready: Vec<Key>,
    /// Whether requests are being given up, which settles connections as well.
    short_of_memory: bool,
}

impl<H: Handler> EventLoop<H> {
    pub(crate) fn new(
        poll: Poll,
        desk: Desk<H>,
        messages: Receiver<Message>,
        judged: Receiver<(Key, Verdict<H::Admitted>)>,
        acceptor: Option<Acceptor>,
    ) -> Self {
        Self {
            poll,
            desk,
            messages,
            judged,
            acceptor,
            connections: Vec::new(),
            free: Vec::new(),
            next_number: 0,
            deadlines: Timers::default(),
            waiting: Timers::default(),
            ready: Vec::new(),
            short_of_memory: false,
        }
    }

    /// Runs until it is told to quit.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut accepting = Accepted::Done;
        loop {
            self.wait(&mut events, accepting);
            self.desk.now = Instant::now();
            self.desk.date.update();
            for event in &events {
                match event.token() {
                    WAKE => {}
                    LISTENER => {
                        if let Some(acceptor) = &mut self.acceptor {
                            acceptor.set_waiting();
                        }
                    }
                    Token(place) => self.on_event(place, event),
                }
            }
            for key in std::mem::take(&mut self.ready) {
                self.turn(key, |desk, connection| desk.advance(connection));
            }
            if self.read_messages() {
                break;
            }
            self.look_at_deadlines();
            accepting = self.accept();
        }
        for place in 0..self.connections.len() {
            self.close(place);
        }
    }

    fn wait(&mut self, events: &mut Events, accepting: Accepted) {
        self.desk.mailbox.set_asleep(true);
        let at_once = !self.messages.is_empty() || !self.ready.is_empty() || accepting == Accepted::More;
        let retry = self.acceptor.as_ref().and_then(Acceptor::retry_at);
        let next = [self.deadlines.next(), retry].into_iter().flatten().min();
        let timeout = if at_once {
            Some(Duration::ZERO)
        } else {
            next.map(|at| at.saturating_duration_since(Instant::now()))
        };
        let polled = self.poll.poll(events, timeout);
        self.desk.mailbox.set_asleep(false);
        if let Err(error) = polled
            && error.kind() != ErrorKind::Interrupted
        {
            log::error!("an event thread cannot wait for events: {error}");
            std::thread::sleep(POLL_PAUSE);
        }
    }

    fn on_event(&mut self, place: usize, event: &Event) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        connection.readable |= event.is_readable() || event.is_read_closed();
        connection.writable |= event.is_writable();
        if event.is_read_closed() {
            connection.finished = true;
            if let Some(sender) = &connection.sender {
                sender.set_finished();
            }
        }
        // Reset, or closed both ways: an answer would reach nobody.
        if event.is_error() || event.is_write_closed() {
            return self.close(place);
        }
        let key = connection.key;
        self.turn(key, |desk, connection| desk.advance(connection));
    }

    /// Whether to quit.
    fn read_messages(&mut self) -> bool {
        // No more than there are now, so that events have their turn.
        for _ in 0..self.messages.len() {
            match self.messages.try_recv() {
                Ok(Message::Quit) => return true,
                Ok(message) => self.on_message(message),
                Err(_) => break,
            }
        }
        false
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Arrived(stream, peer) => self.arrive(stream, peer),
            Message::Answered(key, response) => self.turn(key, |desk, connection| {
                let State::Working(head) = &connection.state else { return Fate::Waits };
                let head = std::sync::Arc::clone(head);
                desk.respond(connection, Some(&head), response, After::complete(&head));
                desk.advance(connection)
            }),
            Message::Failed(key, trouble) => {
                self.turn(key, |desk, connection| desk.fail(connection, trouble))
            }
            Message::StreamBegun(key, response, buffer) => self.turn(key, |desk, connection| {
                let State::Working(head) = &connection.state else { return Fate::Waits };
                let head = std::sync::Arc::clone(head);
                desk.begin_stream(connection, &head, &response, buffer);
                desk.advance(connection)
            }),
            Message::StreamGrown(key) => self.turn(key, |desk, connection| desk.advance(connection)),
            Message::Judged => self.read_verdicts(),
            Message::GiveUp(count) => {
                self.give_up(count);
            }
            // Accepting is tried after every round.
            Message::Room | Message::Quit => {}
            Message::Stop => self.stop(),
        }
    }

    fn read_verdicts(&mut self) {
        while let Ok((key, verdict)) = self.judged.try_recv() {
            self.turn(key, |desk, connection| {
                if !matches!(connection.state, State::Judging(_)) {
                    return Fate::Waits;
                }
                if let State::Judging(pending) = std::mem::replace(&mut connection.state, State::Head) {
                    desk.decide(connection, pending, Some(verdict));
                }
                desk.advance(connection)
            });
        }
    }

    fn arrive(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Counted already, but not among those who may have to go: where all have become busy in between, there is one
        // too many for a while.
        while self.desk.counts().open.load(Ordering::SeqCst) > self.desk.shared.share() {
            if !self.give_up(1) {
                break;
            }
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let key = Key { number: self.next_number, place };
        self.next_number += 1;
        match self.register(stream, key, peer) {
            Ok(connection) => {
                self.connections[place] = Some(Box::new(connection));
                self.settle(place, Fate::Waits);
            }
            Err(error) => {
                log::debug!("a connection could not be begun: {error}");
                self.free.push(place);
                self.leave();
            }
        }
    }

    fn register(
        &mut self,
        mut stream: TcpStream,
        key: Key,
        peer: SocketAddr,
    ) -> io::Result<Connection<H::Admitted>> {
        if self.desk.shared.is_stopping() {
            return Err(io::Error::other("the door is being closed"));
        }
        // An answer goes out in one write; what is held back waits for nothing but an acknowledgement.
        stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(key.place), interest)?;
        let transport = Transport::new(stream, self.desk.shared.tls())?;
        Ok(Connection::new(key, peer, transport, self.desk.now))
    }

    /// Does something with a connection, if it is still that one, and sees to what follows.
    fn turn(&mut self, key: Key, act: impl FnOnce(&mut Desk<H>, &mut Connection<H::Admitted>) -> Fate) {
        let Some(Some(connection)) = self.connections.get_mut(key.place) else { return };
        if connection.key == key {
            let fate = act(&mut self.desk, connection);
            self.settle(key.place, fate);
        }
    }

    fn settle(&mut self, place: usize, fate: Fate) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        let key = connection.key;
        if fate == Fate::Ends {
            return self.close(place);
        }
        if fate == Fate::GoesOn {
            self.ready.push(key);
        }
        if let Some(at) = connection.deadline(&self.desk.shared.limits)
            && connection.timer.is_none_or(|timer| at < timer)
        {
            connection.timer = Some(at);
            self.deadlines.push(at, key);
        }
        if !connection.listed && !connection.is_busy() {
            connection.listed = true;
            self.waiting.push(connection.since, key);
        }
        self.desk.count(connection);
        if self.desk.shared.budget.is_exceeded() && !std::mem::replace(&mut self.short_of_memory, true) {
            while self.desk.shared.budget.is_exceeded() && self.give_up_an_arrival() {}
            self.short_of_memory = false;
        }
    }

    fn look_at_deadlines(&mut self) {
        let now = self.desk.now;
        while let Some((at, key)) = self.deadlines.pop_due(now) {
            let limits = &self.desk.shared.limits;
            let Some(Some(connection)) = self.connections.get_mut(key.place) else { continue };
            if connection.key != key || connection.timer != Some(at) {
                continue;
            }
            connection.timer = None;
            let due = connection.deadline(limits).is_some_and(|deadline| deadline <= now);
            self.turn(key, |desk, connection| if due { desk.expire(connection) } else { Fate::Waits });
        }
    }

    fn accept(&mut self) -> Accepted {
        let (shared, now) = (&self.desk.shared, self.desk.now);
        let Some(acceptor) = &mut self.acceptor else { return Accepted::Done };
        let accepted = acceptor.accept(shared, now);
        match accepted {
            Accepted::Short => {
                let all = shared.mailboxes.iter();
                all.for_each(|mailbox| mailbox.post(Message::GiveUp(GIVEN_UP_AT_ONCE)));
            }
            Accepted::Unsure => {
                if let Err(error) = acceptor.watch(self.poll.registry(), true) {
                    log::error!("the listener cannot be watched: {error}");
                    acceptor.set_waiting();
                }
            }
            Accepted::Done | Accepted::More => {}
        }
        accepted
    }

    /// Closes those who have kept the door waiting for longest; false where there are not as many.
    fn give_up(&mut self, count: usize) -> bool {
        let mut closed = 0;
        while closed < count {
            let Some((since, key)) = self.waiting.pop() else { return false };
            let Some(Some(connection)) = self.connections.get_mut(key.place) else { continue };
            if connection.key != key {
                continue;
            }
            connection.listed = false;
            if connection.is_busy() {
                continue;
            }
            if connection.since > since {
                connection.listed = true;
                self.waiting.push(connection.since, key);
                continue;
            }
            self.desk.shared.counts.given_up.fetch_add(1, Ordering::Relaxed);
            self.close(key.place);
            closed += 1;
        }
        true
    }

    /// The request that has been arriving for longest makes room for the others.
    fn give_up_an_arrival(&mut self) -> bool {
        let arriving = self.connections.iter().flatten().filter(|one| one.is_arriving());
        let Some(key) = arriving.min_by_key(|one| one.began).map(|oldest| oldest.key) else { return false };
        self.turn(key, |desk, connection| {
            desk.refuse_arrival(connection, Trouble::Full);
            desk.advance(connection)
        });
        true
    }

    fn stop(&mut self) {
        self.acceptor = None;
        let keys: Vec<Key> = self.connections.iter().flatten().map(|one| one.key).collect();
        for key in keys {
            self.turn(key, Desk::stop);
        }
    }

    fn close(&mut self, place: usize) {
        let Some(mut connection) = self.connections.get_mut(place).and_then(Option::take) else { return };
        if let Some(sender) = &connection.sender {
            sender.set_gone();
        }
        self.desk.uncount(&mut connection);
        drop(connection);
        self.free.push(place);
        self.leave();
        // As many entries again as there have been connections at once, so that it costs little each time.
        let most = 2 * self.connections.len() + 1024;
        let connections = &self.connections;
        let alive = |key: Key| matches!(connections.get(key.place), Some(Some(one)) if one.key == key);
        self.deadlines.prune(most, alive);
        self.waiting.prune(most, alive);
    }

    fn leave(&mut self) {
        self.desk.counts().open.fetch_sub(1, Ordering::SeqCst);
        self.desk.shared.counts.ring();
        self.desk.tell_of_room();
    }
}
