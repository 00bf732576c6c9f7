//! What a restore finds in the store's directory, and what one that was cut off leaves there.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::restore::{JUMP, Plan, Restored};
use super::super::{Embedded, Options};
use crate::{Expect, Key, Store};

/// A directory with a store of so many changes, a backup of it, and the store's file.
struct Place {
    dir: tempfile::TempDir,
    backup: PathBuf,
    path: PathBuf,
}

fn key(raw: &str) -> Key {
    Key::parse(raw).unwrap()
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).unwrap()
}

impl Place {
    fn new(changes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for number in 0..changes {
            store.put(&key(&format!("/a/{number}")), &[b'x'; 300], None, Expect::Anything).unwrap();
        }
        let backup = dir.path().join("backup");
        store.shared.snapshot().unwrap().write_to(&mut File::create(&backup).unwrap()).unwrap();
        drop(store);
        let path = dir.path().join("store.redb");
        Self { dir, backup, path }
    }

    fn restore(&self, suffix: &str) -> Restored {
        let plan = Plan {
            backup: &self.backup,
            directory: self.dir.path(),
            replace: true,
            keep: &|_, _| true,
            suffix,
        };
        plan.perform().unwrap()
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn names_of_store(&self) -> u64 {
        fs::metadata(&self.path).unwrap().nlink()
    }
}

/// redb panicked on one damaged file in ten, and what was being made stayed.
#[test]
fn whatever_is_damaged_is_replaced() {
    let place = Place::new(40);
    let sound = fs::read(&place.path).unwrap();
    let mark = fs::read(place.beside("store.mark")).unwrap();
    let mut random = StdRng::seed_from_u64(11);
    // Most of the file is free.
    let used: Vec<usize> = (0..sound.len()).filter(|at| sound[*at] != 0).collect();
    for round in 0..100 {
        let mut damaged = sound.clone();
        for _ in 0..random.random_range(1..30) {
            // Of the header more than its share.
            let at = if random.random_bool(0.3) {
                random.random_range(0..320)
            } else {
                used[random.random_range(0..used.len())]
            };
            damaged[at] ^= 1 << random.random_range(0..8);
        }
        fs::write(&place.path, &damaged).unwrap();
        fs::write(place.beside("store.mark"), &mark).unwrap();
        let restored = place.restore("aside");
        assert_eq!(restored.index, 40 + JUMP, "round {round}");
        assert!(!place.beside("store.redb.restoring").exists(), "round {round}");
        assert!(fs::read(restored.aside.unwrap()).unwrap() == damaged, "round {round}");
        fs::remove_file(place.beside("store.redb.aside")).unwrap();
    }
    assert_eq!(open(place.dir.path()).list(&Key::root()).unwrap().entries.len(), 40);
}

/// Nobody may have seen a later index than that of the store that comes.
#[test]
fn the_index_is_beyond_that_of_a_store_that_cannot_be_read() {
    let place = Place::new(3);
    let first = place.restore("1");
    assert_eq!(first.index, 3 + JUMP);
    let store = open(place.dir.path());
    let last = store.put(&key("/b"), b"", None, Expect::Anything).unwrap();
    drop(store);
    fs::write(&place.path, vec![7; 100_000]).unwrap();
    assert_eq!(place.restore("2").index, last.0 + JUMP);
}

/// Cut off between giving the old file its other name and putting the new one in its place, or between that and
/// removing the new one's first name: what is written later must not change what is thought to be put aside, and making
/// a new one must not truncate the store.
#[test]
fn a_restore_that_was_cut_off_leaves_no_store_of_two_names() {
    let check = |left: &str, then: &dyn Fn(&Place)| {
        let place = Place::new(3);
        fs::hard_link(&place.path, place.beside(left)).unwrap();
        let elsewhere = place.beside("mine");
        fs::hard_link(&place.path, &elsewhere).unwrap();
        let before = fs::read(&place.path).unwrap();
        then(&place);
        assert!(!place.beside(left).exists(), "{left}");
        assert!(elsewhere.exists(), "what somebody else has made is theirs");
        (place, before, elsewhere)
    };
    for left in ["store.redb.5", "store.redb.restoring"] {
        let (place, ..) = check(left, &|place| drop(open(place.dir.path())));
        assert_eq!(place.names_of_store(), 2, "{left}");
        let (place, before, elsewhere) = check(left, &|place| drop(place.restore("6")));
        assert_eq!(place.names_of_store(), 1, "{left}");
        assert!(fs::read(elsewhere).unwrap() == before, "{left}: the old file was written to");
    }
    // One that is another file stays.
    let place = Place::new(3);
    fs::copy(&place.path, place.beside("store.redb.5")).unwrap();
    fs::hard_link(&place.path, place.beside("mine")).unwrap();
    drop(open(place.dir.path()));
    assert!(place.beside("store.redb.5").exists());
}
