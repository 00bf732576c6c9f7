//! The embedded store's HTTP API for other processes: the part of etcd's v2 API that Patroni and [`crate::EtcdV2`] use.
//!
//! [`api`] turns plain requests into answers and knows no socket; this file is what stands between it and the door.
//! Watches are answers in pieces, of which the head goes out at once: none holds a thread.
//!
//! It differs from etcd on purpose: a refresh keeps the index, keys that begin with `_` are not hidden, what is
//! compared is not told in errors, and everything asks for user and password.

mod api;
mod auth;
mod parked;
mod plain;
mod reply;
mod request;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, bounded};
use door::{Call, Handler, Head, Limits, Response, Trouble, Verdict};

use api::{Api, Outcome};
pub use auth::Access;
use parked::Waiter;
#[doc(hidden)]
pub use plain::answer;
use reply::Reply;
use request::{ApiRequest, Method};

use crate::{ClientAccess, Embedded};

/// How long a reader is waited for that takes nothing, and, at the end, for those who have not been answered yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the API is served.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Who may come in.
    pub access: Access,
    /// The base URLs that clients are told to use, such as `http://172.17.0.1:4001`. Defaults, if empty, to the
    /// address listened on.
    pub advertise: Vec<String>,
    /// The door's bounds. Half of the connections may wait for changes, so that there is always room for those that
    /// write.
    pub limits: Limits,
    /// The largest body that is read.
    pub max_body_bytes: usize,
    /// How long a watch waits before its client is told to ask again.
    pub longest_wait: Duration,
}

impl ServerOptions {
    /// For clients with this user and password: 8192 connections, bodies of 1 MiB as etcd's own limit is about, watches
    /// of a minute.
    #[must_use]
    pub fn basic(username: &str, password: &str) -> Self {
        let access = Access::Basic { username: username.to_owned(), password: password.to_owned() };
        let limits = Limits { max_connections: 8192, write_timeout: PATIENCE, ..Limits::default() };
        Self {
            access,
            advertise: Vec::new(),
            limits,
            max_body_bytes: 1 << 20,
            longest_wait: Duration::from_secs(60),
        }
    }
}

/// The served API. Dropping it ends it: what waits is told so, what is worked on is answered, and its threads are
/// joined.
pub struct Server {
    /// None once it is being dropped.
    door: Option<door::Server<Front>>,
    watches: Option<JoinHandle<()>>,
    api: Arc<Api>,
    stop: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Server {
    /// Serves `store` on `listener`.
    ///
    /// # Errors
    /// What the system says of the listener or of making threads.
    pub fn start(store: Arc<Embedded>, listener: TcpListener, options: ServerOptions) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let advertise = match options.advertise {
            urls if urls.is_empty() => vec![format!("http://{address}")],
            urls => urls,
        };
        let api = Arc::new(Api { store, access: options.access, advertise });
        let ServerOptions { limits, max_body_bytes, longest_wait, .. } = options;
        let max_waiters = limits.max_connections.div_ceil(2);
        let (park, arrivals) = bounded(max_waiters);
        let front = Front { api: Arc::clone(&api), park, longest_wait, max_body_bytes };
        let mut server = Self { door: None, watches: None, api, stop: Arc::default(), address };
        let (api, stop) = (Arc::clone(&server.api), Arc::clone(&server.stop));
        let watch = move || parked::run(&api, &arrivals, &stop, max_waiters);
        server.watches = Some(thread::Builder::new().name("store-watches".to_owned()).spawn(watch)?);
        server.door = Some(door::Server::start(listener, None, limits, Arc::new(front))?);
        Ok(server)
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
        if let Some(door) = &self.door {
            door.begin_stop();
        }
        self.stop.store(true, Ordering::SeqCst);
        self.api.store.shared.history.ring();
        if self.watches.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread of the embedded store's watches had panicked");
        }
        if self.door.take().is_some_and(|door| !door.stop(PATIENCE)) {
            log::warn!("a client of the embedded store reads too slowly to be told that it ended");
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The API as the door's handler.
struct Front {
    api: Arc<Api>,
    park: Sender<Waiter>,
    longest_wait: Duration,
    max_body_bytes: usize,
}

impl Handler for Front {
    type Admitted = ();

    fn admit(&self, head: &Arc<Head>) -> Verdict<()> {
        match self.api.admit(head.header("authorization")) {
            Ok(()) => Verdict::Go { admitted: (), body_limit: self.max_body_bytes, at_once: false },
            Err(reply) => Verdict::Answer(reply.into()),
        }
    }

    fn handle(&self, call: Call<()>) {
        let Call { head, body, reply, .. } = call;
        match self.api.handle(&plain(&head, body)) {
            Outcome::Answer(answer) => {
                if !reply.send(answer.into()) {
                    log::debug!("a client of the embedded store's API had gone");
                }
            }
            Outcome::Park(mut wait) => {
                // Its reader learns at once the index that it waits from.
                let mut head = Response::new(200, "", Vec::new());
                head.headers = std::mem::take(&mut wait.headers);
                let stream = reply.stream(head);
                let waiter = Waiter { wait, until: Instant::now() + self.longest_wait, stream };
                match self.park.try_send(waiter) {
                    Ok(()) => self.api.store.shared.history.ring(),
                    // An empty body: its client asks again.
                    Err(TrySendError::Full(waiter) | TrySendError::Disconnected(waiter)) => {
                        waiter.stream.end()
                    }
                }
            }
        }
    }

    fn refuse(&self, _head: Option<&Head>, trouble: Trouble) -> Response {
        match trouble {
            Trouble::TooLarge { limit } => {
                Reply::text(413, format!("the body is larger than {} KiB\n", limit >> 10)).into()
            }
            other => other.response(),
        }
    }
}

/// The request as plain data.
fn plain(head: &Head, body: Vec<u8>) -> ApiRequest {
    let is_form = head
        .header("content-type")
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    let method = match head.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        _ => Method::Other,
    };
    ApiRequest { method, target: head.target.clone(), form: if is_form { body } else { Vec::new() } }
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        let mut response = Self::new(reply.status, "", reply.body.into_bytes());
        response.headers = reply.headers;
        response
    }
}
