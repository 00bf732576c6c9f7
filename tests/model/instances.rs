//! The model's part on instances: OSB 2.17, "Provisioning" to "Deprovisioning".

use serde_json::{Value, json};

use crate::calls::{Offer, Parameters, What, Which};
use crate::model::{Ended, Exchange, Kept, Kind, Model, Running, Terms, Will};
use crate::site::{RIGID, SMALL, VERSION};

/// Whether the version is the catalog's of the plan ("Maintenance Info Object").
fn version_fits(plan: &str, version: Option<&str>) -> bool {
    version.is_none_or(|version| plan == SMALL && version == VERSION)
}

/// Whether the request is to be refused as it is, whatever there is.
fn provision_is_wrong(exchange: &Exchange<'_>, terms: Terms, version: Option<&str>) -> (bool, bool) {
    let invalid = !terms.offer.is_there() || !terms.parameters.are_valid();
    let outdated = !version_fits(terms.offer.plan, version);
    let refused =
        invalid && exchange.status(&[400]) || outdated && exchange.is(422, "MaintenanceInfoConflict");
    (invalid || outdated, refused)
}

impl Model {
    pub(super) fn provision(
        &self,
        exchange: &Exchange<'_>,
        terms: Terms,
        version: Option<&str>,
    ) -> Vec<Self> {
        let (wrong, refused) = provision_is_wrong(exchange, terms, version);
        if refused {
            return self.stay_if(true);
        }
        let will = fails_at(Kind::Provision, terms.parameters, Parameters::default());
        let asynchronous = terms.parameters.is_asynchronous();
        let Some(kept) = &self.kept else {
            return if wrong {
                Vec::new()
            } else {
                self.begin_provision(exchange, terms, will, asynchronous)
            };
        };
        match &kept.running {
            Some(running) if running.kind == Kind::Provision && terms == kept.ordered => {
                let unwilling = !exchange.call.accepts_incomplete && exchange.is(422, "AsyncRequired");
                let joined = running.joined(exchange, &[200, 201]);
                joined.map_or_else(|| self.stay_if(unwilling), |running| vec![self.running(running)])
            }
            Some(running) if running.kind == Kind::Provision => self.stay_if(exchange.status(&[409])),
            Some(_) => self.stay_if(exchange.is_concurrency() || exchange.status(&[409])),
            None if !kept.is_usable => {
                let mut states = self.stay_if(exchange.status(&[409]) || exchange.is(422, "InstanceFailed"));
                if terms == kept.ordered && !wrong {
                    states.extend(Self::default().begin_provision(exchange, terms, will, asynchronous));
                }
                states
            }
            None => {
                let same = terms == kept.now || terms == kept.ordered;
                let other = terms != kept.now;
                let allowed = same && exchange.status(&[200]) || other && exchange.status(&[409]);
                self.stay_if(allowed)
            }
        }
    }

    fn begin_provision(
        &self,
        exchange: &Exchange<'_>,
        terms: Terms,
        will: Will,
        asynchronous: bool,
    ) -> Vec<Self> {
        if let Some(states) = self.must_be_polled(exchange, asynchronous) {
            return states;
        }
        let Some(running) = Running::begun(exchange, Kind::Provision, 201, will) else { return Vec::new() };
        let kept = Kept { ordered: terms, now: terms, is_usable: false, running: Some(running), ended: None };
        vec![Self { kept: Some(kept), ..Self::default() }]
    }

    /// The same with this operation of the instance.
    fn running(&self, running: Running) -> Self {
        let mut state = self.clone();
        if let Some(kept) = &mut state.kept {
            kept.running = Some(running);
        }
        state
    }

