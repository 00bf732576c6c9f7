//! Synchronous callers, parked until their operation ends: they hold no thread while they wait.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use log::{error, warn};
use storage::{Store, StoreError};

use super::Outcome;
use crate::model::{InstanceId, OperationId};
use crate::state::{Instances, OperationKind};

/// How often parked callers' records are looked at, for operations that another broker performs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many ended operations are remembered, for callers that park a moment too late.
const REMEMBERED: usize = 1024;

type Then = Box<dyn FnOnce(Outcome) + Send>;

/// Where synchronous callers wait.
pub(super) struct Parking {
    notes: Sender<Note>,
    ended: Option<Receiver<()>>,
}

enum Note {
    Park(Parked),
    Ended(OperationId, Outcome),
    Stop,
}

struct Parked {
    instance: InstanceId,
    operation: OperationId,
    until: Instant,
    /// Whether its record was missing at the last look.
    missed: bool,
    then: Then,
}

impl Parking {
    pub(super) fn start(store: Arc<dyn Store>) -> std::io::Result<Self> {
        // Bounded by the requests that the HTTP layer admits.
        let (notes, noted) = unbounded();
        let (end, ended) = bounded(0);
        let attendant = Attendant {
            instances: Instances::new(store),
            parked: Vec::new(),
            outcomes: HashMap::new(),
            order: VecDeque::new(),
        };
        thread::Builder::new().name("parking".to_owned()).spawn(move || {
            attendant.attend(&noted);
            drop(end);
        })?;
        Ok(Self { notes, ended: Some(ended) })
    }

    pub(super) fn park(
        &self,
        instance: &InstanceId,
        operation: &OperationId,
        patience: Duration,
        then: Then,
    ) {
        let until = Instant::now() + patience;
        let (instance, operation) = (instance.clone(), operation.clone());
        let parked = Parked { instance, operation, until, missed: false, then };
        if let Err(note) = self.notes.send(Note::Park(parked))
            && let Note::Park(parked) = note.into_inner()
        {
            (parked.then)(Outcome::Stopping);
        }
    }

    pub(super) fn ended(&self, operation: &OperationId, outcome: &Outcome) {
        self.note(Note::Ended(operation.clone(), outcome.clone()));
    }

    pub(super) fn stop(&self) {
        self.note(Note::Stop);
    }

    fn note(&self, note: Note) {
        // Nobody attends any more once it has been stopped: everybody has been answered then.
        drop(self.notes.send(note));
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        self.stop();
        if let Some(ended) = self.ended.take()
            && ended.recv_timeout(Duration::from_secs(5)) == Err(crossbeam_channel::RecvTimeoutError::Timeout)
        {
            error!("the parking attendant does not end");
        }
    }
}

struct Attendant {
    instances: Instances,
    parked: Vec<Parked>,
    outcomes: HashMap<OperationId, Outcome>,
    order: VecDeque<OperationId>,
}

impl Attendant {
    fn attend(mut self, notes: &Receiver<Note>) {
        let mut look = Instant::now() + LOOK_EVERY;
        loop {
            match notes.recv_deadline(look) {
                Ok(Note::Park(parked)) => self.park(parked),
                Ok(Note::Ended(operation, outcome)) => self.end(&operation, outcome),
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    look = Instant::now() + LOOK_EVERY;
                }
            }
        }
        for parked in self.parked.drain(..) {
            (parked.then)(Outcome::Stopping);
        }
    }

    fn park(&mut self, parked: Parked) {
        match self.outcomes.get(&parked.operation) {
            Some(outcome) => (parked.then)(outcome.clone()),
            None => self.parked.push(parked),
        }
    }

    fn end(&mut self, operation: &OperationId, outcome: Outcome) {
        self.answer(|parked| (parked.operation == *operation).then(|| outcome.clone()));
        self.outcomes.insert(operation.clone(), outcome);
        self.order.push_back(operation.clone());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.outcomes.remove(&oldest);
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        let instances = self.instances.clone();
        // A store that does not answer takes its time to say so: it is asked once in a round, not once for each.
        let answers = Cell::new(true);
        self.answer(|parked| {
            if parked.until <= now {
                return Some(Outcome::StillRunning);
            }
            if !answers.get() {
                return None;
            }
            recorded_outcome(&instances, parked).unwrap_or_else(|error| {
                warn!("the operation of {} cannot be looked at: {error}", parked.instance);
                answers.set(matches!(error, StoreError::Corrupt { .. }));
                None
            })
        });
    }

    fn answer(&mut self, outcome: impl Fn(&mut Parked) -> Option<Outcome>) {
        for mut parked in std::mem::take(&mut self.parked) {
            match outcome(&mut parked) {
                Some(outcome) => (parked.then)(outcome),
                None => self.parked.push(parked),
            }
        }
    }
}

