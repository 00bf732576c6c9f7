//! Ends bindings.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::info;
use storage::StoreError;

use super::binding_record::check_binding_hints;
use super::core::{CONFLICTS, Core, millis};
use super::{BrokerError, UnbindRequest, Unbound};
use crate::model::{BindingId, InstanceId, OperationId};
use crate::services::BindingProcedure;
use crate::state::{
    Answering, BindingKind, BindingOperation, BindingRecord, BindingState, OperationState, Stored,
};

/// How long the sender of a synchronous request is kept waiting, since that takes a thread: what takes longer is only
/// for who polls.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// How many wait so at once: there must be threads left for everybody else.
const MOST_WAIT: usize = 8;
/// How often a wait looks whether the broker stops.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One of those who wait, for as long as it lives.
struct WaitsHere<'a>(&'a AtomicUsize);

impl<'a> WaitsHere<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Option<Self> {
        let one_more = |count: usize| (count < MOST_WAIT).then_some(count + 1);
        waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok().map(|_| Self(waiting))
    }
}

impl Drop for WaitsHere<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Core {
    pub(super) fn unbind(&self, request: &UnbindRequest) -> Result<Unbound, BrokerError> {
        for _ in 0..CONFLICTS {
            match self.unbind_once(request) {
                Err(BrokerError::Store(StoreError::Conflict)) => {}
                answer => return answer,
            }
        }
        Err(BrokerError::Busy)
    }

    fn unbind_once(&self, request: &UnbindRequest) -> Result<Unbound, BrokerError> {
        let UnbindRequest { instance, binding, .. } = request;
        let stored = self.settled_binding(instance, binding)?.ok_or(BrokerError::BindingGone)?;
        let Some(of) = self.instances.load(instance)? else {
            // Only what is left of it.
            self.bindings.remove(instance, &stored)?;
            return Ok(Unbound::Now);
        };
        check_binding_hints(&of.value, &stored.value, request.service.as_ref(), request.plan.as_ref())?;
        let driver = self.driver_of(&of.value);
        let procedure = driver.binding(BindingKind::Unbind, &of.value, &stored.value.parameters);
        let polled = is_polled(&procedure, request.accepts_incomplete)?;
        if let Some(due_ms) = stored.value.waited_for_until_ms() {
            // Somebody is to be told what it gives: it is ended once it has been made.
            self.wait_until(due_ms)?;
            return Err(StoreError::Conflict.into());
        }
        let state = stored.value.state();
        let operation = match stored.value.operation.clone().filter(|_| state == BindingState::Going) {
            Some(operation) => operation,
            None if !polled && procedure.takes.is_zero() => {
                return self.end_at_once(request, stored, procedure);
            }
            None => self.record_unbind(instance, stored, &procedure)?,
        };
        if polled {
            return Ok(Unbound::Running { operation: operation.id });
        }
        self.wait_until(operation.due_ms)?;
        let own = self
            .settled_binding(instance, binding)?
            .filter(|stored| stored.value.has_operation(&operation.id));
        if own.is_some_and(|stored| stored.value.state() == BindingState::Going) {
            // The clock was set back.
            return Err(BrokerError::Busy);
        }
        // Nothing halts it: it has ended as it was going to, whatever has been recorded of this id since.
        operation.failure.map_or(Ok(Unbound::Now), |reason| Err(BrokerError::OperationFailed { reason }))
    }

    /// Whatever is being made of it is halted by its record going.
    fn end_at_once(
        &self,
        request: &UnbindRequest,
        stored: Stored<BindingRecord>,
        procedure: BindingProcedure,
    ) -> Result<Unbound, BrokerError> {
        // One that was never made has nothing that could fail to go.
        let was_made = stored.value.state() != BindingState::Failed;
        if let Some(reason) = procedure.failure.filter(|_| was_made) {
            return Err(BrokerError::OperationFailed { reason });
        }
        self.bindings.remove(&request.instance, &stored)?;
        Ok(Unbound::Now)
    }

    fn record_unbind(
        &self,
        instance: &InstanceId,
        mut stored: Stored<BindingRecord>,
        procedure: &BindingProcedure,
    ) -> Result<BindingOperation, BrokerError> {
        let state = stored.value.state();
        let before = stored.value.operation.take();
        let halted = match (state, before) {
            (BindingState::Coming, Some(bind)) => Some(bind.id),
            // A failed unbinding of one that was halted: what it halted stays halted.
            (BindingState::Failed, Some(BindingOperation { halted: Some(halted), .. })) => Some(halted),
            (BindingState::Failed, Some(bind)) => Some(bind.id),
            _ => None,
        };
        let mut operation = self.new_binding_operation(BindingKind::Unbind, procedure, halted);
        if state == BindingState::Failed {
            operation.failure = None;
        }
        stored.value.operation = Some(operation.clone());
        let binding = stored.value.binding_id.clone();
        self.bindings.save(instance, stored)?;
        info!("instance {instance}, binding {binding}: {}", operation.id);
        Ok(operation)
    }

    /// An operation that is about to be recorded.
    pub(super) fn new_binding_operation(
        &self,
        kind: BindingKind,
        procedure: &BindingProcedure,
        halted: Option<OperationId>,
    ) -> BindingOperation {
        BindingOperation {
            id: self.mint.operation(kind.as_str()),
            kind,
            state: OperationState::InProgress,
            due_ms: self.now_ms().saturating_add(millis(procedure.takes)),
            failure: procedure.failure.clone(),
            halted,
            waited_for: false,
        }
    }

    /// Holds the caller's thread until this time; bounded by [`is_polled`].
    ///
    /// # Errors
    /// [`BrokerError::Busy`] where too many wait already, or the broker stops.
    pub(super) fn wait_until(&self, due_ms: u64) -> Result<(), BrokerError> {
        let _waits = WaitsHere::begin(&self.waiting).ok_or(BrokerError::Busy)?;
        loop {
            let left = Duration::from_millis(due_ms.saturating_sub(self.now_ms()));
            if left.is_zero() {
                return Ok(());
            }
            if self.is_stopping() || left > LONGEST_WAIT {
                return Err(BrokerError::Busy);
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }

    /// Takes a binding back, whatever it is at.
    pub(super) fn drop_binding(&self, instance: &InstanceId, binding: &BindingId) -> Result<(), BrokerError> {
        for _ in 0..CONFLICTS {
            let Some(stored) = self.bindings.load(instance, binding)? else { return Ok(()) };
            match self.bindings.remove(instance, &stored) {
                Err(StoreError::Conflict) => {}
                answer => return Ok(answer?),
            }
        }
        Err(BrokerError::Busy)
    }
}

/// Whether its sender is told to poll, rather than kept waiting until it is done.
///
/// # Errors
/// [`BrokerError::AsyncRequired`] where it must and does not.
pub(super) fn is_polled(procedure: &BindingProcedure, accepts_incomplete: bool) -> Result<bool, BrokerError> {
    let polled = procedure.answering == Answering::Polled || procedure.takes > LONGEST_WAIT;
    if polled && !accepts_incomplete {
        return Err(BrokerError::AsyncRequired);
    }
    Ok(polled)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::{MOST_WAIT, WaitsHere};

    #[test]
    fn only_so_many_hold_their_callers_threads() {
        let waiting = AtomicUsize::new(0);
        let all: Vec<_> = (0..MOST_WAIT).map_while(|_| WaitsHere::begin(&waiting)).collect();
        assert_eq!(all.len(), MOST_WAIT);
        assert!(WaitsHere::begin(&waiting).is_none());
        drop(all);
        assert!(WaitsHere::begin(&waiting).is_some());
    }
}
