//! A TCP proxy that misbehaves as networks do, between a client and a server that speak HTTP.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::free_ports::free_address;

/// For the server to be reached, and for a client to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a [`Proxy`] does with what comes. It counts at once, for open connections as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything goes through.
    Pass,
    /// Requests arrive; their connection is closed when the answer comes.
    LoseAnswers,
    /// Requests arrive; their answers never come, and the connection stays open.
    WithholdAnswers,
    /// Requests arrive; of an answer come the head and half of the body (of what is sent in one piece with the head, or
    /// else of the next piece), then the connection is closed.
    Truncate,
    /// Requests are taken and do not arrive; the connection stays open.
    Hang,
    /// Connections are reset, open ones at once and new ones as soon as they are made.
    Reset,
    /// Connections are closed, and new ones are refused as if nobody listened.
    Refuse,
}

/// Passes on what it gets, as its [`Mode`] says. It can stand before a server that speaks TLS too, where it sees no
/// requests and cuts anywhere. Dropping it closes everything.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
}

struct State {
    mode: Mode,
    connections: Vec<Connection>,
    connected: usize,
    bytes: u64,
    requests: Vec<String>,
}

struct Connection {
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
    pumps: [JoinHandle<()>; 2],
}

/// How many other ports are tried.
const OTHER_PORTS: usize = 4;

