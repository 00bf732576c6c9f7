//! Looks for what somebody began and nobody goes on with: operations whose performer has died, containers owed for
//! removal, orphans, claims and guests that no record speaks for. At start and ever after.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::warn;
use storage::{Entry, Expect, StoreError};

use super::core::{Core, millis};
use crate::model::InstanceId;
use crate::state::{OperationRecord, keys};

/// Looks again and again until the channel is closed.
type Rounds = fn(&Core, &Receiver<()>);

/// The threads that look: one for operations and claims, and one that sweeps, since cells and members may keep that one
/// waiting for long.
pub(super) struct PendingScan {
    stop: Option<Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Closed when the last of them has ended.
    ended: Receiver<()>,
    core: Arc<Core>,
}

impl PendingScan {
    pub(super) fn start(core: Arc<Core>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let (end, ended) = bounded::<()>(0);
        let mut scan = Self { stop: Some(stop), threads: Vec::new(), ended, core };
        let loops: [(&str, Rounds); 2] = [("pending", look), ("sweeps", sweep)];
        for (name, run) in loops {
            let (core, stopped, end) = (Arc::clone(&scan.core), stopped.clone(), end.clone());
            let thread = thread::Builder::new().name(name.to_owned());
            scan.threads.push(thread.spawn(move || {
                run(&core, &stopped);
                drop(end);
            })?);
        }
        Ok(scan)
    }
}

impl Drop for PendingScan {
    /// One may be inside a call to a cell that does not answer: that is not waited for.
    fn drop(&mut self) {
        self.stop.take();
        if self.ended.recv_timeout(self.core.settings.pace.farewell) == Err(RecvTimeoutError::Timeout) {
            return warn!("the scan for pending operations, or the sweep, does not leave what it does");
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("the scan for pending operations, or the sweep, panicked");
            }
        }
    }
}

fn look(core: &Core, stopped: &Receiver<()>) {
    let pace = core.settings.pace;
    let mut reap = Instant::now();
    loop {
        let now = Instant::now();
        if let Err(error) = core.scan_pending() {
            warn!("pending operations cannot be looked for: {error}");
        }
        if now >= reap {
            if let Err(error) = core.ports.reap(&core.instances) {
                warn!("claims cannot be compared with records: {error}");
            }
            if let Err(error) = core.reap_guests() {
                warn!("the store's guests cannot be compared with records: {error}");
            }
            reap = now + pace.reap_every;
        }
        if stopped.recv_timeout(pace.scan_every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn sweep(core: &Core, stopped: &Receiver<()>) {
    loop {
        let mut silent = BTreeSet::new();
        if let Err(error) = core.sweep_owed(&mut silent) {
            warn!("what is owed cannot be looked for: {error}");
        }
        if let Err(error) = core.sweep_orphans(&mut silent) {
            warn!("orphans cannot be looked for: {error}");
        }
        if stopped.recv_timeout(core.settings.pace.sweep_every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl Core {
    fn scan_pending(&self) -> Result<(), StoreError> {
        self.each_pending(|instance, note| self.look_after_pending(instance, note))
    }

    /// Calls it with every instance that has a note, until it fails or the broker stops.
    pub(super) fn each_pending(
        &self,
        mut look: impl FnMut(&InstanceId, &Entry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for note in self.store.list(&keys::pending_operations())?.entries {
            if self.is_stopping() {
                return Ok(());
            }
            let Ok(instance) = InstanceId::parse(note.key.name()) else { continue };
            match look(&instance, &note) {
                Ok(()) => {}
                // One record that nobody can read must not keep the others waiting.
                Err(error @ StoreError::Corrupt { .. }) => warn!("instance {instance}: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn look_after_pending(&self, instance: &InstanceId, note: &Entry) -> Result<(), StoreError> {
        if self.store.get(&keys::lease(instance))?.is_some() {
            return Ok(());
        }
        match self.instances.load(instance)? {
            Some(record) if record.value.under_way().is_some() => {
                // What waits for its time would only be taken up and put aside again.
                match record.value.under_way().and_then(OperationRecord::waits_until_ms) {
                    Some(due_ms) if self.now_ms() < due_ms => self.put_aside.until(due_ms, instance),
                    _ => self.enqueue(instance),
                }
            }
            // It is swept.
            Some(record) if record.value.waits_for_cells() => {}
            _ => self.clear_leftover(note)?,
        }
        Ok(())
    }

    /// A note without an operation: its writer died before it wrote the record, or after the operation's end.
    fn clear_leftover(&self, note: &Entry) -> Result<(), StoreError> {
        let text = std::str::from_utf8(&note.value).unwrap_or_default();
        let written = text.split(' ').next().and_then(|text| text.parse::<u64>().ok());
        if written.is_some_and(|written| {
            self.now_ms().saturating_sub(written) < millis(self.settings.pace.leftover_after)
        }) {
            return Ok(());
        }
        match self.store.delete(&note.key, Expect::Unchanged(note.revision)) {
            Err(StoreError::Conflict) => Ok(()),
            answer => answer,
        }
    }
}
