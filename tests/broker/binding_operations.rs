//! Bindings that take their time: made and ended without anybody performing it, and not twice.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use patroni_broker::broker::{BindRequest, BrokerError, LastOperation, UnbindRequest, Unbound};
use patroni_broker::model::BindingId;
use patroni_broker::state::keys;
use serde_json::json;

use crate::dream::{
    bind, binding_goes_on, departure, dream, given, look, map, poll_binding, refused, unbind,
    unbinding_goes_on,
};
use crate::lab::{Lab, binding_id, id, until};

const SLOW: &str = r#"{"asynchronous": true, "delay_ms": 1000}"#;
/// How long that takes.
const SLOW_MS: u64 = 1000;

fn polled(request: BindRequest) -> BindRequest {
    BindRequest { accepts_incomplete: true, ..request }
}

fn polled_end(request: UnbindRequest) -> UnbindRequest {
    UnbindRequest { accepts_incomplete: true, ..request }
}

fn fetch(lab: &Lab, name: &str) -> Result<(), BrokerError> {
    lab.broker().fetch_binding(&look("d1"), &binding_id(name)).map(|_| ())
}

/// Over a restart, whenever it comes.
#[test]
fn a_binding_is_made_and_ended_in_its_time() {
    for restarts in [false, true] {
        let mut lab = Lab::dreaming("{}");
        let clock = lab.stop_the_clock();
        assert_eq!(refused(lab.broker().bind(bind("d1", "x", SLOW))), BrokerError::AsyncRequired);
        let operation = binding_goes_on(lab.broker().bind(polled(bind("d1", "x", SLOW))));
        assert!(operation.as_str().starts_with("bind-"));
        assert_eq!(binding_goes_on(lab.broker().bind(polled(bind("d1", "x", SLOW)))), operation);
        assert_eq!(refused(lab.broker().bind(polled(bind("d1", "x", "{}")))), BrokerError::BindingExists);
        assert_eq!(refused(lab.broker().bind(bind("d1", "x", SLOW))), BrokerError::AsyncRequired);
        assert_eq!(fetch(&lab, "x"), Err(BrokerError::BindingUnknown));
        let told = lab.broker().last_operation(&poll_binding("d1", "x", None)).unwrap();
        assert!(matches!(told, LastOperation::InProgress { retry_after: Some(_), .. }), "{told:?}");
        if restarts {
            lab.start();
        }
        clock.pass(SLOW_MS);
        let ended = lab.settle_binding("d1", "x", &operation);
        assert_eq!(ended, LastOperation::Succeeded { description: "bound".to_owned() });
        assert_eq!(fetch(&lab, "x"), Ok(()));
        let (binding, new) = given(lab.broker().bind(polled(bind("d1", "x", SLOW))));
        assert_eq!((binding.parameters, new), (map(SLOW), false));

        // The binding's own parameters hold for its end too.
        assert_eq!(lab.broker().unbind(unbind("d1", "x")), Err(BrokerError::AsyncRequired));
        let operation = unbinding_goes_on(lab.broker().unbind(polled_end(unbind("d1", "x"))));
        let again = unbinding_goes_on(lab.broker().unbind(polled_end(unbind("d1", "x"))));
        assert_eq!(again, operation);
        assert_eq!(refused(lab.broker().bind(polled(bind("d1", "x", SLOW)))), BrokerError::Concurrency);
        if restarts {
            lab.start();
        }
        clock.pass(SLOW_MS);
        until("the binding to go", || {
            match lab.broker().last_operation(&poll_binding("d1", "x", Some(&operation))) {
                Ok(LastOperation::InProgress { .. }) => None,
                Err(BrokerError::BindingGone) => Some(()),
                told => panic!("{told:?}"),
            }
        });
        assert_eq!(lab.broker().unbind(unbind("d1", "x")), Err(BrokerError::BindingGone));
        assert_eq!(lab.keys(), ["/service/d1/state"]);
    }
}

