//! Watching without a history.

use std::thread;
use std::time::Duration;

use storage::remote::Reach;
use storage::{Changed, Consul, Expect, Key, Revision, Store, Ttl};

use crate::Test;
use crate::lab::{Lab, PATIENT, key, within};

pub const TESTS: &[Test] = &[
    ("what_is_not_known_is_a_resync_once", what_is_not_known_is_a_resync_once),
    ("what_may_be_forgotten_is_a_resync", what_may_be_forgotten_is_a_resync),
    ("a_deletion_before_the_watch_is_not_missed", a_deletion_before_the_watch_is_not_missed),
    ("ones_own_put_is_no_news", ones_own_put_is_no_news),
    ("one_revision_stands_for_every_prefix", one_revision_stands_for_every_prefix),
    ("two_watchers_hear_alike", two_watchers_hear_alike),
    ("another_store_is_a_resync", another_store_is_a_resync),
    ("another_store_keeps_what_it_is_given", another_store_keeps_what_it_is_given),
    ("an_empty_prefix_is_watched_quietly", an_empty_prefix_is_watched_quietly),
];

fn put(store: &Consul, at: &str) -> Revision {
    store.put(&key(at), b"1", None, Expect::Anything).unwrap()
}

fn none() -> Changed {
    Changed::Keys(Vec::new())
}

fn these(keys: &[&str]) -> Changed {
    Changed::Keys(keys.iter().map(|at| key(at)).collect())
}

fn what_is_not_known_is_a_resync_once() {
    let lab = Lab::open();
    let (writer, watcher) = (lab.store(), lab.store());
    let first = put(&writer, "/w/a");
    put(&writer, "/w/b");
    let changes = watcher.watch(&key("/w"), first, within(5000)).unwrap();
    assert_eq!(changes.what, Changed::Resync);
    let changes = watcher.watch(&key("/w"), changes.revision, within(300)).unwrap();
    assert_eq!(changes.what, none());
    put(&writer, "/w/a");
    writer.delete(&key("/w/b"), Expect::Anything).unwrap();
    let mut heard = Vec::new();
    let mut after = changes.revision;
    for _ in 0..2 {
        let changes = watcher.watch(&key("/w"), after, within(500)).unwrap();
        assert!(changes.revision >= after);
        after = changes.revision;
        let Changed::Keys(keys) = changes.what else { panic!("nothing was lost") };
        heard.extend(keys);
    }
    heard.sort();
    assert_eq!(heard, [key("/w/a"), key("/w/b")]);
}

/// A client that has just come does not know how long ago its revision was. A deletion since may be one that Consul has
/// forgotten, which it does after 15 minutes, so that the index of the prefix tells nothing.
fn what_may_be_forgotten_is_a_resync() {
    let lab = Lab::open();
    let (writer, watcher) = (lab.store(), lab.store());
    let after = put(&writer, "/w/a");
    put(&writer, "/elsewhere");
    let changes = watcher.watch(&key("/w"), after, within(300)).unwrap();
    assert_eq!(changes.what, Changed::Resync);
    assert_eq!(watcher.watch(&key("/w"), changes.revision, within(300)).unwrap().what, none());
}

fn a_deletion_before_the_watch_is_not_missed() {
    let lab = Lab::open();
    let (mine, other) = (lab.store(), lab.store());
    put(&other, "/w/b");
    let after = put(&mine, "/w/a");
    other.delete(&key("/w/b"), Expect::Anything).unwrap();
    let changes = mine.watch(&key("/w"), after, within(300)).unwrap();
    assert_eq!(changes.what, Changed::Resync);
    // With a place to compare with, it is told exactly.
    let after = mine.list(&key("/w")).unwrap().revision;
    other.delete(&key("/w/a"), Expect::Anything).unwrap();
    assert_eq!(mine.watch(&key("/w"), after, within(300)).unwrap().what, these(&["/w/a"]));
}

fn ones_own_put_is_no_news() {
    let lab = Lab::open();
    let (mine, other) = (lab.store(), lab.store());
    let ttl = Some(Ttl::seconds(10));
    let after = mine.put(&key("/w/a"), b"1", ttl, Expect::Absent).unwrap();
    let changes = mine.watch(&key("/w"), after, within(300)).unwrap();
    assert_eq!((changes.what, changes.revision), (none(), after));
    thread::scope(|scope| {
        let watch = scope.spawn(|| mine.watch(&key("/w"), after, within(5000)).unwrap());
        thread::sleep(Duration::from_millis(300));
        let put = put(&other, "/w/b");
        let changes = watch.join().unwrap();
        assert_eq!((changes.what, changes.revision), (these(&["/w/b"]), put));
    });
}

