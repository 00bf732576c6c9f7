//! The model's part on bindings: OSB 2.17, "Binding" to "Unbinding".

use serde_json::json;

use crate::calls::{Offer, What};
use crate::instances::{fails_at, is_gone, polled};
use crate::model::{Bond, Exchange, Kept, Kind, Model, Refusal, Refused, Running, Terms, Will};
use crate::site::RIGID;

impl Model {
    pub(super) fn bind(&self, exchange: &Exchange<'_>, id: u8, terms: Terms) -> Vec<Self> {
        let Some(kept) = &self.kept else { return self.stay_if(exchange.status(&[404])) };
        let wrong = !terms.offer.is_there() || !terms.parameters.are_valid() || terms.offer != kept.now.offer;
        let rigid = kept.now.offer.plan == RIGID;
        if (wrong || rigid) && exchange.status(&[400]) {
            return self.stay_if(true);
        }
        if let Some(states) = self.instance_is_not_ready(exchange, kept) {
            return states;
        }
        if wrong && self.bonds.get(&id).is_none_or(|bond| bond.made.parameters == terms.parameters) || rigid {
            return Vec::new();
        }
        self.bind_on(exchange, id, terms, None)
    }

    pub(super) fn rotate(&self, exchange: &Exchange<'_>, id: u8, predecessor: u8) -> Vec<Self> {
        let Some(kept) = &self.kept else { return self.stay_if(exchange.status(&[404])) };
        if let Some(states) = self.instance_is_not_ready(exchange, kept) {
            return states;
        }
        // An update may have led to a plan that nothing can be bound to.
        if kept.now.offer.plan == RIGID {
            return self.stay_if(exchange.status(&[400]));
        }
        let before = self.bonds.get(&predecessor).filter(|bond| bond.is_usable && bond.running.is_none());
        // One that could not be made is not there.
        let there = self.bonds.get(&id).filter(|bond| bond.is_usable || bond.running.is_some());
        let successor = there.filter(|bond| bond.predecessor == Some(predecessor));
        if there.is_some() && successor.is_none() {
            return self.stay_if(exchange.status(&[409]));
        }
        let Some(parameters) = successor.or(before).map(|bond| bond.made.parameters) else {
            return self.stay_if(exchange.is(400, "NotRotatable"));
        };
        let terms = Terms { offer: kept.now.offer, parameters };
        self.bind_on(exchange, id, terms, Some(predecessor))
    }

    /// Refusals and more while the instance itself is being made, changed or given back, or was never made.
    fn instance_is_not_ready(&self, exchange: &Exchange<'_>, kept: &Kept) -> Option<Vec<Self>> {
        match kept.running.as_ref().map(|running| running.kind) {
            Some(Kind::Provision | Kind::Deprovision) => Some(self.stay_if(exchange.is_concurrency())),
            Some(_) if exchange.is_concurrency() => Some(self.stay_if(true)),
            None if !kept.is_usable => Some(self.stay_if(exchange.is(422, "InstanceFailed"))),
            Some(_) | None => None,
        }
    }

    fn bind_on(&self, exchange: &Exchange<'_>, id: u8, terms: Terms, predecessor: Option<u8>) -> Vec<Self> {
        if exchange.status(&[202]) && exchange.reply.body.get("credentials").is_some() {
            return Vec::new();
        }
        // One that could not be made is not there: the id is free.
        let there = self.bonds.get(&id).filter(|bond| bond.is_usable || bond.running.is_some());
        let Some(bond) = there else { return self.begin_bind(exchange, id, terms, predecessor) };
        // Which plan it was made of does not matter any more: what is sent is the instance's.
        if terms.parameters != bond.made.parameters || predecessor != bond.predecessor {
            return self.stay_if(exchange.status(&[409]));
        }
        match &bond.running {
            Some(running) if running.kind == Kind::Bind => {
                let unwilling = !exchange.call.accepts_incomplete && exchange.is(422, "AsyncRequired");
                let mut states = self.stay_if(unwilling);
                if let Some(running) = running.joined(exchange, &[200, 201]) {
                    states.extend(self.with_credentials(exchange, id, Some(running)));
                }
                states
            }
            Some(_) => self.stay_if(exchange.is_concurrency()),
            None if exchange.status(&[200]) => self.with_credentials(exchange, id, None),
            None => Vec::new(),
        }
    }

