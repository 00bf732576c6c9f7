//! The one thread that writes. It takes whatever waits, applies it in one transaction, syncs once, and only then tells
//! the watchers and answers: many writers share the price of one fsync, and no answer comes before the disk's.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redb::{Durability, WriteTransaction};

use super::Shared;
use super::apply::{Batch, Trouble};
use super::change::{Action, Change, Event, Refusal};
use super::compaction;
use super::guests::KnownGuest;
use super::numbers::{Kind, Numbers, Sums};
use super::outage::{self, AFTER_FAILURE, Disk};
use super::pace::Pace;
use super::record::{GUESTS, META, NODES, Record};
use super::tree::{Slot, View};
use crate::{Key, StoreError};

/// As many changes as go into one transaction.
const MAX_BATCH: usize = 256;
/// As many expired entries as one transaction removes, so that writers do not wait behind thousands of them.
const MAX_EXPIRIES: usize = 256;
/// How often deadlines are looked at while there are any. The clock may be a test's, so that sleeping until the next
/// deadline by the machine's clock would not do.
const EXPIRY_TICK: Duration = Duration::from_millis(100);

/// What may be asked of the writer, and who is told what came of it. Who is told runs on the writer's thread.
pub(super) enum Request {
    /// A change of the tree.
    Change(Change, Then),
    /// What is known of a guest.
    Guest(GuestRow, Told<()>),
}

/// The row of a guest, to be written or, where there is none, removed.
pub(super) struct GuestRow {
    pub name: String,
    pub guest: Option<Arc<KnownGuest>>,
}

/// Who is told once what was asked for is on the disk, or has come to nothing.
pub(super) type Told<T> = Box<dyn FnOnce(Result<T, WriteFailed>) + Send>;
/// Who is told of a change.
pub(super) type Then = Told<Result<Event, Refusal>>;
/// What the writer says of a change.
pub(super) type Answer = Result<Result<Event, Refusal>, WriteFailed>;

impl Request {
    /// Nothing came of it.
    pub(super) fn fail(self, failure: &WriteFailed) {
        match self {
            Self::Change(_, then) => then(Err(failure.clone())),
            Self::Guest(_, then) => then(Err(failure.clone())),
        }
    }

    /// What it holds beside itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Change(change, _) => change.bytes(),
            Self::Guest(row, _) => row.name.len() + row.guest.as_ref().map_or(0, |guest| guest.row.len()),
        }
    }
}

/// Why a whole batch came to nothing, or may have.
#[derive(Clone, Debug)]
pub(super) enum WriteFailed {
    /// The transaction was given up before its commit: nothing was written.
    NothingWritten { reason: String },
    /// The commit itself failed: what reached the disk will be known only when the file is opened again.
    CommitFailed { reason: String },
    /// A record makes no sense.
    Corrupt { reason: String },
}

/// Requests that go into one commit, by kind: neither kind is seen by the other.
#[derive(Default)]
struct Together {
    changes: Vec<Change>,
    thens: Vec<Then>,
    guests: Vec<GuestRow>,
    told: Vec<Told<()>>,
}

impl Together {
    fn add(&mut self, request: Request) {
        match request {
            Request::Change(change, then) => {
                self.changes.push(change);
                self.thens.push(then);
            }
            Request::Guest(row, told) => {
                self.guests.push(row);
                self.told.push(told);
            }
        }
    }
}

/// Runs until the queue is closed, and what was in it dealt with.
pub(super) fn run(shared: &Shared) {
    let (mut disk, mut pace) = (Disk::default(), Pace::default());
    let mut compaction = compaction::Watch::new();
    loop {
        shared.queue.wait_for(1, shared.patience().min(compaction::EVERY));
        pace.gather(&shared.queue);
        let Some(requests) = shared.queue.take(MAX_BATCH) else { return };
        pace.begin(requests.len());
        let mut together = Together::default();
        requests.into_iter().for_each(|request| together.add(request));
        let Together { changes, thens, guests, told } = together;
        let requests_taken = thens.len() + told.len();
        match disk.mend(shared).and_then(|()| outage::survive(|| write(shared, changes, guests))) {
            Ok(outcomes) => {
                pace.end();
                thens.into_iter().zip(outcomes).for_each(|(then, outcome)| tell(then, Ok(outcome)));
                told.into_iter().for_each(|then| tell(then, Ok(())));
            }
            Err(failure) => {
                disk.failed(shared, &failure);
                let idle = thens.is_empty() && told.is_empty();
                thens.into_iter().for_each(|then| tell(then, Err(failure.clone())));
                told.into_iter().for_each(|then| tell(then, Err(failure.clone())));
                if idle {
                    std::thread::sleep(AFTER_FAILURE);
                }
            }
        }
        disk.compact(shared, || compaction.count(requests_taken, &shared.database).map_err(nothing_written));
    }
}

