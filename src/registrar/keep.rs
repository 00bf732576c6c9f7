//! Keeps one cell's entries: what should stand in the store follows the cell, and the store follows that.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, select};
use log::{info, warn};
use storage::{Expect, Key, Revision, Store, StoreError, Ttl};

use super::News;
use super::announcement::{Unannounceable, announcements};
use crate::cells::{Cell, CellError, ContainerView};
use crate::model::ContainerName;

/// How long an entry lives without this registrar.
const TTL: Ttl = Ttl::seconds(30);
/// How often entries are kept alive: two refreshes may get lost.
const REFRESH: Duration = Duration::from_secs(10);
/// How often everything is looked at anew, in case an event was lost.
const RECONCILE: Duration = Duration::from_secs(60);
/// How long is waited after a failure, first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often a write is decided again when somebody else changed the entry meanwhile.
const ATTEMPTS: usize = 3;

/// The keeper of one cell's entries.
pub struct Keeper {
    cell: Arc<dyn Cell>,
    store: Arc<dyn Store>,
    /// What should stand in the store, by container.
    wanted: BTreeMap<ContainerName, BTreeMap<Key, String>>,
    /// What stands there, as far as is known, with the revision to hold it by.
    held: BTreeMap<Key, (String, Revision)>,
    warned: BTreeSet<String>,
    cell_trouble: Trouble,
    store_trouble: Trouble,
}

/// A run of failures: when to try again, and whether it has been said.
struct Trouble {
    retry_at: Option<Instant>,
    backoff: Duration,
}

impl Trouble {
    fn none() -> Self {
        Self { retry_at: None, backoff: BACKOFF.0 }
    }

    /// Whether this is the first failure of its run.
    fn begins(&mut self) -> bool {
        let first = self.retry_at.is_none();
        self.retry_at = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        first
    }

    /// Whether there was a run of failures, which is over.
    fn ends(&mut self) -> bool {
        mem::replace(self, Self::none()).retry_at.is_some()
    }

    fn is_due(&self) -> bool {
        self.retry_at.is_some_and(|at| Instant::now() >= at)
    }
}

impl Keeper {
    /// Keeps this cell's entries in this store.
    pub fn new(cell: Arc<dyn Cell>, store: Arc<dyn Store>) -> Self {
        Self {
            cell,
            store,
            wanted: BTreeMap::new(),
            held: BTreeMap::new(),
            warned: BTreeSet::new(),
            cell_trouble: Trouble::none(),
            store_trouble: Trouble::none(),
        }
    }

    /// Until `quit` is closed, or the watcher is gone.
    pub fn run(mut self, news: &Receiver<News>, quit: &Receiver<()>) {
        let mut refresh_at = Instant::now() + REFRESH;
        let mut reconcile_at = Instant::now() + RECONCILE;
        loop {
            let retries = [self.cell_trouble.retry_at, self.store_trouble.retry_at];
            let wake = retries.into_iter().flatten().fold(refresh_at.min(reconcile_at), Instant::min);
            select! {
                recv(news) -> item => match item {
                    Ok(item) => self.look(item),
                    Err(_) => return,
                },
                recv(quit) -> _ => return,
                default(wake.saturating_duration_since(Instant::now())) => {}
            }
            let now = Instant::now();
            if now >= reconcile_at || self.cell_trouble.is_due() {
                reconcile_at = now + RECONCILE;
                self.look(News::Everything);
            }
            if now >= refresh_at {
                refresh_at = now + REFRESH;
                self.attempt(Self::refresh);
            }
            if self.store_trouble.retry_at.is_none() || self.store_trouble.is_due() {
                self.attempt(Self::converge);
            }
            if quit.try_recv() == Err(TryRecvError::Disconnected) {
                return;
            }
        }
    }

