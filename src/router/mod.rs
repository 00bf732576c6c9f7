//! Drives HAProxy from the store: one public port for an instance's life that leads to its leader.
//!
//! ```text
//! store ── follow ── batches ──> drive ── render, check, reload ──> HAProxy ──> leader
//!                                  └──── report ──> /broker/routers/<host>
//! ```
//!
//! HAProxy decides by itself, by asking each member's Patroni, where the leader is; the router tells it which ports
//! and members there are. It is a detached process that outlives the broker and is adopted again. Knows nothing of
//! operations and writes nothing but its report.

mod drive;
pub mod endpoint;
mod error;
mod follow;
mod haproxy;
pub mod master;
pub mod render;
mod report;
pub mod table;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};
use log::error;
use storage::{Key, Store};

use crate::state::keys;
use drive::Driver;
pub use error::RouterError;
use haproxy::Haproxy;
use table::OwnAddress;

/// How many batches may wait while the router is busy; the follower waits then, and reads more at once later.
const BATCHES: usize = 64;

/// What a router is told.
#[derive(Clone, Debug)]
pub struct RouterSettings {
    /// Where it keeps HAProxy's files and sockets; made if it is missing. At most 75 bytes long.
    pub directory: PathBuf,
    /// The address that the public ports are bound to, such as `0.0.0.0`.
    pub listen: String,
    /// The router's name in `/broker/routers/<host>`: no two routers may share one.
    pub host: String,
    /// The program: a path, or a name to be found in `PATH`.
    pub haproxy: PathBuf,
}

/// Where routers say which revision they have applied, in decimal digits.
#[must_use]
pub fn report_prefix() -> Key {
    keys::routers()
}

/// A router at work. Dropping it stops and joins its threads, within about two seconds while the store answers, and
/// leaves HAProxy running with the routes that it has.
pub struct Router {
    haproxy: Arc<Haproxy>,
    quit: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Router {
    /// Checks what it needs, adopts a HAProxy that runs from this directory, and begins. The store need not answer yet.
    ///
    /// # Errors
    /// [`RouterError`]: an operator has to act.
    pub fn start(store: Arc<dyn Store>, settings: &RouterSettings) -> Result<Self, RouterError> {
        let listen = settings.listen.trim_matches(['[', ']']).parse::<IpAddr>();
        let listen = listen.map_err(|_| RouterError::Listen { listen: settings.listen.clone() })?;
        let host = settings.host.clone();
        let key = report_prefix().child(&host).map_err(|_| RouterError::Host { host: host.clone() })?;
        let haproxy = Arc::new(Haproxy::prepare(&settings.haproxy, &settings.directory)?);
        let (quit, quit_seen) = bounded::<()>(0);
        let (batches, batches_seen) = bounded(BATCHES);
        let (applied, applied_seen) = bounded(16);
        let mut router = Self { haproxy: Arc::clone(&haproxy), quit: Some(quit), threads: Vec::new() };
        let driver = Driver::new(haproxy, OwnAddress { listen, host });
        let quit = quit_seen.clone();
        router.spawn("router", move || driver.run(&batches_seen, &applied, &quit))?;
        let reports_to = Arc::clone(&store);
        router.spawn("router-report", move || report::report(&reports_to, &key, &applied_seen))?;
        router.spawn("router-follow", move || follow::follow(&store, &batches, &quit_seen))?;
        Ok(router)
    }

    /// Stops the router and HAProxy with it: every session through it ends. Without a router, ending the process in
    /// `<directory>/haproxy.pid` does the same.
    ///
    /// # Errors
    /// When HAProxy does not end in time.
    pub fn stop_haproxy(mut self) -> io::Result<()> {
        self.halt();
        self.haproxy.terminate()
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), RouterError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work).map_err(RouterError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }

    fn halt(&mut self) {
        self.quit = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a thread of the router had panicked");
            }
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.halt();
    }
}
