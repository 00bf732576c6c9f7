//! Long polls that wait: one thread answers them all, so that none holds a worker. Only answers that a reader could
//! hold up are sent apart from it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::super::change::Event;
use super::api::{Api, Wait};
use super::reply::Body;
use crate::Deadline;
use crate::door::Seats;

/// A long poll with the rest of its connection. The head of its answer has been sent.
pub(super) struct Waiter {
    pub(super) wait: Wait,
    pub(super) until: Instant,
    pub(super) out: Box<dyn Write + Send>,
}

/// How many may wait; one more is told at once that its wait is over.
pub(super) const MAX_WAITERS: usize = 4096;

/// The system takes answers up to this size whether they are read or not: nothing but heads went out before.
const SMALL_BYTES: usize = 4 << 10;

/// Runs until `stop`; whoever sets it rings the history's bell. Large answers take one of the `slow` seats.
pub(super) fn run(api: &Arc<Api>, arrivals: &Receiver<Waiter>, stop: &AtomicBool, slow: &Arc<Seats>) {
    let history = &api.store.shared.history;
    let mut waiting: Vec<Waiter> = Vec::new();
    let mut recent = history.look();
    while !stop.load(Ordering::SeqCst) {
        // Taken under the history's lock: whoever sends one rings the bell afterwards, and is heard.
        waiting.extend(arrivals.try_iter());
        let now = Instant::now();
        let mut answers: Vec<(Waiter, Option<Event>)> = Vec::new();
        let mut still = Vec::with_capacity(waiting.len());
        for mut waiter in waiting {
            match recent.after(waiter.wait.since - 1) {
                Some(mut events) => match events.find(|event| waiter.wait.wants(event)) {
                    Some(event) => answers.push((waiter, Some(event.clone()))),
                    None if waiter.until <= now || still.len() >= MAX_WAITERS => {
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
            for (waiter, event) in answers {
                finish(api, waiter, event, slow);
            }
            recent = history.look();
        }
    }
    drop(recent);
    waiting.extend(arrivals.try_iter());
    waiting.into_iter().for_each(|waiter| finish(api, waiter, None, slow));
}

/// Sends the head of an answer whose body comes later, so that its reader knows the index it waits from.
pub(super) fn send_head(out: &mut dyn Write, wait: &Wait) -> io::Result<()> {
    let mut head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n".to_owned();
    for (name, value) in &wait.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    out.write_all(head.as_bytes())?;
    out.flush()
}

fn finish(api: &Api, waiter: Waiter, event: Option<Event>, slow: &Arc<Seats>) {
    let mut body = String::new();
    if let Some(event) = event {
        let text = serde_json::to_string(&Body::event(event, &*api.store.shared.clock))
            .expect("strings, numbers and lists always serialise");
        body = format!("{:x}\r\n{text}\n\r\n", text.len() + 1);
    }
    body.push_str("0\r\n\r\n");
    // Without a seat the others wait, but no longer than a write may.
    let seat = if body.len() > SMALL_BYTES { slow.take() } else { None };
    match seat {
        Some(seat) => seat.apart("store-answer", move || send_body(waiter, &body)),
        None => send_body(waiter, &body),
    }
}

fn send_body(mut waiter: Waiter, body: &str) {
    // A reader that has gone away needs no answer.
    if let Err(error) = waiter.out.write_all(body.as_bytes()).and_then(|()| waiter.out.flush()) {
        log::debug!("a watcher of {} had gone or did not read: {error}", waiter.wait.key);
    }
}
