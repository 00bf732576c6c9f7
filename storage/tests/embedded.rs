//! What the embedded engine promises beyond the contract: it survives being killed, runs TTLs anew, shares fsyncs
//! between writers, and never overwrites a file that it does not understand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use storage::embedded::{OpenError, Options};
use storage::{Changed, Clock, Deadline, Embedded, Expect, Key, Revision, Store, StoreError, Ttl};

fn key(raw: &str) -> Key {
    Key::parse(raw).unwrap()
}

/// A clock that stands still until it is moved.
struct ManualClock(Mutex<Instant>);

impl ManualClock {
    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

fn manual() -> (Arc<ManualClock>, Options) {
    let clock = Arc::new(ManualClock(Mutex::new(Instant::now())));
    let options = Options { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Options::default() };
    (clock, options)
}

fn vanishes(store: &Embedded, at: &str) -> bool {
    let deadline = Deadline::after(Duration::from_secs(30));
    while store.get(&key(at)).unwrap().is_some() {
        if deadline.has_passed() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[test]
fn ttls_run_by_the_clock_and_a_refresh_runs_them_anew() {
    let (clock, options) = manual();
    let store = Embedded::in_memory(options).unwrap();
    let ttl = Ttl::seconds(30);
    let held = store.put(&key("/leader"), b"a", Some(ttl), Expect::Absent).unwrap();
    store.put(&key("/other"), b"b", Some(ttl), Expect::Absent).unwrap();
    clock.advance(Duration::from_secs(29));
    let refreshed = store.refresh(&key("/leader"), ttl, held).unwrap();
    assert!(refreshed > held, "as in etcd, a refresh is a change");
    assert_eq!(store.refresh(&key("/leader"), ttl, held), Err(StoreError::Conflict));
    clock.advance(Duration::from_secs(2));
    assert!(vanishes(&store, "/other"));
    assert!(store.get(&key("/leader")).unwrap().is_some(), "the refreshed entry stays");
    clock.advance(Duration::from_secs(30));
    assert!(vanishes(&store, "/leader"));
    assert_eq!(store.refresh(&key("/leader"), ttl, refreshed), Err(StoreError::Conflict));
}

#[test]
fn what_was_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (_, options) = manual();
    let store = Embedded::open(dir.path(), options).unwrap();
    let kept = store.put(&key("/a/b"), b"\xff\x00", None, Expect::Absent).unwrap();
    store.put(&key("/a/gone"), b"1", None, Expect::Absent).unwrap();
    store.delete(&key("/a/gone"), Expect::Anything).unwrap();
    store.put(&key("/ttl"), b"1", Some(Ttl::seconds(30)), Expect::Absent).unwrap();
    let before = store.list(&Key::root()).unwrap();
    drop(store);

    let (clock, options) = manual();
    let store = Embedded::open(dir.path(), options).unwrap();
    assert_eq!(store.list(&Key::root()).unwrap(), before);
    assert_eq!(store.get(&key("/a/b")).unwrap().unwrap().revision, kept);
    clock.advance(Duration::from_secs(29));
    // The writer looks at what is due with every change.
    store.put(&key("/tick"), b"", None, Expect::Absent).unwrap();
    assert!(store.get(&key("/ttl")).unwrap().is_some(), "its TTL began anew at the open");
    clock.advance(Duration::from_secs(2));
    assert!(vanishes(&store, "/ttl"));
}

#[test]
fn a_watch_goes_on_over_a_restart_or_says_that_it_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    let first = store.put(&key("/a"), b"1", None, Expect::Absent).unwrap();
    let last = store.put(&key("/b"), b"1", None, Expect::Absent).unwrap();
    drop(store);

    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    let soon = Deadline::after(Duration::from_millis(20));
    let older = store.watch(&Key::root(), first, soon).unwrap();
    assert_eq!((older.revision, older.what), (last, Changed::Resync));
    store.put(&key("/c"), b"1", None, Expect::Absent).unwrap();
    let same = store.watch(&Key::root(), last, soon).unwrap();
    assert_eq!(same.what, Changed::Keys(vec![key("/c")]));
    let ahead = store.watch(&Key::root(), Revision(last.0 + 100), soon).unwrap();
    assert_eq!(ahead.what, Changed::Resync, "a revision of another store's");
}

#[test]
fn writers_at_the_same_time_share_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..50 {
                    store.put(&key(&format!("/t{thread}/{i}")), b"x", None, Expect::Absent).unwrap();
                }
            });
        }
    });
    let commits = store.commits();
    assert!(commits < 600, "{commits} commits for 800 puts");
    drop(store);
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.list(&Key::root()).unwrap().entries.len(), 800);
}

