//! An HTTP client that sends whatever it is told, however broken.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One request, word for word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// None to say nothing of what the body is.
    pub content_type: Option<String>,
    pub body: String,
}

impl Request {
    pub fn new(method: &str, target: &str, form: &str) -> Self {
        let content_type = Some("application/x-www-form-urlencoded".to_owned());
        Self { method: method.to_owned(), target: target.to_owned(), content_type, body: form.to_owned() }
    }
}

/// One answer; of a watch, its head.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A connection that is kept as long as the other end keeps it.
pub struct Connection {
    address: SocketAddr,
    authorization: String,
    was_reset: bool,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, authorization: String::new(), was_reset: false, stream: None }
    }

    /// With user and password, in base64.
    pub fn with_credentials(address: SocketAddr, credentials: &str) -> Self {
        let authorization = format!("Authorization: Basic {credentials}\r\n");
        Self { authorization, ..Self::new(address) }
    }

    /// The other end.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and reads the whole answer.
    pub fn ask(&mut self, request: &Request) -> Answer {
        self.was_reset = false;
        let mut answer = self.begin(request);
        let is_bodiless = request.method == "HEAD";
        if !is_bodiless {
            answer.body = self.rest(&answer);
        }
        if answer.header("Connection") == Some("close") {
            self.stream = None;
        }
        if self.was_reset {
            // Go answers so, and closes, where it cannot even read the path: nothing was done.
            assert_eq!(answer.status, 400, "{request:?}");
            return self.ask(request);
        }
        answer
    }

    /// Sends a request and reads the head of the answer.
    pub fn begin(&mut self, request: &Request) -> Answer {
        let stream = self.stream.get_or_insert_with(|| {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        });
        stream.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let Request { method, target, content_type, body } = request;
        let who = &self.authorization;
        let kind = content_type.as_ref().map_or(String::new(), |kind| format!("Content-Type: {kind}\r\n"));
        let length = body.len();
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{who}{kind}Content-Length: {length}\r\n\r\n");
        stream.get_mut().write_all((head + body).as_bytes()).unwrap();
        let status = line(stream);
        let status =
            status.split(' ').nth(1).unwrap_or_else(|| panic!("{request:?}: {status:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let header = line(stream);
            let Some((name, value)) = header.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Answer { status, headers, body: Vec::new() }
    }

    /// The body of an answer whose head has been read.
    pub fn rest(&mut self, answer: &Answer) -> Vec<u8> {
        let mut body = Vec::new();
        if answer.header("Transfer-Encoding") == Some("chunked") {
            while let Some(mut chunk) = self.chunk(Duration::from_secs(20)).expect("an answer in time") {
                body.append(&mut chunk);
            }
            return body;
        }
        let stream = self.stream.as_mut().unwrap();
        if let Some(length) = answer.header("Content-Length") {
            body.resize(length.parse().unwrap(), 0);
            stream.read_exact(&mut body).unwrap();
        } else if answer.header("Connection") == Some("close") {
            // What stands there before a reset may be lost: who asks, asks again.
            let read = stream.read_to_end(&mut body);
            self.was_reset = read.is_err();
        }
        body
    }

    /// The next chunk, none at the end of the body, and an error where nothing comes in time.
    pub fn chunk(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, TooLate> {
        let stream = self.stream.as_mut().unwrap();
        stream.get_ref().set_read_timeout(Some(patience)).unwrap();
        if stream.buffer().is_empty()
            && let Err(error) = stream.fill_buf()
        {
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            return Err(TooLate);
        }
        stream.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = usize::from_str_radix(&line(stream), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }

    /// Whatever is still to come is not waited for.
    pub fn drop_it(&mut self) {
        self.stream = None;
    }
}

#[derive(Debug)]
pub struct TooLate;

fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    let read = stream.read_line(&mut line);
    assert!(read.is_ok(), "{:?}: {read:?}", stream.get_ref());
    line.trim_end().to_owned()
}
