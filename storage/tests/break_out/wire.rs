//! HTTP by hand: what no client would send can be sent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A name and a password.
pub type Who<'a> = Option<(&'a str, &'a str)>;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Without what any two answers differ in.
    pub fn said(&self) -> (u16, String) {
        (self.status, self.body.clone())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn authorization(who: Who<'_>) -> String {
    let basic = |(name, password)| STANDARD.encode(format!("{name}:{password}"));
    who.map(|who| format!("Authorization: Basic {}\r\n", basic(who))).unwrap_or_default()
}

/// One request on a connection of its own.
pub fn ask(at: SocketAddr, who: Who<'_>, method: &str, target: &str, form: &str) -> Answer {
    raw(at, &request(who, method, target, form, "Connection: close\r\n"))
}

pub fn request(who: Who<'_>, method: &str, target: &str, form: &str, more: &str) -> Vec<u8> {
    let own = authorization(who);
    format!(
        "{method} {target} HTTP/1.1\r\nHost: store\r\n{own}{more}Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

/// Whatever is sent, all that comes back. A request that is none is answered too, or the connection is closed.
pub fn raw(at: SocketAddr, bytes: &[u8]) -> Answer {
    let mut connection = connect(at);
    connection.write_all(bytes).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // A door that closes on what it has not read resets the connection.
    let _ = connection.read_to_end(&mut answer);
    parse(&String::from_utf8_lossy(&answer))
}

/// What comes back within a moment, of an answer that may have no end.
pub fn begun(at: SocketAddr, bytes: &[u8], moment: Duration) -> String {
    let mut connection = connect(at);
    connection.write_all(bytes).unwrap();
    connection.set_read_timeout(Some(moment)).unwrap();
    let (mut seen, mut some) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = connection.read(&mut some) {
        seen.extend(&some[..count]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

pub fn connect(at: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(at).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = if head.contains("Transfer-Encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body.push_str(&after[..length]);
        rest = after[length..].strip_prefix("\r\n").unwrap_or_default();
    }
    body
}

/// One answer with a length, of a connection that goes on.
pub fn one_answer(connection: &mut TcpStream) -> Answer {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).expect("an answer in time");
        seen.push(byte[0]);
    }
    let head = String::from_utf8(seen).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    connection.read_exact(&mut body).unwrap();
    parse(&format!("{head}{}", String::from_utf8(body).unwrap()))
}