#[test]
fn a_refused_change_leaves_nothing_behind() {
    let store = Embedded::in_memory(Options::default()).unwrap();
    store.put(&key("/file"), b"1", None, Expect::Absent).unwrap();
    store.put(&key("/dir/x"), b"1", None, Expect::Absent).unwrap();
    let before = store.list(&Key::root()).unwrap();
    let check = |at: &str, expect, expected: fn(&StoreError) -> bool| {
        let error = store.put(&key(at), b"2", None, expect).unwrap_err();
        assert!(expected(&error), "{at} {expect:?}: {error:?}");
    };
    let corrupt: fn(&StoreError) -> bool = |error| matches!(error, StoreError::Corrupt { .. });
    let conflict: fn(&StoreError) -> bool = |error| *error == StoreError::Conflict;
    check("/file/below", Expect::Anything, corrupt);
    check("/file/below", Expect::Absent, corrupt);
    check("/dir", Expect::Anything, corrupt);
    check("/dir", Expect::Absent, conflict);
    check("/dir", Expect::Unchanged(Revision(2)), conflict);
    check("/new/deep", Expect::Unchanged(Revision(2)), conflict);
    check("/", Expect::Anything, corrupt);
    assert_eq!(store.list(&Key::root()).unwrap(), before);
    assert_eq!(store.get(&key("/dir")), Ok(None), "a directory is not an entry");
    assert_eq!(store.delete(&key("/dir"), Expect::Anything), Ok(()));
    assert_eq!(store.list(&Key::root()).unwrap(), before);
    let huge = vec![0; storage::MAX_VALUE_BYTES + 1];
    assert!(corrupt(&store.put(&key("/huge"), &huge, None, Expect::Absent).unwrap_err()));
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let locked = tempfile::tempdir().unwrap();
    let first = Embedded::open(locked.path(), Options::default()).unwrap();
    let second = Embedded::open(locked.path(), Options::default());
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    drop(first);

    let check = |content: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        fs::write(&path, content).unwrap();
        let opened = Embedded::open(dir.path(), Options::default());
        assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{opened:?}");
        assert_eq!(fs::read(&path).unwrap(), content);
    };
    check(b"hello");
    check(&[0x5a; 100_000]);
    let real = fs::read(locked.path().join("store.redb")).unwrap();
    check(&real[..1000]);

    let newer = tempfile::tempdir().unwrap();
    let database = redb::Database::create(newer.path().join("store.redb")).unwrap();
    let write = database.begin_write().unwrap();
    let numbers: redb::TableDefinition<'_, (), [u64; 7]> = redb::TableDefinition::new("numbers");
    write.open_table(numbers).unwrap().insert((), [3, 0, 0, 0, 0, 0, 0]).unwrap();
    write.commit().unwrap();
    drop(database);
    let opened = Embedded::open(newer.path(), Options::default());
    assert!(matches!(opened, Err(OpenError::Newer { found: 3, .. })), "{opened:?}");
}

#[test]
fn only_its_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let store = Embedded::open(&dir, Options::default()).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("store.redb")), 0o600);
    drop(store);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Embedded::open(dir.path(), Options::default()).unwrap();
    for i in 0..100 {
        store.put(&key(&format!("/a/{i}")), b"1", None, Expect::Absent).unwrap();
        if i % 10 == 0 {
            // The file as a killed process leaves it: nobody has closed it.
            fs::copy(dir.path().join("store.redb"), copy.path().join("store.redb")).unwrap();
            let survivor = Embedded::open(copy.path(), Options::default()).unwrap();
            let survivors = survivor.list(&Key::root()).unwrap();
            assert_eq!(survivors.entries.len(), i + 1);
            assert_eq!(survivors, store.list(&Key::root()).unwrap());
        }
    }
}
