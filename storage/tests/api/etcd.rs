//! The same requests to both, one by one: a table to read, beside the generated ones of `tests/differential`.

use std::net::SocketAddr;

use serde_json::Value;
use test_servers::{Etcd, EtcdOptions};

use super::client::{send, serve};

/// Every request is made of both, in order. `+3` stands for the index three changes after the start.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("GET", "/a", ""),
    ("PUT", "/a", "value=1"),
    ("PUT", "/a", "value=2"),
    ("PUT", "/a", "value=3&prevExist=false"),
    ("PUT", "/zz/y", "value=3&prevExist=true"),
    ("PUT", "/a", "value=3&prevExist=true"),
    ("PUT", "/a", "value=3&prevValue=9"),
    ("PUT", "/a", "value=3&prevIndex=999"),
    ("PUT", "/a", "value=4&prevValue=3"),
    ("PUT", "/a", "value=5&prevIndex=+4"),
    ("PUT", "/a", "value=6&prevIndex=+5&prevValue=5"),
    ("PUT", "/a", "value=6&prevIndex=0"),
    ("PUT", "/a", "value=6&prevValue="),
    ("PUT", "/zz", "value=3&prevValue=2"),
    ("PUT", "/zz", "value=3&prevIndex=2"),
    ("PUT", "/a/b", "value=3"),
    ("GET", "/a/b", ""),
    ("DELETE", "/a/b", ""),
    ("PUT", "/d/e", "value=3"),
    ("PUT", "/d/f/g/", "value=3"),
    ("PUT", "/d", "value=3"),
    ("PUT", "/d", "dir=true"),
    ("PUT", "/d", "dir=true&prevExist=true&ttl=100"),
    ("PUT", "/d", "dir=true&prevExist=true&ttl="),
    ("PUT", "/d", "value=1&prevExist=true"),
    ("PUT", "/d", "value=1&prevExist=false"),
    ("PUT", "/d", "value=1&prevValue=1"),
    ("PUT", "/d", "value=1&prevIndex=1"),
    ("PUT", "/d2", "dir=true"),
    ("PUT", "/d3", "dir=true&prevExist=false"),
    ("PUT", "/d3", "dir=true&prevExist=false"),
    ("GET", "", ""),
    ("GET", "/", ""),
    ("GET", "/d", ""),
    ("GET", "/d/?recursive=true&sorted=true&quorum=true", ""),
    ("GET", "/?recursive=true", ""),
    ("GET", "/d2", ""),
    ("PUT", "/t", "value=1&ttl=100"),
    ("GET", "/t", ""),
    ("PUT", "/t", "value=1&ttl=100&prevExist=true"),
    ("PUT", "/t", "value=1&ttl=200&prevValue=1"),
    ("PUT", "/t", "refresh=true&ttl=100&value=x"),
    ("PUT", "/t", "refresh=true"),
    ("PUT", "/nt", "refresh=true&ttl=100&prevExist=true"),
    ("PUT", "/nt", "refresh=true&ttl=100"),
    ("PUT", "/t", "refresh=true&ttl=100&prevIndex=1"),
    ("PUT", "/t", "value=1&ttl=abc"),
    ("PUT", "/t", "value=1&ttl=-1"),
    ("PUT", "/t", "value=1&prevExist=maybe"),
    ("PUT", "/t", "value=1&prevIndex=x"),
    ("PUT", "/t", "value=1&wait=true"),
    ("GET", "/t?recursive=maybe", ""),
    ("GET", "/t?wait=maybe", ""),
    ("GET", "/t?wait=true&waitIndex=x", ""),
    ("GET", "/a?wait=true&waitIndex=+1", ""),
    ("GET", "/a?wait=true&waitIndex=+2", ""),
    ("GET", "/?wait=true&waitIndex=+1&recursive=true", ""),
    ("GET", "/d?wait=true&waitIndex=+1&recursive=true", ""),
    ("PUT", "/d", "refresh=true&ttl=100&prevExist=true"),
    ("PUT", "/d", "refresh=true&ttl=100"),
    ("GET", "/d", ""),
    ("DELETE", "/nope", ""),
    ("DELETE", "/d", ""),
    ("DELETE", "/d?dir=true", ""),
    ("DELETE", "/d2?dir=true", ""),
    ("DELETE", "/a?prevValue=9", ""),
    ("DELETE", "/a?prevIndex=9999", ""),
    ("DELETE", "/a?prevValue=", ""),
    ("DELETE", "/d?recursive=true&prevValue=1", ""),
    ("DELETE", "/a?prevValue=6", ""),
    ("DELETE", "/t", ""),
    ("DELETE", "/d/?recursive=true", ""),
    ("GET", "/d/e?wait=true&waitIndex=+18", ""),
    ("DELETE", "/?recursive=true", ""),
    ("PUT", "/", "value=1"),
    ("POST", "/q?ttl=100", "value=1"),
    ("PUT", "/qq?value=fromquery", ""),
    ("PUT", "/sp%20ace%2Bx", "value=a+b%26%C3%A4"),
    ("PATCH", "/q", "value=1"),
    ("GET", "/d3?recursive=true", ""),
];

pub fn answers_are_those_of_etcd() {
    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let (server, _store) = serve(|_| {});
    let (theirs, ours) = (Peer::new(etcd.address()), Peer::new(server.address()));
    for (method, target, form) in REQUESTS {
        let (expected, found) = (theirs.ask(method, target, form), ours.ask(method, target, form));
        assert_eq!(found, expected, "{method} {target} {form}: ours is on the left");
    }
}

/// One of the two that are compared.
struct Peer {
    address: SocketAddr,
    start: u64,
}

impl Peer {
    fn new(address: SocketAddr) -> Self {
        let answer = send(address, "GET", "/v2/keys/", "", None);
        Self { address, start: answer.index.unwrap() }
    }

    /// Status and body, with indices counted from the start, and without what is bound to differ.
    fn ask(&self, method: &str, target: &str, form: &str) -> (u16, Option<u64>, Value) {
        let absolute = |text: &str| match text.split_once("ndex=+") {
            Some((before, after)) => {
                let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                let index = self.start + after[..digits].parse::<u64>().unwrap();
                format!("{before}ndex={index}{}", &after[digits..])
            }
            None => text.to_owned(),
        };
        let target = format!("/v2/keys{}", absolute(target));
        let answer = send(self.address, method, &target, &absolute(form), None);
        let mut body = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
        self.normalise(&mut body);
        (answer.status, answer.index.map(|index| index.saturating_sub(self.start)), body)
    }

    fn normalise(&self, value: &mut Value) {
        let Value::Object(fields) = value else { return };
        fields.remove("expiration");
        // It tells indices.
        if fields.get("errorCode") == Some(&Value::from(101)) {
            fields.remove("cause");
        }
        for (name, field) in fields.iter_mut() {
            match name.as_str() {
                "modifiedIndex" | "createdIndex" | "index" => {
                    let index = field.as_u64().unwrap();
                    *field = Value::from(index.saturating_sub(self.start));
                }
                // The name that POST gives is the index.
                "key" if field.as_str().is_some_and(|key| key.starts_with("/q/0")) => *field = Value::Null,
                "node" | "prevNode" => self.normalise(field),
                "nodes" => {
                    let nodes = field.as_array_mut().unwrap();
                    nodes.iter_mut().for_each(|node| self.normalise(node));
                    nodes.sort_by_key(|node| node["key"].to_string());
                }
                _ => {}
            }
        }
    }
}
