//! `kv rm`: one key, or a tree of them. A tree is removed key by key, each as it was read, so that what somebody writes
//! meanwhile is seen and not lost blindly.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;

use argh::FromArgs;
use storage::{Entry, Expect, Key, Revision, Store, StoreError};

use super::{PAUSE, TRIES, connected, entry_key, failed, prefix};
use crate::cli::Failure;
use crate::cli::output::print;
use crate::state::keys;

/// Remove a key, or everything under it too, and print how many keys went.
#[derive(FromArgs)]
#[argh(subcommand, name = "rm")]
pub(super) struct Arguments {
    /// the key
    #[argh(positional)]
    key: String,
    /// only where what is there is of this revision
    #[argh(option, arg_name = "revision")]
    if_revision: Option<u64>,
    /// the key and everything under it
    #[argh(switch)]
    recursive: bool,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    if arguments.recursive && arguments.if_revision.is_some() {
        return Err(Failure::Usage("--recursive and --if-revision exclude each other.".to_owned()));
    }
    let key = if arguments.recursive { prefix(&arguments.key)? } else { entry_key(&arguments.key)? };
    let (store, _) = connected(config)?;
    let removed = if arguments.recursive {
        remove_tree(store.as_ref(), &key)?
    } else {
        remove_one(store.as_ref(), &key, arguments.if_revision.map(Revision))?;
        1
    };
    print(&format!("{removed}\n"))
}

fn remove_one(store: &dyn Store, key: &Key, held: Option<Revision>) -> Result<(), Failure> {
    for round in 0..TRIES {
        if round > 0 {
            thread::sleep(PAUSE);
        }
        let found = store.get(key).map_err(|error| failed(&error))?;
        let Some(found) = found else {
            return match (round, below(store, key)?) {
                (0, 0) => Err(Failure::Failed(format!("there is no {key}"))),
                (0, count) => {
                    let reason = format!("there is no {key}, but {count} under it: --recursive removes them");
                    Err(Failure::Failed(reason))
                }
                // Somebody removed it, perhaps we ourselves: that is what was wanted.
                _ => Ok(()),
            };
        };
        if let Some(held) = held.filter(|held| *held != found.revision) {
            let reason = format!("{key} is of revision {}, not {}", found.revision.0, held.0);
            return Err(Failure::Failed(reason));
        }
        match store.delete(key, Expect::Unchanged(found.revision)) {
            Ok(()) => return Ok(()),
            Err(StoreError::Conflict) => {}
            Err(StoreError::OutcomeUnknown { .. }) => lost(key),
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(Failure::Failed(format!("{key} changes all the time; it was not removed")))
}

fn below(store: &dyn Store, key: &Key) -> Result<usize, Failure> {
    Ok(store.list(key).map_err(|error| failed(&error))?.entries.len())
}

fn remove_tree(store: &dyn Store, top: &Key) -> Result<usize, Failure> {
    let mut attempted = BTreeSet::new();
    for round in 0..TRIES {
        if round > 0 {
            thread::sleep(PAUSE);
        }
        let entries = tree(store, top)?;
        if entries.is_empty() && round == 0 {
            return Err(Failure::Failed(format!("there is nothing at {top} and under it")));
        }
        let mut left = false;
        for entry in entries {
            attempted.insert(entry.key.clone());
            match store.delete(&entry.key, Expect::Unchanged(entry.revision)) {
                Ok(()) => {}
                Err(StoreError::Conflict) => left = true,
                // The next round reads back.
                Err(StoreError::OutcomeUnknown { key }) => {
                    lost(&key);
                    left = true;
                }
                Err(error) => {
                    let reason = format!("{error}; what was removed is gone: do it again for the rest");
                    return Err(Failure::Failed(reason));
                }
            }
        }
        if !left {
            return Ok(attempted.len());
        }
    }
    let left = tree(store, top)?;
    match left.first() {
        None => Ok(attempted.len()),
        Some(first) => Err(Failure::Failed(format!(
            "{} of the keys change all the time, such as {}; the others are removed",
            left.len(),
            first.key
        ))),
    }
}

/// The entry at `top` and those under it, in the order in which they are to go: from below, records last.
fn tree(store: &dyn Store, top: &Key) -> Result<Vec<Entry>, Failure> {
    let mut entries = store.list(top).map_err(|error| failed(&error))?.entries;
    if *top != Key::root() {
        entries.extend(store.get(top).map_err(|error| failed(&error))?);
    }
    entries.sort_by_key(|entry| (keys::is_record(&entry.key), Reverse(entry.key.clone())));
    Ok(entries)
}

fn lost(key: &Key) {
    log::warn!("no answer came for the removal of {key}; reading back");
}

#[cfg(test)]
mod tests {
    use storage::Key;

    use super::{remove_one, remove_tree};
    use crate::cli::Failure;
    use crate::cli::kv::shaky::{Shaky, Trouble};

    fn said<T: ToString>(outcome: Result<T, Failure>) -> String {
        match outcome {
            Ok(done) => done.to_string(),
            Err(Failure::Failed(reason)) => reason,
            Err(_) => "another failure".to_owned(),
        }
    }

    #[test]
    fn one_key_in_troubles() {
        let check = |troubles: &[Trouble], expected: &str, left: &str| {
            let store = Shaky::holding("/a=1 /b=1", troubles);
            let found = said(remove_one(&store, &Key::parse("/a").unwrap(), None).map(|()| "removed"));
            assert!(found.contains(expected), "{troubles:?}: {found}");
            assert_eq!(store.shown(), left, "{troubles:?}");
        };
        check(&[], "removed", "/b=1");
        check(&[Trouble::None, Trouble::AnswerLost], "removed", "/b=1");
        check(&[Trouble::None, Trouble::RequestLost], "removed", "/b=1");
        check(&[Trouble::None, Trouble::Conflict], "removed", "/b=1");
        check(&[Trouble::None, Trouble::Outage], "is unavailable", "/a=1 /b=1");
        let always = [Trouble::None, Trouble::Conflict].repeat(9);
        check(&always, "/a changes all the time", "/a=1 /b=1");
    }

    #[test]
    fn a_tree_in_troubles() {
        let check = |troubles: &[Trouble], expected: &str, left: &str| {
            let store = Shaky::holding("/a/x=1 /a/y=1 /ab=1", troubles);
            let found = said(remove_tree(&store, &Key::parse("/a").unwrap()));
            assert!(found.contains(expected), "{troubles:?}: {found}");
            assert_eq!(store.shown(), left, "{troubles:?}");
        };
        let after_reading = |troubles: &[Trouble]| [&[Trouble::None, Trouble::None], troubles].concat();
        check(&[], "2", "/ab=1");
        check(&after_reading(&[Trouble::AnswerLost]), "2", "/ab=1");
        check(&after_reading(&[Trouble::RequestLost]), "2", "/ab=1");
        check(&after_reading(&[Trouble::Conflict, Trouble::Conflict]), "2", "/ab=1");
        check(&after_reading(&[Trouble::None, Trouble::Outage]), "do it again for the rest", "/a/x=1 /ab=1");
        let always = after_reading(&[Trouble::Conflict, Trouble::Conflict]).repeat(9);
        check(&always, "2 of the keys change all the time", "/a/x=1 /a/y=1 /ab=1");
    }
}
