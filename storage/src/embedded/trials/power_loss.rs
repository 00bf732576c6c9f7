//! The power goes, and comes back.
//!
//! A change was answered, the power went, and the change was gone: that is what happens where the answer comes before
//! the sync, where the sync is left to the system, or where a commit that is half on the disk is taken for whole. Here a
//! disk keeps of what was not synced whatever it likes, and the power goes at any of its calls: within a commit, while
//! the file is opened again, while it is brought to the present layout, while it is compacted. Afterwards everything
//! that was answered is there, what was not answered is there as a whole or not at all and in its order, and the store
//! takes more.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;

use super::disk::Disk;
use super::{Asked, Outcome, State, all, make, old_file, open, some_change, state_of, told};
use crate::embedded::writer::WriteFailed;

/// A store of some changes, closed in good order.
pub(super) fn prepared(seed: u64, changes: u64) -> (Vec<u8>, State) {
    let mut random = StdRng::seed_from_u64(seed);
    let (disk, mark) = (Disk::default(), Disk::default());
    let store = open(&disk, &mark).unwrap();
    let mut state = State::default();
    for number in 0..changes {
        let change = some_change(&mut random, number);
        make(&mut state, &told(&change));
        drop(ask(&store, vec![change]));
    }
    assert_eq!(state_of(&store), state);
    drop(store);
    (disk.bytes(), state)
}

/// Asks for all of these at once, and waits for all answers.
pub(super) fn ask(store: &super::Embedded, changes: Vec<super::Change>) -> Vec<Outcome> {
    let answers: Vec<_> = changes
        .into_iter()
        .map(|change| {
            let (answer, answered) = crossbeam_channel::bounded(1);
            store.submit(change, Box::new(move |outcome| drop(answer.send(outcome))));
            answered
        })
        .collect();
    answers.into_iter().map(|answer| answer.recv().unwrap()).collect()
}

/// Writes until the power is gone. What is certain then, and what may have happened, in its order.
fn write_until_dark(store: &super::Embedded, random: &mut StdRng, mut certain: State) -> (State, Vec<Asked>) {
    for round in 1..60 {
        let changes: Vec<_> =
            (0..random.random_range(1..6)).map(|nth| some_change(random, round * 100 + nth)).collect();
        let asked: Vec<_> = changes.iter().map(told).collect();
        let (mut possible, mut dark) = (Vec::new(), false);
        for (change, outcome) in asked.into_iter().zip(ask(store, changes)) {
            match outcome {
                Ok(_) => make(&mut certain, &change),
                Err(WriteFailed::CommitFailed { .. }) => {
                    dark = true;
                    possible.push(change);
                }
                Err(WriteFailed::NothingWritten { .. }) => dark = true,
                Err(WriteFailed::Corrupt { reason }) => panic!("{reason}"),
            }
        }
        if dark {
            return (certain, possible);
        }
    }
    (certain, Vec::new())
}

/// Opens what the power left, holds it against what it must be, and goes on with it.
fn check(story: &str, disk: &Disk, mark: &Disk, certain: &State, possible: &[Asked]) -> State {
    let store = open(disk, mark).unwrap_or_else(|error| panic!("{story}: {error}"));
    let found = state_of(&store);
    let mut whole = certain.clone();
    possible.iter().for_each(|change| make(&mut whole, change));
    // One commit is all of what may have happened: requests that came together, or none of them.
    let mut allowed = vec![certain.clone()];
    for change in possible {
        let mut next = allowed[allowed.len() - 1].clone();
        make(&mut next, change);
        allowed.push(next);
    }
    let names = |state: &State| (state.0, state.1.keys().cloned().collect::<Vec<_>>());
    assert!(
        allowed.contains(&found),
        "{story}: found {:?}, expected {:?} to {:?}",
        names(&found),
        names(certain),
        names(&whole)
    );
    let more = super::Change::Put {
        key: super::Key::parse("/more").unwrap(),
        content: super::Content::File(b"1".as_slice().into()),
        ttl: None,
        only_if: super::Condition::default(),
    };
    assert!(ask(&store, vec![more]).iter().all(Result::is_ok), "{story}: it takes no more");
    found
}

/// The power goes at some call of `act`, comes back, goes once more while the file is opened, and comes back for good.
fn cut(story: &str, random: &mut StdRng, before: &Disk, mark: &Disk, certain: &State) {
    let calls = random.random_range(0..120);
    before.cut_after(calls);
    let (certain, possible) = match open(before, mark) {
        Ok(store) => write_until_dark(&store, random, certain.clone()),
        Err(_) => (certain.clone(), Vec::new()),
    };
    let (mut disk, mut mark) = (before.after_power_loss(random), mark.after_power_loss(random));
    if random.random_bool(0.5) {
        disk.cut_after(random.random_range(0..12));
        drop(open(&disk, &mark));
        (disk, mark) = (disk.after_power_loss(random), mark.after_power_loss(random));
    }
    check(story, &disk, &mark, &certain, &possible);
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let (bytes, state) = prepared(1, 12);
    for seed in 0..if all() { 5_000 } else { 300 } {
        let mut random = StdRng::seed_from_u64(seed);
        cut(&format!("seed {seed}"), &mut random, &Disk::with(bytes.clone()), &Disk::default(), &state);
    }
}

#[test]
fn a_migration_that_loses_its_power_begins_anew() {
    let (old, state) = old_file(20);
    for seed in 0..if all() { 1_000 } else { 60 } {
        let mut random = StdRng::seed_from_u64(seed);
        let (disk, mark) = (Disk::with(old.bytes()), Disk::default());
        disk.cut_after(random.random_range(0..10));
        drop(open(&disk, &mark));
        let (disk, mark) = (disk.after_power_loss(&mut random), mark.after_power_loss(&mut random));
        check(&format!("seed {seed}"), &disk, &mark, &state, &[]);
    }
}

#[test]
fn a_compaction_that_loses_its_power_loses_nothing_else() {
    let (disk, mark) = (Disk::default(), Disk::default());
    let store = open(&disk, &mark).unwrap();
    let mut state = State::default();
    let mut random = StdRng::seed_from_u64(3);
    for number in 0..150 {
        let change = some_change(&mut random, number);
        make(&mut state, &told(&change));
        drop(ask(&store, vec![change]));
    }
    drop(store);
    let bytes = disk.bytes();
    let compact = |disk: &Disk, mark: &Disk| {
        let Ok(store) = open(disk, mark) else { return };
        drop(store.shared.database.compact_any());
    };
    let whole = Disk::with(bytes.clone());
    compact(&whole, &Disk::default());
    assert!(whole.len().unwrap() < bytes.len() as u64, "there is something to compact");
    let calls = whole.calls();
    for seed in 0..if all() { 1_000 } else { 60 } {
        let mut random = StdRng::seed_from_u64(seed);
        let (disk, mark) = (Disk::with(bytes.clone()), Disk::default());
        disk.cut_after(random.random_range(0..calls));
        compact(&disk, &mark);
        let (disk, mark) = (disk.after_power_loss(&mut random), mark.after_power_loss(&mut random));
        check(&format!("seed {seed}"), &disk, &mark, &state, &[]);
    }
}
