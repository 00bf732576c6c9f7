//! What OSB 2.17 lets a broker answer, for one service instance and its bindings: pure, and written from the text. It
//! is told each request with its answer, and says in which states the broker may be then; in none, if the answer was
//! wrong. Where the text leaves a choice, `docs/api.md` and `docs/architecture.md` say which was made; where they are
//! silent too, every choice is right. An operation ends at any moment after it was accepted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::calls::{Call, Offer, Parameters, What};
use crate::site::Reply;

/// One state of an instance that is or is not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub(super) kept: Option<Kept>,
    pub(super) bonds: BTreeMap<u8, Bond>,
    /// The deletions that were polled for and have ended: of the instance, and of bindings.
    pub(super) gone: Option<String>,
    pub(super) unbound: BTreeMap<u8, String>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub(super) ordered: Terms,
    /// After its updates.
    pub(super) now: Terms,
    /// Whether it was made: an operation on it that fails leaves it as it is.
    pub(super) is_usable: bool,
    pub(super) running: Option<Running>,
    pub(super) ended: Option<Ended>,
}

/// A binding.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bond {
    pub(super) made: Terms,
    pub(super) predecessor: Option<u8>,
    /// Known once they were seen.
    pub(super) credentials: Option<Value>,
    /// Its sender was refused all the same: it may be seen until it is taken back.
    pub(super) refused: Option<Refused>,
    /// Whether it was made: an operation on it that fails leaves it as it is.
    pub(super) is_usable: bool,
    pub(super) running: Option<Running>,
    pub(super) ended: Option<Ended>,
}

/// A binding that was being made when its instance was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) number: usize,
    pub(super) why: Refusal,
    /// Whether the deprovision has come; without one, nobody may be refused so.
    pub(super) rightly: bool,
}

/// What its sender was told of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Going,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) offer: Offer,
    pub(super) parameters: Parameters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Provision,
    Update,
    Deprovision,
    Bind,
    Unbind,
}

/// An operation under way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running {
    pub(super) kind: Kind,
    /// Once it was told.
    pub(super) id: Option<String>,
    /// What an update makes of it, and how it was asked for.
    pub(super) change: Option<(Terms, What)>,
    pub(super) will: Will,
    /// Whose calls are answered when it has ended.
    pub(super) waiters: Vec<usize>,
}

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Will {
    Succeed,
    Fail,
    /// A deprovision comes in its place.
    Halt,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) kind: Kind,
    pub(super) well: bool,
    pub(super) id: Option<String>,
}

/// A call and what was answered; `number` tells it from others.
pub struct Exchange<'a> {
    pub number: usize,
    pub call: &'a Call,
    /// The operation that was asked for by its id.
    pub operation: Option<&'a str>,
    pub reply: &'a Reply,
}

impl Exchange<'_> {
    pub(super) fn status(&self, any: &[u16]) -> bool {
        any.contains(&self.reply.status)
    }

    pub(super) fn is(&self, status: u16, error: &str) -> bool {
        self.reply.status == status && self.reply.text("error") == Some(error)
    }

    pub(super) fn is_concurrency(&self) -> bool {
        self.is(422, "ConcurrencyError")
    }

    /// What the driver was told to fail at.
    pub(super) fn is_failure(&self) -> bool {
        self.is(500, "OperationFailed")
    }
}

impl Kind {
    /// Whether a deprovision takes its place.
    pub(super) fn can_be_halted(self) -> bool {
        matches!(self, Self::Provision | Self::Update)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Update => "update",
            Self::Deprovision => "deprovision",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
        }
    }
}

impl Model {
    /// The states after this exchange, which must be seen as done at one moment; calls that wait for an operation are
    /// also [`Model::finished`] later.
    pub fn after(&self, exchange: &Exchange<'_>) -> Vec<Self> {
        if !is_well_formed(exchange.reply) {
            return Vec::new();
        }
        unique(self.endings().iter().flat_map(|state| state.step(exchange)).collect())
    }

