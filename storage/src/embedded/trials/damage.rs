//! Bits flip and files are cut short. Whatever is done to a file, opening it says so and leaves it as it is, or what was
//! acknowledged is there to the last byte: never a panic, never a silent difference, never a wait without end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::{ReadableDatabase, TableDefinition};

use super::disk::Disk;
use super::power_loss::ask;
use super::{State, all, make, open, some_change, state_of, told};
use crate::embedded::{Guests, OpenError};
use crate::{AccessControl, Guest, Rights};

/// A file with its mark, and what is in it.
#[derive(Clone)]
struct Sound {
    file: Vec<u8>,
    mark: Vec<u8>,
    state: State,
}

/// Stores of some changes: closed in good order, as a kill leaves one, and as a kill one change earlier.
fn sound() -> (Sound, Sound, Sound) {
    let mut random = StdRng::seed_from_u64(5);
    let (disk, mark) = (Disk::default(), Disk::default());
    let store = open(&disk, &mark).unwrap();
    let mut state = State::default();
    let copy = |state: &State| Sound { file: disk.bytes(), mark: mark.bytes(), state: state.clone() };
    let mut killed = copy(&state);
    let mut earlier = killed.clone();
    for number in 0..25 {
        let change = some_change(&mut random, number);
        make(&mut state, &told(&change));
        ask(&store, vec![change]).into_iter().for_each(|outcome| drop(outcome.unwrap()));
        if state.0 != killed.state.0 {
            earlier = std::mem::replace(&mut killed, copy(&state));
        }
    }
    drop(store);
    (copy(&state), killed, earlier)
}

/// What came of opening a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    Refused,
    Behind,
    Opened,
}

/// Opens the file `damaged`, beside the mark of what it was.
fn check(story: &str, damaged: Vec<u8>, sound: &Sound) -> Came {
    let (answer, answered) = crossbeam_channel::bounded(1);
    let (told, sound) = (story.to_owned(), sound.clone());
    std::thread::spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| open_damaged(&told, damaged, &sound)));
        drop(answer.send(outcome));
    });
    match answered.recv_timeout(Duration::from_secs(60)) {
        Ok(Ok(came)) => came,
        Ok(Err(panicked)) => std::panic::resume_unwind(panicked),
        Err(_) => panic!("{story}: it neither opens nor fails"),
    }
}

fn open_damaged(story: &str, damaged: Vec<u8>, sound: &Sound) -> Came {
    let (disk, mark) = (Disk::with(damaged.clone()), Disk::with(sound.mark.clone()));
    let opened = catch_unwind(AssertUnwindSafe(|| open(&disk, &mark)));
    match opened.unwrap_or_else(|_| panic!("{story}: a panic")) {
        Err(error) => {
            assert!(disk.calls() == 0 && disk.bytes() == damaged, "{story}: the file was written to");
            assert!(mark.calls() == 0, "{story}: the mark was written to");
            assert!(!matches!(error, OpenError::Io { .. }), "{story}: {error}");
            if matches!(error, OpenError::Behind { .. }) { Came::Behind } else { Came::Refused }
        }
        Ok(store) => {
            let mut state = sound.state.clone();
            assert!(state_of(&store) == state, "{story}: it opens, and is not what was acknowledged");
            // What is damaged but not read yet would be by this.
            let mut random = StdRng::seed_from_u64(9);
            for number in 1_000..1_006 {
                let change = some_change(&mut random, number);
                make(&mut state, &told(&change));
                assert!(ask(&store, vec![change]).iter().all(Result::is_ok), "{story}: it takes no more");
            }
            drop(store);
            let store = open(&disk, &mark).unwrap_or_else(|error| panic!("{story}: {error}"));
            assert!(state_of(&store) == state, "{story}: it opens again with something else");
            Came::Opened
        }
    }
}

fn flipped(bytes: &[u8], offset: usize, bit: u8) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    damaged[offset] ^= 1 << bit;
    damaged
}

#[test]
fn a_flipped_bit_is_found_or_does_not_matter() {
    let (closed, killed, _) = sound();
    for (name, sound) in [("closed", &closed), ("killed", &killed)] {
        let mut came = BTreeMap::<Came, usize>::new();
        let mut random = StdRng::seed_from_u64(11);
        let mut places: Vec<usize> = (0..320).step_by(if all() { 1 } else { 5 }).collect();
        let used = sound.file.len() - sound.file.iter().rev().take_while(|byte| **byte == 0).count();
        match all() {
            true => places.extend((0..used).step_by(97)),
            false => {
                places.extend((0..120).map(|_| random.random_range(0..used)));
                // Also what redb keeps for itself, which nobody reads who reads what is stored.
                places.extend((4096 + 278..used).step_by(4096).take(16));
            }
        }
        for offset in places {
            let bit = random.random_range(0..8);
            let damaged = flipped(&sound.file, offset, bit);
            *came
                .entry(check(&format!("{name}, bit {bit} of byte {offset}"), damaged, sound))
                .or_default() += 1;
        }
        println!("{name}: {came:?}");
        assert!(came.contains_key(&Came::Refused) && came.contains_key(&Came::Opened), "{name}: {came:?}");
    }
}

