//! A door with a handler that does what its paths say, and a client that sends and reads what a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use door::{Call, Gauges, Handler, Head, Limits, Response, Server, Verdict};
use rustls::ServerConfig;

/// How long anything may take that is going to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The largest body that the handler takes.
pub const BODY_LIMIT: usize = 1 << 20;

pub struct Script {
    parked: Sender<Call<()>>,
    gate: Receiver<()>,
    admitted: Arc<AtomicUsize>,
}

impl Handler for Script {
    type Admitted = ();

    fn admit(&self, head: &Arc<Head>) -> Verdict<()> {
        self.admitted.fetch_add(1, Ordering::SeqCst);
        match head.path() {
            "/quick" => Verdict::Answer(Response::text(200, "quick")),
            "/secret" => Verdict::Answer(Response::text(401, "who are you?")),
            path @ ("/later" | "/much-later") => {
                let mut response = Response::text(401, "later");
                let delay = if path == "/later" { Duration::from_millis(300) } else { 10 * PATIENCE };
                response.delay = Some(delay);
                Verdict::Answer(response)
            }
            "/large" => Verdict::Answer(Response::new(200, "", vec![b'x'; 32 << 20])),
            "/injected" => {
                let mut response = Response::text(200, "");
                response.headers.push(("X-Echo", "a\r\nX-Evil: b".to_owned()));
                Verdict::Answer(response)
            }
            "/admit-panics" => panic!("the test asked for it"),
            path if path.starts_with("/ask") => Verdict::Ask,
            path => Verdict::Go { admitted: (), body_limit: BODY_LIMIT, at_once: path.starts_with("/once") },
        }
    }

    fn judge(&self, head: &Arc<Head>) -> Verdict<()> {
        match head.path() {
            "/ask/yes" => Verdict::Go { admitted: (), body_limit: BODY_LIMIT, at_once: false },
            "/ask/no" => Verdict::Answer(Response::text(401, "no")),
            "/ask/held" => {
                let _opened = self.gate.recv();
                Verdict::Answer(Response::text(401, "no"))
            }
            "/ask/panics" => panic!("the test asked for it"),
            _ => Verdict::Ask,
        }
    }

    fn handle(&self, call: Call<()>) {
        match call.head.path() {
            "/panics" | "/once/panics" => panic!("the test asked for it"),
            "/lost" | "/once/lost" => {}
            "/held" => {
                let _opened = self.gate.recv();
                call.reply.send(Response::text(200, "held"));
            }
            path if path.starts_with("/park") => drop(self.parked.send(call)),
            _ => {
                let certificate = call.head.certificate.as_ref().map_or(0, |shown| shown.len());
                let mut response = Response::new(200, "application/octet-stream", call.body);
                response.headers.push(("X-Method", call.head.method.clone()));
                response.headers.push(("X-Certificate", certificate.to_string()));
                call.reply.send(response);
            }
        }
    }
}

/// A door over [`Script`].
pub struct Stage {
    pub server: Option<Server<Script>>,
    pub parked: Receiver<Call<()>>,
    pub gate: Sender<()>,
    /// How many requests the handler has seen.
    pub admitted: Arc<AtomicUsize>,
}

impl Stage {
    pub fn new(change: impl FnOnce(&mut Limits)) -> Self {
        Self::with_tls(None, change)
    }

    pub fn with_tls(tls: Option<Arc<ServerConfig>>, change: impl FnOnce(&mut Limits)) -> Self {
        let (sender, parked) = unbounded();
        let (gate, waits) = unbounded();
        let admitted = Arc::new(AtomicUsize::new(0));
        let mut limits = Limits::default();
        change(&mut limits);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let handler = Arc::new(Script { parked: sender, gate: waits, admitted: Arc::clone(&admitted) });
        let server = Some(Server::start(listener, tls, limits, handler).unwrap());
        Self { server, parked, gate, admitted }
    }

    pub fn server(&self) -> &Server<Script> {
        self.server.as_ref().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.server().address()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub fn parked(&self) -> Call<()> {
        self.parked.recv_timeout(PATIENCE).expect("a request that is parked")
    }

    /// Asks on a new connection.
    pub fn get(&self, path: &str) -> Answer {
        self.client().get(path)
    }

    /// Waits until the counts are as they should be.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Gauges) -> bool) {
        eventually(what, || holds(&self.server().gauges()));
    }
}

/// Waits for what is bound to happen and gives no sign.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A connection, plain or not, on which nothing happens but what a test says.
pub struct Client<S: Read + Write = TcpStream>(pub BufReader<S>);

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Whether it was closed, with or without a reset: it may have been read from in part.
    #[track_caller]
    pub fn is_closed_by_now(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                panic!("it is open: {error}")
            }
            _ => assert_eq!(String::from_utf8_lossy(&rest), ""),
        }
    }

    pub fn finish(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    /// Goes away in a way that the other side hears of at once.
    pub fn reset(self) {
        let socket = socket2::Socket::from(self.0.into_inner());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
        self.0.get_mut().flush().unwrap();
    }

    pub fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask(path);
        self.answer()
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line in time");
        assert!(line.ends_with("\r\n"), "the connection ended in {line:?}");
        line.trim_end().to_owned()
    }

    pub fn head(&mut self) -> Answer {
        let line = self.line();
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Answer { status, headers, body: Vec::new() }
    }

    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        answer.body = vec![0; answer.header("content-length").parse().unwrap_or(0)];
        self.0.read_exact(&mut answer.body).unwrap();
        answer
    }

    /// The next chunk; empty is the last one.
    pub fn chunk(&mut self) -> Vec<u8> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.0.read_exact(&mut chunk).unwrap();
        assert_eq!(chunk.split_off(length), b"\r\n");
        chunk
    }

    /// Whether the connection has ended, not been reset, and nothing else has come.
    #[track_caller]
    pub fn is_closed(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("an end in time, and no reset");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}
