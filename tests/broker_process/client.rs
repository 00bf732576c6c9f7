//! One connection to the broker, plain or by TLS, that says at once when it is not answered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_server::pki_types::ServerName;
use rustls_server::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use crate::site::PATIENCE;

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

trait Both: Read + Write + Send {}
impl<T: Read + Write + Send> Both for T {}

/// One connection, which may carry several requests.
pub struct Client {
    stream: BufReader<Box<dyn Both>>,
    /// What the other side has shown.
    pub certificate: Vec<u8>,
}

impl Client {
    pub fn plain(to: SocketAddr) -> Self {
        Self { stream: BufReader::new(Box::new(connected(to).unwrap())), certificate: Vec::new() }
    }

    /// After the whole handshake. A client that is not let in may learn it only when it asks.
    pub fn tls(to: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut stream = connected(to)?;
        let mut connection =
            ClientConnection::new(Arc::clone(config), ServerName::from(to.ip())).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let certificate = connection.peer_certificates().unwrap()[0].to_vec();
        let stream: Box<dyn Both> = Box::new(StreamOwned::new(connection, stream));
        Ok(Self { stream: BufReader::new(stream), certificate })
    }

    pub fn send(&mut self, raw: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(raw)?;
        self.stream.get_mut().flush()
    }

    pub fn ask(&mut self, who: (&str, &str), line: &str, body: &str) -> io::Result<Answer> {
        self.send(request(who, line, body).as_bytes())?;
        self.answer()
    }

    pub fn answer(&mut self) -> io::Result<Answer> {
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let status = self.line()?.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| broken("no status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut answer = Answer { status, headers, body: String::new() };
        if answer.header("transfer-encoding") == "chunked" {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).map_err(|_| broken("no chunk"))?;
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk)?;
                answer.body.push_str(&String::from_utf8_lossy(&chunk));
                self.line()?;
                if size == 0 {
                    return Ok(answer);
                }
            }
        }
        let mut body = vec![0; answer.header("content-length").parse().unwrap_or(0)];
        self.stream.read_exact(&mut body)?;
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

pub fn connected(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// `line` is a method and a target; somebody without a name says nothing of himself.
pub fn request((name, password): (&str, &str), line: &str, body: &str) -> String {
    let who = STANDARD.encode(format!("{name}:{password}"));
    let who = if name.is_empty() { String::new() } else { format!("Authorization: Basic {who}\r\n") };
    let version = "X-Broker-API-Version: 2.17\r\n";
    format!("{line} HTTP/1.1\r\nHost: x\r\n{version}{who}Content-Length: {}\r\n\r\n{body}", body.len())
}
