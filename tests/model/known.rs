//! Histories of which is known whether they are right: what the model must take, and what it must not.

use serde_json::{Value, json};

use crate::calls::{Call, Offer, Parameters, What, Which};
use crate::history::{Event, is_explained};
use crate::site::Reply;

const PLAIN: Parameters = Parameters { asynchronous: None, delay_ms: None, fail: None };
const SLOW: Parameters = Parameters { asynchronous: Some(true), ..PLAIN };
const FAILING: Parameters = Parameters { asynchronous: Some(true), fail: Some("provision"), ..PLAIN };

fn call(what: What, accepts_incomplete: bool) -> Call {
    Call { instance: 0, what, accepts_incomplete }
}

fn provision(parameters: Parameters) -> What {
    What::Provision { offer: Offer::SMALL, parameters, version: None }
}

fn bind(parameters: Parameters) -> What {
    What::Bind { binding: 0, offer: Offer::SMALL, parameters }
}

fn poll() -> What {
    What::Poll { which: Which::Last }
}

/// One after the other.
fn is_right(exchanges: &[(What, bool, u16, Value)]) -> bool {
    let moments = exchanges.iter().enumerate().map(|(index, _)| (2 * index, 2 * index + 1));
    is_right_at(exchanges, &moments.collect::<Vec<_>>())
}

fn is_right_at(exchanges: &[(What, bool, u16, Value)], moments: &[(usize, usize)]) -> bool {
    let event = |((what, incomplete, status, body), (asked, answered)): (
        &(What, bool, u16, Value),
        &(usize, usize),
    )| Event {
        call: call(what.clone(), *incomplete),
        operation: None,
        reply: Reply { status: *status, body: body.clone() },
        asked: *asked,
        answered: *answered,
    };
    is_explained(&exchanges.iter().zip(moments).map(event).collect::<Vec<_>>())
}

fn refusal(error: &str) -> Value {
    json!({"error": error, "description": "why"})
}

fn fetched(parameters: Parameters) -> Value {
    json!({"service_id": "dream", "plan_id": "small", "parameters": parameters.json()})
}

#[test]
fn one_after_the_other() {
    let check = |expected: bool, exchanges: &[(What, bool, u16, Value)]| {
        assert_eq!(is_right(exchanges), expected, "{exchanges:#?}");
    };
    let fetch = || What::Fetch { offer: None };
    let made = (provision(PLAIN), false, 201, json!({}));
    let accepted = (provision(SLOW), true, 202, json!({"operation": "p1"}));
    let bound = (bind(PLAIN), false, 201, json!({"credentials": {"password": "a"}}));
    check(true, std::slice::from_ref(&made));
    check(true, &[made.clone(), (provision(PLAIN), false, 200, json!({}))]);
    check(false, &[made.clone(), (provision(PLAIN), false, 201, json!({}))]);
    check(false, &[made.clone(), (provision(SLOW), true, 200, json!({}))]);
    check(true, &[made.clone(), (provision(SLOW), true, 409, refusal("InstanceExists"))]);
    check(false, &[made.clone(), (provision(SLOW), true, 409, json!({}))]);
    check(true, &[made.clone(), (fetch(), false, 200, fetched(PLAIN))]);
    check(false, &[made.clone(), (fetch(), false, 200, fetched(SLOW))]);
    check(false, &[made.clone(), (fetch(), false, 404, refusal("InstanceNotFound"))]);
    check(false, &[(provision(PLAIN), false, 202, json!({"operation": "p1"}))]);
    check(false, &[(provision(SLOW), true, 201, json!({}))]);
    check(false, &[(provision(PLAIN), false, 503, refusal("Busy"))]);
    check(true, &[accepted.clone(), (provision(SLOW), true, 202, json!({"operation": "p1"}))]);
    check(false, &[accepted.clone(), (provision(SLOW), true, 202, json!({"operation": "p2"}))]);
    check(true, &[accepted.clone(), (fetch(), false, 404, refusal("InstanceNotFound"))]);
    let in_progress = json!({"state": "in progress", "description": "dreaming"});
    let succeeded = json!({"state": "succeeded"});
    check(
        true,
        &[
            accepted.clone(),
            (poll(), false, 200, in_progress.clone()),
            (poll(), false, 200, succeeded.clone()),
        ],
    );
    check(
        false,
        &[accepted.clone(), (poll(), false, 200, succeeded.clone()), (poll(), false, 200, in_progress)],
    );
    check(false, &[accepted.clone(), (poll(), false, 200, json!({"state": "failed"}))]);
    let failing = (provision(FAILING), true, 202, json!({"operation": "p1"}));
    check(
        true,
        &[failing.clone(), (poll(), false, 200, json!({"state": "failed", "description": "as told"}))],
    );
    check(false, &[failing.clone(), (poll(), false, 200, succeeded)]);
    let usable = json!({"state": "failed", "instance_usable": true});
    check(false, &[failing, (poll(), false, 200, usable)]);
    check(
        true,
        &[made.clone(), bound.clone(), (bind(PLAIN), false, 200, json!({"credentials": {"password": "a"}}))],
    );
    check(
        false,
        &[made.clone(), bound.clone(), (bind(PLAIN), false, 200, json!({"credentials": {"password": "b"}}))],
    );
    check(false, &[made.clone(), bound.clone(), (bind(SLOW), true, 202, json!({"operation": "b1"}))]);
    check(false, &[made.clone(), (bind(SLOW), true, 202, json!({"operation": "b1", "credentials": {}}))]);
    check(
        false,
        &[made.clone(), bound, (What::FetchBinding { binding: 1 }, false, 200, json!({"credentials": {}}))],
    );
    let unbind = || What::Unbind { binding: 0, offer: None };
    check(true, &[made.clone(), (unbind(), false, 410, json!({}))]);
    check(false, &[made.clone(), (unbind(), false, 200, json!({}))]);
    let deprovision = || What::Deprovision { offer: None };
    let gone = (deprovision(), false, 200, json!({}));
    check(true, &[made.clone(), gone.clone(), (deprovision(), false, 410, json!({}))]);
    check(false, &[made.clone(), gone.clone(), gone.clone()]);
    check(false, &[made, gone, (fetch(), false, 200, fetched(PLAIN))]);
    // A deprovision takes the place of what is under way, and what it took the place of does not come back.
    let going = (deprovision(), true, 202, json!({"operation": "d1"}));
    check(true, &[accepted.clone(), going.clone(), (fetch(), false, 404, refusal("InstanceNotFound"))]);
    check(false, &[accepted.clone(), (deprovision(), true, 422, refusal("ConcurrencyError"))]);
    let succeeded = (poll(), false, 200, json!({"state": "succeeded"}));
    check(false, &[accepted, going, succeeded]);
}