/// A bug in one who is told must not take the store from all the others.
fn tell<T>(then: Told<T>, answer: Result<T, WriteFailed>) {
    if catch_unwind(AssertUnwindSafe(|| then(answer))).is_err() {
        log::error!("who was told what came of a change to the embedded store had panicked");
    }
}

/// Writes the rows of `guests`, applies `changes`, then whatever has expired and was not refreshed by them; commits;
/// publishes.
fn write(
    shared: &Shared,
    changes: Vec<Change>,
    guests: Vec<GuestRow>,
) -> Result<Vec<Result<Event, Refusal>>, WriteFailed> {
    let now = shared.clock.now();
    if changes.is_empty() && guests.is_empty() && shared.view().deadlines.due(now, 1).is_empty() {
        return Ok(Vec::new());
    }
    let database = shared.database.open();
    let mut txn = database.begin_write().map_err(given_up)?;
    txn.set_durability(Durability::Immediate).map_err(nothing_written)?;
    let applied = apply(shared, &txn, changes, &guests, now)?;
    if applied.dirty {
        txn.commit()
            .map_err(|error| WriteFailed::CommitFailed { reason: redb::Error::from(error).to_string() })?;
        shared.database.note(&applied.numbers);
        shared.count_commit();
    } else {
        txn.abort().map_err(nothing_written)?;
    }
    shared.note_guests(guests);
    Ok(shared.publish(applied))
}

struct Applied {
    /// As they are in the file once this is committed.
    numbers: Numbers,
    outcomes: Vec<Result<Event, Refusal>>,
    dirty: bool,
    events: Vec<Event>,
    written: Vec<(Key, Option<Record>)>,
    pending: HashMap<Key, Option<Instant>>,
}

fn apply(
    shared: &Shared,
    txn: &WriteTransaction,
    changes: Vec<Change>,
    guests: &[GuestRow],
    now: Instant,
) -> Result<Applied, WriteFailed> {
    let nodes = txn.open_table(NODES).map_err(nothing_written)?;
    let mut meta = txn.open_table(META).map_err(nothing_written)?;
    let numbers = Numbers::read(&meta).map_err(nothing_written)?;
    let view = shared.view();
    let mut batch = Batch::new(nodes, &numbers, &view.deadlines, now);
    let mut outcomes = Vec::with_capacity(changes.len());
    for change in changes {
        outcomes.push(batch.apply(change).map_err(in_trouble)?);
    }
    for key in view.deadlines.due(now, MAX_EXPIRIES) {
        batch.expire(&key).map_err(in_trouble)?;
    }
    let Batch { index, mut sums, mut dirty, events, written, pending, .. } = batch;
    if !guests.is_empty() {
        let mut table = txn.open_table(GUESTS).map_err(nothing_written)?;
        for guest in guests {
            dirty |= write_guest(&mut table, guest, &mut sums).map_err(nothing_written)?;
        }
    }
    let numbers = Numbers { index, sums, commits: numbers.commits + 1, ..numbers };
    if dirty {
        numbers.write(&mut meta).map_err(nothing_written)?;
    }
    Ok(Applied { numbers, outcomes, dirty, events, written, pending })
}

/// Says whether that changes anything.
fn write_guest(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
    GuestRow { name, guest }: &GuestRow,
    sums: &mut Sums,
) -> Result<bool, redb::StorageError> {
    let name = name.as_str();
    let old = match guest {
        Some(guest) => {
            sums.add(Kind::Guest, name, &guest.row);
            table.insert(name, guest.row.as_slice())?
        }
        None => table.remove(name)?,
    };
    let changes = old.as_ref().map(|old| old.value()) != guest.as_ref().map(|guest| guest.row.as_slice());
    if let Some(old) = old {
        sums.remove(Kind::Guest, name, old.value());
    }
    Ok(changes)
}