#[test]
fn a_file_that_was_cut_short_is_known() {
    let (closed, killed, _) = sound();
    for (name, sound) in [("closed", &closed), ("killed", &killed)] {
        let mut random = StdRng::seed_from_u64(13);
        let len = sound.file.len();
        let mut lengths =
            vec![0, 1, 63, 64, 192, 319, 320, 511, 512, 4095, 4096, 4097, 8192, len / 2, len - 4096, len - 1];
        lengths.extend((0..if all() { 1_000 } else { 30 }).map(|_| random.random_range(0..len)));
        for cut in lengths {
            let story = format!("{name}, {cut} bytes of {len}");
            let came = check(&story, sound.file[..cut].to_vec(), sound);
            assert!(came != Came::Opened || sound.file[cut..].iter().all(|byte| *byte == 0), "{story}");
        }
    }
}

/// After a kill redb takes the commit before the newest one where that cannot be verified. Where the newest had been
/// acknowledged, that is a loss; where it was torn by the end itself, it is right.
#[test]
fn the_mark_tells_what_was_damaged_from_what_was_torn() {
    let (_, killed, earlier) = sound();
    let mut fell_back = 0;
    let used = killed.file.len() - killed.file.iter().rev().take_while(|byte| **byte == 0).count();
    // The pages that the last commit wrote.
    let places = (4096..used)
        .step_by(512)
        .filter(|at| killed.file.get(*at..at + 512) != earlier.file.get(*at..at + 512));
    for offset in places.take(if all() { usize::MAX } else { 40 }) {
        let damaged = flipped(&killed.file, offset, 3);
        let story = format!("byte {offset}");
        if check(&story, damaged.clone(), &killed) == Came::Behind {
            fell_back += 1;
            assert_eq!(check(&story, damaged, &earlier), Came::Opened, "{story}: nobody had an answer to it");
        }
    }
    assert!(fell_back > 0, "no damage made redb fall back");
}

type Nodes<'txn> = redb::Table<'txn, &'static str, &'static [u8]>;

/// A page that redb holds for right, with a row that is not what was written.
#[test]
fn a_row_that_somebody_else_changed_is_known() {
    let (closed, ..) = sound();
    let change = |act: &dyn Fn(&mut Nodes<'_>)| {
        let disk = Disk::with(closed.file.clone());
        let database = redb::Builder::new().create_with_backend(disk.clone()).unwrap();
        let write = database.begin_write().unwrap();
        act(&mut write.open_table(TableDefinition::new("nodes")).unwrap());
        write.commit().unwrap();
        drop(database);
        disk.bytes()
    };
    let victim = closed.state.1.keys().next().unwrap().clone();
    let row = {
        let database = redb::Builder::new().create_with_backend(Disk::with(closed.file.clone())).unwrap();
        let table =
            database.begin_read().unwrap().open_table(TableDefinition::<&str, &[u8]>::new("nodes")).unwrap();
        let found: Vec<u8> = table.get(victim.as_str()).unwrap().unwrap().value().to_vec();
        found
    };
    let mut other = row.clone();
    *other.last_mut().unwrap() ^= 1;
    let gone = change(&|nodes| drop(nodes.remove(victim.as_str()).unwrap()));
    let changed = change(&|nodes| drop(nodes.insert(victim.as_str(), other.as_slice()).unwrap()));
    let added = change(&|nodes| drop(nodes.insert("/d0/stranger", row.as_slice()).unwrap()));
    let same = change(&|nodes| drop(nodes.insert(victim.as_str(), row.as_slice()).unwrap()));
    for (name, file, expected) in [
        ("gone", gone, Came::Refused),
        ("changed", changed, Came::Refused),
        ("added", added, Came::Refused),
        ("the same", same, Came::Opened),
    ] {
        assert_eq!(check(name, file, &closed), expected, "{name}");
    }
}

/// A guest's row leaves the index as it is, and its loss is one all the same.
#[test]
fn a_guest_that_was_lost_is_known() {
    let (disk, mark) = (Disk::default(), Disk::default());
    let store = Arc::new(open(&disk, &mark).unwrap());
    let earlier = disk.bytes();
    let guest = Guest {
        name: "b1".to_owned(),
        password: "e4eaaaf2-d142-11e1-b3e4-080027620cdd".to_owned(),
        rights: Rights::default(),
    };
    Guests::new(Arc::clone(&store), vec![]).admit(&guest).unwrap();
    drop(store);
    let opened = open(&Disk::with(earlier), &mark);
    assert!(matches!(opened, Err(OpenError::Behind { .. })), "{opened:?}");
    assert!(open(&disk, &mark).is_ok());
}