    pub(super) fn update(
        &self,
        exchange: &Exchange<'_>,
        service: &str,
        plan: Option<&'static str>,
        parameters: Option<Parameters>,
        version: Option<&str>,
    ) -> Vec<Self> {
        let Some(kept) = &self.kept else {
            return self.stay_if(exchange.status(&[404]));
        };
        let offer = Offer { service: kept.now.offer.service, plan: plan.unwrap_or(kept.now.offer.plan) };
        let own = parameters.unwrap_or_default();
        let to = Terms { offer, parameters: kept.now.parameters.under(own) };
        let wrong = [
            (service != offer.service || !offer.is_there() || !own.are_valid(), exchange.status(&[400])),
            (kept.now.offer.plan == RIGID && offer.plan != RIGID, exchange.status(&[400, 422])),
            (!version_fits(offer.plan, version), exchange.is(422, "MaintenanceInfoConflict")),
        ];
        if wrong.iter().any(|(wrong, refused)| *wrong && *refused) {
            return self.stay_if(true);
        }
        match &kept.running {
            Some(running) if running.kind == Kind::Update => {
                let (target, asked) = running.change.as_ref().expect("an update has one");
                let again = *asked == exchange.call.what;
                let joined = (again || *target == to).then(|| running.joined(exchange, &[200])).flatten();
                let unwilling = exchange.is_concurrency() && !(again && exchange.call.accepts_incomplete)
                    || !exchange.call.accepts_incomplete && exchange.is(422, "AsyncRequired");
                return joined.map_or_else(|| self.stay_if(unwilling), |running| vec![self.running(running)]);
            }
            Some(_) => return self.stay_if(exchange.is_concurrency()),
            None => {}
        }
        if !kept.is_usable {
            return self.stay_if(exchange.is(422, "InstanceFailed"));
        }
        if wrong.iter().any(|(wrong, _)| *wrong) {
            return Vec::new();
        }
        if to == kept.now {
            return self.stay_if(exchange.status(&[200]));
        }
        if let Some(states) = self.must_be_polled(exchange, to.parameters.is_asynchronous()) {
            return states;
        }
        let mut states = Vec::new();
        let will = fails_at(Kind::Update, own, kept.now.parameters);
        if let Some(mut running) = Running::begun(exchange, Kind::Update, 200, will) {
            running.change = Some((to, exchange.call.what.clone()));
            states.push(self.running(running));
        }
        states
    }

    pub(super) fn deprovision(&self, exchange: &Exchange<'_>, offer: Option<Offer>) -> Vec<Self> {
        let Some(kept) = &self.kept else {
            return self.stay_if(exchange.status(&[410]));
        };
        // During an update, either plan may be the right one.
        let right = |offer: Offer| {
            let next = kept.running.as_ref().and_then(|running| running.change.as_ref());
            offer == kept.now.offer || next.is_some_and(|(to, _)| offer == to.offer)
        };
        if offer.is_some_and(|offer| !right(offer)) {
            return self.stay_if(exchange.status(&[400]));
        }
        if offer.is_some_and(|offer| offer != kept.now.offer) && exchange.status(&[400]) {
            return self.stay_if(true);
        }
        if let Some(running) = kept.running.as_ref().filter(|running| running.kind == Kind::Deprovision) {
            let unwilling = !exchange.call.accepts_incomplete && exchange.is(422, "AsyncRequired");
            let joined = running.joined(exchange, &[200]);
            return joined.map_or_else(|| self.stay_if(unwilling), |running| vec![self.running(running)]);
        }
        // What is under way ends by it ("Deprovisioning"), except for who was told that it ended well.
        let told = |running: &Running| running.will == Will::Succeed && !running.waiters.is_empty();
        if kept.running.as_ref().is_some_and(told) {
            return Vec::new();
        }
        // Its bindings go with it.
        if let Some(states) = self.must_be_polled(exchange, kept.now.parameters.is_asynchronous()) {
            return states;
        }
        // What was never made goes without failing.
        let never_made = kept.running.as_ref().is_some_and(|running| running.kind == Kind::Provision);
        let will = fails_at(Kind::Deprovision, kept.now.parameters, Parameters::default());
        let will = if never_made { Will::Succeed } else { will };
        let begun = Running::begun(exchange, Kind::Deprovision, 200, will);
        begun.map(|running| self.running(running).with_refusals()).into_iter().collect()
    }

    /// From now on who was binding may be refused.
    fn with_refusals(mut self) -> Self {
        for refused in self.bonds.values_mut().filter_map(|bond| bond.refused.as_mut()) {
            refused.rightly = true;
        }
        self
    }

