//! Churn does not leave a large file for ever: it becomes small when it is opened, and while it is open, and nothing is
//! lost by it. Says how long things take; asserts nothing of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use storage::embedded::Options;
use storage::{Deadline, Embedded, Expect, Key, Listing, Store};

const SMALL: u64 = 16 << 20;

fn open(dir: &Path) -> Embedded {
    let begun = Instant::now();
    let store = Embedded::open(dir, Options::default()).unwrap();
    println!("opened {} bytes in {} ms", size(dir), begun.elapsed().as_millis());
    store
}

fn size(dir: &Path) -> u64 {
    fs::metadata(dir.join("store.redb")).unwrap().len()
}

fn key(number: usize) -> Key {
    Key::parse(&format!("/churn/{}/{number}", number % 100)).unwrap()
}

/// Does this for each number, many at a time, so that they share commits.
fn for_each(numbers: usize, act: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..128 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers {
                        break;
                    }
                    act(number);
                }
            });
        }
    });
}

/// How many keys are written, and how large their values are: 100,000 small ones where everything is tried.
fn scale() -> (usize, usize) {
    if std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some() { (100_000, 150) } else { (6_000, 4_000) }
}

/// Writes many keys, and some of them again and again, and removes all but every fiftieth. What is left.
fn churn(store: &Embedded) -> Listing {
    let (keys, bytes) = scale();
    let put = |number: usize, value: &str| {
        store.put(&key(number), value.repeat(bytes).as_bytes(), None, Expect::Anything).unwrap();
    };
    for_each(keys, |number| put(number, "1"));
    for_each(keys / 5, |number| put(number % 100 * 50, "2"));
    for_each(keys, |number| {
        if number % 50 != 0 {
            store.delete(&key(number), Expect::Anything).unwrap();
        }
    });
    let left = store.list(&Key::root()).unwrap();
    assert_eq!(left.entries.len(), keys / 50);
    left
}

#[test]
fn a_file_that_was_churned_is_small_again_after_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (keys, bytes) = scale();
    for_each(keys, |number| {
        store.put(&key(number), &vec![b'x'; bytes], None, Expect::Absent).unwrap();
    });
    drop(store);
    let store = open(dir.path());
    let left = churn(&store);
    drop(store);
    assert!(size(dir.path()) > SMALL, "there is nothing to give back of {}", size(dir.path()));
    let store = open(dir.path());
    assert!(size(dir.path()) < SMALL / 4, "{}", size(dir.path()));
    assert_eq!(store.list(&Key::root()).unwrap(), left);
}

#[test]
fn a_file_that_was_churned_becomes_small_while_it_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let left = churn(&store);
    assert!(size(dir.path()) > SMALL, "there is nothing to give back of {}", size(dir.path()));
    let (stop, longest) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // A little is asked all the time, as in a store that is used.
        scope.spawn(|| {
            let mut nth = 0;
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let at = Key::parse(&format!("/meanwhile/{}", nth % 10)).unwrap();
                store.put(&at, b"1", None, Expect::Anything).unwrap();
                store.get(&at).unwrap().unwrap();
                longest.fetch_max(begun.elapsed().as_millis() as usize, Ordering::Relaxed);
                nth += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let deadline = Deadline::after(Duration::from_secs(60));
        while size(dir.path()) > SMALL / 4 && !deadline.has_passed() {
            std::thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("a writer waited {} ms at most", longest.into_inner());
    assert!(size(dir.path()) < SMALL / 4, "{}", size(dir.path()));
    let churned = Key::parse("/churn").unwrap();
    assert_eq!(store.list(&churned).unwrap().entries, left.entries);
    drop(store);
    assert_eq!(open(dir.path()).list(&churned).unwrap().entries, left.entries);
}
