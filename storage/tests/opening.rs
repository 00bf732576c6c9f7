//! What a store's directory may look like when it is opened, and what becomes of it: a file that is not right is said
//! to be wrong and stays as it was, and nothing is made beside it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use storage::embedded::{OpenError, Options};
use storage::{Embedded, Expect, Key, Store};

fn key(raw: &str) -> Key {
    Key::parse(raw).unwrap()
}

fn open(dir: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(dir, Options::default())
}

fn write(dir: &Path, from: usize, to: usize) {
    let store = open(dir).unwrap();
    for number in from..to {
        store.put(&key(&format!("/a/{number}")), b"1", None, Expect::Anything).unwrap();
    }
}

/// Everything about what is in a directory: names, lengths, times and bytes.
fn look(dir: &Path) -> Vec<(PathBuf, u64, SystemTime, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            (path, metadata.len(), metadata.modified().unwrap(), bytes)
        })
        .collect();
    found.sort();
    found
}

/// A directory with a store of ten changes, after `hurt` has been done to it.
fn hurt(hurt: impl FnOnce(&Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 10);
    hurt(dir.path());
    dir
}

#[test]
fn what_is_not_right_is_refused_and_left_alone() {
    let check = |name: &str, hurting: &dyn Fn(&Path), expected: fn(&OpenError) -> bool, says: &str| {
        let dir = hurt(hurting);
        let before = look(dir.path());
        // A write would have another time than this.
        std::thread::sleep(Duration::from_millis(20));
        let error = open(dir.path()).unwrap_err();
        assert!(expected(&error) && error.to_string().contains(says), "{name}: {error}");
        assert!(look(dir.path()) == before, "{name}: something was changed");
    };
    let corrupt: fn(&OpenError) -> bool = |error| matches!(error, OpenError::Corrupt { .. });
    let behind: fn(&OpenError) -> bool = |error| matches!(error, OpenError::Behind { .. });
    let io: fn(&OpenError) -> bool = |error| matches!(error, OpenError::Io { .. });
    let file = |dir: &Path| dir.join("store.redb");
    let cut =
        |dir: &Path, len: u64| fs::File::options().write(true).open(file(dir)).unwrap().set_len(len).unwrap();
    check("cut to half", &|dir| cut(dir, 500_000), corrupt, "kv restore");
    check("cut to nothing", &|dir| cut(dir, 0), behind, "up to 10 were acknowledged");
    check("removed", &|dir| fs::remove_file(file(dir)).unwrap(), behind, "store.mark");
    check("another's", &|dir| fs::write(file(dir), b"hello").unwrap(), corrupt, "kv restore");
    check(
        "a directory",
        &|dir| {
            fs::remove_file(file(dir)).unwrap();
            fs::create_dir(file(dir)).unwrap();
        },
        io,
        "something else stands",
    );
    check(
        "a link",
        &|dir| {
            fs::rename(file(dir), dir.join("elsewhere")).unwrap();
            symlink(dir.join("elsewhere"), file(dir)).unwrap();
        },
        io,
        "a symbolic link stands",
    );
    check(
        "an older copy",
        &|dir| {
            let older = fs::read(file(dir)).unwrap();
            write(dir, 10, 12);
            fs::write(file(dir), older).unwrap();
        },
        behind,
        "ends with change 10, but changes up to 12",
    );
    check(
        "a mark that is a directory",
        &|dir| {
            fs::remove_file(dir.join("store.mark")).unwrap();
            fs::create_dir(dir.join("store.mark")).unwrap();
        },
        io,
        "store.mark",
    );
}

#[test]
fn a_mark_that_says_nothing_stops_nobody() {
    let check = |name: &str, hurting: &dyn Fn(&Path), entries: usize| {
        let dir = hurt(hurting);
        let store = open(dir.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(store.list(&Key::root()).unwrap().entries.len(), entries, "{name}");
    };
    let mark = |dir: &Path| dir.join("store.mark");
    check("missing", &|dir| fs::remove_file(mark(dir)).unwrap(), 10);
    check("empty", &|dir| fs::write(mark(dir), b"").unwrap(), 10);
    check(
        "torn",
        &|dir| {
            let mut bytes = fs::read(mark(dir)).unwrap();
            bytes[20..].fill(0xff);
            fs::write(mark(dir), bytes).unwrap();
        },
        10,
    );
    check(
        "another store's",
        &|dir| {
            let another = tempfile::tempdir().unwrap();
            write(another.path(), 0, 50);
            fs::copy(mark(another.path()), mark(dir)).unwrap();
        },
        10,
    );
    check(
        "behind",
        &|dir| {
            let older = fs::read(mark(dir)).unwrap();
            write(dir, 10, 12);
            fs::write(mark(dir), older).unwrap();
        },
        12,
    );
    check(
        "gone with its file",
        &|dir| {
            fs::remove_file(mark(dir)).unwrap();
            fs::write(dir.join("store.redb"), b"").unwrap();
        },
        0,
    );
}

#[test]
fn a_new_store_is_whole_or_not_there() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("not/there/yet");
    fs::create_dir_all(&dir).unwrap();
    // What a crash leaves that came before the new store had its name.
    fs::write(dir.join("store.new"), b"half of a store").unwrap();
    write(&dir, 0, 3);
    let names: Vec<_> =
        look(&dir).into_iter().map(|(path, ..)| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["store.mark", "store.redb"]);
    fs::write(parent.path().join("file"), b"").unwrap();
    let beneath = open(&parent.path().join("file/store"));
    assert!(matches!(beneath, Err(OpenError::Io { .. })), "{beneath:?}");
}

#[test]
fn of_many_that_open_a_new_store_at_once_one_has_it() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let opened: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| open(dir.path()))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let holders = opened.iter().filter(|opened| opened.is_ok()).count();
        assert_eq!(holders, 1, "{opened:?}");
        let others_are_told = |opened: &Result<_, _>| matches!(opened, Ok(_) | Err(OpenError::Locked { .. }));
        assert!(opened.iter().all(others_are_told), "{opened:?}");
    }
}