fn nothing_written(error: impl Into<redb::Error>) -> WriteFailed {
    WriteFailed::NothingWritten { reason: error.into().to_string() }
}

fn given_up(error: StoreError) -> WriteFailed {
    match error {
        // redb also calls corrupt what it has in memory. The file is examined when it is opened again.
        StoreError::Corrupt { reason } | StoreError::Unavailable { reason, .. } => {
            WriteFailed::NothingWritten { reason }
        }
        other => WriteFailed::NothingWritten { reason: other.to_string() },
    }
}

fn in_trouble(trouble: Trouble) -> WriteFailed {
    match trouble {
        Trouble::Storage(error) => nothing_written(error),
        Trouble::BadRecord { path } => {
            WriteFailed::Corrupt { reason: format!("the record of {path} cannot be read") }
        }
    }
}

impl Shared {
    /// Shows readers and watchers what was committed, and gives what is answered.
    fn publish(&self, applied: Applied) -> Vec<Result<Event, Refusal>> {
        let Applied { numbers, outcomes, events, written, pending, .. } = applied;
        let expired = events.iter().filter(|event| event.action == Action::Expire).count();
        self.expired.fetch_add(expired as u64, Ordering::Relaxed);
        let removed: Vec<Slot> = self.history.publish(events, || {
            let mut view = self.change_view();
            let View { nodes, deadlines, index: at } = &mut *view;
            *at = numbers.index;
            pending.into_iter().for_each(|(key, deadline)| deadlines.set(key, deadline));
            let removed = written.into_iter().filter_map(|(key, record)| match record {
                Some(record) => nodes.set(&key, record),
                None => nodes.remove(&key),
            });
            removed.collect()
        });
        // A whole tree may have gone: nobody waits until its memory is given back.
        drop(removed);
        outcomes
    }

    /// How long the writer may sleep when nobody asks for anything.
    fn patience(&self) -> Duration {
        let next = self.view().deadlines.next();
        next.map_or(Duration::from_secs(3600), |at| {
            at.saturating_duration_since(self.clock.now()).min(EXPIRY_TICK).max(Duration::from_millis(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant, SystemTime};

    use super::super::change::{Change, Condition, Content};
    use super::super::handle::Handle;
    use super::super::{Shared, file};
    use super::{WriteFailed, given_up, write};
    use crate::{Clock, Key};

    struct Later(Instant, AtomicU64);

    impl Clock for Later {
        fn now(&self) -> Instant {
            self.0 + Duration::from_secs(self.1.load(Ordering::SeqCst))
        }

        fn wall(&self) -> SystemTime {
            SystemTime::now()
        }
    }

    /// Also "the allocator state was discarded", which redb says to every write from then on.
    #[test]
    fn whatever_redb_refuses_a_transaction_for_has_the_file_opened_again() {
        let failure = given_up(super::super::read::unavailable(redb::Error::Corrupted("it".to_owned())));
        assert!(matches!(failure, WriteFailed::NothingWritten { .. }), "{failure:?}");
    }

    /// The disk was stuck while a leader's refresh waited behind it: by the time the writer looks, the TTL has run
    /// out. The refresh came in time, so the leader stays.
    #[test]
    fn a_refresh_that_waits_when_the_ttl_runs_out_saves_the_entry() {
        let opened = file::in_memory().unwrap();
        let clock = Arc::new(Later(Instant::now(), AtomicU64::new(0)));
        let handle = Handle::new(opened.database, Box::new(|| Ok(())), Box::new(file::in_memory));
        let shared = Shared::new(handle, opened.content, Arc::clone(&clock) as Arc<dyn Clock>);
        let key = Key::parse("/leader").unwrap();
        let content = Content::File(b"a".as_slice().into());
        let only_if = Condition::default();
        let put = Change::Put { key: key.clone(), content, ttl: Some(10), only_if: only_if.clone() };
        write(&shared, vec![put], Vec::new()).unwrap();
        clock.1.store(11, Ordering::SeqCst);
        let refresh = Change::Refresh { key: key.clone(), ttl: 10, only_if };
        write(&shared, vec![refresh], Vec::new()).unwrap()[0].clone().unwrap();
        assert!(shared.get(&key).is_some());
        clock.1.store(22, Ordering::SeqCst);
        write(&shared, Vec::new(), Vec::new()).unwrap();
        assert_eq!(shared.get(&key), None);
    }
}
