//! The two that are compared, brought to the same index, so that their answers may be the same word for word.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use storage::Embedded;
use storage::embedded::Options;
use storage::embedded::http::{Access, Server, ServerOptions};
use test_servers::{Etcd, EtcdOptions};

use super::raw::{Answer, Connection, Request, TooLate};

/// How long both are waited for who may have nothing to say.
const SILENCE: Duration = Duration::from_millis(40);
/// How long one is waited for, once the other has spoken.
const PATIENCE: Duration = Duration::from_secs(5);

/// A real etcd and ours.
pub struct Both {
    _etcd: Etcd,
    _server: Server,
    pub theirs: Peer,
    pub ours: Peer,
}

/// One of the two.
pub struct Peer {
    pub connection: Connection,
    /// The index of its last change.
    pub index: u64,
    /// The index from which on both have the same history.
    begun: u64,
}

/// What is compared of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub status: u16,
    /// Those that clients look at; of some only whether they are there.
    pub headers: Vec<(&'static str, Option<String>)>,
    pub body: Value,
}

impl Both {
    /// Who [`Both::start_with_password`] lets in.
    pub const USER: &str = "somebody";
    /// Its password.
    pub const PASSWORD: &str = "secret";

    pub fn start() -> Self {
        Self::start_with(Access::NoAuth, Connection::new)
    }

    /// Ours asks for user and password; the real one is asked with them, and does not care.
    pub fn start_with_password() -> Self {
        let (username, password) = (Self::USER.to_owned(), Self::PASSWORD.to_owned());
        Self::start_with(Access::Basic { username, password }, |address| {
            Connection::with_credentials(address, "c29tZWJvZHk6c2VjcmV0")
        })
    }

    fn start_with(access: Access, connect: impl Fn(SocketAddr) -> Connection) -> Self {
        let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let mut options = ServerOptions::basic("", "");
        options.access = access;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::start(store, listener, options).unwrap();
        let peer = |address| Peer { connection: connect(address), index: 0, begun: 0 };
        let (theirs, ours) = (peer(etcd.address()), peer(server.address()));
        let mut both = Self { _etcd: etcd, _server: server, theirs, ours };
        both.reset();
        both
    }

    /// Empties both, and brings them to the same index.
    pub fn reset(&mut self) {
        self.theirs.empty();
        self.ours.empty();
        while self.theirs.index != self.ours.index {
            let behind = if self.theirs.index < self.ours.index { &mut self.theirs } else { &mut self.ours };
            behind.change("PUT", "/v2/keys/index?value=1");
        }
        // Both have it or neither: it is made and removed by both.
        for peer in [&mut self.theirs, &mut self.ours] {
            peer.change("PUT", "/v2/keys/index?value=1");
            peer.change("DELETE", "/v2/keys/index");
            peer.begun = peer.index;
        }
        assert_eq!(self.theirs.index, self.ours.index);
    }

    /// Asks both; theirs is on the left.
    pub fn ask(&mut self, request: &Request) -> (Seen, Seen) {
        if !is_watch(request) {
            return (self.theirs.ask(request), self.ours.ask(request));
        }
        let heads = (self.theirs.begin(request), self.ours.begin(request));
        let mut theirs = self.theirs.first_event(&heads.0, SILENCE);
        let mut ours = self.ours.first_event(&heads.1, SILENCE);
        if theirs.is_some() != ours.is_some() {
            theirs = theirs.or_else(|| self.theirs.first_event(&heads.0, PATIENCE));
            ours = ours.or_else(|| self.ours.first_event(&heads.1, PATIENCE));
        }
        self.theirs.connection.drop_it();
        self.ours.connection.drop_it();
        let seen = |mut head: Answer, event: Option<Vec<u8>>| {
            head.body = event.unwrap_or_else(|| b"(nothing)".to_vec());
            Seen::of(&head, request)
        };
        (seen(heads.0, theirs), seen(heads.1, ours))
    }
}

