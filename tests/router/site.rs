//! A store, a directory and a router in it, with HAProxy ended at the end.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use patroni_broker::router::master::{Master, Processes};
use patroni_broker::router::{Router, RouterSettings, report_prefix};
use patroni_broker::routing::RouterReport;
use storage::embedded::Options;
use storage::{Embedded, Expect, Key, Revision, Store};
use tempfile::TempDir;

use crate::shaky::Shaky;
use crate::stand_in::Member;

/// The longest that anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub struct Site {
    pub store: Arc<Shaky>,
    pub directory: TempDir,
    pub router: Option<Router>,
}

impl Site {
    pub fn new() -> Self {
        let store = Arc::new(Shaky::over(Embedded::in_memory(Options::default()).unwrap()));
        let mut site = Self { store, directory: TempDir::new().unwrap(), router: None };
        site.start();
        site
    }

    pub fn settings(&self) -> RouterSettings {
        RouterSettings {
            directory: self.path().to_owned(),
            listen: "127.0.0.1".to_owned(),
            host: "r1".to_owned(),
            haproxy: PathBuf::from("haproxy"),
        }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn start(&mut self) {
        let store: Arc<dyn Store> = self.store.clone();
        self.router = Some(Router::start(store, &self.settings()).unwrap());
    }

    pub fn put(&self, key: &str, value: &str) -> Revision {
        self.store.inner.put(&Key::parse(key).unwrap(), value.as_bytes(), None, Expect::Anything).unwrap()
    }

    pub fn delete(&self, key: &str) {
        self.store.inner.delete(&Key::parse(key).unwrap(), Expect::Anything).unwrap();
    }

    /// Gives the instance a port and these members, and waits until the router says that they are routed.
    pub fn order(&self, instance: &str, members: &[&Member]) -> u16 {
        let port = free_port();
        for member in members {
            self.put(&format!("/service/{instance}/members/{}", member.name), &member.entry());
        }
        let revision = self.put(&format!("/routing/allocation/{instance}"), &port.to_string());
        self.await_report(revision);
        port
    }

    pub fn report(&self) -> Option<Revision> {
        self.whole_report().map(|report| report.revision)
    }

    pub fn whole_report(&self) -> Option<RouterReport> {
        let entry = self.store.inner.get(&report_prefix().child("r1").unwrap()).unwrap()?;
        Some(RouterReport::parse(&entry.value).unwrap())
    }

    /// How often the store has changed.
    pub fn revision(&self) -> u64 {
        self.store.inner.list(&Key::root()).unwrap().revision.0
    }

    pub fn await_report(&self, revision: Revision) {
        eventually("the router's report", || self.report().is_some_and(|at| at >= revision));
    }

    pub fn processes(&self) -> Option<Processes> {
        Master::at(self.path().join("master.sock")).processes().ok()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.router.is_none() {
            self.start();
        }
        if let Some(router) = self.router.take() {
            router.stop_haproxy().unwrap();
        }
    }
}

/// A connection through a public port that has been greeted.
pub struct Session {
    stream: BufReader<TcpStream>,
    /// Which member it leads to.
    pub member: String,
}

impl Session {
    /// Nothing, when there is no leader behind the port or nobody listens.
    pub fn open(port: u16) -> Option<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut member = String::new();
        let length = stream.read_line(&mut member).ok()?;
        (length > 0).then(|| Self { stream, member: member.trim().to_owned() })
    }

    /// Whether what is sent comes back.
    pub fn echoes(&mut self) -> bool {
        let mut line = String::new();
        self.stream.get_mut().write_all(b"ping\n").is_ok()
            && self.stream.read_line(&mut line).is_ok()
            && line == "ping\n"
    }

    /// Waits until the other side has ended it.
    pub fn await_end(&mut self) {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(length) => assert_eq!(length, 0, "the session said {line:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
}

/// A port that nobody has. Below the range from which the system gives ports to connections.
pub fn free_port() -> u16 {
    let mut port = 21000 + (std::process::id() % 5000) as u16 + counter();
    while TcpListener::bind(("127.0.0.1", port)).is_err() {
        port += 1;
    }
    port
}

/// Never the same twice in one process.
fn counter() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Waits until it holds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
