//! The embedded store's HTTP API for other processes: etcd 3.4's v2 API, as Patroni, [`crate::EtcdV2`], etcdctl and
//! python-etcd use it.
//!
//! [`api`] and [`keys`] turn plain requests into answers and know no socket; this file is what stands between them and
//! the door. Everything is answered on the door's threads, but for reads that may be large (`listings`), writes (by the
//! writer, when the disk has answered), watches (`watchers`): none of these holds a thread. A backup (`backup`) has one.
//!
//! What differs from etcd on purpose; what is not here is held against a real etcd by `tests/differential`:
//!
//! | here | since |
//! | --- | --- |
//! | user and password are always asked for, but for `GET /health`, and there is no `/v2/auth`: users are the broker's | whoever writes here rules every cluster |
//! | `GET /backup` | for `kv backup` |
//! | no CORS headers, no `/v3`, `/metrics`, `/debug` and `/config` | they are of no use to anybody who is let in |
//! | a caller of limited rights sees the rest of the tree as missing; `/v2/stats/store` is for owners and monitors | [`super::permissions`] |
//! | keys and their depth are bounded, and have no control characters: 209 | what other engines could not hold could not be moved to them ([`crate::Key`]) |
//! | bodies have at most [`ServerOptions::max_body_bytes`]: 413 | etcd refuses somewhat larger ones, as 300 |
//! | TTLs of more than a hundred years do not overflow into the past | nobody wants that |
//! | members cannot be changed: 403; the term is always 1, and the raft index is etcd's own | there is one, and no elections |
//! | a refresh with `dir=true` leaves a file a file | etcd would empty it |
//! | children are always sorted | it costs nothing here |
//! | a stream that begins in the past goes on; one that watches a key hears of its removal once | etcd's goes silent after one event, and hears of it twice |
//! | whoever watches what is not there yet is told when a directory above it goes | etcd tells it only who asks later |
//! | a watch ends after [`ServerOptions::longest_wait`] of silence, with nothing more in its body | who has gone without a word would be kept for ever |
//! | a stream's reader is cut off when a megabyte waits for it | etcd counts a hundred events, of any size |

mod api;
mod auth;
mod backup;
mod error;
mod form;
mod keys;
mod listings;
mod plain;
mod reply;
mod request;
mod route;
mod stats;
#[cfg(test)]
mod tests;
mod watchers;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, bounded};
use door::{
    Call, Charge, FailureLimits, Failures, Handler, Head, Limits, Response, TlsConfig, Trouble, Verdict,
};

use api::{Api, Outcome};
pub use auth::{Access, User};
use auth::{Accounts, Caller};
use backup::Backups;
use keys::Wait;
use listings::Listings;
#[doc(hidden)]
pub use plain::answer;
use reply::Reply;
use request::{ApiRequest, Method};
use watchers::Waiter;

use super::Guests;
use crate::{ClientAccess, Embedded};

/// How long, at the end, those are waited for who have not been answered yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the API is served.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Who may come in, and do everything.
    pub access: Access,
    /// Who else may come in, where not everybody may. Defaults to nobody; guests are the store's business.
    pub users: Vec<User>,
    /// How often somebody may come with a wrong password. Guests' are random, but an operator chooses the others.
    pub failures: FailureLimits,
    /// The certificate to show, where it shall speak TLS. Defaults to none.
    pub tls: Option<Arc<TlsConfig>>,
    /// The base URLs that clients are told to use, such as `http://172.17.0.1:4001`. Defaults, if empty, to the
    /// address listened on.
    pub advertise: Vec<String>,
    /// The door's bounds. Half of the connections may wait for changes, so that there is always room for those that
    /// write.
    pub limits: Limits,
    /// The largest body that is read.
    pub max_body_bytes: usize,
    /// How long a watch may wait, whatever it is told meanwhile, before its client is told to ask again.
    pub longest_wait: Duration,
}

