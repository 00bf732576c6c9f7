//! Makes histories: several threads call a store at random, and what they were told is written down.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use storage::{Expect, Key, Revision, Store, StoreError};

use crate::linearizability::{Belief, Call, Told, What, check};

/// Small numbers that depend on nothing but the seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of `0..sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// How much is called.
#[derive(Clone, Copy)]
pub struct Size {
    pub keys: u64,
    pub calls: u64,
}

/// Every key's calls, and those that are said to have done nothing, which are left out of them.
pub struct History {
    calls: HashMap<u64, Vec<Call>>,
    undone: Vec<String>,
}

/// Lets one thread call each of these stores, which are the same store, or should be. Its keys are under `/lin/<seed>`.
pub fn make(stores: &[Arc<dyn Store>], seed: u64, size: Size) -> History {
    let clock = AtomicU64::new(1);
    let history = Mutex::new(HashMap::<u64, Vec<Call>>::new());
    let undone = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (nth, store) in (1..).zip(stores) {
            let (clock, history, undone) = (&clock, &history, &undone);
            scope.spawn(move || {
                let mut caller = Caller {
                    store: &**store,
                    prefix: Key::parse(&format!("/lin/{seed}")).unwrap(),
                    dice: Dice::new(seed * 1000 + nth),
                    seen: HashMap::new(),
                    next_value: nth * 1_000_000,
                };
                for _ in 0..size.calls {
                    let key = caller.dice.roll(size.keys);
                    let begun = clock.fetch_add(1, Ordering::SeqCst);
                    let what = caller.call(key);
                    let ended = clock.fetch_add(1, Ordering::SeqCst);
                    match what {
                        Ok(what) => {
                            history.lock().unwrap().entry(key).or_default().push(Call { begun, ended, what });
                        }
                        Err(why) => undone
                            .lock()
                            .unwrap()
                            .push(format!("{nth}: key {key}, {begun} to {ended}: {why}")),
                    }
                }
            });
        }
    });
    History { calls: history.into_inner().unwrap(), undone: undone.into_inner().unwrap() }
}

impl History {
    /// What is wrong with it, and with which key.
    pub fn check(&self) -> Result<(), String> {
        for (key, calls) in &self.calls {
            let all = |wrong| {
                let undone = self.undone.join("\n");
                format!("key {key}: {wrong:?}\nof {calls:#?}\nsaid to have done nothing:\n{undone}")
            };
            check(calls).map_err(all)?;
        }
        Ok(())
    }

    /// How many calls there are, and how many of them without an answer.
    pub fn count(&self) -> (usize, usize) {
        let unknown = |call: &&Call| {
            matches!(
                call.what,
                What::Put { told: Told::Unknown, .. } | What::Delete { told: Told::Unknown, .. }
            )
        };
        let calls = || self.calls.values().flatten();
        (calls().count(), calls().filter(unknown).count())
    }
}

struct Caller<'a> {
    store: &'a dyn Store,
    prefix: Key,
    dice: Dice,
    /// The revisions it has seen last.
    seen: HashMap<u64, u64>,
    next_value: u64,
}

impl Caller<'_> {
    /// An error where certainly nothing was done and nothing said.
    fn call(&mut self, key: u64) -> Result<What, String> {
        let at = self.prefix.child(&key.to_string()).unwrap();
        let revision = self.seen.get(&key).copied().unwrap_or(1);
        match self.dice.roll(100) {
            0..35 => {
                let found = match self.store.get(&at) {
                    Ok(found) => found,
                    Err(StoreError::Unavailable { reason, .. }) => return Err(format!("get: {reason}")),
                    Err(error) => panic!("a get ended with {error:?}"),
                };
                let found = found.map(|entry| {
                    let value = String::from_utf8(entry.value).unwrap().parse().unwrap();
                    (value, entry.revision.0)
                });
                found.map(|(_, revision)| self.seen.insert(key, revision));
                Ok(What::Get(found))
            }
            35..52 => self.put(key, &at, Belief::Absent),
            52..77 => self.put(key, &at, Belief::Revision(revision)),
            77..85 => self.put(key, &at, Belief::Anything),
            85..94 => self.delete(&at, Belief::Revision(revision)),
            _ => self.delete(&at, Belief::Anything),
        }
    }

    fn put(&mut self, key: u64, at: &Key, belief: Belief) -> Result<What, String> {
        self.next_value += 1;
        let value = self.next_value;
        let put = self.store.put(at, value.to_string().as_bytes(), None, expect(belief));
        if let Ok(revision) = put {
            self.seen.insert(key, revision.0);
        }
        Ok(What::Put { value, belief, told: told(put.map(|revision| revision.0))? })
    }

    fn delete(&mut self, at: &Key, belief: Belief) -> Result<What, String> {
        let told = told(self.store.delete(at, expect(belief)).map(|()| 0))?;
        Ok(What::Delete { belief, told })
    }
}

fn expect(belief: Belief) -> Expect {
    match belief {
        Belief::Absent => Expect::Absent,
        Belief::Anything => Expect::Anything,
        Belief::Revision(revision) => Expect::Unchanged(Revision(revision)),
    }
}

fn told(result: Result<u64, StoreError>) -> Result<Told, String> {
    match result {
        Ok(revision) => Ok(Told::Done(revision)),
        Err(StoreError::Conflict) => Ok(Told::Conflict),
        Err(StoreError::OutcomeUnknown { .. }) => Ok(Told::Unknown),
        Err(StoreError::Unavailable { reason, .. }) => Err(format!("write: {reason}")),
        Err(error @ StoreError::Corrupt { .. }) => panic!("a write ended with {error:?}"),
    }
}
