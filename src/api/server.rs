//! The door: sockets, threads, the access log. It hands plain requests to [`Api`] and carries answers back.
//!
//! `tiny_http` accepts on one thread and reads the head of a request on one thread per connection. From there on the
//! threads are ours: a fixed number of workers answer. What must wait does so apart from them: a parked request for
//! its operation, a refused body for the rest of it to arrive. What `tiny_http` itself leaves open (slow heads, slow
//! bodies, a listener that gives up when file descriptors run out) is for the door that will replace it.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::{error, info, warn};
use storage::door::{DISCARD_LIMIT, Nudge, Seats};

use super::message::{Answer, Head, Parked, Response};
use super::refusal::Refusal;
use super::{Admitted, Api};
use crate::broker::Outcome;

/// How many requests are worked on at the same time. They wait for the store more than they compute.
const WORKERS: usize = 16;
/// The largest body that is read.
const BODY_LIMIT: usize = 1024 * 1024;
/// How long those who are being answered may take when the server stops.
const LAST_CALL: Duration = Duration::from_secs(5);
/// How often is looked whether they have ended.
const GLANCE: Duration = Duration::from_millis(10);
/// How many refused bodies may be waited for at the same time.
const UNREAD: usize = 64;

/// Why there is no server.
#[derive(Debug)]
pub struct ServerError {
    address: SocketAddr,
    reason: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.reason)
    }
}

impl std::error::Error for ServerError {}

/// The API behind a listening socket. Dropping it stops it.
pub struct Server {
    http: Option<Arc<tiny_http::Server>>,
    workers: Vec<JoinHandle<()>>,
    door: Arc<Door>,
    address: SocketAddr,
}

