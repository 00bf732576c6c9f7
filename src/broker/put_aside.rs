//! Operations whose next step has nothing to do until a certain time: they hold no worker. At their time they go back to
//! the workers; a broker that dies meanwhile finds them by the scan for pending operations.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use log::warn;

use super::core::Core;
use crate::model::InstanceId;

/// How long the thread sleeps at most: also how soon it notices that the clock was set.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// How many may be put aside; the scan says the others again and again.
const PLACES: usize = 16_384;

/// What is put aside, with its time.
#[derive(Default)]
pub(super) struct PutAside {
    due: Mutex<BTreeSet<(u64, InstanceId)>>,
    changed: Condvar,
}

impl PutAside {
    /// Saying it twice does no harm.
    pub(super) fn until(&self, due_ms: u64, instance: &InstanceId) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.len() < PLACES {
            due.insert((due_ms, instance.clone()));
            self.changed.notify_all();
        }
    }

    /// Makes the thread look whether it is to stop.
    pub(super) fn wake(&self) {
        // Not between its look and its sleep.
        let _due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.notify_all();
    }

    /// Those whose time has come; waits a while for them.
    fn wait(&self, core: &Core) -> Vec<InstanceId> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = core.now_ms();
        let mut ready = Vec::new();
        while due.first().is_some_and(|(due_ms, _)| *due_ms <= now_ms) {
            ready.extend(due.pop_first().map(|(_, instance)| instance));
        }
        if ready.is_empty() && !core.is_stopping() {
            let left = due.first().map(|(due_ms, _)| Duration::from_millis(due_ms.saturating_sub(now_ms)));
            let sleep = left.map_or(LONGEST_SLEEP, |left| left.min(LONGEST_SLEEP));
            drop(self.changed.wait_timeout(due, sleep));
        }
        ready
    }
}

/// The thread that gives operations back to the workers at their time.
pub(super) struct Alarm {
    core: Arc<Core>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Alarm {
    pub(super) fn start(core: &Arc<Core>) -> std::io::Result<Self> {
        let thread = thread::Builder::new().name("alarm".to_owned()).spawn({
            let core = Arc::clone(core);
            move || {
                while !core.is_stopping() {
                    core.put_aside.wait(&core).iter().for_each(|instance| core.enqueue(instance));
                }
            }
        })?;
        Ok(Self { core: Arc::clone(core), thread: Some(thread) })
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.core.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the alarm of operations that were put aside panicked");
        }
    }
}