impl ServerOptions {
    /// For clients with this user and password: 8192 connections, bodies of 1 MiB as etcd's own limit is about, watches
    /// of a day: python-etcd takes the end of one for a failure.
    #[must_use]
    pub fn basic(username: &str, password: &str) -> Self {
        let access = Access::Basic { username: username.to_owned(), password: password.to_owned() };
        let limits = Limits { max_connections: 8192, ..Limits::default() };
        Self {
            access,
            users: Vec::new(),
            failures: FailureLimits::default(),
            tls: None,
            advertise: Vec::new(),
            limits,
            max_body_bytes: 1 << 20,
            longest_wait: Duration::from_secs(24 * 3600),
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
    access: RwLock<Access>,
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    /// How many changes its connections may have under way together: one each.
    room: usize,
}

impl Server {
    /// Serves `store` on `listener`.
    ///
    /// # Errors
    /// What the system says of the listener or of making threads.
    pub fn start(store: Arc<Embedded>, listener: TcpListener, options: ServerOptions) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let advertise = match options.advertise {
            urls if urls.is_empty() => {
                let scheme = if options.tls.is_some() { "https" } else { "http" };
                vec![format!("{scheme}://{address}")]
            }
            urls => urls,
        };
        let accounts = Accounts::new(&options.access, options.users);
        let api = Arc::new(Api::new(store, accounts, advertise));
        let ServerOptions { tls, limits, max_body_bytes, longest_wait, .. } = options;
        let max_waiters = limits.max_connections.div_ceil(2);
        let (park, arrivals) = bounded(max_waiters);
        let stop = Arc::<AtomicBool>::default();
        let front = Front {
            api: Arc::clone(&api),
            failures: Mutex::new(Failures::new(options.failures)),
            park,
            listings: Listings::start(&api)?,
            backups: Backups::new(Arc::clone(&stop)),
            longest_wait,
            max_body_bytes,
        };
        let room = limits.max_connections;
        api.store.shared.queue.make_room(room);
        let access = RwLock::new(options.access);
        let mut server = Self { door: None, watches: None, api, access, stop, address, room };
        let (api, stop) = (Arc::clone(&server.api), Arc::clone(&server.stop));
        let watch = move || watchers::run_on(&api, &arrivals, &stop, max_waiters);
        server.watches = Some(thread::Builder::new().name("store-watches".to_owned()).spawn(watch)?);
        server.door = Some(door::Server::start(listener, tls, limits, Arc::new(front))?);
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What connections that come from now on are shown, where it speaks TLS.
    pub fn set_tls(&self, tls: Arc<TlsConfig>) {
        if let Some(door) = &self.door {
            door.set_tls(tls);
        }
    }

    /// What another program needs in order to use the store through this door.
    #[must_use]
    pub fn client_access(&self) -> ClientAccess {
        let (username, password) = match &*self.access() {
            Access::Basic { username, password } => (Some(username.clone()), Some(password.clone())),
            Access::NoAuth => (None, None),
        };
        let endpoints = self.api.advertise.clone();
        ClientAccess { engine: "etcd", endpoints, username, password, tls: None, session_node: None }
    }

    /// Who lets guests in to the store that is served here.
    #[must_use]
    pub fn guests(&self) -> Guests {
        Guests::new(Arc::clone(&self.api.store), self.api.advertise.clone())
    }

    /// Lets these users in from now on, and no others but the owner and guests. What those wait for who are no longer
    /// among them, or may do something else now, ends; what they had been let begin is waited for, as long as
    /// [`super::Options::timeout`] says: when this returns they change nothing any more.
    pub fn replace_users(&self, users: Vec<User>) {
        let (api, access) = (&self.api, self.access().clone());
        api.store.shared.change_admissions(|| api.accounts.replace(&access, users));
        if let Err(error) = api.store.catch_up() {
            log::warn!("changes of those who were users before may still wait for the disk: {error}");
        }
    }

    /// The same with another owner.
    pub fn replace_everybody(&self, access: Access, users: Vec<User>) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = access;
        self.replace_users(users);
    }

    fn access(&self) -> RwLockReadGuard<'_, Access> {
        // It is replaced as a whole, so that a panic elsewhere leaves nothing half done here.
        self.access.read().unwrap_or_else(PoisonError::into_inner)
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
        self.api.store.shared.queue.give_room_back(self.room);
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
    failures: Mutex<Failures>,
    park: Sender<Waiter>,
    listings: Listings,
    backups: Backups,
    longest_wait: Duration,
    max_body_bytes: usize,
}

impl Front {
    /// What somebody is told who was not let in. Who claims nothing guesses nothing.
    fn slowed(&self, head: &Head, reply: Reply) -> Response {
        let mut response = Response::from(reply);
        if head.header("authorization").is_some() {
            // What an address owes is set as a whole, so that a panic elsewhere leaves nothing half done here.
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            match failures.charge(head.peer.ip(), head.since) {
                Charge::Delay(delay) => response.delay = (!delay.is_zero()).then_some(delay),
                Charge::TooMany(wait) => {
                    response = Reply::text(429, "too many wrong passwords\n").into();
                    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                    response.headers.push(("Retry-After", seconds.to_string()));
                }
            }
        }
        response
    }
}

impl Handler for Front {
    type Admitted = Caller;

