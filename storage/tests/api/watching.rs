//! Many who watch, and those who watch and do not read.

use std::fs;
use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use storage::embedded::http::Server;
use storage::{Embedded, Expect, Key, Store};

use super::client::{Raw, send, serve};

pub const TESTS: &[(&str, fn())] = &[
    ("two_thousand_watchers_need_no_thread_each", two_thousand_watchers),
    ("a_stream_goes_on_and_begins_in_the_past", a_stream_goes_on),
    ("who_opens_streams_and_never_reads_is_cut_off", who_never_reads_is_cut_off),
    ("a_place_is_made_for_the_last_watcher", a_place_is_made),
];

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn put(store: &Arc<Embedded>, key: &str, value: &str) {
    store.put(&Key::parse(key).unwrap(), value.as_bytes(), None, Expect::Anything).unwrap();
}

fn watch(server: &Server, target: &str) -> Raw {
    let mut raw = Raw::connect(server.address());
    raw.send(&format!("GET /v2/keys{target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(raw.head().0, 200);
    raw
}

/// Half of them wait for their own key, half read a stream of all; thousands of changes go by meanwhile.
fn two_thousand_watchers() {
    let (server, store) = serve(|_| {});
    // Other tests run in this process.
    let before = threads();
    let mut own: Vec<Raw> =
        (0..1000).map(|number| watch(&server, &format!("/own/{number}?wait=true"))).collect();
    let mut streams: Vec<Raw> =
        (0..1000).map(|_| watch(&server, "/all?wait=true&recursive=true&stream=true")).collect();
    let more = threads().saturating_sub(before);
    assert!(more < 200, "{more} threads more than before");
    // More than the history remembers, of which nobody wants any.
    thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || (0..500).for_each(|_| put(store, &format!("/foreign/{writer}"), "x")));
        }
    });
    (0..1000).for_each(|number| put(&store, &format!("/own/{number}"), &number.to_string()));
    ["first", "second"].iter().for_each(|value| put(&store, "/all/x", value));
    for (number, watcher) in own.iter_mut().enumerate() {
        assert!(watcher.chunk().contains(&format!("\"value\":\"{number}\"")), "{number}");
    }
    for stream in &mut streams {
        let mut told = String::new();
        while !told.contains("second") {
            told += &stream.chunk_line();
        }
        assert!(told.find("first") < told.find("second"), "{told}");
    }
}

fn a_stream_goes_on() {
    let (server, store) = serve(|_| {});
    for value in ["one", "two"] {
        put(&store, "/s/x", value);
    }
    let mut stream = watch(&server, "/s?wait=true&recursive=true&stream=true&waitIndex=1");
    put(&store, "/other", "x");
    assert_eq!(send(server.address(), "PUT", "/v2/keys/s/_hidden", "value=x", None).status, 201);
    put(&store, "/s/x", "three");
    for value in ["one", "two", "three"] {
        let told = stream.chunk_line();
        assert!(told.contains(&format!("\"node\":{{\"key\":\"/s/x\",\"value\":\"{value}\"")), "{told}");
    }
}

/// What waits for a reader is bounded; one that takes nothing is cut off, and others are told all the while.
fn who_never_reads_is_cut_off() {
    let (server, store) = serve(|options| options.limits.max_stream_bytes = 1 << 18);
    let mut asleep: Vec<Raw> = (0..50).map(|_| watch(&server, "/s?wait=true&stream=true")).collect();
    let mut last = watch(&server, "/last?wait=true");
    let value = "x".repeat(64 << 10);
    for number in 0..400 {
        put(&store, "/s", &format!("{number}{value}"));
        if number % 100 == 0 {
            let begun = Instant::now();
            assert_eq!(send(server.address(), "GET", "/version", "", None).status, 200);
            assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        }
    }
    // Who is told of this has been told after all that was before.
    put(&store, "/last", "x");
    assert!(last.chunk().contains("/last"));
    // Fifty megabytes were for each of them; what they find is what fits into the system's and the door's bounds.
    for raw in &mut asleep {
        let mut rest = Vec::new();
        let cut = raw.0.read_to_end(&mut rest);
        assert!(rest.len() < 24 << 20, "{} bytes: {cut:?}", rest.len());
    }
}

/// Where all places are taken, the one who waits for longest is told that its wait is over.
fn a_place_is_made() {
    let (server, store) = serve(|options| options.limits.max_connections = 20);
    let mut watchers: Vec<Raw> = (0..12).map(|_| watch(&server, "/s?wait=true")).collect();
    put(&store, "/s", "news");
    let told: Vec<bool> = watchers.iter_mut().map(|watcher| watcher.chunk().contains("news")).collect();
    assert_eq!(told, [vec![false; 2], vec![true; 10]].concat());
}
