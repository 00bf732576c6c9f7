//! `GET /backup`, which is ours and not etcd's: the whole store as one stream, for its owner. Each is written by a thread of
//! its own, as fast as its reader takes it; it is cut off where its owner's credentials have become others.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use door::{Reply as Answer, Response, Stream};

use super::super::snapshot::Snapshot;
use super::api::Api;
use super::auth::Caller;
use super::reply::{ApiError, Reply};

/// Where a backup is asked for.
pub(super) const PATH: &str = "/backup";

/// How many are taken at the same time: each keeps pages of the file from being used again.
const AT_ONCE: usize = 2;
/// How long one may take, however fast its reader is.
const LONGEST: Duration = Duration::from_secs(600);
/// How long a reader may take for one piece.
const PATIENCE: Duration = Duration::from_secs(30);
const PIECE: usize = 128 << 10;
/// How often one that waits for its reader looks whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The backups that are being taken. Dropped, after it has been told to stop, it waits for their threads.
pub(super) struct Backups {
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<AtomicBool>,
}

impl Backups {
    /// None yet; `stop` cuts off all.
    pub(super) fn new(stop: Arc<AtomicBool>) -> Self {
        Self { threads: Mutex::default(), stop }
    }

    /// Answers who asks for one, on a thread of its own: the file may be about to be opened again. Never blocks.
    pub(super) fn answer(&self, api: &Arc<Api>, caller: Caller, reply: Answer) {
        if !caller.is_owner() {
            return send(reply, ApiError::unauthorized().into_reply());
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        if threads.len() >= AT_ONCE {
            return refuse(reply, "other backups are being taken: try again later\n");
        }
        let (api, stop) = (Arc::clone(api), Arc::clone(&self.stop));
        // Who is refused for want of a thread is told so.
        let (hand_over, taken_over) = crossbeam_channel::bounded::<Answer>(1);
        let run = move || {
            if let Ok(reply) = taken_over.recv() {
                begin(&api, &caller, reply, &stop);
            }
        };
        match thread::Builder::new().name("store-backup".to_owned()).spawn(run) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                log::error!("no backup can be taken: {error}");
                return refuse(reply, "there is no thread for it: try again later\n");
            }
        }
        // The thread waits for it.
        drop(hand_over.send(reply));
    }
}

impl Drop for Backups {
    fn drop(&mut self) {
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        if threads.into_iter().any(|thread| thread.join().is_err()) {
            log::error!("a thread that took a backup of the embedded store had panicked");
        }
    }
}

fn refuse(reply: Answer, why: &str) {
    send(reply, Reply::text(503, why));
}

fn send(reply: Answer, answer: Reply) {
    if !reply.send(answer.into()) {
        log::debug!("who asked for a backup had gone");
    }
}

/// Takes one, and answers with it.
fn begin(api: &Api, caller: &Caller, reply: Answer, stop: &AtomicBool) {
    let snapshot = match api.store.shared.snapshot() {
        Ok(snapshot) => snapshot,
        Err(error) => {
            log::error!("no backup can be taken: {error}");
            return refuse(reply, "the store cannot be read\n");
        }
    };
    // The request's body, or the file, may have taken long to come.
    if !api.is_still_admitted(caller) {
        return send(reply, Api::not_let_in());
    }
    let begun = Instant::now();
    let stream = reply.stream(Response::new(200, "application/octet-stream", Vec::new()));
    let pieces = Pieces { stream, until: begun + LONGEST, stop, api, caller };
    take(&snapshot, begun, pieces);
}

fn take(snapshot: &Snapshot, begun: Instant, pieces: Pieces<'_>) {
    let mut out = BufWriter::with_capacity(PIECE, pieces);
    let written = snapshot.write_to(&mut out);
    match written
        .and_then(|summary| out.into_inner().map(|out| (summary, out)).map_err(|error| error.into_error()))
    {
        Ok((summary, out)) => {
            log::info!(
                "backup of the store at index {}: {} nodes and {} guests in {:.1} s",
                summary.index,
                summary.nodes,
                summary.guests,
                begun.elapsed().as_secs_f64()
            );
            out.stream.end();
        }
        // Dropped without its end, the stream is cut off: nobody takes a part for the whole.
        Err(error) => log::warn!("a backup of the store was given up: {error}"),
    }
}

/// Pushes what is written, and waits each time until the reader has taken it.
struct Pieces<'a> {
    stream: Stream,
    until: Instant,
    stop: &'a AtomicBool,
    api: &'a Api,
    caller: &'a Caller,
}

impl Pieces<'_> {
    fn has_ended(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.is_dismissed() || Instant::now() >= self.until
    }

    fn is_dismissed(&self) -> bool {
        !self.api.is_still_admitted(self.caller)
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let patience = (Instant::now() + PATIENCE).min(self.until);
        while !self.stream.wait_for_room(LOOK_EVERY) || self.has_ended() {
            let trouble = if self.stop.load(Ordering::SeqCst) {
                "the server ends"
            } else if self.is_dismissed() {
                "its reader is not let in any more"
            } else if self.stream.reader_has_gone() {
                "its reader has gone"
            } else if Instant::now() >= patience {
                "its reader is too slow"
            } else {
                continue;
            };
            return Err(io::Error::other(trouble));
        }
        if self.stream.push(bytes) { Ok(bytes.len()) } else { Err(io::Error::other("its reader has gone")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
