//! Whether a history of concurrent calls could have happened one after the other: Wing and Gong's search, with Lowe's
//! memory of what was tried. Pure. Keys are independent, so that each has a history of its own.
//!
//! A write without an answer may take effect at any time after its call, or never. Revisions are checked with the
//! values: they only grow, and belong to one value each.

use std::collections::{HashMap, HashSet};

/// What a caller believed to be there; as `storage::Expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    Absent,
    Revision(u64),
    Anything,
}

/// What a write's caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is done; for a put, at this revision.
    Done(u64),
    Conflict,
    Unknown,
}

/// What was called, and what came of it. Values are numbers, each written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Value and revision, if something was there.
    Get(Option<(u64, u64)>),
    Put {
        value: u64,
        belief: Belief,
        told: Told,
    },
    Delete {
        belief: Belief,
        told: Told,
    },
}

/// A call of one key's history. Times are of one clock that never shows the same twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub begun: u64,
    pub ended: u64,
    pub what: What,
}

/// Why a history cannot have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Two values were seen at this revision.
    TwoValues { revision: u64 },
    /// No order explains it. The most that was explained, and what could not come next.
    NoOrder { explained: usize, stuck: Vec<Call> },
    /// The search was given up: the history is too long for how much of it is unknown.
    TooHard,
}

/// More than any history of the tests needs by far.
const MOST_STATES: usize = 2_000_000;

/// One key, after some of its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    /// The value, with its revision once somebody was told.
    entry: Option<(u64, Option<u64>)>,
    /// The greatest revision known so far.
    greatest: u64,
}

impl State {
    /// What follows if this call takes effect now; `None` if it can't.
    fn after(self, what: What) -> Option<Self> {
        match what {
            What::Get(None) => self.entry.is_none().then_some(self),
            What::Get(Some((value, revision))) => match self.entry? {
                (at, Some(known)) => (at == value && known == revision).then_some(self),
                // A put without an answer, seen for the first time.
                (at, None) => (at == value && revision > self.greatest)
                    .then_some(Self { entry: Some((value, Some(revision))), greatest: revision }),
            },
            What::Put { value, belief, told } => match told {
                Told::Done(revision) if self.may_fit(belief) => (revision
                    > self.greatest.max(belief.least()))
                .then_some(Self { entry: Some((value, Some(revision))), greatest: revision }),
                Told::Unknown if self.may_fit(belief) => Some(Self { entry: Some((value, None)), ..self }),
                Told::Conflict if self.may_not_fit(belief) => Some(self),
                _ => None,
            },
            What::Delete { belief, told } => match told {
                Told::Done(_) | Told::Unknown if self.may_fit(belief) => Some(Self { entry: None, ..self }),
                Told::Conflict if self.may_not_fit(belief) => Some(self),
                _ => None,
            },
        }
    }

    /// Of a put without an answer nobody knows the revision: whoever guesses may be right.
    fn may_fit(self, belief: Belief) -> bool {
        match (belief, self.entry) {
            (Belief::Absent, entry) => entry.is_none(),
            (Belief::Anything, _) => true,
            (Belief::Revision(revision), Some((_, Some(known)))) => known == revision,
            (Belief::Revision(revision), Some((_, None))) => revision > self.greatest,
            (Belief::Revision(_), None) => false,
        }
    }

    fn may_not_fit(self, belief: Belief) -> bool {
        matches!((belief, self.entry), (Belief::Revision(_), Some((_, None)))) || !self.may_fit(belief)
    }
}

impl Belief {
    /// What is written after it has a greater revision.
    fn least(self) -> u64 {
        match self {
            Self::Revision(revision) => revision,
            Self::Absent | Self::Anything => 0,
        }
    }
}

impl What {
    fn is_unknown(self) -> bool {
        matches!(self, Self::Put { told: Told::Unknown, .. } | Self::Delete { told: Told::Unknown, .. })
    }
}

/// Whether one key's history could have happened one call after the other, from nothing.
///
/// # Errors
/// [`Wrong`].
pub fn check(history: &[Call]) -> Result<(), Wrong> {
    revisions_have_one_value_each(history)?;
    let mut calls = history.to_vec();
    // Those without an answer last: they are tried only where nothing else goes on.
    calls.sort_by_key(|call| (call.what.is_unknown(), call.begun));
    let answered = calls.iter().filter(|call| !call.what.is_unknown()).count();
    let mut tried: HashSet<(Vec<bool>, State)> = HashSet::new();
    let mut open = vec![(vec![false; calls.len()], State::default(), 0)];
    let (mut most, mut stuck) = (0, Vec::new());
    while let Some((done, state, explained)) = open.pop() {
        if explained == answered {
            return Ok(());
        }
        if tried.len() > MOST_STATES {
            return Err(Wrong::TooHard);
        }
        let waiting = || calls.iter().zip(&done).filter(|(_, done)| !**done).map(|(call, _)| call);
        // Who has begun after another has ended comes after it.
        let ended = waiting().filter(|call| !call.what.is_unknown()).map(|call| call.ended).min();
        let ended = ended.unwrap_or(u64::MAX);
        if explained >= most {
            (most, stuck) = (explained, waiting().filter(|call| call.begun < ended).copied().collect());
        }
        for at in (0..calls.len()).rev() {
            if done[at] || calls[at].begun > ended {
                continue;
            }
            let Some(next) = state.after(calls[at].what) else { continue };
            let mut and = done.clone();
            and[at] = true;
            if tried.insert((and.clone(), next)) {
                open.push((and, next, explained + usize::from(!calls[at].what.is_unknown())));
            }
        }
    }
    Err(Wrong::NoOrder { explained: most, stuck })
}

fn revisions_have_one_value_each(history: &[Call]) -> Result<(), Wrong> {
    let mut values: HashMap<u64, u64> = HashMap::new();
    for call in history {
        let (value, revision) = match call.what {
            What::Get(Some(found)) => found,
            What::Put { value, told: Told::Done(revision), .. } => (value, revision),
            _ => continue,
        };
        if *values.entry(revision).or_insert(value) != value {
            return Err(Wrong::TwoValues { revision });
        }
    }
    Ok(())
}