impl Server {
    /// Takes the address, so that who comes too early waits, and nothing else is begun where it is taken.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn bind(listen: SocketAddr) -> Result<TcpListener, ServerError> {
        TcpListener::bind(listen).map_err(|error| ServerError { address: listen, reason: error.to_string() })
    }

    /// Listens and answers from now on.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the system gives no thread.
    pub fn start(listen: SocketAddr, api: Api) -> Result<Self, ServerError> {
        Self::start_on(Self::bind(listen)?, api)
    }

    /// Answers from now on who comes to this listener.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_on(listener: TcpListener, api: Api) -> Result<Self, ServerError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = listener
            .local_addr()
            .map_err(|error| ServerError { address: unknown, reason: error.to_string() })?;
        let wrong = |reason: String| ServerError { address, reason };
        let http =
            tiny_http::Server::from_listener(listener, None).map_err(|error| wrong(error.to_string()))?;
        let http = Arc::new(http);
        let nudge = Nudge::start("api-nudge", address).map_err(|error| wrong(error.to_string()))?;
        let (unread, stopping) = (Seats::new(UNREAD), AtomicBool::new(false));
        let door = Arc::new(Door { api, nudge, unread, stopping });
        // Made first, so that a thread that is refused stops those before it.
        let mut server = Self { http: Some(Arc::clone(&http)), workers: Vec::new(), door, address };
        for number in 0..WORKERS {
            let (http, door) = (Arc::clone(&http), Arc::clone(&server.door));
            let worker = thread::Builder::new()
                .name(format!("api-{number}"))
                .spawn(move || door.work(&http))
                .map_err(|error| wrong(error.to_string()))?;
            server.workers.push(worker);
        }
        Ok(server)
    }

    /// Where it listens: the port that the system chose, where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, and returns when what is being worked on has been answered, or soon after: a sender whose
    /// body does not come is not waited for. Parked requests go on waiting: stop the broker, so that they are
    /// answered, and then call [`Server::wait_for_parked`].
    pub fn stop(&mut self) {
        self.door.stopping.store(true, Ordering::SeqCst);
        let Some(http) = self.http.take() else { return };
        for _ in &self.workers {
            http.unblock();
        }
        let until = Instant::now() + LAST_CALL;
        while self.workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < until {
            thread::sleep(GLANCE);
        }
        let (ended, stuck): (Vec<_>, Vec<_>) =
            self.workers.drain(..).partition(|worker| worker.is_finished());
        for worker in ended {
            if worker.join().is_err() {
                error!("a thread of the API died");
            }
        }
        if !stuck.is_empty() {
            // They end with the process: nothing can be read with a deadline here.
            warn!("{} requests are left without an answer, since they have not ended", stuck.len());
        }
        while let Ok(Some(request)) = http.try_recv() {
            let refusal = Refusal::new(503, "Stopping", "the broker is stopping");
            send(Pending::new(request), &refusal.into(), true);
        }
    }

    /// Waits until every parked request has been answered; false when `patience` is over before.
    #[must_use]
    pub fn wait_for_parked(&self, patience: Duration) -> bool {
        self.door.api.seats.wait_until_empty(patience)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Door {
    api: Api,
    nudge: Nudge,
    /// Refused requests whose bodies are still to arrive.
    unread: Arc<Seats>,
    stopping: AtomicBool,
}

/// A request that has to be answered, with what the access log says of it.
struct Pending {
    request: tiny_http::Request,
    head: Head,
    since: Instant,
}

/// Why a body was not read to its end.
enum BodyError {
    TooLarge,
    Broken(io::Error),
}

impl Door {
    fn work(self: &Arc<Self>, http: &tiny_http::Server) {
        loop {
            match http.recv() {
                Ok(request) => self.handle(Pending::new(request)),
                // Woken to stop: each of us once.
                Err(_) if self.stopping.load(Ordering::SeqCst) => return,
                Err(error) => error!("no connection is accepted any more; restart the broker: {error}"),
            }
        }
    }

    fn handle(self: &Arc<Self>, mut pending: Pending) {
        self.nudge.see(pending.request.remote_addr().copied());
        let admitted = match self.api.admit(&pending.head) {
            Ok(admitted) => admitted,
            Err(response) => return self.refuse(pending, response),
        };
        let body = match read_body(&mut pending) {
            Ok(body) => body,
            Err(BodyError::TooLarge) => return self.refuse(pending, Refusal::too_large(BODY_LIMIT).into()),
            Err(BodyError::Broken(error)) => {
                info!("a request broke off: {error}");
                let refusal = Refusal::bad("the body broke off or is not well-formed");
                return self.refuse(pending, refusal.into());
            }
        };
        match self.perform(admitted, &body) {
            Answer::Now(response) => send(pending, &response, false),
            Answer::Parked(parked) => self.park(pending, parked),
        }
    }

    /// A bug in one request must not take the thread from all the others.
    fn perform(&self, admitted: Admitted, body: &[u8]) -> Answer {
        catch_unwind(AssertUnwindSafe(|| self.api.perform(admitted, body))).unwrap_or_else(|_| {
            Answer::Now(Refusal::new(500, "InternalError", "the broker failed; its log says more").into())
        })
    }

    /// Answers, and waits for the rest of the body apart, since the sender decides how long that takes.
    fn refuse(&self, pending: Pending, response: Response) {
        let declared = pending.request.body_length().unwrap_or(0);
        let chunked = pending.head.header("transfer-encoding").is_some();
        if declared == 0 && !chunked {
            return send(pending, &response, false);
        }
        let Some(seat) = self.unread.take().filter(|_| declared <= DISCARD_LIMIT) else {
            warn!("a refused body of {declared} bytes is not waited for: its connection is given up");
            // Dropping the request would read its body first.
            return std::mem::forget(pending.request);
        };
        seat.apart("api-apart", move || send(pending, &response, true));
    }

    fn park(self: &Arc<Self>, pending: Pending, parked: Parked) {
        let (instance, operation) = (parked.instance.clone(), parked.operation.clone());
        let waiting = Waiting(Some((pending, parked)));
        let then = Box::new(move |outcome| waiting.answer(outcome));
        self.api.orders.when_done(&instance, &operation, self.api.sync_timeout, then);
    }
}

/// A parked request. Whoever forgets it, it is answered.
struct Waiting(Option<(Pending, Parked)>);

impl Waiting {
    fn answer(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    /// On a thread of its own, and not on the broker's: on a connection with several requests an answer waits for the
    /// answers before it, of which the broker's thread may be the one to give.
    fn finish(&mut self, outcome: Outcome) {
        let Some((pending, parked)) = self.0.take() else { return };
        let (response, seat) = parked.answer(outcome);
        seat.apart("api-apart", move || send(pending, &response, false));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.finish(Outcome::Stopping);
    }
}

impl Pending {
    fn new(request: tiny_http::Request) -> Self {
        let header = |header: &tiny_http::Header| (header.field.to_string(), header.value.to_string());
        let head = Head {
            method: request.method().as_str().to_owned(),
            target: request.url().to_owned(),
            headers: request.headers().iter().map(header).collect(),
        };
        Self { request, head, since: Instant::now() }
    }
}

fn read_body(pending: &mut Pending) -> Result<Vec<u8>, BodyError> {
    let length = match pending.request.body_length() {
        Some(length) => length,
        None if pending.head.header("transfer-encoding").is_some() => BODY_LIMIT + 1,
        // Without either there is no body, and reading would take what comes after the request.
        None => return Ok(Vec::new()),
    };
    if length > BODY_LIMIT && pending.request.body_length().is_some() {
        return Err(BodyError::TooLarge);
    }
    let mut body = Vec::new();
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    let read = pending.request.as_reader().take(limit).read_to_end(&mut body).map_err(BodyError::Broken)?;
    if read > BODY_LIMIT {
        return Err(BodyError::TooLarge);
    }
    Ok(body)
}

/// Sends the answer and logs the request. A sender that has gone is no failure.
fn send(pending: Pending, response: &Response, unread: bool) {
    let Pending { request, head, since } = pending;
    let sent =
        if unread { send_before_body(request, response) } else { send_at_once(request, &head, response) };
    let outcome = if sent.is_ok() { "" } else { ", but its sender has gone" };
    info!(
        "{} {} {} {} ms{outcome}",
        head.method.escape_debug(),
        head.path().escape_debug(),
        response.status,
        since.elapsed().as_millis()
    );
}

/// One write for the whole answer: in two, the second would wait for the first to be acknowledged (Nagle).
fn send_at_once(request: tiny_http::Request, head: &Head, response: &Response) -> io::Result<()> {
    let mut text = String::with_capacity(256);
    let status = tiny_http::StatusCode(response.status);
    let length = response.body.len();
    let mut line = |args: std::fmt::Arguments<'_>| text.write_fmt(args).expect("a String takes every text");
    line(format_args!("HTTP/1.1 {} {}\r\n", response.status, status.default_reason_phrase()));
    line(format_args!("Content-Type: application/json\r\nContent-Length: {length}\r\n"));
    for (name, value) in &response.headers {
        line(format_args!("{name}: {value}\r\n"));
    }
    let wish = head.header("connection").unwrap_or_default().to_ascii_lowercase();
    if wish.contains("close") {
        line(format_args!("Connection: close\r\n"));
    } else if wish.contains("keep-alive") {
        line(format_args!("Connection: keep-alive\r\n"));
    }
    line(format_args!("\r\n"));
    let mut bytes = text.into_bytes();
    if head.method != "HEAD" {
        bytes.extend_from_slice(&response.body);
    }
    let mut writer = request.into_writer();
    writer.write_all(&bytes)?;
    writer.flush()
}

/// Answers first and reads the rest of the body then, which is what `tiny_http`'s own way of answering does.
fn send_before_body(request: tiny_http::Request, response: &Response) -> io::Result<()> {
    let mut answer = tiny_http::Response::from_data(response.body.to_vec()).with_status_code(response.status);
    let json = ("Content-Type", "application/json".to_owned());
    for (name, value) in std::iter::once(&json).chain(&response.headers) {
        if let Ok(header) = tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()) {
            answer.add_header(header);
        }
    }
    request.respond(answer)
}