/// The router lists two prefixes and watches the root from the earlier of the two. Each prefix has an index of its own on
/// Consul, and with that for a revision every watch said Resync, for ever.
fn one_revision_stands_for_every_prefix() {
    let lab = Lab::open();
    let (mine, other) = (lab.store(), lab.store());
    put(&other, "/a/x");
    put(&other, "/b/x");
    put(&other, "/elsewhere");
    let lists = [key("/a"), key("/b"), key("/none")].map(|prefix| mine.list(&prefix).unwrap().revision);
    let after = *lists.iter().min().unwrap();
    let changes = mine.watch(&Key::root(), after, within(300)).unwrap();
    assert_eq!(changes.what, none());
    put(&other, "/b/x");
    let changes = mine.watch(&Key::root(), changes.revision, within(5000)).unwrap();
    assert_eq!(changes.what, these(&["/b/x"]));
    // From a listing of one prefix, watching another.
    let after = mine.list(&key("/a")).unwrap().revision;
    let changes = mine.watch(&key("/b"), after, within(300)).unwrap();
    assert_eq!(changes.what, none());
    let foreign = put(&other, "/elsewhere");
    let changes = mine.watch(&key("/b"), changes.revision, within(300)).unwrap();
    assert!(changes.what == none() && changes.revision >= foreign);
}

fn two_watchers_hear_alike() {
    let lab = Lab::open();
    let (mine, other) = (lab.store(), lab.store());
    let after = mine.list(&key("/w")).unwrap().revision;
    put(&other, "/w/a");
    let first = mine.watch(&key("/w"), after, within(300)).unwrap();
    put(&other, "/w/b");
    let second = mine.watch(&key("/w"), after, within(300)).unwrap();
    assert_eq!((first.what, second.what), (these(&["/w/a"]), these(&["/w/a", "/w/b"])));
    let late = mine.watch(&key("/w"), first.revision, within(300)).unwrap();
    assert_eq!(late.what, these(&["/w/b"]));
}

fn another_store_is_a_resync() {
    let (mut first, second) = (Lab::open(), Lab::open());
    let endpoints = [first.server.endpoint().to_owned(), second.server.endpoint().to_owned()];
    let store = Consul::connect(&Reach { timeouts: PATIENT, ..Reach::of(&endpoints) }, None).unwrap();
    for _ in 0..50 {
        put(&store, "/w/a");
    }
    let after = store.list(&key("/w")).unwrap().revision;
    put(&second.store(), "/w/b");
    first.server.stop();
    let changes = store.watch(&key("/w"), after, within(2000)).unwrap();
    assert!(changes.what == Changed::Resync && changes.revision < after, "{changes:?}");
    put(&second.store(), "/w/c");
    let changes = store.watch(&key("/w"), changes.revision, within(2000)).unwrap();
    assert_eq!(changes.what, these(&["/w/c"]));
}

/// What was remembered of the old one's sessions looked later than anything that the new one said: the session of each
/// new entry was taken for one that had been replaced, and ended.
fn another_store_keeps_what_it_is_given() {
    let (mut first, second) = (Lab::open(), Lab::open());
    let endpoints = [first.server.endpoint().to_owned(), second.server.endpoint().to_owned()];
    let store = Consul::connect(&Reach { timeouts: PATIENT, ..Reach::of(&endpoints) }, None).unwrap();
    let (at, ttl) = (key("/w/a"), Ttl::seconds(10));
    for _ in 0..50 {
        store.put(&at, b"1", Some(ttl), Expect::Anything).unwrap();
    }
    first.server.stop();
    // A connection that is still open may have taken the first write with it.
    drop(store.get(&at));
    for _ in 0..2 {
        let held = store.put(&at, b"2", Some(ttl), Expect::Anything).unwrap();
        assert_eq!(store.get(&at).unwrap().map(|entry| entry.revision), Some(held));
        assert_eq!(store.refresh(&at, ttl, held), Ok(held));
    }
    assert_eq!(second.sessions(), [second.session_of("/w/a").unwrap()]);
}

fn an_empty_prefix_is_watched_quietly() {
    let lab = Lab::open();
    let (mine, other) = (lab.store(), lab.store());
    let after = mine.list(&key("/none")).unwrap().revision;
    thread::scope(|scope| {
        let watch = scope.spawn(|| mine.watch(&key("/none"), after, within(1500)).unwrap());
        for _ in 0..20 {
            put(&other, "/nona");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(watch.join().unwrap().what, none());
    });
}
