//! Watches of the embedded store miss no final state, whatever happens between the watcher and the store: connections that
//! are cut, and servers that end or die and come back on the same file. Writers at random, several watchers, and at the end
//! each watcher's picture against the store. `PATRONI_BROKER_TEST_ALL=1` plays many more.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use storage::embedded::Options;
use storage::embedded::http::{Access, Server, ServerOptions};
use storage::remote::{Reach, Timeouts};
use storage::{Changed, Deadline, Embedded, EtcdV2, Expect, Key, Store};
use test_servers::{Mode, Proxy};

type Picture = BTreeMap<String, String>;

/// How long a watcher may take to see what was written last.
const PATIENCE: Duration = Duration::from_secs(60);
const LAST: &str = "/w/last";
const KEYS: u32 = 12;

#[test]
fn no_watcher_misses_a_final_state() {
    let all = std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some();
    for seed in 0..if all { 60 } else { 4 } {
        play(seed);
    }
}

/// The store's process, as far as watchers can tell.
struct Host {
    address: SocketAddr,
    running: Option<(Server, Arc<Embedded>)>,
}

impl Host {
    fn start(directory: &Path, address: Option<SocketAddr>) -> Self {
        let store = Arc::new(Embedded::open(directory, Options::default()).unwrap());
        let begun = Instant::now();
        let listener = loop {
            match TcpListener::bind(address.unwrap_or(([127, 0, 0, 1], 0).into())) {
                Ok(listener) => break listener,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(10));
        };
        let options = ServerOptions { access: Access::NoAuth, ..ServerOptions::basic("", "") };
        let server = Server::start(Arc::clone(&store), listener, options).unwrap();
        Self { address: server.address(), running: Some((server, store)) }
    }

    fn restart(&mut self, directory: &Path) {
        self.running = None;
        *self = Self::start(directory, Some(self.address));
    }
}

fn play(seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let host = Mutex::new(Host::start(directory.path(), None));
    let address = host.lock().unwrap().address;
    let proxy = Proxy::start(address).unwrap();
    let over = AtomicBool::new(false);
    let pictures: Vec<(String, Picture)> = thread::scope(|scope| {
        let watchers = [
            scope.spawn(|| ("client".to_owned(), by_client(&proxy.endpoint()))),
            scope.spawn(|| ("client".to_owned(), by_client(&proxy.endpoint()))),
            scope.spawn(|| ("long polls".to_owned(), by_long_polls(&proxy.endpoint()))),
            scope.spawn(|| ("long polls".to_owned(), by_long_polls(&proxy.endpoint()))),
        ];
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let over = &over;
                scope.spawn(move || write(seed * 2 + writer, address, over))
            })
            .collect();
        // Where it cannot go on, the writers must not go on either.
        let troubled = scope.spawn(|| trouble(seed, &host, directory.path(), &proxy)).join();
        over.store(true, Ordering::SeqCst);
        troubled.unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let store = client(&format!("http://{address}"));
        store.put(&Key::parse(LAST).unwrap(), b"1", None, Expect::Anything).unwrap();
        watchers.into_iter().map(|watcher| watcher.join().unwrap()).collect()
    });
    let host = host.into_inner().unwrap();
    let (_, store) = host.running.as_ref().unwrap();
    let expected = picture(&**store);
    for (watcher, found) in pictures {
        assert_eq!(found, expected, "seed {seed}: a watcher by {watcher} has another picture");
    }
}

/// Cuts connections and restarts the server for a while.
fn trouble(seed: u64, host: &Mutex<Host>, directory: &Path, proxy: &Proxy) {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..14 {
        thread::sleep(Duration::from_millis(random.random_range(20..150)));
        match random.random_range(0..6) {
            0 => host.lock().unwrap().restart(directory),
            1 => {
                // Whoever watches is cut off first, and meets a server that knows nothing of what it has missed.
                proxy.set(Mode::Refuse).unwrap();
                thread::sleep(Duration::from_millis(random.random_range(0..100)));
                host.lock().unwrap().restart(directory);
            }
            2 => proxy.set(Mode::Reset).unwrap(),
            3 => proxy.set(Mode::Truncate).unwrap(),
            4 => proxy.set(Mode::LoseAnswers).unwrap(),
            _ => {}
        }
        thread::sleep(Duration::from_millis(random.random_range(0..60)));
        proxy.set(Mode::Pass).unwrap();
    }
}

fn client(endpoint: &str) -> EtcdV2 {
    let timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_secs(2) };
    EtcdV2::connect(&Reach { timeouts, ..Reach::of(&[endpoint.to_owned()]) }, None).unwrap()
}

