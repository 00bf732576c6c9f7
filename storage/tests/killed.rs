//! The store's process is killed under load, again and again, on the same directory. Whatever was answered is there
//! afterwards, whatever is there was asked for, and indices only grow. This program is both: the one that serves, when
//! it is told a directory, and the one that kills it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use storage::Embedded;
use storage::embedded::Options;
use storage::embedded::http::{Access, Server, ServerOptions};

const SERVE: &str = "PATRONI_BROKER_TEST_SERVE";
const CLIENTS: u64 = 8;

fn main() {
    if let Some(dir) = std::env::var_os(SERVE) {
        return serve(Path::new(&dir));
    }
    let test = Trial::test("what_was_answered_survives_kills", || {
        what_was_answered_survives_kills();
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit();
}

/// Serves until it is killed, or whoever started it is gone.
fn serve(dir: &Path) {
    let store = Arc::new(Embedded::open(dir, Options::default()).unwrap());
    let mut options = ServerOptions::basic("", "");
    options.access = Access::NoAuth;
    let server = Server::start(store, TcpListener::bind("127.0.0.1:0").unwrap(), options).unwrap();
    println!("{}", server.address());
    std::io::stdin().lines().for_each(drop);
}

struct Served {
    process: Child,
    address: SocketAddr,
}

impl Served {
    fn start(dir: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(SERVE, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().parse().unwrap_or_else(|_| panic!("it does not open after a kill: {line:?}"));
        Self { process, address }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // As hard as it gets; one that has ended already is only waited for.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

struct Client {
    agent: ureq::Agent,
    address: SocketAddr,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Self { agent: config.new_agent(), address }
    }

    /// Status, index and body; none if there was no whole answer.
    fn ask(&self, method: &str, key: &str, form: String) -> Option<(u16, u64, Value)> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}/v2/keys{key}", self.address))
            .header("Content-Type", "application/x-www-form-urlencoded");
        let answered = match method {
            "GET" | "DELETE" => self.agent.run(request.body(()).unwrap()),
            _ => self.agent.run(request.body(form).unwrap()),
        };
        let mut answered = answered.ok()?;
        let index = answered.headers().get("X-Etcd-Index")?.to_str().ok()?.parse().ok()?;
        let body = answered.body_mut().read_to_string().ok()?;
        Some((answered.status().as_u16(), index, serde_json::from_str(&body).ok()?))
    }

    fn value(&self, key: &str) -> Option<String> {
        let (_, _, body) = self.ask("GET", key, String::new()).unwrap();
        body["node"]["value"].as_str().map(str::to_owned)
    }
}

/// What one client knows: of each of its keys the value last answered, and the one that may have come to be.
#[derive(Default)]
struct Known {
    keys: BTreeMap<String, Option<String>>,
    pending: Option<(String, Option<String>)>,
    /// Entries of its queue, by key, and all that it sent there, in order.
    queued: BTreeMap<String, String>,
    sent: Vec<String>,
    /// The highest index it was told, and of the key for which all compete.
    index: u64,
    contested: u64,
    contested_sent: BTreeSet<String>,
}

impl Known {
    /// Writes until there is no answer.
    fn write_on(&mut self, client: &Client, me: u64, round: u64, numbers: &AtomicU64, random: &mut StdRng) {
        loop {
            let unique = numbers.fetch_add(1, Ordering::Relaxed).to_string();
            let went_on = match random.random_range(0..10) {
                0..4 => self.put(client, format!("/c{me}/k{}", random.random_range(0..5)), unique, random),
                4 => self.delete(client, format!("/c{me}/k{}", random.random_range(0..5))),
                5 | 6 => self.post(client, format!("/q{round}/c{me}"), unique),
                7 => self.put(client, format!("/c{me}/ttl"), unique, random),
                _ => self.contest(client, unique),
            };
            if went_on.is_none() {
                return;
            }
        }
    }

    /// A plain put, or one that compares where it is known what is there.
    fn put(&mut self, client: &Client, key: String, value: String, random: &mut StdRng) -> Option<()> {
        let mut form = format!("value={value}");
        if let Some(Some(old)) = self.keys.get(&key)
            && random.random_bool(0.5)
        {
            form += &format!("&prevValue={old}");
        }
        if key.ends_with("ttl") {
            form += "&ttl=3600";
        }
        self.pending = Some((key.clone(), Some(value.clone())));
        let (status, index, body) = client.ask("PUT", &key, form)?;
        assert!(status == 200 || status == 201, "{key}: {body}");
        self.answered(index, key, Some(value));
        Some(())
    }

    fn delete(&mut self, client: &Client, key: String) -> Option<()> {
        self.pending = Some((key.clone(), None));
        let (_, index, _) = client.ask("DELETE", &key, String::new())?;
        self.answered(index, key, None);
        Some(())
    }

    fn post(&mut self, client: &Client, queue: String, value: String) -> Option<()> {
        self.sent.push(value.clone());
        let (status, index, body) = client.ask("POST", &queue, format!("value={value}"))?;
        assert_eq!(status, 201, "{queue}: {body}");
        self.queued.insert(body["node"]["key"].as_str().unwrap().to_owned(), value);
        self.index = self.index.max(index);
        Some(())
    }

    /// All of them swap the value of one key, which most of them lose.
    fn contest(&mut self, client: &Client, value: String) -> Option<()> {
        let (_, _, found) = client.ask("GET", "/contested", String::new())?;
        let condition = match found["node"]["modifiedIndex"].as_u64() {
            Some(index) => format!("prevIndex={index}"),
            None => "prevExist=false".to_owned(),
        };
        self.contested_sent.insert(value.clone());
        let (status, _, body) = client.ask("PUT", "/contested", format!("value={value}&{condition}"))?;
        if status < 300 {
            let index = body["node"]["modifiedIndex"].as_u64().unwrap();
            assert!(index > self.contested, "two won at once");
            self.contested = index;
        }
        Some(())
    }

    fn answered(&mut self, index: u64, key: String, value: Option<String>) {
        self.index = self.index.max(index);
        self.keys.insert(key, value);
        self.pending = None;
    }

    /// Holds what is there now against what it knows, and takes that over.
    fn check(&mut self, client: &Client, me: u64, round: u64) {
        if let Some((key, value)) = self.pending.take() {
            let (found, before) = (client.value(&key), self.keys.get(&key).cloned().flatten());
            assert!(found == value || found == before, "{key}: {found:?}, neither {before:?} nor {value:?}");
            self.keys.insert(key, found);
        }
        for (key, value) in &self.keys {
            assert_eq!(client.value(key), *value, "round {round}: {key}");
        }
        let (_, _, queue) =
            client.ask("GET", &format!("/q{round}/c{me}?sorted=true"), String::new()).unwrap();
        let nodes = queue["node"]["nodes"].as_array().cloned().unwrap_or_default();
        let text = |node: &Value, field: &str| node[field].as_str().unwrap().to_owned();
        let found: BTreeMap<_, _> =
            nodes.iter().map(|node| (text(node, "key"), text(node, "value"))).collect();
        for (key, value) in &self.queued {
            assert_eq!(found.get(key), Some(value), "round {round}: {key}");
        }
        // One at most was on its way; what was sent is there in the order in which it was sent.
        let order: Vec<_> = nodes.iter().map(|node| text(node, "value")).collect();
        assert!(
            self.sent.starts_with(&order) && order.len() <= self.queued.len() + 1,
            "round {round}: {order:?}"
        );
        (self.queued, self.sent) = (BTreeMap::new(), Vec::new());
    }
}

fn what_was_answered_survives_kills() {
    let rounds = if std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some() { 300 } else { 30 };
    let dir = tempfile::tempdir().unwrap();
    let numbers = AtomicU64::new(1);
    let mut known: Vec<Known> = (0..CLIENTS).map(|_| Known::default()).collect();
    let mut random = StdRng::seed_from_u64(rand::random());
    let begun = Instant::now();
    for round in 0..rounds {
        let mut served = Served::start(dir.path());
        let address = served.address;
        let life = Duration::from_millis(random.random_range(5..400));
        std::thread::scope(|scope| {
            for (me, known) in (0..).zip(&mut known) {
                let (numbers, seed) = (&numbers, random.random());
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed);
                    known.write_on(&Client::new(address), me, round, numbers, &mut random);
                });
            }
            std::thread::sleep(life);
            served.process.kill().unwrap();
        });
        drop(served);
        let served = Served::start(dir.path());
        let client = Client::new(served.address);
        let (_, index, _) = client.ask("GET", "/", String::new()).unwrap();
        let told = known.iter().map(|known| known.index.max(known.contested)).max().unwrap();
        assert!(index >= told, "round {round}: the index went back from {told} to {index}");
        (0..).zip(&mut known).for_each(|(me, known)| known.check(&client, me, round));
        let (_, _, contested) = client.ask("GET", "/contested", String::new()).unwrap();
        if let Some(value) = contested["node"]["value"].as_str() {
            assert!(known.iter().any(|known| known.contested_sent.contains(value)), "nobody sent {value}");
            let index = contested["node"]["modifiedIndex"].as_u64().unwrap();
            assert!(index >= known.iter().map(|known| known.contested).max().unwrap(), "round {round}");
        }
        drop(client.ask("DELETE", &format!("/q{round}?recursive=true"), String::new()));
    }
    let written = numbers.load(Ordering::Relaxed);
    assert!(written > rounds * 10, "there was hardly any load: {written} writes");
    println!("{rounds} kills, {written} writes, {} s", begun.elapsed().as_secs());
}
