//! Answers that may be large are made on threads of their own: whoever lists a hundred thousand keys holds up others who
//! list, and the writer for as long as it takes to copy the directories that it changes meanwhile.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use door::{Reply, Trouble};

use super::api::Api;
use super::keys::Read;

/// One that is long leaves the other to the many that are short.
const THREADS: usize = 2;
/// How many may wait for a thread; one more is told to come again.
const QUEUE: usize = 1024;

type Job = (Read, Reply);

/// The threads. Dropping it ends them, once what waits is answered.
pub(super) struct Listings {
    /// None once it is being dropped.
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Listings {
    pub(super) fn start(api: &Arc<Api>) -> io::Result<Self> {
        let (jobs, queue) = bounded(QUEUE);
        let mut listings = Self { jobs: Some(jobs), threads: Vec::new() };
        for _ in 0..THREADS {
            let (api, queue): (_, Receiver<Job>) = (Arc::clone(api), queue.clone());
            let work = move || {
                for (read, reply) in queue {
                    // Whoever has gone needs no answer.
                    if reply.sender_has_gone() {
                        continue;
                    }
                    // One that cannot be made is told so by its reply, and the thread goes on with the others.
                    let answer = AssertUnwindSafe(|| reply.send(api.listed(&read).into()));
                    if catch_unwind(answer).is_err() {
                        log::error!("a listing of the embedded store panicked");
                    }
                }
            };
            listings.threads.push(thread::Builder::new().name("store-listings".to_owned()).spawn(work)?);
        }
        Ok(listings)
    }

    pub(super) fn answer(&self, read: Read, reply: Reply) {
        let jobs = self.jobs.as_ref().expect("jobs are taken away by drop, and nothing comes after it");
        if let Err(refused) = jobs.try_send((read, reply)) {
            refused.into_inner().1.send(Trouble::Full.response());
        }
    }
}

impl Drop for Listings {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a thread of the embedded store's listings had panicked");
            }
        }
    }
}
