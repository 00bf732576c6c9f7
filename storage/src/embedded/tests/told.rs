//! Those who are told what came of their changes, on the writer's thread.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::super::change::{Change, Condition, Content};
use super::super::http::{Server, ServerOptions};
use super::super::{Embedded, Guests, Options};
use crate::{AccessControl, Deadline, Expect, Key, Store};

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn put(path: &str) -> Change {
    let (key, content) = (Key::parse(path).unwrap(), Content::File(path.as_bytes().into()));
    Change::Put { key, content, ttl: None, only_if: Condition::default() }
}

/// Holds the writer until something is sent or dropped; gives what to wait for until it is held.
fn hold_up(store: &Embedded) -> Sender<()> {
    let (release, released): (Sender<()>, Receiver<()>) = bounded(0);
    let (told, held) = bounded(0);
    let then = move |_| {
        told.send(()).unwrap();
        // Dropped or sent: it is let go.
        let _ = released.recv();
    };
    store.submit(put("/first"), Box::new(then));
    held.recv_timeout(PATIENCE).unwrap();
    release
}

/// An API's answer was the last to know the store, and the writer waited for its own end.
#[test]
fn the_store_may_be_dropped_by_who_is_told() {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let shared = Arc::downgrade(&store.shared);
    let release = hold_up(&store);
    let (told, heard) = unbounded();
    for path in ["/a", "/b", "/c"] {
        let (last, told) = ((path == "/b").then(|| Arc::clone(&store)), told.clone());
        let then = move |answer: super::super::writer::Answer| {
            let was_last = last.is_some_and(|store| Arc::into_inner(store).is_some());
            told.send((path, answer.is_ok_and(|answer| answer.is_ok()), was_last)).unwrap();
        };
        store.submit(put(path), Box::new(then));
    }
    drop(store);
    drop(release);
    for expected in [("/a", true, false), ("/b", true, true), ("/c", true, false)] {
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(expected));
    }
    let deadline = Deadline::after(PATIENCE);
    while shared.strong_count() > 0 {
        assert!(!deadline.has_passed(), "the writer has not ended");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_panics_when_told_takes_nothing_from_the_others() {
    let store = Embedded::in_memory(Options::default()).unwrap();
    store.submit(put("/a"), Box::new(|_| panic!("this one is meant to")));
    let key = Key::parse("/b").unwrap();
    store.put(&key, b"b", None, Expect::Absent).unwrap();
    assert!(store.get(&Key::parse("/a").unwrap()).unwrap().is_some());
}

/// With the disk held up, every connection of an API can have a change under way, beside those in this process.
#[test]
fn there_is_room_for_a_change_of_every_connection() {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let options = ServerOptions::basic("user", "password");
    let connections = options.limits.max_connections;
    assert!(connections >= 8192);
    let server =
        Server::start(Arc::clone(&store), TcpListener::bind("127.0.0.1:0").unwrap(), options).unwrap();
    let release = hold_up(&store);
    let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let submit = |count: usize| {
        for _ in 0..count {
            let (done, failed) = (Arc::clone(&done), Arc::clone(&failed));
            let then = move |answer: super::super::writer::Answer| {
                let counter = if answer.is_ok() { done } else { failed };
                counter.fetch_add(1, Ordering::SeqCst);
            };
            store.submit(put("/a"), Box::new(then));
        }
    };
    submit(connections);
    assert_eq!(failed.load(Ordering::SeqCst), 0, "a connection was refused");
    submit(2 * connections);
    let refused = failed.load(Ordering::SeqCst);
    assert!(refused > 0, "the queue has no bound");
    drop(release);
    let deadline = Deadline::after(Duration::from_secs(60));
    while done.load(Ordering::SeqCst) + refused < 3 * connections {
        assert!(!deadline.has_passed(), "{} of {connections} were done", done.load(Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(store.commits() < 200, "{} commits", store.commits());
    server.shutdown();
}

/// A guest was dismissed by somebody who then lost patience; who dismisses it again is told only when what the guest had
/// been let begin is over, though there is no row to remove any more.
#[test]
fn who_dismisses_twice_waits_for_what_was_begun() {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let guests = Guests::new(Arc::clone(&store), vec![]);
    let release = hold_up(&store);
    let (done, heard) = bounded(1);
    std::thread::scope(|scope| {
        scope.spawn(|| done.send(guests.dismiss("b1")).unwrap());
        assert!(heard.recv_timeout(Duration::from_millis(100)).is_err(), "the writer is at it still");
        drop(release);
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(Ok(())));
    });
}