    fn begin_bind(
        &self,
        exchange: &Exchange<'_>,
        id: u8,
        terms: Terms,
        predecessor: Option<u8>,
    ) -> Vec<Self> {
        let Some(kept) = &self.kept else { return Vec::new() };
        let asynchronous = kept.now.parameters.under(terms.parameters).is_asynchronous();
        let will = fails_at(Kind::Bind, terms.parameters, kept.now.parameters);
        let may_begin = !asynchronous || exchange.call.accepts_incomplete;
        let refused = refusal(exchange).filter(|_| may_begin);
        let running = match (refused, self.must_be_polled(exchange, asynchronous)) {
            (Some(_), _) => Some(Running::new(Kind::Bind, will)),
            (None, Some(states)) => return states,
            (None, None) => Running::begun(exchange, Kind::Bind, 201, will),
        };
        let Some(running) = running else { return Vec::new() };
        let mut state = self.clone();
        let bond = Bond {
            made: terms,
            predecessor,
            credentials: None,
            refused: refused.map(|why| Refused { number: exchange.number, why, rightly: false }),
            is_usable: false,
            running: None,
            ended: None,
        };
        state.bonds.insert(id, bond);
        state.unbound.remove(&id);
        let mut states = state.with_credentials(exchange, id, Some(running));
        // One that fails at once may leave what could not be made before.
        states.extend(self.stay_if(exchange.is_failure() && will == Will::Fail));
        states
    }

    /// The same with this operation of a binding. What the answer has for credentials is what it has for ever.
    fn with_credentials(&self, exchange: &Exchange<'_>, id: u8, running: Option<Running>) -> Vec<Self> {
        let mut state = self.clone();
        let Some(bond) = state.bonds.get_mut(&id) else { return Vec::new() };
        bond.running = running;
        if exchange.status(&[200, 201]) {
            let Some(told) = exchange.reply.body.get("credentials").filter(|told| told.is_object()) else {
                return Vec::new();
            };
            if bond.credentials.as_ref().is_some_and(|known| known != told) {
                return Vec::new();
            }
            bond.credentials = Some(told.clone());
        }
        vec![state]
    }

    pub(super) fn fetch_binding(&self, exchange: &Exchange<'_>, id: u8) -> Vec<Self> {
        if self.is_going() {
            // It may have been taken along already.
            return self.stay_if(exchange.is_concurrency() || exchange.status(&[404]));
        }
        let Some(bond) = self.bonds.get(&id).filter(|bond| bond.is_usable) else {
            return self.stay_if(exchange.status(&[404]));
        };
        let parameters = exchange.reply.body.get("parameters").cloned().unwrap_or_else(|| json!({}));
        if !exchange.status(&[200]) || parameters != bond.made.parameters.json() {
            return Vec::new();
        }
        self.with_credentials(exchange, id, bond.running.clone())
    }

    pub(super) fn poll_binding(&self, exchange: &Exchange<'_>, id: u8) -> Vec<Self> {
        let What::PollBinding { which, .. } = exchange.call.what else { return Vec::new() };
        let Some(bond) = self.bonds.get(&id) else {
            let deleted = self.unbound.get(&id).map(String::as_str);
            return self.stay_if(is_gone(exchange, deleted));
        };
        let taken_along = self.is_going() && exchange.status(&[404, 410]);
        self.stay_if(taken_along || polled(exchange, which, bond.running.as_ref(), bond.ended.as_ref()))
    }

    pub(super) fn unbind(&self, exchange: &Exchange<'_>, id: u8, offer: Option<Offer>) -> Vec<Self> {
        let (Some(kept), Some(bond)) = (&self.kept, self.bonds.get(&id)) else {
            return self.stay_if(exchange.status(&[410]));
        };
        // Its instance takes it along.
        if self.is_going() && exchange.status(&[410]) {
            return self.stay_if(true);
        }
        // After an update either plan is right.
        if offer.is_some_and(|offer| offer != kept.now.offer && offer != bond.made.offer) {
            return self.stay_if(exchange.status(&[400]));
        }
        if let Some(running) = bond.running.as_ref().filter(|running| running.kind == Kind::Unbind) {
            let unwilling = !exchange.call.accepts_incomplete && exchange.is(422, "AsyncRequired");
            let joined = running.joined(exchange, &[200]);
            return joined
                .map_or_else(|| self.stay_if(unwilling), |running| vec![self.unbinding(id, running)]);
        }
        let parameters = kept.now.parameters.under(bond.made.parameters);
        if let Some(states) = self.must_be_polled(exchange, parameters.is_asynchronous()) {
            return states;
        }
        // What somebody waits for is made first, so that he is told of what there was.
        if bond.running.as_ref().is_some_and(|running| !running.waiters.is_empty()) {
            return Vec::new();
        }
        // What could not be made goes without failing.
        let was_never_made = !bond.is_usable && bond.running.is_none();
        let will = if was_never_made {
            Will::Succeed
        } else {
            fails_at(Kind::Unbind, bond.made.parameters, kept.now.parameters)
        };
        let begun = Running::begun(exchange, Kind::Unbind, 200, will);
        begun.map(|running| self.unbinding(id, running)).into_iter().collect()
    }

    fn unbinding(&self, id: u8, running: Running) -> Self {
        let mut state = self.clone();
        if let Some(bond) = state.bonds.get_mut(&id) {
            bond.running = Some(running);
        }
        state
    }
}

/// What who binds is told of an instance that is given back meanwhile.
fn refusal(exchange: &Exchange<'_>) -> Option<Refusal> {
    let gone = exchange.is(404, "InstanceNotFound").then_some(Refusal::Gone);
    gone.or(exchange.is_concurrency().then_some(Refusal::Going))
}
