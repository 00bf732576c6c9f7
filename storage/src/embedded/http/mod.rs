//! The embedded store's door for other processes: the part of etcd's v2 API that Patroni and [`crate::EtcdV2`] use.
//!
//! [`api`] turns plain requests into answers and knows no socket; this file is the only one that knows `tiny_http`,
//! which gives each connection a thread and has no read timeout: a door for trusted networks. Who does not read is
//! waited for a bounded time; who asks more on a connection on which a watch waits holds a worker until that is over.
//!
//! It differs from etcd on purpose: a refresh keeps the index, keys that begin with `_` are not hidden, what is
//! compared is not told in errors, and everything asks for user and password.

mod api;
mod auth;
mod parked;
mod reply;
mod request;

use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, bounded};

use api::{Api, Outcome};
pub use auth::Access;
use parked::{MAX_WAITERS, Waiter};
use reply::Reply;
use request::{ApiRequest, Method};

use crate::door::{DISCARD_LIMIT, Nudge, Seats};
use crate::{ClientAccess, Embedded};

/// The longest body, as etcd's own limit is about.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How many refused bodies may be waited for at the same time.
const UNREAD: usize = 64;
/// How many answers to watches may be on their way apart from the others.
const SLOW: usize = 64;
/// How long a write waits for a reader that takes nothing. An answer is given up after up to three of them: a write of
/// which the system has taken a part has not failed yet.
const WRITE_PATIENCE: Duration = Duration::from_secs(3);

/// How the API is served.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Who may come in.
    pub access: Access,
    /// The base URLs that clients are told to use, such as `http://172.17.0.1:4001`. Defaults, if empty, to the
    /// address listened on.
    pub advertise: Vec<String>,
    /// How many requests are worked on at once; those that wait for a change do not count.
    pub workers: usize,
    /// How long a watch waits before its client is told to ask again.
    pub longest_wait: Duration,
}

impl ServerOptions {
    /// For clients with this user and password: 8 workers, watches of a minute.
    #[must_use]
    pub fn basic(username: &str, password: &str) -> Self {
        let access = Access::Basic { username: username.to_owned(), password: password.to_owned() };
        Self { access, advertise: Vec::new(), workers: 8, longest_wait: Duration::from_secs(60) }
    }
}

/// The served API. Dropping it ends it: what waits is told so, and its threads are joined. What is asked afterwards on
/// a connection that was kept is not answered, since `tiny_http` has no way to close one: its client's own timeout, or
/// the end of the process, which is seldom far then, ends that.
pub struct Server {
    http: Arc<tiny_http::Server>,
    api: Arc<Api>,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    workers: usize,
    slow: Arc<Seats>,
}

impl Server {
    /// Serves `store` on `listener`.
    ///
    /// # Errors
    /// What the system says of the listener or of making threads.
    pub fn start(store: Arc<Embedded>, listener: TcpListener, options: ServerOptions) -> io::Result<Self> {
        let address = listener.local_addr()?;
        bound_writes(&listener)?;
        let advertise = match options.advertise {
            urls if urls.is_empty() => vec![format!("http://{address}")],
            urls => urls,
        };
        let api = Arc::new(Api { store, access: options.access, advertise });
        let http = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        let nudge = Arc::new(Nudge::start("store-nudge", address)?);
        let unread = Seats::new(UNREAD);
        let mut server = Self {
            http: Arc::new(http),
            api,
            address,
            stop: Arc::default(),
            threads: Vec::new(),
            workers: options.workers.max(1),
            slow: Seats::new(SLOW),
        };
        let (park, arrivals) = bounded(MAX_WAITERS);
        let (api, stop, slow) = (Arc::clone(&server.api), Arc::clone(&server.stop), Arc::clone(&server.slow));
        server.spawn("store-watches", move || parked::run(&api, &arrivals, &stop, &slow))?;
        for _ in 0..server.workers {
            let worker = Worker {
                http: Arc::clone(&server.http),
                api: Arc::clone(&server.api),
                stop: Arc::clone(&server.stop),
                nudge: Arc::clone(&nudge),
                unread: Arc::clone(&unread),
                park: park.clone(),
                longest_wait: options.longest_wait,
            };
            server.spawn("store-api", move || worker.run())?;
        }
        Ok(server)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(work)?);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What another program needs in order to use the store through this door.
    #[must_use]
    pub fn client_access(&self) -> ClientAccess {
        let (username, password) = match &self.api.access {
            Access::Basic { username, password } => (Some(username.clone()), Some(password.clone())),
            Access::NoAuth => (None, None),
        };
        let endpoints = self.api.advertise.clone();
        ClientAccess { engine: "etcd", endpoints, username, password, tls: None, session_node: None }
    }

