//! A page was damaged while the file was open: redb, which had checked it before, panicked in the writer's thread. That
//! thread was gone, every write was refused until the process was started anew, and nobody was told why.

use std::time::{Duration, Instant};

use super::disk::Disk;
use super::power_loss::ask;
use super::{Outcome, open, state_of};
use crate::embedded::change::{Change, Condition, Content};
use crate::embedded::outage::AFTER_FAILURE;
use crate::embedded::writer::WriteFailed;
use crate::{Deadline, Key};

/// More than redb keeps in memory.
const KEYS: usize = 200;
const BYTES: usize = 40 << 10;
const PAGE: usize = 4096;

fn put(number: usize, byte: u8) -> Change {
    let key = Key::parse(&format!("/d/{number}")).unwrap();
    let content = Content::File(vec![byte; BYTES].into());
    Change::Put { key, content, ttl: None, only_if: Condition::default() }
}

/// Every page begins with what kind it is: now with none.
fn damaged(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.iter_mut().skip(PAGE).step_by(PAGE).for_each(|byte| *byte = 0xff);
    bytes
}

#[test]
fn the_writer_outlives_damage_and_goes_on_when_it_is_mended() {
    let (disk, mark) = (Disk::default(), Disk::default());
    let store = open(&disk, &mark).unwrap();
    for number in 0..KEYS {
        assert!(ask(&store, vec![put(number, b'a')]).iter().all(Result::is_ok));
    }
    let (sound, state) = (disk.bytes(), state_of(&store));
    let spoilt = damaged(sound.clone());
    disk.become_other(spoilt);
    let one = |number| -> Outcome { ask(&store, vec![put(number, b'b')]).remove(0) };
    let failed = (0..KEYS).find_map(|number| one(number).err());
    assert!(
        matches!(&failed, Some(WriteFailed::CommitFailed { reason }) if reason.contains("panicked")),
        "{failed:?}"
    );
    assert!(store.shared.trouble().is_some(), "it is told");
    // From here on it is looked at again, and refused.
    let begun = Instant::now();
    while !store.shared.trouble().is_some_and(|why| why.contains("is not a sound store")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", store.shared.trouble());
        let refused = one(0).unwrap_err();
        assert!(matches!(&refused, WriteFailed::NothingWritten { .. }), "{refused:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It was closed as it was; what is refused at an open is not written to.
    let left = disk.bytes();
    std::thread::sleep(AFTER_FAILURE);
    let refused = one(0).unwrap_err();
    assert!(
        matches!(&refused, WriteFailed::NothingWritten { reason } if reason.contains("is not a sound store")),
        "{refused:?}"
    );
    assert!(state_of(&store) == state, "reads go on");
    assert!(disk.bytes() == left, "a damaged file is left as it is");
    disk.become_other(sound);
    let deadline = Deadline::after(Duration::from_secs(20));
    while let Err(failure) = one(0) {
        assert!(!deadline.has_passed(), "{failure:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(store.shared.trouble(), None);
    let after = state_of(&store);
    assert_eq!(after.0, state.0 + 1);
    drop(store);
    assert!(state_of(&open(&disk, &mark).unwrap()) == after, "and what was written since is there");
}
