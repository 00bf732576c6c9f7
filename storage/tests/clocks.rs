//! Clocks that step. TTLs run by the monotonic clock alone; the wall clock only says when that will be for people.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use storage::embedded::Options;
use storage::embedded::http::answer;
use storage::{Clock, Deadline, Embedded, Expect, Key, Store, Ttl};

const HOUR: Duration = Duration::from_secs(3_600);

/// Clocks that stand still until they are moved, each by itself.
struct Clocks(Mutex<(Instant, SystemTime)>);

impl Clocks {
    /// Lets time pass, as both clocks see it.
    fn pass(&self, by: Duration) {
        let mut clocks = self.0.lock().unwrap();
        clocks.0 += by;
        clocks.1 += by;
    }

    /// Sets the wall clock.
    fn step(&self, to: impl Fn(SystemTime) -> SystemTime) {
        let mut clocks = self.0.lock().unwrap();
        clocks.1 = to(clocks.1);
    }
}

impl Clock for Clocks {
    fn now(&self) -> Instant {
        self.0.lock().unwrap().0
    }

    fn wall(&self) -> SystemTime {
        self.0.lock().unwrap().1
    }
}

fn clocks() -> (Arc<Clocks>, Options) {
    // 2023-11-14T22:13:20Z
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let clocks = Arc::new(Clocks(Mutex::new((Instant::now() + 100 * HOUR, wall))));
    let options = Options { clock: Arc::clone(&clocks) as Arc<dyn Clock>, ..Options::default() };
    (clocks, options)
}

/// What is left of `/leader` in seconds, and when that will be.
fn left(store: &Arc<Embedded>) -> Option<(u64, String)> {
    let (_, body) = answer(store, "GET", "/v2/keys/leader", b"").unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let node = body.get("node")?;
    // As in etcd, there is none where less than nothing is left.
    Some((node["ttl"].as_u64().unwrap_or_default(), node["expiration"].as_str().unwrap()[..19].to_owned()))
}

/// The writer looks at what is due with every change: once this is answered, whatever was due is gone.
fn settle(store: &Embedded) {
    store.put(&Key::parse("/tick").unwrap(), b"", None, Expect::Anything).unwrap();
}

fn vanishes(store: &Arc<Embedded>) -> bool {
    let deadline = Deadline::after(Duration::from_secs(30));
    while left(store).is_some() && !deadline.has_passed() {
        std::thread::sleep(Duration::from_millis(10));
    }
    left(store).is_none()
}

#[test]
fn a_wall_clock_that_steps_ends_no_ttl_early_or_late() {
    let (clocks, options) = clocks();
    let store = Arc::new(Embedded::in_memory(options).unwrap());
    let put = || store.put(&Key::parse("/leader").unwrap(), b"1", Some(Ttl::seconds(30)), Expect::Anything);
    put().unwrap();
    assert_eq!(left(&store), Some((30, "2023-11-14T22:13:50".to_owned())));
    clocks.step(|wall| wall + 5 * HOUR);
    settle(&store);
    assert_eq!(left(&store), Some((30, "2023-11-15T03:13:50".to_owned())));
    clocks.pass(Duration::from_secs(20));
    clocks.step(|wall| wall - 12 * HOUR);
    settle(&store);
    assert_eq!(left(&store), Some((10, "2023-11-14T15:13:50".to_owned())));
    clocks.pass(Duration::from_secs(9));
    settle(&store);
    assert_eq!(left(&store).unwrap().0, 1);
    clocks.pass(Duration::from_secs(1));
    assert!(vanishes(&store), "it is over although the wall clock has gone back");
    put().unwrap();
    clocks.step(|_| SystemTime::UNIX_EPOCH);
    settle(&store);
    assert_eq!(left(&store), Some((30, "1970-01-01T00:00:30".to_owned())));
    clocks.pass(Duration::from_secs(30));
    assert!(vanishes(&store));
}

#[test]
fn a_restart_runs_every_ttl_anew_whatever_the_wall_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    for step in [0, 48] {
        let (before, options) = clocks();
        let store = Arc::new(Embedded::open(dir.path(), options).unwrap());
        store.put(&Key::parse("/leader").unwrap(), b"1", Some(Ttl::seconds(30)), Expect::Anything).unwrap();
        before.pass(Duration::from_secs(29));
        drop(store);
        let (after, options) = clocks();
        after.step(|wall| wall + step * HOUR);
        let store = Arc::new(Embedded::open(dir.path(), options).unwrap());
        assert_eq!(left(&store).unwrap().0, 30);
        after.pass(Duration::from_secs(29));
        settle(&store);
        assert_eq!(left(&store).unwrap().0, 1);
        after.pass(Duration::from_secs(1));
        assert!(vanishes(&store));
    }
}
