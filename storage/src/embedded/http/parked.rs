//! Long polls that wait: one thread answers them all, and the door sends what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use door::Stream;

use super::super::change::Event;
use super::api::{Api, Wait};
use super::reply::Body;
use crate::{Deadline, Key};

/// A long poll whose answer has begun.
pub(super) struct Waiter {
    pub(super) wait: Wait,
    pub(super) until: Instant,
    pub(super) stream: Stream,
}

/// Runs until `stop`; whoever sets it rings the history's bell. Where `max_waiters` wait, one more is told at once that
/// its wait is over.
pub(super) fn run(api: &Arc<Api>, arrivals: &Receiver<Waiter>, stop: &AtomicBool, max_waiters: usize) {
    let history = &api.store.shared.history;
    let mut waiting: Vec<Waiter> = Vec::new();
    let mut recent = history.look();
    while !stop.load(Ordering::SeqCst) {
        // Taken under the history's lock: whoever sends one rings the bell afterwards, and is heard.
        waiting.extend(arrivals.try_iter());
        let now = Instant::now();
        let mut answers: Vec<(Waiter, Option<Event>)> = Vec::new();
        let mut still = Vec::with_capacity(waiting.len());
        for mut waiter in waiting.into_iter().filter(|waiter| !waiter.stream.reader_has_gone()) {
            match recent.after(waiter.wait.since - 1) {
                Some(mut events) => match events.find(|event| waiter.wait.wants(event)) {
                    Some(event) => answers.push((waiter, Some(event.clone()))),
                    None if waiter.until <= now || still.len() >= max_waiters => {
                        answers.push((waiter, None));
                    }
                    None => {
                        waiter.wait.since = waiter.wait.since.max(recent.current() + 1);
                        still.push(waiter);
                    }
                },
                // Left behind by more changes than are remembered: it asks again and is told so.
                None => answers.push((waiter, None)),
            }
        }
        waiting = still;
        if answers.is_empty() {
            let next = waiting.iter().map(|waiter| waiter.until).min();
            let wake = next.unwrap_or_else(|| now + Duration::from_secs(3600));
            recent = history.wait(recent, Deadline::at(wake));
        } else {
            drop(recent);
            finish(api, answers);
            recent = history.look();
        }
    }
    drop(recent);
    waiting.extend(arrivals.try_iter());
    waiting.into_iter().for_each(|waiter| waiter.stream.end());
}

/// Each event is rendered once, however many wait for it: they share the bytes until the last has read them.
fn finish(api: &Api, answers: Vec<(Waiter, Option<Event>)>) {
    let mut rendered: BTreeMap<(u64, Key), Arc<[u8]>> = BTreeMap::new();
    for (waiter, event) in answers {
        if let Some(event) = event {
            let bytes = rendered.entry((event.index, event.node.key.clone()));
            let bytes = bytes.or_insert_with(|| render(api, event));
            if !waiter.stream.push(Arc::clone(bytes)) {
                log::debug!("a watcher of {} had gone", waiter.wait.key);
            }
        }
        // Without an event the body is empty: its client asks again.
        waiter.stream.end();
    }
}

fn render(api: &Api, event: Event) -> Arc<[u8]> {
    let body = Body::event(event, &*api.store.shared.clock);
    let mut bytes = serde_json::to_vec(&body).expect("strings, numbers and lists always serialise");
    bytes.push(b'\n');
    bytes.into()
}
