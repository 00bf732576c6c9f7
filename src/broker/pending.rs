//! Looks for what somebody began and nobody goes on with: operations whose performer has died, containers owed for
//! removal, claims and guests that no record speaks for. At start and ever after.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{info, warn};
use storage::{Entry, Expect, StoreError};

use super::core::{Core, millis};
use super::step_error::StepError;
use crate::model::{CellGuid, ContainerName, InstanceId};
use crate::state::{InstanceRecord, OperationRecord, OwedRemoval, Stored, keys};

/// The thread that looks.
pub(super) struct PendingScan {
    stop: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Closed when it has ended.
    ended: Receiver<()>,
    core: Arc<Core>,
}

impl PendingScan {
    pub(super) fn start(core: Arc<Core>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let (end, ended) = bounded::<()>(0);
        let thread = thread::Builder::new().name("pending".to_owned()).spawn({
            let core = Arc::clone(&core);
            move || {
                run(&core, &stopped);
                drop(end);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), ended, core })
    }
}

impl Drop for PendingScan {
    /// It may be inside a call to a cell that does not answer: that is not waited for.
    fn drop(&mut self) {
        self.stop.take();
        if self.ended.recv_timeout(self.core.settings.pace.farewell) == Err(RecvTimeoutError::Timeout) {
            return warn!("the scan for pending operations does not leave what it does");
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the scan for pending operations panicked");
        }
    }
}

fn run(core: &Core, stopped: &Receiver<()>) {
    let pace = core.settings.pace;
    let (mut sweep, mut reap) = (Instant::now(), Instant::now());
    loop {
        let now = Instant::now();
        let (sweeps, reaps) = (now >= sweep, now >= reap);
        if let Err(error) = core.scan_pending(sweeps) {
            warn!("pending operations cannot be looked for: {error}");
        }
        if reaps && let Err(error) = core.ports.reap(&core.instances) {
            warn!("claims cannot be compared with records: {error}");
        }
        if reaps && let Err(error) = core.reap_guests() {
            warn!("the store's guests cannot be compared with records: {error}");
        }
        if sweeps {
            sweep = now + pace.sweep_every;
        }
        if reaps {
            reap = now + pace.reap_every;
        }
        if stopped.recv_timeout(pace.scan_every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl Core {
    fn scan_pending(&self, sweeps: bool) -> Result<(), StoreError> {
        let mut silent = BTreeSet::new();
        for note in self.store.list(&keys::pending_operations())?.entries {
            if self.is_stopping() {
                return Ok(());
            }
            let Ok(instance) = InstanceId::parse(note.key.name()) else { continue };
            match self.look_after_pending(&instance, &note, sweeps, &mut silent) {
                Ok(()) => {}
                // One record that nobody can read must not keep the others waiting.
                Err(error @ StoreError::Corrupt { .. }) => warn!("instance {instance}: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn look_after_pending(
        &self,
        instance: &InstanceId,
        note: &Entry,
        sweeps: bool,
        silent: &mut BTreeSet<CellGuid>,
    ) -> Result<(), StoreError> {
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
            Some(record) if !record.value.owed.is_empty() => {
                if sweeps && let Err(error) = self.sweep(instance, record, silent) {
                    warn!("containers of instance {instance} stay owed for removal: {error}");
                }
            }
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

    /// Removes the containers that an instance owes, as far as their cells answer. Those that were `silent` are not
    /// asked again in this round: each silence takes as long as a call may.
    fn sweep(
        &self,
        instance: &InstanceId,
        mut stored: Stored<InstanceRecord>,
        silent: &mut BTreeSet<CellGuid>,
    ) -> Result<(), StepError> {
        let Some(_lease) = self.leases.take(instance)? else { return Ok(()) };
        let mut still_owed = Vec::new();
        let mut swept: Vec<OwedRemoval> = Vec::new();
        for owed in std::mem::take(&mut stored.value.owed) {
            if self.is_stopping() || silent.contains(&owed.node.backend_id) {
                still_owed.push(owed);
                continue;
            }
            let name = ContainerName::of(&owed.node.node_id);
            match self.cell(&owed.node.backend_id).and_then(|cell| cell.remove(&name)) {
                Ok(()) => swept.push(owed),
                Err(error) => {
                    warn!("{name} stays owed for removal: {error}");
                    silent.insert(owed.node.backend_id.clone());
                    still_owed.push(owed);
                }
            }
        }
        if swept.is_empty() {
            return Ok(());
        }
        stored.value.owed = still_owed;
        // Given back before it is recorded: forgetting twice does no harm, forgetting never would.
        for owed in &swept {
            info!("instance {instance}: swept node {} from cell {}", owed.node.node_id, owed.node.backend_id);
            self.forget_node(&stored.value, &owed.node)?;
        }
        self.instances.save(stored)?;
        Ok(())
    }
}