impl Proxy {
    /// Starts one on 127.0.0.1 that passes everything to `upstream`.
    ///
    /// # Errors
    ///
    /// If there is no port.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), upstream)
    }

    /// Starts one on another address of this machine.
    ///
    /// # Errors
    ///
    /// If there is no port on it.
    pub fn start_on(listen: IpAddr, upstream: SocketAddr) -> io::Result<Self> {
        let state = State {
            mode: Mode::Refuse,
            connections: Vec::new(),
            connected: 0,
            bytes: 0,
            requests: Vec::new(),
        };
        let shared = Arc::new(Shared { upstream, state: Mutex::new(state) });
        let mut proxy = Self { address: free_address(listen)?, shared, listening: Mutex::new(None) };
        // Tests of another process may take the port between the look at it and its use.
        for _ in 0..OTHER_PORTS {
            match proxy.set(Mode::Pass) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    proxy.address = free_address(listen)?
                }
                set => return set.map(|()| proxy),
            }
        }
        proxy.set(Mode::Pass)?;
        Ok(proxy)
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients reach it, as a URL of a server without TLS.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it does from now on. When this returns, what the mode says of open connections has been done.
    ///
    /// # Errors
    ///
    /// If it had stopped listening, and its port has been taken since.
    pub fn set(&self, mode: Mode) -> io::Result<()> {
        // Held to the end: one change at a time.
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.state().mode = mode;
        match mode {
            Mode::Refuse => {
                if let Some(thread) = listening.take() {
                    // Wakes it from waiting for the next client; it sees the mode and ends.
                    drop(TcpStream::connect(self.address));
                    drop(thread.join());
                }
                self.cut();
            }
            _ if listening.is_none() => {
                let listener = TcpListener::bind(self.address)?;
                let shared = Arc::clone(&self.shared);
                *listening = Some(thread::spawn(move || shared.listen(&listener)));
            }
            _ => {}
        }
        if mode == Mode::Reset {
            for connection in &self.shared.state().connections {
                reset_at_close(&connection.client);
            }
            self.cut();
        }
        Ok(())
    }

    /// Closes every open connection and goes on listening.
    pub fn cut(&self) {
        let connections = std::mem::take(&mut self.shared.state().connections);
        for connection in connections {
            drop(connection.client.shutdown(self.shared.how_clients_are_left()));
            drop(connection.server.shutdown(Shutdown::Both));
            for pump in connection.pumps {
                drop(pump.join());
            }
        }
    }

    /// How many connections have been passed on since the start.
    pub fn connections(&self) -> usize {
        self.shared.state().connected
    }

    /// How many bytes have gone from clients to the server.
    pub fn bytes_forwarded(&self) -> u64 {
        self.shared.state().bytes
    }

    /// The requests that have gone to the server since the start, in their order: method and path, like
    /// `PUT /v2/keys/a?prevExist=false`. It takes each for one when it begins a piece that a client has sent.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// How many requests have gone to the server that begin so.
    pub fn count(&self, begin: &str) -> usize {
        self.shared.state().requests.iter().filter(|request| request.starts_with(begin)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Stopping to listen can't fail.
        drop(self.set(Mode::Refuse));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode(&self) -> Mode {
        self.state().mode
    }

    /// A client that is to see a broken connection must not see an orderly end of it first. It is left when the socket
    /// is closed, which waits for the threads that read from it.
    fn how_clients_are_left(&self) -> Shutdown {
        if self.mode() == Mode::Reset { Shutdown::Read } else { Shutdown::Both }
    }

    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().flatten() {
            match self.mode() {
                Mode::Refuse => return,
                Mode::Reset => reset_at_close(&client),
                // A server that is not there leaves the client as it would be left without a proxy: with nobody.
                _ => drop(self.connect(client)),
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect_timeout(&self.upstream, PATIENCE)?;
        client.set_write_timeout(Some(PATIENCE))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client, server) = (Arc::new(client), Arc::new(server));
        let mut state = self.state();
        // It may have changed in the meantime, and has then cut what it knew of.
        if state.mode == Mode::Refuse {
            return Ok(());
        }
        if state.mode == Mode::Reset {
            reset_at_close(&client);
            return Ok(());
        }
        let pumps = [true, false].map(|up| {
            let (shared, client, server) = (Arc::clone(self), Arc::clone(&client), Arc::clone(&server));
            thread::spawn(move || {
                // A broken connection is what this is for.
                drop(if up { shared.pass_up(&client, &server) } else { shared.pass_down(&server, &client) });
                let how = shared.how_clients_are_left();
                drop((client.shutdown(how), server.shutdown(Shutdown::Both)));
            })
        });
        state.connections.retain(|connection| !connection.pumps.iter().all(JoinHandle::is_finished));
        state.connections.push(Connection { client, server, pumps });
        state.connected += 1;
        Ok(())
    }

    fn pass_up(&self, mut client: &TcpStream, mut server: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let length = client.read(&mut buffer)?;
            let piece = &buffer[..length];
            let mut state = self.state();
            match state.mode {
                _ if length == 0 => return Ok(()),
                Mode::Reset | Mode::Refuse => return Ok(()),
                Mode::Hang => continue,
                Mode::Pass | Mode::LoseAnswers | Mode::WithholdAnswers | Mode::Truncate => {}
            }
            // Counted first, so that whoever has the answer finds the request counted.
            state.bytes += length as u64;
            state.requests.extend(request(piece));
            drop(state);
            server.write_all(piece)?;
        }
    }

    fn pass_down(&self, mut server: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            let length = server.read(&mut buffer)?;
            let piece = &buffer[..length];
            match self.mode() {
                _ if length == 0 => return Ok(()),
                Mode::Pass => client.write_all(piece)?,
                Mode::WithholdAnswers | Mode::Hang => {}
                Mode::Truncate => {
                    let body = body_begins(piece);
                    let end = body + (length - body) / 2;
                    client.write_all(&piece[..end])?;
                    if body < length {
                        return Ok(());
                    }
                }
                Mode::LoseAnswers | Mode::Reset | Mode::Refuse => return Ok(()),
            }
        }
    }
}

/// Makes the other side see a broken connection when this one is closed, instead of an end.
fn reset_at_close(stream: &TcpStream) {
    // It fails only where the other side has closed it already.
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

/// Method and path, if this piece begins a request.
fn request(piece: &[u8]) -> Option<String> {
    let line = piece.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let known = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"].contains(&method);
    known.then(|| format!("{method} {}", rest.strip_suffix(" HTTP/1.1").unwrap_or(rest)))
}

/// Where in a piece of an answer the body begins: at its end if there is only a head, at its start if there is none.
fn body_begins(piece: &[u8]) -> usize {
    if !piece.starts_with(b"HTTP/") {
        return 0;
    }
    piece.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(piece.len(), |at| at + 4)
}