/// Who does not poll is answered at the end, and what would hold its thread for long is only for who polls.
#[test]
fn who_waits_is_answered_at_the_end() {
    let lab = Lab::dreaming("{}");
    let begun = Instant::now();
    let (_, new) = given(lab.broker().bind(bind("d1", "x", r#"{"delay_ms": 200}"#)));
    // Records count in whole milliseconds.
    assert!(new && begun.elapsed() >= Duration::from_millis(199));
    assert_eq!(lab.broker().unbind(unbind("d1", "x")), Ok(Unbound::Now));
    assert!(begun.elapsed() >= Duration::from_millis(398));
    let long = bind("d1", "x", r#"{"delay_ms": 60000}"#);
    assert_eq!(refused(lab.broker().bind(long.clone())), BrokerError::AsyncRequired);
    binding_goes_on(lab.broker().bind(polled(long)));
    // It goes with its instance.
    lab.deprovision("d1").unwrap();
    lab.assert_nothing_left();
}

#[test]
fn a_failed_binding_is_told_and_its_id_is_free() {
    let lab = Lab::dreaming("{}");
    let told = |error: BrokerError| match error {
        BrokerError::OperationFailed { reason } => assert!(reason.contains("fail"), "{reason}"),
        error => panic!("{error:?}"),
    };
    for parameters in [r#"{"fail": "bind"}"#, r#"{"fail": "bind", "delay_ms": 50}"#] {
        told(refused(lab.broker().bind(bind("d1", "x", parameters))));
        assert_eq!(lab.keys(), ["/service/d1/state"], "{parameters}");
    }
    let fails = r#"{"fail": "bind", "delay_ms": 50, "asynchronous": true}"#;
    let operation = binding_goes_on(lab.broker().bind(polled(bind("d1", "x", fails))));
    let ended = lab.settle_binding("d1", "x", &operation);
    assert!(matches!(ended, LastOperation::Failed { instance_usable: None, update_repeatable: None, .. }));
    assert_eq!(fetch(&lab, "x"), Err(BrokerError::BindingUnknown));
    // Another may have the id, and what failed can be taken away.
    let again = binding_goes_on(lab.broker().bind(polled(bind("d1", "x", fails))));
    assert_ne!(again, operation);
    lab.settle_binding("d1", "x", &again);
    assert!(given(lab.broker().bind(bind("d1", "x", "{}"))).1);
    lab.broker().unbind(unbind("d1", "x")).unwrap();
    assert_eq!(lab.keys(), ["/service/d1/state"]);
}

#[test]
fn a_binding_whose_end_fails_stays() {
    let lab = Lab::dreaming("{}");
    for parameters in [r#"{"fail": "unbind"}"#, r#"{"fail": "unbind", "delay_ms": 50}"#] {
        given(lab.broker().bind(bind("d1", "x", parameters)));
        let error = refused(lab.broker().unbind(unbind("d1", "x")));
        assert!(matches!(error, BrokerError::OperationFailed { .. }), "{error:?}");
        assert_eq!(fetch(&lab, "x"), Ok(()), "{parameters}");
        assert!(!given(lab.broker().bind(bind("d1", "x", parameters))).1);
        lab.deprovision("d1").unwrap();
        lab.provision(dream("d1", "{}")).unwrap();
    }
    let slowly = r#"{"fail": ["unbind"], "delay_ms": 50, "asynchronous": true}"#;
    let operation = binding_goes_on(lab.broker().bind(polled(bind("d1", "x", slowly))));
    lab.settle_binding("d1", "x", &operation);
    let operation = unbinding_goes_on(lab.broker().unbind(polled_end(unbind("d1", "x"))));
    assert_eq!(fetch(&lab, "x"), Ok(()), "it is there until it has ended");
    assert!(matches!(lab.settle_binding("d1", "x", &operation), LastOperation::Failed { .. }));
    assert_eq!(fetch(&lab, "x"), Ok(()));
}

/// What is being made is halted, at once or in its time, and never comes to be (OSB 2.17, "Unbinding").
#[test]
fn ending_a_binding_halts_its_making() {
    let mut lab = Lab::dreaming("{}");
    let clock = lab.stop_the_clock();
    let making = binding_goes_on(lab.broker().bind(polled(bind("d1", "x", SLOW))));
    let ending = unbinding_goes_on(lab.broker().unbind(polled_end(unbind("d1", "x"))));
    let told = lab.broker().last_operation(&poll_binding("d1", "x", Some(&making))).unwrap();
    assert!(matches!(told, LastOperation::Failed { .. }), "{told:?}");
    let told = lab.broker().last_operation(&poll_binding("d1", "x", Some(&ending))).unwrap();
    assert!(matches!(told, LastOperation::InProgress { .. }), "{told:?}");
    assert_eq!(fetch(&lab, "x"), Err(BrokerError::BindingUnknown), "it never was there");
    clock.pass(SLOW_MS);
    until("the binding to go", || {
        matches!(fetch(&lab, "x"), Err(BrokerError::BindingUnknown)).then_some(())?;
        (lab.keys() == ["/service/d1/state"]).then_some(())
    });
    let told = lab.broker().last_operation(&poll_binding("d1", "x", Some(&making)));
    assert_eq!(told, Err(BrokerError::BindingUnknown));
    // Its end fails: it has not been made all the same.
    let fails = r#"{"asynchronous": true, "delay_ms": 1000, "fail": "unbind"}"#;
    binding_goes_on(lab.broker().bind(polled(bind("d1", "x", fails))));
    let ending = unbinding_goes_on(lab.broker().unbind(polled_end(unbind("d1", "x"))));
    clock.pass(SLOW_MS);
    assert!(matches!(lab.settle_binding("d1", "x", &ending), LastOperation::Failed { .. }));
    assert_eq!(fetch(&lab, "x"), Err(BrokerError::BindingUnknown));
    // And goes, when it is asked for again.
    let ending = unbinding_goes_on(lab.broker().unbind(polled_end(unbind("d1", "x"))));
    clock.pass(SLOW_MS);
    until("the binding to go", || {
        let told = lab.broker().last_operation(&poll_binding("d1", "x", Some(&ending)));
        (told == Err(BrokerError::BindingGone)).then_some(())
    });
}

/// Many ask for the same: one makes it, and all are told the same.
#[test]
fn the_same_binding_twice_is_one() {
    let lab = Arc::new(Lab::dreaming("{}"));
    let at_once = |parameters: &'static str| {
        let barrier = Arc::new(Barrier::new(8));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (lab, barrier) = (Arc::clone(&lab), Arc::clone(&barrier));
                thread::spawn(move || {
                    barrier.wait();
                    given(lab.broker().bind(bind("d1", "x", parameters))).1
                })
            })
            .collect();
        let new = callers.into_iter().map(|caller| caller.join().unwrap());
        new.filter(|new| *new).count()
    };
    for parameters in ["{}", r#"{"delay_ms": 100}"#] {
        assert_eq!(at_once(parameters), 1, "{parameters}");
        lab.broker().unbind(unbind("d1", "x")).unwrap();
    }
}

/// Once, a bind whose sender waited was answered as if nothing had been done where it woke a moment late: it found the
/// unbinding in its own operation's place.
#[test]
fn who_waits_for_a_binding_is_told_what_became_of_it() {
    let mut lab = Lab::dreaming("{}");
    let clock = lab.stop_the_clock();
    let pass = || clock.pass(2_500);
    for fails in [false, true] {
        let parameters = json!({"delay_ms": 2_500, "fail": if fails { vec!["unbind"] } else { vec![] }});
        let made = || lab.broker().bind(polled(bind("d1", "x", &parameters.to_string())));
        let written = |kind| {
            let entry = lab.store.get(&keys::binding(&id("d1"), &binding_id("x"))).unwrap();
            let text = entry.map(|entry| String::from_utf8(entry.value).unwrap());
            text.is_some_and(|text| text.contains(&format!(r#""kind":"{kind}""#))).then_some(())
        };
        thread::scope(|scope| {
            let bound = scope.spawn(made);
            until("the binding to be made", || written("bind"));
            // Both are late for the end of what they wait for.
            pass();
            let unbound = scope.spawn(|| lab.broker().unbind(polled_end(unbind("d1", "x"))));
            until("the binding to be ended", || written("unbind"));
            assert!(given(bound.join().unwrap()).1);
            pass();
            if fails {
                assert!(matches!(unbound.join().unwrap(), Err(BrokerError::OperationFailed { .. })));
            } else {
                assert_eq!(unbound.join().unwrap(), Ok(Unbound::Now));
            }
        });
    }
}

/// What somebody waits for is made first, and ended then: he is told of a binding that there was.
#[test]
fn a_binding_that_is_waited_for_is_not_halted() {
    let lab = Lab::dreaming("{}");
    for polls in [true, false] {
        let bound = || lab.broker().bind(bind("d1", "x", r#"{"delay_ms": 300}"#));
        thread::scope(|scope| {
            let bound = scope.spawn(bound);
            until("the binding to be made", || {
                lab.store.get(&keys::binding(&id("d1"), &binding_id("x"))).unwrap()
            });
            let request = unbind("d1", "x");
            let request = if polls { polled_end(request) } else { request };
            assert_eq!(lab.broker().unbind(request), Ok(Unbound::Now));
            assert!(given(bound.join().unwrap()).1);
        });
        assert_eq!(fetch(&lab, "x"), Err(BrokerError::BindingUnknown));
    }
    assert_eq!(lab.keys(), ["/service/d1/state"]);
}

/// The first to be told takes its record away, which the others were told was another operation's.
#[test]
fn all_who_wait_for_what_fails_are_told() {
    let lab = Lab::dreaming("{}");
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            lab.broker().bind(bind("d1", "x", r#"{"fail": "bind", "delay_ms": 100}"#))
        };
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        for caller in callers {
            let told = refused(caller.join().unwrap());
            assert!(matches!(told, BrokerError::OperationFailed { .. }), "{told:?}");
        }
    });
    assert_eq!(lab.keys(), ["/service/d1/state"]);
}

/// What was said of it is written down: a clock that is set back, or another broker's, does not take it back.
#[test]
fn what_was_said_of_a_binding_stays_so() {
    let mut lab = Lab::dreaming("{}");
    let clock = lab.stop_the_clock();
    let operation = binding_goes_on(lab.broker().bind(polled(bind("d1", "x", SLOW))));
    let key = patroni_broker::state::keys::binding(&crate::lab::id("d1"), &binding_id("x"));
    let written = || {
        let entry = lab.store.get(&key).unwrap().unwrap();
        let record: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        record["operation"]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(written(), "in-progress");
    clock.pass(SLOW_MS);
    lab.settle_binding("d1", "x", &operation);
    assert_eq!(written(), "succeeded");
}

#[test]
fn bindings_of_different_ids_are_made_at_the_same_time() {
    let mut lab = Lab::dreaming("{}");
    let clock = lab.stop_the_clock();
    let names = ["x", "y", "z"];
    let operations = names.map(|name| binding_goes_on(lab.broker().bind(polled(bind("d1", name, SLOW)))));
    // The time that one of them takes is enough for all.
    clock.pass(SLOW_MS);
    for (name, operation) in names.iter().zip(&operations) {
        assert!(matches!(lab.settle_binding("d1", name, operation), LastOperation::Succeeded { .. }));
    }
}

/// Whatever the instance's end meets, nothing is left.
#[test]
fn bindings_go_with_their_instance() {
    let lab = Arc::new(Lab::new("c1@z1"));
    for round in 0..10 {
        lab.provision(dream("d1", "{}")).unwrap();
        let barrier = Arc::new(Barrier::new(2));
        let binding = thread::spawn({
            let (lab, barrier) = (Arc::clone(&lab), Arc::clone(&barrier));
            move || {
                barrier.wait();
                let slow = round % 2 == 0;
                let request = bind("d1", "x", if slow { SLOW } else { "{}" });
                lab.broker().bind(polled(request)).map(|_| ())
            }
        });
        barrier.wait();
        lab.deprovision("d1").unwrap();
        let told = binding.join().unwrap();
        let fine = matches!(told, Ok(()) | Err(BrokerError::Concurrency | BrokerError::InstanceUnknown));
        assert!(fine, "{round}: {told:?}");
        lab.assert_nothing_left();
    }
}

/// Nobody is told what an instance gives while it goes.
#[test]
fn nothing_is_given_of_what_goes() {
    let mut lab = Lab::dreaming(SLOW);
    let clock = lab.stop_the_clock();
    let quick = r#"{"asynchronous": false, "delay_ms": 0}"#;
    given(lab.broker().bind(bind("d1", "x", quick)));
    lab.broker().deprovision(departure("d1", true)).unwrap();
    assert_eq!(fetch(&lab, "x"), Err(BrokerError::Concurrency));
    assert_eq!(refused(lab.broker().bind(bind("d1", "x", quick))), BrokerError::Concurrency);
    clock.pass(SLOW_MS);
    until("the dream to go", || lab.record("d1").is_none().then_some(()));
    assert_eq!(fetch(&lab, "x"), Err(BrokerError::BindingUnknown));
    lab.assert_nothing_left();
}

#[test]
fn ids_that_are_nobodys_are_told() {
    let lab = Lab::dreaming("{}");
    let nobody: BindingId = binding_id("nobody");
    let told = lab.broker().fetch_binding(&look("d1"), &nobody).map(|_| ());
    assert_eq!(told, Err(BrokerError::BindingUnknown));
    assert_eq!(lab.broker().unbind(unbind("d2", "x")), Err(BrokerError::BindingGone));
    assert_eq!(refused(lab.broker().bind(bind("d2", "x", "{}"))), BrokerError::InstanceUnknown);
}