/// Whether it is answered as a watch, where it is not refused.
fn is_watch(request: &Request) -> bool {
    request.method == "GET" && request.target.contains("wait=")
}

impl Peer {
    fn ask(&mut self, request: &Request) -> Seen {
        let answer = self.connection.ask(&self.resolve(request));
        if let Some(index) = answer.header("X-Etcd-Index").and_then(|index| index.parse().ok())
            && answer.status < 300
        {
            self.index = index;
        }
        Seen::of(&answer, request)
    }

    fn begin(&mut self, request: &Request) -> Answer {
        self.connection.begin(&self.resolve(request))
    }

    /// The body of what is no watch after all; the first event of what is one, if it comes.
    fn first_event(&mut self, head: &Answer, patience: Duration) -> Option<Vec<u8>> {
        if head.header("Transfer-Encoding") != Some("chunked") {
            return Some(self.connection.rest(head));
        }
        match self.connection.chunk(patience) {
            Ok(chunk) => Some(chunk.unwrap_or_default()),
            Err(TooLate) => None,
        }
    }

    /// `{-3}` stands for the index three changes ago, as far as both have the same history.
    fn resolve(&self, request: &Request) -> Request {
        let resolve = |text: &str| {
            let mut text = text.to_owned();
            while let Some(begin) = text.find("{-") {
                let end = begin + text[begin..].find('}').unwrap();
                let back: u64 = text[begin + 2..end].parse().unwrap();
                let index = self.index.saturating_sub(back).max(self.begun + 1);
                text.replace_range(begin..=end, &index.to_string());
            }
            text
        };
        Request { target: resolve(&request.target), body: resolve(&request.body), ..request.clone() }
    }

    pub fn change(&mut self, method: &str, target: &str) {
        let seen = self.ask(&Request::new(method, target, ""));
        assert!(seen.status < 300, "{method} {target}: {seen:?}");
    }

    /// What is hidden is there for all that.
    fn empty(&mut self) {
        let mut targets = vec!["/_h".to_owned(), "/_".to_owned()];
        let root = self.ask(&Request::new("GET", "/v2/keys/", ""));
        for node in root.body["node"]["nodes"].as_array().into_iter().flatten() {
            targets.push(node["key"].as_str().unwrap().to_owned());
        }
        for target in targets {
            let target: String = target
                .bytes()
                .map(|byte| match byte {
                    b'/' | b'_' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
                    other => format!("%{other:02x}"),
                })
                .collect();
            self.ask(&Request::new("DELETE", &format!("/v2/keys{target}?recursive=true"), ""));
        }
    }
}

impl Seen {
    fn of(answer: &Answer, request: &Request) -> Self {
        let header = |name| (name, answer.header(name).map(str::to_owned));
        let is_there = |name| (name, answer.header(name).map(|_| "…".to_owned()));
        let headers = vec![
            header("X-Etcd-Index"),
            header("Allow"),
            header("Location"),
            // Go tells it of a body only.
            if request.method == "HEAD" { is_there("X-Etcd-Index") } else { header("Content-Type") },
            is_there("X-Etcd-Cluster-Id"),
            is_there("X-Raft-Index"),
            is_there("X-Raft-Term"),
        ];
        let mut body = serde_json::from_slice(&answer.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
        normalise(&mut body);
        Self { status: answer.status, headers, body }
    }
}

/// What depends on when it was asked is told apart only roughly, and what has no order is sorted.
pub fn normalise(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (name, field) in fields.iter_mut() {
        match name.as_str() {
            "expiration" => *field = Value::from("…"),
            "ttl" => *field = Value::from((field.as_u64().unwrap() + 50) / 100),
            "node" | "prevNode" => normalise(field),
            "nodes" => {
                let nodes = field.as_array_mut().unwrap();
                nodes.iter_mut().for_each(normalise);
                nodes.sort_by_key(|node| node["key"].to_string());
            }
            _ => {}
        }
    }
}
