//! Requests as bytes, so that broken ones can be sent too.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_server::pki_types::pem::PemObject;
use rustls_server::pki_types::{CertificateDer, ServerName};
use rustls_server::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How the broker is reached: plainly, or by TLS.
#[derive(Clone)]
pub struct Way {
    pub address: SocketAddr,
    pub tls: Option<Arc<ClientConfig>>,
}

/// TLS with whom this authority speaks for.
pub fn trusting(authority: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// 0 where none came.
    pub status: u16,
    pub body: String,
}

/// A request; what is not set is as a good client has it.
pub struct Request<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl<'a> Request<'a> {
    pub fn new(method: &'a str, target: &'a str) -> Self {
        Self { method, target, headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    pub fn basic(self, username: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{username}:{password}"));
        self.header(format!("Authorization: Basic {credentials}"))
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it on a connection of its own, and ends its side: whatever the body promised, no more comes.
    pub fn send(self, to: &Way) -> Reply {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", self.method, self.target);
        head.push_str("X-Broker-API-Version: 2.17\r\n");
        for line in &self.headers {
            head.push_str(&format!("{line}\r\n"));
        }
        if !self.headers.iter().any(|line| line.to_ascii_lowercase().starts_with("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let whole = [head.as_bytes(), &self.body].concat();
        let mut answer = Vec::new();
        if let Ok(mut stream) = TcpStream::connect(to.address) {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // A broker that refuses need not read all of it.
            if let Some(config) = &to.tls {
                let name = ServerName::from(to.address.ip());
                let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
                let mut stream = StreamOwned::new(connection, stream);
                drop(stream.write_all(&whole));
                stream.conn.send_close_notify();
                drop(stream.flush());
                drop(stream.read_to_end(&mut answer));
            } else {
                drop(stream.write_all(&whole));
                drop(stream.shutdown(Shutdown::Write));
                drop(stream.read_to_end(&mut answer));
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
        Reply { status, body }
    }
}