    pub(super) fn fetch(&self, exchange: &Exchange<'_>, offer: Option<Offer>) -> Vec<Self> {
        let Some(kept) = &self.kept else {
            return self.stay_if(exchange.status(&[404]));
        };
        if offer.is_some_and(|offer| offer != kept.now.offer) && exchange.status(&[400, 404]) {
            return self.stay_if(true);
        }
        let body = &exchange.reply.body;
        let parameters = body.get("parameters").cloned().unwrap_or_else(|| json!({}));
        let told = exchange.status(&[200])
            && offer.is_none_or(|offer| offer == kept.now.offer)
            && body["service_id"] == kept.now.offer.service
            && body["plan_id"] == kept.now.offer.plan
            && parameters == kept.now.parameters.json();
        self.stay_if(match kept.running.as_ref().map(|running| running.kind) {
            Some(Kind::Provision) => exchange.status(&[404]),
            Some(Kind::Update) => exchange.is_concurrency(),
            Some(_) => told || !kept.is_usable && exchange.status(&[404]),
            None if kept.is_usable => told,
            None => exchange.status(&[404]),
        })
    }

    pub(super) fn poll(&self, exchange: &Exchange<'_>) -> Vec<Self> {
        let What::Poll { which } = exchange.call.what else { return Vec::new() };
        let Some(kept) = &self.kept else {
            return self.stay_if(is_gone(exchange, self.gone.as_deref()));
        };
        self.stay_if(polled(exchange, which, kept.running.as_ref(), kept.ended.as_ref()))
    }
}

/// How an operation ends of which the dream service is told what fails: by its own parameters, or else by those of what
/// it is about.
pub(super) fn fails_at(kind: Kind, own: Parameters, others: Parameters) -> Will {
    if own.fail.or(others.fail) == Some(kind.name()) { Will::Fail } else { Will::Succeed }
}

/// What who polls is told of what is not there: gone, unless he names something that was to come.
pub(super) fn is_gone(exchange: &Exchange<'_>, deleted: Option<&str>) -> bool {
    let other = exchange.operation.is_some() && exchange.operation != deleted;
    exchange.status(&[410]) || other && exchange.status(&[404])
}

/// "Polling Last Operation".
pub(super) fn polled(
    exchange: &Exchange<'_>,
    which: Which,
    running: Option<&Running>,
    ended: Option<&Ended>,
) -> bool {
    let current = running.map(|running| running.id.as_deref()).or(ended.map(|ended| ended.id.as_deref()));
    // Of an operation that is not the last one, or of none, a broker may know nothing any more.
    let other = exchange.operation.is_some() && current.flatten() != exchange.operation;
    if which == Which::Never || other {
        return if which == Which::Never { exchange.status(&[400]) } else { exchange.status(&[200, 400]) };
    }
    let body = &exchange.reply.body;
    let state = exchange.reply.text("state");
    let described =
        body.get("description").is_none_or(|told| told.as_str().is_some_and(|text| !text.is_empty()));
    if exchange.reply.status != 200 || !described {
        return false;
    }
    let has = |field: &str| body.get(field).is_some();
    match (running, ended) {
        (Some(_), _) => state == Some("in progress") && !has("instance_usable") && !has("update_repeatable"),
        // Nobody is to poll for what was answered at its end.
        (None, Some(ended)) if ended.id.is_none() => state != Some("in progress"),
        (None, Some(ended)) if ended.well => {
            state == Some("succeeded") && !has("instance_usable") && !has("update_repeatable")
        }
        (None, Some(ended)) => {
            // A dream that fails changes nothing, and would fail again.
            let usable = matches!(ended.kind, Kind::Update | Kind::Deprovision).then_some(true);
            let repeatable = (ended.kind == Kind::Update).then_some(false);
            state == Some("failed")
                && body.get("instance_usable").and_then(Value::as_bool) == usable
                && body.get("update_repeatable").and_then(Value::as_bool) == repeatable
        }
        // Without an operation of its own to tell of.
        (None, None) => true,
    }
}
