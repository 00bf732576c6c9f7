//! Many at the same time: more than there are descriptors, more than anybody would wait for.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::client::{Client, request};
use crate::site::{ADMIN, STORE, Site, order};

/// This process has the other end of each connection.
fn raise_limit(wanted: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

/// Makes a dream and forgets it.
#[track_caller]
fn works(site: &Site, name: &str) {
    let path = format!("/v2/service_instances/{name}");
    assert_eq!(site.ask(&format!("PUT {path}"), &order(&json!({}))).status, 201);
    assert_eq!(site.ask(&format!("PUT {path}/service_bindings/x"), &order(&json!({}))).status, 201);
    assert_eq!(site.ask(&format!("DELETE {path}"), &Value::Null).status, 200);
}

#[test]
fn descriptors_run_out_and_come_back() {
    raise_limit(4096);
    let mut site = Site::new("");
    site.start_by(&["prlimit", "--nofile=200:200"], &[]);
    works(&site, "before");
    let mark = site.log().len();
    let crowd: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(site.address).unwrap()).collect();
    site.wait("word of descriptors", || {
        let log = site.log();
        ["Too many open files", "descriptor", "No file descriptors"]
            .iter()
            .any(|word| log[mark..].contains(word))
    });
    drop(crowd);
    works(&site, "after");
    site.signal("TERM");
    assert_eq!(site.ended(), Some(0));
}

#[test]
fn tricklers_hold_nobody_up() {
    raise_limit(4096);
    let site = Site::started("");
    let mut crowd: Vec<TcpStream> = (0..2000).map(|_| TcpStream::connect(site.address).unwrap()).collect();
    let (stop, all_sent) = (AtomicBool::new(false), AtomicBool::new(false));
    let head = request(ADMIN, "PUT /v2/service_instances/slow", "");
    thread::scope(|scope| {
        scope.spawn(|| {
            for byte in head.bytes() {
                for stream in &mut crowd {
                    // One that took too long is closed.
                    drop(stream.write_all(&[byte]));
                }
                all_sent.store(true, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        site.wait("a byte of each", || all_sent.load(Ordering::SeqCst));
        let scraped = site.ask("GET /metrics", &Value::Null);
        assert_eq!(scraped.status, 200, "{scraped:?}");
        let open =
            scraped.body.lines().find_map(|line| line.strip_prefix("patroni_broker_http_connections "));
        let open: u32 = open.unwrap_or_else(|| panic!("{scraped:?}")).parse().unwrap();
        for number in 0..5 {
            works(&site, &format!("honest{number}"));
        }
        stop.store(true, Ordering::SeqCst);
        assert!(open > 2000, "{open} are connected");
    });
}

/// Each of the store's members and routers waits like this.
#[test]
fn those_who_wait_for_changes_hold_nobody_up() {
    raise_limit(4096);
    let site = Site::started("");
    let store = |line: &str, body: &str| Client::plain(site.store).ask(STORE, line, body).unwrap();
    let begun = store("GET /v2/keys/broker?recursive=true", "");
    let index: u64 = begun.header("x-etcd-index").parse().unwrap();
    let poll = format!("GET /v2/keys/waited/for?wait=true&waitIndex={}", index + 1);
    let mut waiting: Vec<Client> = (0..500).map(|_| Client::plain(site.store)).collect();
    for client in &mut waiting {
        client.send(request(STORE, &poll, "").as_bytes()).unwrap();
    }
    for number in 0..3 {
        works(&site, &format!("b{number}"));
    }
    assert_eq!(store("GET /v2/keys/nothing", "").status, 404);
    assert_eq!(store("PUT /v2/keys/waited/for?value=here", "").status, 201);
    for client in &mut waiting {
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["node"]["value"], "here", "{answer:?}");
    }
    works(&site, "last");
}