/// Puts, deletes and now and then removes a whole tree, as fast as it goes; what fails is not tried again.
fn write(seed: u64, address: SocketAddr, over: &AtomicBool) {
    let mut random = StdRng::seed_from_u64(seed);
    let store = client(&format!("http://{address}"));
    while !over.load(Ordering::SeqCst) {
        let number = random.random_range(0..KEYS);
        // What is written once and never again shows that its change was missed; the rest is written over.
        let once = random.random_bool(0.1).then(|| format!("/w/once/{seed}-{}", random.random::<u32>()));
        let key = Key::parse(&once.unwrap_or_else(|| format!("/w/{}/{number}", number % 3))).unwrap();
        let value = random.random::<u32>().to_string();
        let written = match random.random_range(0..10) {
            0..=6 => store.put(&key, value.as_bytes(), None, Expect::Anything).map(drop),
            _ => store.delete(&key, Expect::Anything),
        };
        if written.is_err() {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn picture(store: &dyn Store) -> Picture {
    let entries = store.list(&Key::parse("/w").unwrap()).unwrap().entries;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    entries.into_iter().map(|entry| (entry.key.to_string(), text(&entry.value))).collect()
}

/// As the broker watches: a listing, then what changed since; each key that changed is read.
fn by_client(endpoint: &str) -> Picture {
    let (store, top) = (client(endpoint), Key::parse("/w").unwrap());
    let begun = Instant::now();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    'anew: loop {
        assert!(begun.elapsed() < PATIENCE, "the last write was never seen");
        let Ok(listing) = store.list(&top) else { continue };
        let mut seen: Picture =
            listing.entries.iter().map(|entry| (entry.key.to_string(), text(&entry.value))).collect();
        let mut revision = listing.revision;
        while !seen.contains_key(LAST) {
            assert!(begun.elapsed() < PATIENCE, "the last write was never seen");
            let Ok(changes) = store.watch(&top, revision, Deadline::after(Duration::from_secs(1))) else {
                continue;
            };
            let Changed::Keys(keys) = changes.what else { continue 'anew };
            let mut now = Vec::new();
            for key in keys {
                // A tree that went as a whole is told by its name.
                let Ok(entry) = store.get(&key) else { continue 'anew };
                now.push((key, entry));
            }
            for (key, entry) in now {
                match entry {
                    Some(entry) => drop(seen.insert(key.to_string(), text(&entry.value))),
                    None => seen
                        .retain(|other, _| other != key.as_str() && !other.starts_with(&format!("{key}/"))),
                }
            }
            revision = changes.revision;
        }
        return seen;
    }
}

/// As etcd's own clients do it: `waitIndex` one after the last event, applied without reading again; anew at error 401.
fn by_long_polls(endpoint: &str) -> Picture {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(2)))
        .build()
        .into();
    let ask = |target: &str| -> Option<(u16, u64, Value)> {
        let mut answer = agent.get(format!("{endpoint}/v2/keys/w?{target}")).call().ok()?;
        let index = answer.headers().get("X-Etcd-Index")?.to_str().ok()?.parse().ok()?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().ok()?;
        // A watch that is over has no body.
        Some((status, index, serde_json::from_str(&body).ok()?))
    };
    let begun = Instant::now();
    'anew: loop {
        assert!(begun.elapsed() < PATIENCE, "the last write was never seen");
        let Some((200 | 404, index, body)) = ask("recursive=true") else { continue };
        let mut seen = Picture::new();
        collect(&body["node"], &mut seen);
        let mut next = index + 1;
        while !seen.contains_key(LAST) {
            assert!(begun.elapsed() < PATIENCE, "the last write was never seen");
            let Some((status, _, event)) = ask(&format!("recursive=true&wait=true&waitIndex={next}")) else {
                continue;
            };
            if status != 200 {
                continue 'anew;
            }
            let node = &event["node"];
            let key = node["key"].as_str().unwrap();
            match event["action"].as_str().unwrap() {
                "delete" | "expire" | "compareAndDelete" => {
                    seen.retain(|other, _| other != key && !other.starts_with(&format!("{key}/")));
                }
                _ => collect(node, &mut seen),
            }
            next = node["modifiedIndex"].as_u64().unwrap() + 1;
        }
        return seen;
    }
}

fn collect(node: &Value, seen: &mut Picture) {
    if let (Some(key), Some(value)) = (node["key"].as_str(), node["value"].as_str()) {
        seen.insert(key.to_owned(), value.to_owned());
    }
    for child in node["nodes"].as_array().into_iter().flatten() {
        collect(child, seen);
    }
}