/// How the operation ended, as far as the record tells: another broker may have performed it.
fn recorded_outcome(instances: &Instances, parked: &mut Parked) -> Result<Option<Outcome>, StoreError> {
    let record = instances.load(&parked.instance)?;
    if let Some(operation) = record.and_then(|record| record.value.operation(parked.operation.as_str())) {
        return Ok(Outcome::of(operation));
    }
    // The record went with the operation's end, or has another operation since: deprovisioning ends so, and so does a
    // provision that has failed. If it was performed here, whoever did so is about to say why.
    if !std::mem::replace(&mut parked.missed, true) {
        return Ok(None);
    }
    if parked.operation.as_str().starts_with(OperationKind::Deprovision.as_str()) {
        return Ok(Some(Outcome::Succeeded));
    }
    Ok(Some(Outcome::Failed {
        description: "the order failed and was undone; see the broker's log".to_owned(),
        instance_usable: None,
        update_repeatable: None,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use crossbeam_channel::{Receiver, unbounded};
    use storage::embedded::{Embedded, Options};

    use super::{Attendant, Outcome, Parked};
    use crate::model::{InstanceId, OperationId};
    use crate::state::Instances;

    fn attendant() -> Attendant {
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let instances = Instances::new(store);
        Attendant { instances, parked: Vec::new(), outcomes: HashMap::new(), order: VecDeque::new() }
    }

    fn park(attendant: &mut Attendant, operation: &OperationId) -> Receiver<Outcome> {
        let (sender, answers) = unbounded();
        attendant.park(Parked {
            instance: InstanceId::parse("b1").unwrap(),
            operation: operation.clone(),
            until: Instant::now() + Duration::from_secs(600),
            missed: false,
            then: Box::new(move |outcome| sender.send(outcome).unwrap()),
        });
        answers
    }

    /// Between the end of a record and the word of whoever ended it, a look took it for another broker's: who had
    /// ordered was not told why it had failed.
    #[test]
    fn whoever_performed_it_has_the_first_word() {
        let mut attendant = attendant();
        let operation = OperationId::parse("provision-1").unwrap();
        let answers = park(&mut attendant, &operation);
        attendant.look();
        assert!(answers.try_recv().is_err());
        let failed =
            Outcome::Failed { description: "why".to_owned(), instance_usable: None, update_repeatable: None };
        attendant.end(&operation, failed.clone());
        assert_eq!(answers.try_recv(), Ok(failed));
    }

    #[test]
    fn what_another_broker_has_ended_is_answered() {
        let mut attendant = attendant();
        let gone = park(&mut attendant, &OperationId::parse("deprovision-1").unwrap());
        let undone = park(&mut attendant, &OperationId::parse("provision-1").unwrap());
        attendant.look();
        attendant.look();
        assert_eq!(gone.try_recv(), Ok(Outcome::Succeeded));
        assert!(matches!(undone.try_recv(), Ok(Outcome::Failed { .. })));
    }
}
