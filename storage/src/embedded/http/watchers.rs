//! Those who wait for changes: one thread tells them all, and the door sends what it says.
//!
//! They are kept by the key that each of them watches, so that a change costs what it wakes and not what waits. The
//! thread looks at the history under its lock, and renders and sends without it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use door::Stream;

use super::super::change::Event;
use super::super::history::Recent;
use super::super::record::under;
use super::api::Api;
use super::keys::Wait;
use super::reply::Body;
use crate::Deadline;

/// How often those are looked for who have gone without having been told anything.
const SWEEP: Duration = Duration::from_secs(5);

/// How long it rests after it has panicked.
const PAUSE: Duration = Duration::from_millis(100);

/// A watch whose answer has begun.
pub(super) struct Waiter {
    pub(super) wait: Wait,
    pub(super) until: Instant,
    pub(super) stream: Stream,
}

/// Who waits, in the order of their coming, by key, by caller and by the end of their wait.
struct Board<'a> {
    api: &'a Api,
    most: usize,
    next: u64,
    waiting: BTreeMap<u64, Waiter>,
    by_key: BTreeMap<String, BTreeSet<u64>>,
    by_caller: HashMap<usize, BTreeSet<u64>>,
    by_end: BTreeSet<(Instant, u64)>,
    /// What is to be sent when the history's lock has been given back.
    news: Vec<News>,
}

/// An event and who is told of it.
struct News {
    event: Event,
    /// Those who are told, and whether they may know what was there before.
    told: Vec<(u64, bool)>,
}

/// As [`run`]; where that panics, all watches are cut off, and it begins anew.
pub(super) fn run_on(api: &Arc<Api>, arrivals: &Receiver<Waiter>, stop: &AtomicBool, most: usize) {
    while catch_unwind(AssertUnwindSafe(|| run(api, arrivals, stop, most))).is_err() {
        log::error!("the embedded store's watches panicked: all of them are cut off");
        std::thread::sleep(PAUSE);
    }
}

/// Runs until `stop`; whoever sets it rings the history's bell. Where `most` wait, the first wait of the caller who has
/// most of them is over when one more comes.
fn run(api: &Arc<Api>, arrivals: &Receiver<Waiter>, stop: &AtomicBool, most: usize) {
    let shared = &api.store.shared;
    let mut board = Board::new(api, most);
    let mut recent = shared.history.look();
    let mut seen = recent.current();
    let mut admissions = shared.admissions.load(Ordering::SeqCst);
    let mut swept = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        // Before anything is told: what was written after a guest went is not for it.
        let changes = shared.admissions.load(Ordering::SeqCst);
        if changes != admissions {
            admissions = changes;
            board.expel();
        }
        if !board.waiting.is_empty() {
            board.note(&recent, seen);
        }
        // Taken under the history's lock: whoever sends one rings the bell afterwards, and is heard.
        arrivals.try_iter().for_each(|waiter| board.admit(waiter, &recent));
        seen = recent.current();
        // Where nobody waits, writers need not wake this thread, and nothing is kept for it.
        recent.follow(Some(seen).filter(|_| !board.waiting.is_empty()));
        let now = Instant::now();
        board.end_those_due(now);
        if now.duration_since(swept) > SWEEP {
            swept = now;
            board.end_where(|waiter| waiter.stream.reader_has_gone());
        }
        api.stats.set_watchers(board.waiting.len());
        if board.news.is_empty() {
            let deadline = Deadline::at(board.wake(now));
            recent = if board.waiting.is_empty() {
                shared.history.rest(recent, deadline)
            } else {
                shared.history.wait(recent, deadline)
            };
        } else {
            drop(recent);
            board.send();
            recent = shared.history.look();
        }
    }
    recent.follow(None);
    drop(recent);
    board.end_where(|_| true);
    arrivals.try_iter().for_each(|waiter| waiter.stream.end());
}

impl<'a> Board<'a> {
    fn new(api: &'a Api, most: usize) -> Self {
        Self {
            api,
            most,
            next: 0,
            waiting: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_caller: HashMap::new(),
            by_end: BTreeSet::new(),
            news: Vec::new(),
        }
    }

    /// Finds who is to be told of what has happened after `seen`. Where that is not known any more, nobody can be told
    /// what happened: they ask again.
    fn note(&mut self, recent: &Recent, seen: u64) {
        let Some(events) = recent.unseen(seen) else { return self.end_where(|_| true) };
        for event in events {
            if event.refresh {
                continue;
            }
            let told = self.who_wants(event);
            if !told.is_empty() {
                self.news.push(News { event: event.clone(), told });
            }
        }
    }

