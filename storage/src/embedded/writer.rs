//! The one thread that writes. It takes whatever waits, applies it in one transaction, syncs once, and only then tells
//! the watchers and answers: many writers share the price of one fsync, and no answer comes before the disk's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use redb::{Durability, WriteTransaction};

use super::Shared;
use super::apply::{Batch, Trouble};
use super::change::{Change, Event, Refusal};
use super::record::{INDEX, META, NODES};
use crate::StoreError;

/// As many changes as go into one transaction.
const MAX_BATCH: usize = 256;
/// As many expired entries as one transaction removes, so that writers do not wait behind thousands of them.
const MAX_EXPIRIES: usize = 256;
/// How often deadlines are looked at while there are any. The clock may be a test's, so that sleeping until the next
/// deadline by the machine's clock would not do.
const EXPIRY_TICK: Duration = Duration::from_millis(100);
/// How long expiry rests after the disk failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A change and where its answer goes.
pub(super) struct Request {
    pub change: Change,
    pub answer: Sender<Answer>,
}

/// What the writer says of a change.
pub(super) type Answer = Result<Result<Event, Refusal>, WriteFailed>;

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

/// Runs until every sender is gone.
pub(super) fn run(shared: &Arc<Shared>, requests: &Receiver<Request>) {
    let mut disk = Disk::default();
    loop {
        let mut batch = Vec::new();
        match requests.recv_timeout(shared.patience()) {
            Ok(first) => {
                batch.push(first);
                batch.extend(requests.try_iter().take(MAX_BATCH - 1));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let (changes, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.change, request.answer)).unzip();
        match disk.mend(shared).and_then(|()| write(shared, changes)) {
            Ok(outcomes) => {
                for (answer, outcome) in answers.iter().zip(outcomes) {
                    // Whoever has stopped waiting knows that the outcome is unknown.
                    drop(answer.send(Ok(outcome)));
                }
            }
            Err(failure) => {
                disk.failed(&failure);
                let idle = answers.is_empty();
                answers.iter().for_each(|answer| drop(answer.send(Err(failure.clone()))));
                if idle {
                    std::thread::sleep(AFTER_FAILURE);
                }
            }
        }
    }
}

/// Whether the disk has failed. redb refuses to go on after a write that failed, whatever the disk may be like by then,
/// until its file is opened again.
#[derive(Default)]
struct Disk {
    failure: Option<(WriteFailed, Instant)>,
}

impl Disk {
    /// After a failure, and not too often, opens the file again.
    fn mend(&mut self, shared: &Shared) -> Result<(), WriteFailed> {
        let Some((failure, at)) = &self.failure else { return Ok(()) };
        let reason = match failure {
            WriteFailed::NothingWritten { reason }
            | WriteFailed::CommitFailed { reason }
            | WriteFailed::Corrupt { reason } => reason.clone(),
        };
        if at.elapsed() < AFTER_FAILURE {
            return Err(WriteFailed::NothingWritten { reason });
        }
        match shared.open_again() {
            Ok(()) => {
                log::info!("the embedded store writes again");
                self.failure = None;
                Ok(())
            }
            Err(reason) => {
                let failure = WriteFailed::NothingWritten { reason };
                self.failure = Some((failure.clone(), Instant::now()));
                Err(failure)
            }
        }
    }

    fn failed(&mut self, failure: &WriteFailed) {
        match failure {
            WriteFailed::Corrupt { reason } => log::error!("the embedded store could not write: {reason}"),
            WriteFailed::NothingWritten { reason } | WriteFailed::CommitFailed { reason } => {
                if self.failure.is_none() {
                    log::error!("the embedded store cannot write, and tries again every second: {reason}");
                    self.failure = Some((failure.clone(), Instant::now()));
                }
            }
        }
    }
}

/// Applies `changes`, then whatever has expired and was not refreshed by them; commits; publishes.
fn write(shared: &Shared, changes: Vec<Change>) -> Result<Vec<Result<Event, Refusal>>, WriteFailed> {
    let now = shared.clock.now();
    if changes.is_empty() && shared.deadlines().due(now, 1).is_empty() {
        return Ok(Vec::new());
    }
    let database = shared.database.open();
    let mut txn = database.begin_write().map_err(given_up)?;
    txn.set_durability(Durability::Immediate).map_err(nothing_written)?;
    let applied = apply(shared, &txn, changes, now)?;
    if applied.dirty {
        txn.commit()
            .map_err(|error| WriteFailed::CommitFailed { reason: redb::Error::from(error).to_string() })?;
        shared.count_commit();
    } else {
        txn.abort().map_err(nothing_written)?;
    }
    let mut deadlines = shared.deadlines();
    applied.pending.into_iter().for_each(|(key, deadline)| deadlines.set(key, deadline));
    drop(deadlines);
    if !applied.events.is_empty() {
        shared.history.publish(applied.events);
    }
    Ok(applied.outcomes)
}

struct Applied {
    outcomes: Vec<Result<Event, Refusal>>,
    dirty: bool,
    events: Vec<Event>,
    pending: std::collections::HashMap<crate::Key, Option<Instant>>,
}

fn apply(
    shared: &Shared,
    txn: &WriteTransaction,
    changes: Vec<Change>,
    now: Instant,
) -> Result<Applied, WriteFailed> {
    let nodes = txn.open_table(NODES).map_err(nothing_written)?;
    let deadlines = shared.deadlines();
    let index = shared.history.look().current();
    let mut batch = Batch::new(nodes, &deadlines, now, index);
    let mut outcomes = Vec::with_capacity(changes.len());
    for change in changes {
        outcomes.push(batch.apply(change).map_err(in_trouble)?);
    }
    for key in deadlines.due(now, MAX_EXPIRIES) {
        batch.expire(&key).map_err(in_trouble)?;
    }
    let Batch { index, dirty, events, pending, .. } = batch;
    if dirty {
        let mut meta = txn.open_table(META).map_err(nothing_written)?;
        meta.insert(INDEX, index).map_err(nothing_written)?;
    }
    Ok(Applied { outcomes, dirty, events, pending })
}

fn nothing_written(error: impl Into<redb::Error>) -> WriteFailed {
    WriteFailed::NothingWritten { reason: error.into().to_string() }
}

fn given_up(error: StoreError) -> WriteFailed {
    match error {
        StoreError::Corrupt { reason } => WriteFailed::Corrupt { reason },
        StoreError::Unavailable { reason, .. } => WriteFailed::NothingWritten { reason },
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
    /// Opens the file again after the disk failed. As at every open, TTLs run anew in full: nobody could refresh them.
    /// Where the commit that failed has reached the disk all the same, watchers read everything again.
    fn open_again(&self) -> Result<(), String> {
        let index = self.database.open_again().map_err(|error| error.to_string())?;
        self.begin_ttls().map_err(|error| error.to_string())?;
        if index != self.history.look().current() {
            self.history.restart_at(index);
        }
        Ok(())
    }

    /// How long the writer may sleep when nobody asks for anything.
    fn patience(&self) -> Duration {
        let next = self.deadlines().next();
        next.map_or(Duration::from_secs(3600), |at| {
            at.saturating_duration_since(self.clock.now()).min(EXPIRY_TICK).max(Duration::from_millis(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant, SystemTime};

    use super::super::change::{Change, Condition, Content};
    use super::super::handle::Handle;
    use super::super::history::History;
    use super::super::{Shared, file};
    use super::write;
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

    /// The disk was stuck while a leader's refresh waited behind it: by the time the writer looks, the TTL has run
    /// out. The refresh came in time, so the leader stays.
    #[test]
    fn a_refresh_that_waits_when_the_ttl_runs_out_saves_the_entry() {
        let opened = file::in_memory().unwrap();
        let clock = Arc::new(Later(Instant::now(), AtomicU64::new(0)));
        let shared = Shared {
            database: Handle::new(opened.database, Box::new(|| Ok(())), Box::new(file::in_memory)),
            cluster: opened.cluster,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            history: History::starting_at(opened.index),
            deadlines: Mutex::default(),
            commits: AtomicU64::new(0),
        };
        let key = Key::parse("/leader").unwrap();
        let content = Content::File(b"a".to_vec());
        let only_if = Condition::default();
        let put = Change::Put { key: key.clone(), content, ttl: Some(10), only_if: only_if.clone() };
        write(&shared, vec![put]).unwrap();
        clock.1.store(11, Ordering::SeqCst);
        let refresh = Change::Refresh { key: key.clone(), ttl: 10, only_if };
        write(&shared, vec![refresh]).unwrap()[0].clone().unwrap();
        assert!(shared.get(&key).unwrap().is_some());
        clock.1.store(22, Ordering::SeqCst);
        write(&shared, Vec::new()).unwrap();
        assert_eq!(shared.get(&key), Ok(None));
    }
}
