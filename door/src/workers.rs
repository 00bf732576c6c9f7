//! The threads on which requests are worked on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;

use crate::budget::Held;
use crate::exchange::guard;
use crate::handler::{Call, Handler, Trouble};
use crate::head::Head;
use crate::mailbox::{Key, Message};
use crate::server::Shared;

/// What a worker is given.
pub(crate) enum Job<A> {
    /// To say whether a request may be made.
    Judge { head: Arc<Head>, key: Key, thread: usize },
    /// To make it. The memory of its body is counted until a worker has it.
    Handle { call: Call<A>, held: Held },
}

/// Works until no event thread is left that could have more.
pub(crate) fn run<H: Handler>(shared: &Shared<H>, jobs: &Receiver<Job<H::Admitted>>) {
    for job in jobs {
        // After the last word nobody is there to be answered.
        if !shared.has_quit.load(Ordering::SeqCst) {
            perform(shared, job);
        }
        shared.counts.working.fetch_sub(1, Ordering::SeqCst);
        shared.counts.ring();
    }
}

/// Has the handler work on a request.
pub(crate) fn handle<H: Handler>(shared: &Shared<H>, call: Call<H::Admitted>) {
    if guard(|| shared.handler.handle(call)).is_none() {
        log::error!("a handler panicked; its request is answered with 500, if it was not answered yet");
    }
}

fn perform<H: Handler>(shared: &Shared<H>, job: Job<H::Admitted>) {
    match job {
        Job::Handle { call, held } => {
            drop(held);
            handle(shared, call);
        }
        Job::Judge { head, key, thread } => {
            let mailbox = &shared.mailboxes[thread];
            match guard(|| shared.handler.judge(&head)) {
                // An event thread that has ended waits for no verdict.
                Some(verdict) => drop(shared.judged[thread].send((key, verdict))),
                None => return mailbox.post(Message::Failed(key, Trouble::Panicked)),
            }
            mailbox.post(Message::Judged);
        }
    }
}
