//! Keeps `tiny_http` from forgetting connections.
//!
//! Its pool counts an idle thread until that thread has woken up. Of two connections that arrive in between, both are
//! left to the one thread, and the second is not looked at before some other connection ends, which may be hours. A
//! connection that comes and goes at once frees a thread, which then looks at what was left. So one is made whenever a
//! new connection has been seen, since they come in bursts, and once a second besides, for those that came alone.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

const AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// How long the connections of a burst are given to arrive.
const PAUSE: Duration = Duration::from_millis(5);
/// A listener on this machine answers sooner or not at all.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many connections are remembered as seen; then all are new again, which costs a nudge each.
const REMEMBERED: usize = 4096;

/// The thread that nudges. Dropping it ends it.
#[derive(Debug)]
pub struct Nudge {
    seen: Mutex<HashSet<SocketAddr>>,
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Nudge {
    /// Nudges the server that listens there, on a thread of this name.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(name: &str, listening: SocketAddr) -> std::io::Result<Self> {
        let (wake, woken) = bounded(1);
        let address = reachable(listening);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(address, &woken))?;
        Ok(Self { seen: Mutex::default(), wake: Some(wake), thread: Some(thread) })
    }

    /// Hears of every request's sender.
    pub fn see(&self, sender: Option<SocketAddr>) {
        let Some(sender) = sender else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.insert(sender) {
            return;
        }
        if seen.len() > REMEMBERED {
            seen.clear();
        }
        drop(seen);
        // One that is woken already will come.
        self.wake.as_ref().map(|wake| wake.try_send(()));
    }
}

impl Drop for Nudge {
    fn drop(&mut self) {
        drop(self.wake.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that nudges a listener died");
        }
    }
}

fn run(address: SocketAddr, woken: &Receiver<()>) {
    loop {
        match woken.recv_timeout(AT_LEAST_EVERY) {
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(()) => thread::sleep(PAUSE),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Coming and going is all; where that fails, the listener has worse troubles.
        drop(TcpStream::connect_timeout(&address, PATIENCE));
    }
}

/// Nobody can call the address that means all of them.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}