    fn admit(&self, head: &Arc<Head>) -> Verdict<Caller> {
        if let Some(reply) = self.api.for_everybody(&head.method, head.path()) {
            return Verdict::Answer(reply.into());
        }
        match self.api.admit(head.header("authorization")) {
            Ok(caller) => Verdict::Go { admitted: caller, body_limit: self.max_body_bytes, at_once: true },
            Err(reply) => Verdict::Answer(self.slowed(head, reply)),
        }
    }

    fn handle(&self, call: Call<Caller>) {
        let Call { head, admitted, body, reply, .. } = call;
        if head.path() == backup::PATH && head.method == "GET" {
            return self.backups.answer(&self.api, admitted, reply);
        }
        match self.api.handle(&plain(&head, body), &admitted) {
            Outcome::Change(change, pending) => {
                let Some(_held) = self.api.permit(&admitted) else {
                    return send(reply, Api::not_let_in());
                };
                let then = move |outcome| send(reply, pending.reply(outcome));
                self.api.store.submit(change, Box::new(then));
            }
            Outcome::Answer(answer) => send(reply, answer),
            Outcome::Read(read) => self.listings.answer(read, reply),
            Outcome::Watch(wait) => self.watch(wait, reply),
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

impl Front {
    fn watch(&self, mut wait: Wait, reply: door::Reply) {
        // Its reader learns at once the index that it waits from.
        let mut head = Response::new(200, "", Vec::new());
        head.headers = std::mem::take(&mut wait.headers);
        let stream = reply.stream(head);
        match self.park.try_send(Waiter { wait, until: Instant::now() + self.longest_wait, stream }) {
            Ok(()) => self.api.store.shared.history.ring(),
            // An empty body: its client asks again.
            Err(TrySendError::Full(waiter) | TrySendError::Disconnected(waiter)) => waiter.stream.end(),
        }
    }
}

fn send(reply: door::Reply, answer: Reply) {
    if !reply.send(answer.into()) {
        log::debug!("a client of the embedded store's API had gone");
    }
}

/// The request as plain data.
fn plain(head: &Head, body: Vec<u8>) -> ApiRequest {
    let (path, query) = head.split_target();
    ApiRequest {
        method: Method::named(&head.method),
        path: path.to_owned(),
        query: query.to_owned(),
        content_type: head.header("content-type").unwrap_or_default().to_owned(),
        body,
    }
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        let mut response = Self::new(reply.status, "", reply.body.into_bytes());
        response.headers = reply.headers;
        response
    }
}