    /// Ends it and waits until its threads are done. The store goes on.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.api.store.shared.history.ring();
        for _ in 0..self.workers {
            self.http.unblock();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the embedded store's API had panicked");
            }
        }
        if !self.slow.wait_until_empty(WRITE_PATIENCE * 3) {
            log::warn!("a watcher of the embedded store reads too slowly to be told that it ended");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// `tiny_http` offers no timeouts, but a connection has those of the listener that it came by. Of writing only: one of
/// reading would be one of accepting as well, which `tiny_http` takes for the listener's end.
fn bound_writes(listener: &TcpListener) -> io::Result<()> {
    // Another handle of the same socket, of the type that has the option.
    TcpStream::from(OwnedFd::from(listener.try_clone()?)).set_write_timeout(Some(WRITE_PATIENCE))
}

struct Worker {
    http: Arc<tiny_http::Server>,
    api: Arc<Api>,
    stop: Arc<AtomicBool>,
    /// Ends with the last worker.
    nudge: Arc<Nudge>,
    /// Refused requests whose bodies are still to arrive.
    unread: Arc<Seats>,
    park: Sender<Waiter>,
    longest_wait: Duration,
}

impl Worker {
    fn run(self) {
        while !self.stop.load(Ordering::SeqCst) {
            // An error is the unblocking at shutdown; `stop` is looked at next.
            if let Ok(request) = self.http.recv() {
                self.serve(request);
            }
        }
    }

    fn serve(&self, mut request: tiny_http::Request) {
        self.nudge.see(request.remote_addr().copied());
        let plain = match self.read(&mut request) {
            Ok(plain) => plain,
            Err(reply) => return self.refuse(request, reply),
        };
        match self.api.handle(&plain) {
            Outcome::Answer(reply) => respond(request, reply),
            Outcome::Park(wait) => {
                let mut out = request.into_writer();
                if parked::send_head(&mut *out, &wait).is_err() {
                    return;
                }
                let waiter = Waiter { wait, until: Instant::now() + self.longest_wait, out };
                match self.park.try_send(waiter) {
                    Ok(()) => self.api.store.shared.history.ring(),
                    Err(TrySendError::Full(mut waiter) | TrySendError::Disconnected(mut waiter)) => {
                        // An empty body: its client asks again.
                        drop(waiter.out.write_all(b"0\r\n\r\n").and_then(|()| waiter.out.flush()));
                    }
                }
            }
        }
    }

    /// The request as plain data, or why it is not even looked at. Strangers' bodies are not read here, since their
    /// senders decide how long that takes.
    fn read(&self, request: &mut tiny_http::Request) -> Result<ApiRequest, Reply> {
        let header = |name: &'static str| {
            let found = request.headers().iter().find(|header| header.field.equiv(name));
            found.map(|header| header.value.as_str().to_owned())
        };
        self.api.admit(header("Authorization").as_deref())?;
        let is_form = header("Content-Type")
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
        let method = match request.method() {
            tiny_http::Method::Get => Method::Get,
            tiny_http::Method::Head => Method::Head,
            tiny_http::Method::Put => Method::Put,
            tiny_http::Method::Post => Method::Post,
            tiny_http::Method::Delete => Method::Delete,
            _ => Method::Other,
        };
        let target = request.url().to_owned();
        let mut form = read_body(request)?;
        if !is_form {
            form.clear();
        }
        Ok(ApiRequest { method, target, form })
    }

    /// Answers, and waits for the rest of the body apart.
    fn refuse(&self, request: tiny_http::Request, reply: Reply) {
        let declared = request.body_length().unwrap_or(0);
        if declared == 0 {
            return respond(request, reply);
        }
        let Some(seat) = self.unread.take().filter(|_| declared <= DISCARD_LIMIT) else {
            log::warn!("a refused body of {declared} bytes is not waited for: its connection is given up");
            // Dropping the request would read its body first.
            return std::mem::forget(request);
        };
        seat.apart("store-refusal", move || respond(request, reply));
    }
}

fn read_body(request: &mut tiny_http::Request) -> Result<Vec<u8>, Reply> {
    let too_large = || Reply::text(413, "the body is larger than 1 MiB\n");
    let chunked = request.headers().iter().any(|header| header.field.equiv("Transfer-Encoding"));
    let limit = match request.body_length() {
        Some(length) if length > MAX_BODY_BYTES => return Err(too_large()),
        Some(length) => length,
        None if chunked => MAX_BODY_BYTES + 1,
        // Without either there is no body, and reading may take what comes after the request.
        None => return Ok(Vec::new()),
    };
    let mut body = Vec::new();
    if let Err(error) = request.as_reader().take(limit as u64).read_to_end(&mut body) {
        return Err(Reply::text(400, format!("the body could not be read: {}\n", error.kind())));
    }
    if body.len() > MAX_BODY_BYTES {
        return Err(too_large());
    }
    // The reader ends quietly where the connection does, and part of a value is not the value.
    if request.body_length().is_some_and(|length| body.len() < length) {
        return Err(Reply::text(400, "the body broke off\n"));
    }
    Ok(body)
}

fn respond(request: tiny_http::Request, reply: Reply) {
    let headers = reply.headers.iter().filter_map(|(name, value)| {
        // Names are ours and values are numbers and fixed words: all of them are valid headers.
        tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()
    });
    let body = reply.body.into_bytes();
    let length = body.len();
    let response = tiny_http::Response::new(
        tiny_http::StatusCode(reply.status),
        headers.collect(),
        io::Cursor::new(body),
        Some(length),
        None,
    )
    // What is sent in chunks ends in another one, which has to be waited for as well where nobody reads.
    .with_chunked_threshold(usize::MAX);
    if let Err(error) = request.respond(response) {
        log::debug!("a client of the embedded store's API had gone: {error}");
    }
}