#[test]
fn at_once() {
    let check = |expected: bool, exchanges: &[(What, bool, u16, Value)], moments: &[(usize, usize)]| {
        assert_eq!(is_right_at(exchanges, moments), expected, "{exchanges:#?} {moments:?}");
    };
    let made = (provision(PLAIN), false, 201, json!({}));
    let other = (provision(SLOW), true, 409, refusal("InstanceExists"));
    // Whoever comes second is refused, whichever that is.
    check(true, &[made.clone(), other.clone()], &[(0, 3), (1, 2)]);
    check(true, &[made.clone(), other.clone()], &[(1, 2), (0, 3)]);
    check(false, &[made.clone(), other], &[(2, 3), (0, 1)]);
    // Who asks for the same meanwhile waits for the same end; who asks for something else cannot have it too.
    check(true, &[made.clone(), made.clone()], &[(0, 3), (1, 2)]);
    let another = What::Provision {
        offer: Offer::SMALL,
        parameters: Parameters { delay_ms: Some(0), ..PLAIN },
        version: None,
    };
    check(false, &[made.clone(), (another, false, 201, json!({}))], &[(0, 3), (1, 2)]);
    // Who waited for what a deprovision took the place of was told that it failed; and only he.
    let halted = (provision(PLAIN), false, 500, refusal("OperationFailed"));
    let gone = (What::Deprovision { offer: None }, false, 200, json!({}));
    check(true, &[halted.clone(), gone.clone()], &[(0, 2), (1, 3)]);
    check(false, &[halted.clone(), gone.clone()], &[(0, 1), (2, 3)]);
    check(false, &[halted, made.clone(), gone], &[(0, 2), (1, 4), (3, 5)]);
    // While one waits, another sees that it goes on.
    let busy = (bind(PLAIN), false, 422, refusal("ConcurrencyError"));
    check(true, &[made.clone(), busy.clone()], &[(0, 3), (1, 2)]);
    check(false, &[made.clone(), busy.clone()], &[(0, 1), (2, 3)]);
    // Who was told that nothing was done made nothing that another could end.
    let unbound = (What::Unbind { binding: 0, offer: None }, false, 200, json!({}));
    let moments = [(0, 1), (2, 5), (3, 4)];
    check(false, &[made.clone(), busy, unbound.clone()], &moments);
    check(true, &[made, (bind(PLAIN), false, 201, json!({"credentials": {}})), unbound], &moments);
}

/// Who binds while the instance goes may be refused although the binding was there for a moment; nobody else may.
#[test]
fn bound_while_it_goes() {
    let check = |expected: bool, exchanges: &[(What, bool, u16, Value)], moments: &[(usize, usize)]| {
        assert_eq!(is_right_at(exchanges, moments), expected, "{exchanges:#?} {moments:?}");
    };
    let elsewhere = Offer { plan: "rigid", ..Offer::SMALL };
    let seen = (What::Unbind { binding: 0, offer: Some(elsewhere) }, false, 400, refusal("WrongPlan"));
    let going = (bind(PLAIN), false, 422, refusal("ConcurrencyError"));
    let gone = (bind(PLAIN), false, 404, refusal("InstanceNotFound"));
    let deprovision = || What::Deprovision { offer: None };
    for refused in [&going, &gone] {
        let made = (provision(PLAIN), false, 201, json!({}));
        let history = [made, refused.clone(), seen.clone(), (deprovision(), false, 200, json!({}))];
        check(true, &history, &[(0, 1), (2, 6), (3, 4), (5, 7)]);
        check(true, &history, &[(0, 1), (2, 7), (3, 4), (5, 6)]);
        check(false, &history, &[(0, 1), (2, 5), (3, 4), (6, 7)]);
    }
    // A deprovision that fails leaves the instance, but not that binding.
    let failing = Parameters { fail: Some("deprovision"), ..PLAIN };
    let history = |refused: &(What, bool, u16, Value), status, body| {
        let failed = (deprovision(), false, 500, refusal("OperationFailed"));
        let last = (What::FetchBinding { binding: 0 }, false, status, body);
        [(provision(failing), false, 201, json!({})), refused.clone(), seen.clone(), failed, last]
    };
    let moments = [(0, 1), (2, 8), (3, 4), (5, 7), (9, 10)];
    check(true, &history(&going, 404, refusal("BindingNotFound")), &moments);
    check(false, &history(&going, 200, json!({"credentials": {}})), &moments);
    check(false, &history(&gone, 404, refusal("BindingNotFound")), &moments);
}