    /// Learns from the cell what should be announced. While it does not answer, its containers are taken to run on.
    fn look(&mut self, news: News) {
        let outcome = match news {
            News::Changed(name) => self.cell.inspect(&name).map(|view| match view {
                Some(view) => self.want(&view),
                None => drop(self.wanted.remove(&name)),
            }),
            News::Everything => self.cell.list(&[]).map(|views| {
                self.wanted.clear();
                views.iter().for_each(|view| self.want(view));
            }),
        };
        match outcome {
            // A single container that can be seen says nothing about the listing that failed before.
            Ok(()) => {
                if self.cell_trouble.is_due() && self.cell_trouble.ends() {
                    info!("the registrar sees the containers of cell {} again", self.cell.site().guid);
                }
            }
            Err(error) => self.cannot_look(&error),
        }
    }

    fn cannot_look(&mut self, error: &CellError) {
        if self.cell_trouble.begins() {
            warn!("the registrar cannot look at containers and keeps what it has announced: {error}");
        }
    }

    fn want(&mut self, view: &ContainerView) {
        let entries = announcements(view, &self.cell.site().host).unwrap_or_else(|reason| {
            let text = match reason {
                Unannounceable::ReservedImage(image) => {
                    format!("containers of image {image} are not announced: /{image} is the broker's own")
                }
                Unannounceable::NoKey(raw) => format!("{raw:?} is not announced: it is no key"),
            };
            if self.warned.insert(text.clone()) {
                warn!("{text}");
            }
            BTreeMap::new()
        });
        if entries.is_empty() {
            self.wanted.remove(&view.name);
        } else {
            self.wanted.insert(view.name.clone(), entries);
        }
    }

    fn attempt(&mut self, act: fn(&mut Self) -> Result<(), StoreError>) {
        match act(self) {
            Ok(()) => {
                if self.store_trouble.ends() {
                    info!("the registrar announces cell {} in the store again", self.cell.site().guid);
                }
            }
            Err(error) => {
                if self.store_trouble.begins() {
                    warn!("the registrar cannot announce cell {}: {error}", self.cell.site().guid);
                }
            }
        }
    }

    /// Makes the store say what it should, and nothing of ours that it should not.
    fn converge(&mut self) -> Result<(), StoreError> {
        let wanted: BTreeMap<Key, String> =
            self.wanted.values().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let missing =
            wanted.iter().filter(|(key, value)| self.held.get(key).is_none_or(|(held, _)| held != *value));
        for (key, value) in missing.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>() {
            let revision = self.announce(&key, &value)?;
            info!("announced {key}: {value}");
            self.held.insert(key, (value, revision));
        }
        let surplus = self.held.keys().filter(|key| !wanted.contains_key(key));
        for key in surplus.cloned().collect::<Vec<_>>() {
            // The key names the container, which is gone: whoever wrote it last, it is wrong.
            self.store.delete(&key, Expect::Anything)?;
            info!("{key} is no longer announced");
            self.held.remove(&key);
        }
        Ok(())
    }

    fn refresh(&mut self) -> Result<(), StoreError> {
        for key in self.held.keys().cloned().collect::<Vec<_>>() {
            let Some((value, revision)) = self.held.get(&key).cloned() else { continue };
            match self.store.refresh(&key, TTL, revision) {
                Ok(revision) => drop(self.held.insert(key, (value, revision))),
                // It expired, or an earlier refresh landed without an answer: `converge` announces it anew.
                Err(StoreError::Conflict | StoreError::OutcomeUnknown { .. }) => drop(self.held.remove(&key)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes an entry over whatever an earlier process left there.
    fn announce(&self, key: &Key, value: &str) -> Result<Revision, StoreError> {
        let mut expect = match self.held.get(key) {
            Some((_, revision)) => Expect::Unchanged(*revision),
            None => Expect::Absent,
        };
        for _ in 0..ATTEMPTS {
            match self.store.put(key, value.as_bytes(), Some(TTL), expect) {
                Err(StoreError::Conflict) => {
                    let Some(there) = self.store.get(key)? else {
                        expect = Expect::Absent;
                        continue;
                    };
                    expect = Expect::Unchanged(there.revision);
                    // An earlier process said so, or another broker's registrar: no watcher need be woken.
                    if there.value == value.as_bytes()
                        && let Ok(revision) = self.store.refresh(key, TTL, there.revision)
                    {
                        return Ok(revision);
                    }
                }
                outcome => return outcome,
            }
        }
        Err(StoreError::Conflict)
    }
}