    /// The states when the call of this number has been answered.
    pub fn finished(&self, number: usize) -> Vec<Self> {
        let waits = |running: &Option<Running>| {
            running.as_ref().is_some_and(|running| running.waiters.contains(&number))
        };
        if self.kept.as_ref().is_some_and(|kept| waits(&kept.running)) {
            return unique(self.instance_endings());
        }
        let is_refused = |bond: &Bond| bond.refused.is_some_and(|refused| refused.number == number);
        match self.bonds.iter().find(|(_, bond)| waits(&bond.running) || is_refused(bond)) {
            Some((id, bond)) if is_refused(bond) => self.taken_back(*id),
            Some((id, _)) => unique(self.bond_endings(*id)),
            None => vec![self.clone()],
        }
    }

    /// This state, and those that it may have come to by itself.
    fn endings(&self) -> Vec<Self> {
        let mut all = vec![self.clone()];
        all.extend(self.instance_endings());
        for id in self.bonds.keys() {
            let more = |state: &Self| [state.bond_endings(*id), state.taken_back(*id)].concat();
            let more: Vec<Self> = all.iter().flat_map(more).collect();
            all.extend(more);
        }
        unique(all)
    }

    /// Without a binding whose sender was refused rightly.
    fn taken_back(&self, id: u8) -> Vec<Self> {
        match self.bonds.get(&id).and_then(|bond| bond.refused) {
            Some(Refused { why: Refusal::Gone, .. }) => {
                self.instance_endings().into_iter().filter(|state| state.kept.is_none()).collect()
            }
            Some(Refused { why: Refusal::Going, rightly: true, .. }) => {
                let mut state = self.clone();
                state.bonds.remove(&id);
                vec![state]
            }
            Some(Refused { rightly: false, .. }) | None => Vec::new(),
        }
    }

    fn instance_endings(&self) -> Vec<Self> {
        let Some(running) = self.kept.as_ref().and_then(|kept| kept.running.clone()) else {
            return Vec::new();
        };
        if running.will == Will::Halt {
            return Vec::new();
        }
        let well = running.will == Will::Succeed;
        let mut state = self.clone();
        let kept = state.kept.as_mut().expect("it is running");
        kept.running = None;
        kept.ended = Some(Ended { kind: running.kind, well, id: running.id.clone() });
        match (running.kind, well) {
            (Kind::Provision, true) => kept.is_usable = true,
            // Whose only callers were told so may as well leave nothing behind.
            (Kind::Provision, false) if running.id.is_none() => return vec![state, Self::default()],
            (Kind::Deprovision, true) => state = Self { gone: running.id.clone(), ..Self::default() },
            (_, true) => {
                let (terms, _) = running.change.clone().expect("an update has one");
                kept.now = terms;
            }
            (_, false) => {}
        }
        vec![state]
    }

    fn bond_endings(&self, id: u8) -> Vec<Self> {
        let Some(running) = self.bonds.get(&id).and_then(|bond| bond.running.clone()) else {
            return Vec::new();
        };
        let well = running.will == Will::Succeed;
        let mut state = self.clone();
        let bond = state.bonds.get_mut(&id).expect("it is running");
        bond.running = None;
        bond.ended = Some(Ended { kind: running.kind, well, id: running.id.clone() });
        match (running.kind, well) {
            (Kind::Bind, true) => bond.is_usable = true,
            (Kind::Bind, false) if running.id.is_none() => {
                let mut without = self.clone();
                without.bonds.remove(&id);
                return vec![state, without];
            }
            (_, true) => {
                state.bonds.remove(&id);
                state.unbound.remove(&id);
                state.unbound.extend(running.id.clone().map(|operation| (id, operation)));
            }
            (_, false) => {}
        }
        vec![state]
    }

    fn step(&self, exchange: &Exchange<'_>) -> Vec<Self> {
        match &exchange.call.what {
            What::Provision { offer, parameters, version } => {
                self.provision(exchange, Terms { offer: *offer, parameters: *parameters }, *version)
            }
            What::Update { service, plan, parameters, version } => {
                self.update(exchange, service, *plan, *parameters, *version)
            }
            What::Deprovision { offer } => self.deprovision(exchange, *offer),
            What::Fetch { offer } => self.fetch(exchange, *offer),
            What::Poll { .. } => self.poll(exchange),
            What::Bind { binding, offer, parameters } => {
                self.bind(exchange, *binding, Terms { offer: *offer, parameters: *parameters })
            }
            What::Rotate { binding, predecessor } => self.rotate(exchange, *binding, *predecessor),
            What::FetchBinding { binding } => self.fetch_binding(exchange, *binding),
            What::PollBinding { binding, .. } => self.poll_binding(exchange, *binding),
            What::Unbind { binding, offer } => self.unbind(exchange, *binding, *offer),
        }
    }