    /// Those who watch the event's key or one above it; where a tree went, those who watch what was in it, too.
    fn who_wants(&mut self, event: &Event) -> Vec<(u64, bool)> {
        let key = event.node.key.as_str();
        let mut ids: Vec<u64> = Vec::new();
        let ends = key.match_indices('/').map(|(at, _)| at.max(1)).chain([key.len()]);
        let mut before = 0;
        for end in ends.filter(|end| std::mem::replace(&mut before, *end) != *end) {
            ids.extend(self.by_key.get(&key[..end]).into_iter().flatten());
        }
        if event.node.is_dir && event.action.removes() {
            let (from, to) = under(key);
            ids.extend(self.by_key.range(from..to).flat_map(|(_, ids)| ids));
        }
        let mut told = Vec::new();
        for id in ids {
            let Some(waiter) = self.waiting.get_mut(&id).filter(|waiter| waiter.wait.wants(event)) else {
                continue;
            };
            told.push((id, waiter.wait.may_know_previous(event)));
            // Whoever wants one event wants none after it.
            waiter.wait.since = if waiter.wait.stream { event.index + 1 } else { u64::MAX };
        }
        told
    }

    /// Takes in who has just come, and tells it what has happened since it asked.
    fn admit(&mut self, mut waiter: Waiter, recent: &Recent) {
        // It may have been dismissed on the way here.
        if !self.api.is_still_admitted(&waiter.wait.caller) {
            return waiter.stream.end();
        }
        let caller = waiter.wait.caller.id();
        if self.waiting.len() >= self.most
            && let Some(first) = self.first_of_most(caller)
        {
            self.take(first).into_iter().for_each(|waiter| waiter.stream.end());
        }
        let wait = &mut waiter.wait;
        let found = wait.found.take();
        let Some(events) = recent.unseen(recent.current().min(wait.since - 1)) else {
            return waiter.stream.end();
        };
        let mut news = Vec::new();
        for event in found.iter().chain(events) {
            let first = news.is_empty() && event.index < wait.since;
            if first || (wait.wants(event) && (wait.stream || news.is_empty())) {
                news.push(News {
                    event: event.clone(),
                    told: vec![(self.next, wait.may_know_previous(event))],
                });
            }
        }
        if !news.is_empty() && !wait.stream {
            wait.since = u64::MAX;
        }
        self.by_key.entry(wait.key.as_str().to_owned()).or_default().insert(self.next);
        self.by_caller.entry(caller).or_default().insert(self.next);
        self.by_end.insert((waiter.until, self.next));
        self.waiting.insert(self.next, waiter);
        self.news.extend(news);
        self.next += 1;
    }

    /// The first watch of the caller who has most of them, once this one has one more: who has too many loses its own.
    fn first_of_most(&self, comes: usize) -> Option<u64> {
        let firsts = self.by_caller.iter().filter_map(|(caller, ids)| {
            ids.first().map(|first| (ids.len() + usize::from(*caller == comes), Reverse(*first)))
        });
        firsts.max().map(|(_, Reverse(first))| first)
    }

    /// Each event is rendered once, however many wait for it: they share the bytes until the last has read them.
    fn send(&mut self) {
        for News { event, told } in std::mem::take(&mut self.news) {
            let mut rendered: [Option<Arc<[u8]>>; 2] = [None, None];
            for (id, may_know_previous) in told {
                let bytes = rendered[usize::from(may_know_previous)]
                    .get_or_insert_with(|| self.render(&event, may_know_previous));
                let Some(waiter) = self.waiting.get(&id) else { continue };
                let taken = waiter.stream.push(Arc::clone(bytes));
                if !taken || !waiter.wait.stream {
                    self.take(id).into_iter().for_each(|waiter| waiter.stream.end());
                }
            }
        }
    }

    fn render(&self, event: &Event, may_know_previous: bool) -> Arc<[u8]> {
        let mut event = event.clone();
        if !may_know_previous {
            event.previous = None;
        }
        let body = Body::event(event, &*self.api.store.shared.clock);
        let mut bytes = serde_json::to_vec(&body).expect("strings, numbers and lists always serialise");
        bytes.push(b'\n');
        bytes.into()
    }

    /// Ends the watches of those who have been let in, and would not be any more.
    fn expel(&mut self) {
        let api = self.api;
        self.end_where(|waiter| !api.is_still_admitted(&waiter.wait.caller));
    }

    fn end_those_due(&mut self, now: Instant) {
        while let Some((_, id)) = self.by_end.first().copied().filter(|(until, _)| *until <= now) {
            self.take(id).into_iter().for_each(|waiter| waiter.stream.end());
        }
    }

    /// An empty rest of the body: its client asks again.
    fn end_where(&mut self, ends: impl Fn(&Waiter) -> bool) {
        let gone: Vec<u64> =
            self.waiting.iter().filter(|(_, waiter)| ends(waiter)).map(|(id, _)| *id).collect();
        for waiter in gone.into_iter().filter_map(|id| self.take(id)) {
            waiter.stream.end();
        }
    }

    fn take(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&id)?;
        self.by_end.remove(&(waiter.until, id));
        let key = waiter.wait.key.as_str();
        if let Some(ids) = self.by_key.get_mut(key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_key.remove(key);
            }
        }
        let caller = waiter.wait.caller.id();
        if let Some(ids) = self.by_caller.get_mut(&caller) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_caller.remove(&caller);
            }
        }
        Some(waiter)
    }

    /// When there is something to do, even if the bell does not ring.
    fn wake(&self, now: Instant) -> Instant {
        let sweep = if self.waiting.is_empty() { now + Duration::from_secs(3600) } else { now + SWEEP };
        self.by_end.first().map_or(sweep, |(until, _)| sweep.min(*until))
    }
}
