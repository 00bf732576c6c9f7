//! Starts a door, and stops it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::Poll;
use rustls::ServerConfig;

use crate::accept::Acceptor;
use crate::budget::Budget;
use crate::event_loop::{EventLoop, WAKE};
use crate::gauges::{Counts, Gauges};
use crate::handler::{Handler, Verdict};
use crate::limits::Limits;
use crate::mailbox::{Key, Mailbox, Message};
use crate::render::Date;
use crate::turn::{Desk, READ_BYTES};
use crate::workers::{self, Job};

/// What all threads of a door have in common.
pub(crate) struct Shared<H: Handler> {
    pub(crate) handler: Arc<H>,
    pub(crate) limits: Limits,
    pub(crate) counts: Counts,
    pub(crate) budget: Arc<Budget>,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) judged: Vec<Sender<(Key, Verdict<H::Admitted>)>>,
    pub(crate) accept_paused: AtomicBool,
    pub(crate) has_quit: AtomicBool,
    stopping: AtomicBool,
    tls: RwLock<Option<Arc<ServerConfig>>>,
}

impl<H: Handler> Shared<H> {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// How many connections one event thread may have.
    pub(crate) fn share(&self) -> usize {
        self.limits.max_connections.div_ceil(self.counts.threads.len()).max(1)
    }

    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A listening door. Dropping it closes it at once; see [`Server::stop`].
pub struct Server<H: Handler> {
    shared: Arc<Shared<H>>,
    address: SocketAddr,
    /// Looked at for its length only.
    queue: Receiver<Job<H::Admitted>>,
    event_threads: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
}

impl<H: Handler> Server<H> {
    /// Serves who comes to `listener`, over TLS where there is a configuration for it. What protocols are offered
    /// (ALPN), whose certificates are asked for, is that configuration's.
    ///
    /// # Errors
    /// What the system says of the listener, or of making threads and descriptors.
    pub fn start(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        limits: Limits,
        handler: Arc<H>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let count = limits.event_threads.max(1);
        let (mut ends, mut mailboxes, mut judged) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let poll = Poll::new()?;
            let (mailbox, messages) = Mailbox::new(poll.registry(), WAKE, limits.max_stream_bytes)?;
            let (sender, verdicts) = unbounded();
            mailboxes.push(Arc::new(mailbox));
            judged.push(sender);
            ends.push((poll, messages, verdicts));
        }
        let (jobs, queue) = bounded(limits.queue.max(1));
        let shared = Arc::new(Shared {
            handler,
            counts: Counts::new(count),
            budget: Budget::new(limits.max_request_memory),
            limits,
            mailboxes,
            judged,
            accept_paused: AtomicBool::new(false),
            has_quit: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            tls: RwLock::new(tls),
        });
        // Made first, so that a thread that is refused stops those before it.
        let (event_threads, workers) = (Vec::new(), Vec::new());
        let mut server = Self { shared: Arc::clone(&shared), address, queue, event_threads, workers };
        let mut acceptor = Some(Acceptor::new(mio::net::TcpListener::from_std(listener)));
        for (thread, (poll, messages, verdicts)) in ends.into_iter().enumerate() {
            if let Some(acceptor) = &mut acceptor {
                acceptor.watch(poll.registry(), false)?;
            }
            let desk = desk(&shared, &jobs, thread);
            let event_loop = EventLoop::new(poll, desk, messages, verdicts, acceptor.take());
            server.event_threads.push(spawn(format!("door-{thread}"), move || event_loop.run())?);
        }
        for number in 0..shared.limits.workers.max(1) {
            let (shared, queue) = (Arc::clone(&shared), server.queue.clone());
            let work = move || workers::run(&shared, &queue);
            server.workers.push(spawn(format!("worker-{number}"), work)?);
        }
        Ok(server)
    }

    /// Where it listens: the port that the system chose, where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What connections that come from now on are shown; those that are there keep what they have.
    pub fn set_tls(&self, tls: Arc<ServerConfig>) {
        *self.shared.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(tls);
    }

    /// How it stands.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let counts = &self.shared.counts;
        Gauges {
            open: counts.open(),
            busy: counts.busy(),
            queued: self.queue.len(),
            working: counts.working.load(Ordering::SeqCst),
            request_bytes: self.shared.budget.held(),
            accepted: counts.accepted.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            given_up: counts.given_up.load(Ordering::Relaxed),
        }
    }

    /// Accepts nothing more, closes idle connections, and refuses what has not arrived completely. What is being worked
    /// on, parked or streamed goes on, and its connection is closed after the answer.
    pub fn begin_stop(&self) {
        if !self.shared.stopping.swap(true, Ordering::SeqCst) {
            self.shared.mailboxes.iter().for_each(|mailbox| mailbox.post(Message::Stop));
        }
    }

    /// Waits until no worker has anything to do; parked requests are not waited for. False when `patience` is over
    /// before.
    #[must_use]
    pub fn wait_until_worked(&self, patience: Duration) -> bool {
        self.shared.counts.wait_until(patience, |counts| counts.working.load(Ordering::SeqCst) == 0)
    }

    /// Waits until every request has been answered, parked ones too; false when `patience` is over before.
    #[must_use]
    pub fn wait_until_answered(&self, patience: Duration) -> bool {
        self.shared.counts.wait_until(patience, |counts| {
            counts.working.load(Ordering::SeqCst) == 0 && counts.unanswered.load(Ordering::SeqCst) == 0
        })
    }

    /// Stops it: what is in flight has this long to be answered; then every connection is closed and every thread
    /// joined, but for workers that have not come back from the handler. True where nothing was cut off.
    pub fn stop(mut self, patience: Duration) -> bool {
        self.shut(patience)
    }

    fn shut(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.begin_stop();
        let answered = self.wait_until_answered(patience);
        // Those who have been answered hang up by themselves; in doubt the end of the process hangs up for them.
        let left = || deadline.saturating_duration_since(Instant::now()).min(LAST_GOODBYE);
        let emptied = self.shared.counts.wait_until(left(), |counts| counts.open() == 0);
        log::debug!("a door closes: all answered {answered}, all gone {emptied}");
        self.shared.has_quit.store(true, Ordering::SeqCst);
        self.shared.mailboxes.iter().for_each(|mailbox| mailbox.post(Message::Quit));
        let event_threads = std::mem::take(&mut self.event_threads);
        event_threads.into_iter().for_each(join);
        let idle = self.wait_until_worked(left());
        for worker in std::mem::take(&mut self.workers) {
            if idle || worker.is_finished() {
                join(worker);
            } else {
                log::warn!("a worker has not come back from its request and is left behind");
            }
        }
        answered
    }
}

/// How long who has been answered is waited for to hang up.
const LAST_GOODBYE: Duration = Duration::from_millis(500);

impl<H: Handler> Drop for Server<H> {
    fn drop(&mut self) {
        if !self.event_threads.is_empty() {
            self.shut(Duration::ZERO);
        }
    }
}

fn desk<H: Handler>(shared: &Arc<Shared<H>>, jobs: &Sender<Job<H::Admitted>>, thread: usize) -> Desk<H> {
    Desk {
        shared: Arc::clone(shared),
        mailbox: Arc::clone(&shared.mailboxes[thread]),
        jobs: jobs.clone(),
        thread,
        date: Date::new(),
        now: Instant::now(),
        scratch: vec![0; READ_BYTES],
        out: Vec::new(),
        spare: Vec::new(),
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(run)
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        log::error!("a thread of a door died");
    }
}