    /// What takes a while is only for who polls, and only that: what ends soon is answered at its end. `None` where that
    /// is how it was answered, or its beginning.
    pub(super) fn must_be_polled(&self, exchange: &Exchange<'_>, asynchronous: bool) -> Option<Vec<Self>> {
        match (asynchronous, exchange.call.accepts_incomplete) {
            (true, false) => Some(self.stay_if(exchange.is(422, "AsyncRequired"))),
            (true, true) if !exchange.status(&[202]) => Some(Vec::new()),
            (false, _) if exchange.status(&[202]) => Some(Vec::new()),
            _ => None,
        }
    }

    /// Whether the instance is being given back.
    pub(super) fn is_going(&self) -> bool {
        let running = self.kept.as_ref().and_then(|kept| kept.running.as_ref());
        running.is_some_and(|running| running.kind == Kind::Deprovision)
    }

    pub(super) fn stay_if(&self, allowed: bool) -> Vec<Self> {
        if allowed { vec![self.clone()] } else { Vec::new() }
    }
}

impl Running {
    pub(super) fn new(kind: Kind, will: Will) -> Self {
        Self { kind, id: None, change: None, will, waiters: Vec::new() }
    }

    /// An operation that this exchange began, and its state if the answer fits; `success` is what it is answered at its
    /// end.
    pub(super) fn begun(exchange: &Exchange<'_>, kind: Kind, success: u16, will: Will) -> Option<Self> {
        let running = Self::new(kind, will);
        match exchange.reply.status {
            202 if exchange.call.accepts_incomplete => {
                let id =
                    exchange.reply.text("operation").filter(|id| !id.is_empty() && id.len() <= 10_000)?;
                Some(Self { id: Some(id.to_owned()), ..running })
            }
            status if status == success && will == Will::Succeed => {
                Some(Self { waiters: vec![exchange.number], ..running })
            }
            500 if exchange.is_failure() && will == Will::Fail => {
                Some(Self { waiters: vec![exchange.number], ..running })
            }
            500 if exchange.is_failure() && kind.can_be_halted() => {
                Some(Self { waiters: vec![exchange.number], will: Will::Halt, ..running })
            }
            _ => None,
        }
    }

    /// The same request came again: it is told the same operation, or waits for its end.
    pub(super) fn joined(&self, exchange: &Exchange<'_>, success: &[u16]) -> Option<Self> {
        let mut running = self.clone();
        match exchange.reply.status {
            202 => {
                let id = exchange.reply.text("operation")?;
                if running.id.as_deref().is_some_and(|known| known != id) {
                    return None;
                }
                running.id = Some(id.to_owned());
            }
            status if success.contains(&status) && self.will == Will::Succeed => {
                running.waiters.push(exchange.number);
            }
            500 if exchange.is_failure() && self.will != Will::Succeed => {
                running.waiters.push(exchange.number)
            }
            500 if exchange.is_failure() && self.waiters.is_empty() && self.kind.can_be_halted() => {
                running.waiters.push(exchange.number);
                running.will = Will::Halt;
            }
            _ => return None,
        }
        Some(running)
    }
}

/// What holds for every answer ("Service Broker Errors").
fn is_well_formed(reply: &Reply) -> bool {
    match reply.status {
        410 => reply.body == json!({}) || reply.text("error").is_some(),
        400.. => {
            reply.text("error").is_some() && reply.text("description").is_some_and(|text| !text.is_empty())
        }
        _ => reply.body.is_object(),
    }
}

pub fn unique(states: Vec<Model>) -> Vec<Model> {
    let mut kept: Vec<Model> = Vec::with_capacity(states.len());
    for state in states {
        if !kept.contains(&state) {
            kept.push(state);
        }
    }
    kept
}
