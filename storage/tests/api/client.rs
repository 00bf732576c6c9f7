//! Our API, and two ways to ask it.

use std::io::{BufRead, BufReader, Read, Write};
use std::iter;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use storage::Embedded;
use storage::embedded::Options;
use storage::embedded::http::{Access, Server, ServerOptions};

pub struct Answered {
    pub status: u16,
    pub index: Option<u64>,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

pub fn send(address: SocketAddr, method: &str, target: &str, form: &str, who: Option<&str>) -> Answered {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build();
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{target}"))
        .header("Content-Type", "application/x-www-form-urlencoded");
    if let Some(who) = who {
        request = request.header("Authorization", who);
    }
    let agent = config.new_agent();
    let answered = if form.is_empty() {
        agent.run(request.body(()).unwrap())
    } else {
        agent.run(request.body(form.to_owned()).unwrap())
    };
    let mut answered = answered.unwrap();
    let body = answered.body_mut().read_to_string().unwrap();
    let headers = answered.headers().clone();
    let index = headers.get("X-Etcd-Index").map(|index| index.to_str().unwrap().parse().unwrap());
    Answered { status: answered.status().as_u16(), index, headers, body }
}

/// Our API over a store in memory, open to everybody unless `change` says otherwise.
pub fn serve(change: impl FnOnce(&mut ServerOptions)) -> (Server, Arc<Embedded>) {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let mut options = ServerOptions::basic("", "");
    options.access = Access::NoAuth;
    change(&mut options);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (Server::start(Arc::clone(&store), listener, options).unwrap(), store)
}

/// A connection on which nothing is sent or read but what a test says.
pub struct Raw(pub BufReader<TcpStream>);

impl Raw {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    pub fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer in time");
        line.trim_end().to_owned()
    }

    /// The status, and the length if it is told.
    pub fn head(&mut self) -> (u16, usize) {
        let status = self.line().split(' ').nth(1).expect("a status line").parse().unwrap();
        let headers: Vec<String> =
            iter::from_fn(|| Some(self.line()).filter(|line| !line.is_empty())).collect();
        let length = headers.iter().find_map(|header| header.strip_prefix("Content-Length: "));
        (status, length.map_or(0, |length| length.parse().unwrap()))
    }

    /// The one chunk of a watch's answer, without what JSON has no use for.
    pub fn chunk(&mut self) -> String {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; length];
        self.0.read_exact(&mut chunk).unwrap();
        String::from_utf8(chunk).unwrap()
    }

    /// The next chunk of a stream, with the end of its line.
    pub fn chunk_line(&mut self) -> String {
        let chunk = self.chunk();
        self.line();
        chunk
    }
}
