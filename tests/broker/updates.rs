//! Updates: what changes, what is refused, who wins, and that a failed one changes nothing.

use std::sync::{Arc, Barrier};
use std::thread;

use patroni_broker::broker::{
    Accepted, BrokerError, LastOperation, Outcome, PreviousValues, ProvisionRequest, UpdateRequest,
};
use patroni_broker::model::{Catalog, ServiceId};
use serde_json::json;

use crate::dream::{
    accepted, bind, change, change_parameters, departure, dream, given, map, plan, refused, service,
};
use crate::lab::{Lab, id, order, until};

const POLLED: &str = r#"{"asynchronous": true}"#;

fn of_cluster(request: UpdateRequest) -> UpdateRequest {
    UpdateRequest { instance: id("b1"), service: ServiceId::parse("postgresql").unwrap(), ..request }
}

fn named(name: &str) -> UpdateRequest {
    UpdateRequest { context: Some(map(&format!(r#"{{"instance_name": "{name}"}}"#))), ..change("d1") }
}

#[test]
fn what_is_sent_changes_and_the_rest_stays() {
    let mut lab = Lab::dreaming(r#"{"a": 1, "b": {"c": 2}}"#);
    let mut check = |what: &str, request: UpdateRequest, expected: serde_json::Value| {
        assert_eq!(lab.update(request), Ok(Outcome::Succeeded), "{what}");
        let look = |lab: &Lab| {
            let fetched = lab.fetch("d1").unwrap();
            let context = &lab.record("d1").unwrap().value.context;
            json!([fetched.plan, fetched.parameters, context, fetched.maintenance_version])
        };
        assert_eq!(look(&lab), expected, "{what}");
        lab.start();
        assert_eq!(look(&lab), expected, "{what}, after a restart");
    };
    let (first, b) = (json!({"a": 1, "b": {"c": 2}}), json!({"c": 2}));
    check("nothing", change("d1"), json!(["small", first, {}, "1.0.0"]));
    check(
        "a parameter",
        change_parameters("d1", r#"{"a": 3}"#),
        json!(["small", {"a": 3, "b": b}, {}, "1.0.0"]),
    );
    check("a name", named("mine"), json!(["small", {"a": 3, "b": b}, {"instance_name": "mine"}, "1.0.0"]));
    let larger = UpdateRequest { plan: Some(plan("large")), ..change("d1") };
    check("the plan", larger, json!(["large", {"a": 3, "b": b}, {"instance_name": "mine"}, "1.0.0"]));
    let all = UpdateRequest {
        plan: Some(plan("small")),
        parameters: Some(map(r#"{"b": null}"#)),
        maintenance_version: Some("1.0.0".to_owned()),
        ..named("yours")
    };
    let expected = json!(["small", {"a": 3, "b": null}, {"instance_name": "yours"}, "1.0.0"]);
    check("all of it", all.clone(), expected.clone());
    check("all of it again", all, expected);
}

/// An upgrade does nothing here, and is remembered.
#[test]
fn a_dream_is_upgraded() {
    let mut lab = Lab::dreaming("{}");
    lab.catalog.services[1].plans[0].maintenance.as_mut().unwrap().version = "2.0.0".to_owned();
    lab.start();
    assert_eq!(lab.fetch("d1").unwrap().maintenance_version.as_deref(), Some("1.0.0"));
    let to = |version: &str| UpdateRequest { maintenance_version: Some(version.to_owned()), ..change("d1") };
    // What the catalog offered when the platform last looked.
    assert!(matches!(refused(lab.update(to("1.0.0"))), BrokerError::MaintenanceInfoConflict { .. }));
    // Other updates upgrade nothing.
    lab.update(change_parameters("d1", r#"{"a": 1}"#)).unwrap();
    assert_eq!(lab.fetch("d1").unwrap().maintenance_version.as_deref(), Some("1.0.0"));
    let before = |version: &str| UpdateRequest {
        previous: PreviousValues {
            maintenance_version: Some(version.to_owned()),
            ..PreviousValues::default()
        },
        ..to("2.0.0")
    };
    assert!(matches!(refused(lab.update(before("0.5.0"))), BrokerError::MaintenanceInfoConflict { .. }));
    assert_eq!(lab.update(before("1.0.0")), Ok(Outcome::Succeeded));
    lab.start();
    assert_eq!(lab.fetch("d1").unwrap().maintenance_version.as_deref(), Some("2.0.0"));
    // The answer was lost, and the request comes again.
    assert_eq!(lab.broker().update(before("1.0.0")), Ok(Accepted::Already));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let check = |what: &str, request: UpdateRequest, expected: &dyn Fn(&BrokerError) -> bool| {
        let lab = Lab::dreaming(r#"{"a": 1}"#);
        let before = lab.record("d1").unwrap().revision;
        let error = refused(lab.update(request));
        assert!(expected(&error), "{what}: {error:?}");
        assert_eq!(lab.record("d1").unwrap().revision, before, "{what}");
    };
    let wrong_plan = |error: &BrokerError| matches!(error, BrokerError::WrongPlan { .. });
    let previous =
        |previous: PreviousValues| UpdateRequest { previous, ..change_parameters("d1", r#"{"a": 2}"#) };
    let to = |raw: &str| UpdateRequest { plan: Some(plan(raw)), ..change("d1") };
    check("nobody's", change("d2"), &|error| *error == BrokerError::InstanceUnknown);
    check("an unknown plan", to("nope"), &|error| matches!(error, BrokerError::UnknownPlan(_)));
    check("another service's plan", to("cluster"), &wrong_plan);
    let other = UpdateRequest { service: ServiceId::parse("postgresql").unwrap(), ..change("d1") };
    check("another service", other, &wrong_plan);
    let unknown = UpdateRequest { service: ServiceId::parse("nope").unwrap(), ..change("d1") };
    check("an unknown service", unknown, &|error| matches!(error, BrokerError::UnknownService(_)));
    let before = PreviousValues { plan: Some(plan("large")), ..PreviousValues::default() };
    check("another plan before", previous(before), &wrong_plan);
    let before = PreviousValues {
        service: Some(ServiceId::parse("postgresql").unwrap()),
        ..PreviousValues::default()
    };
    check("another service before", previous(before), &wrong_plan);
    let polled = change_parameters("d1", r#"{"asynchronous": true}"#);
    check("who does not poll", polled, &|error| *error == BrokerError::AsyncRequired);
    let invalid = change_parameters("d1", r#"{"delay_ms": "hunter2"}"#);
    check("a parameter that is none", invalid, &|error| match error {
        BrokerError::InvalidParameters { reason } => {
            reason.starts_with("parameters.delay_ms: ") && !reason.contains("hunter2")
        }
        _ => false,
    });
}

#[test]
fn what_fits_before_is_taken() {
    let lab = Lab::dreaming("{}");
    let previous = PreviousValues {
        service: Some(service()),
        plan: Some(plan("small")),
        maintenance_version: Some("1.0.0".to_owned()),
    };
    let request = UpdateRequest { plan: Some(plan("large")), previous, ..change("d1") };
    assert_eq!(lab.update(request.clone()), Ok(Outcome::Succeeded));
    // The same again, since its answer was lost: what was before is not any more.
    assert_eq!(lab.broker().update(request), Ok(Accepted::Already));
}

/// It is the plan that an instance has which says whether it may be left.
#[test]
fn some_plans_cannot_be_left() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.provision(ProvisionRequest { plan: plan("last"), ..dream("d1", "{}") }).unwrap();
    let leave = UpdateRequest { plan: Some(plan("small")), ..change("d1") };
    assert!(matches!(refused(lab.update(leave)), BrokerError::UpdateNotSupported { .. }));
    // It stays, and may change otherwise.
    let stay = UpdateRequest { plan: Some(plan("last")), ..change_parameters("d1", r#"{"a": 1}"#) };
    assert_eq!(lab.update(stay), Ok(Outcome::Succeeded));
    lab.deprovision("d1").unwrap();
    lab.provision(dream("d1", "{}")).unwrap();
    let enter = UpdateRequest { plan: Some(plan("last")), ..change("d1") };
    assert_eq!(lab.update(enter), Ok(Outcome::Succeeded));
    assert_eq!(lab.fetch("d1").unwrap().maintenance_version, None);
}

/// While an update runs, the same again is the same operation, and nothing else goes through.
#[test]
fn one_update_at_a_time() {
    let mut lab = Lab::dreaming(POLLED);
    let clock = lab.stop_the_clock();
    let slowly = change_parameters("d1", r#"{"a": 1, "delay_ms": 3000}"#);
    let request = UpdateRequest { accepts_incomplete: true, ..slowly };
    let (operation, soon) = accepted(lab.broker().update(request.clone()));
    assert!(operation.as_str().starts_with("update-") && !soon);
    let busy = |lab: &Lab, what: &str| {
        assert_eq!(accepted(lab.broker().update(request.clone())), (operation.clone(), false), "{what}");
        let other = UpdateRequest { accepts_incomplete: true, ..change_parameters("d1", r#"{"a": 2}"#) };
        assert_eq!(lab.broker().update(other), Err(BrokerError::Concurrency), "{what}");
        assert_eq!(lab.broker().update(named("x")), Err(BrokerError::Concurrency), "{what}");
        assert_eq!(lab.fetch("d1"), Err(BrokerError::Concurrency), "{what}");
        assert_eq!(refused(lab.broker().bind(bind("d1", "x", "{}"))), BrokerError::Concurrency, "{what}");
        assert_eq!(lab.broker().provision(dream("d1", POLLED)), Err(BrokerError::Concurrency), "{what}");
        assert!(!lab.record("d1").unwrap().value.parameters.contains_key("a"), "{what}");
    };
    busy(&lab, "at first");
    lab.start();
    busy(&lab, "after a restart");
    clock.pass(3000);
    assert_eq!(lab.settle("d1"), LastOperation::Succeeded { description: "dreaming".to_owned() });
    assert_eq!(lab.fetch("d1").unwrap().parameters["a"], 1);
    assert_eq!(lab.broker().update(request), Ok(Accepted::Already));
}

/// Of many that want different things at the same moment, one gets it.
#[test]
fn of_many_updates_one_is_made() {
    let lab = Arc::new(Lab::dreaming("{}"));
    let barrier = Arc::new(Barrier::new(8));
    let callers: Vec<_> = (0..8)
        .map(|number| {
            let (lab, barrier) = (Arc::clone(&lab), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                // Two of each, and long enough that all of them come before the end.
                let parameters = format!(r#"{{"a": {}, "delay_ms": 5000}}"#, number / 2);
                lab.update(change_parameters("d1", &parameters))
            })
        })
        .collect();
    let told: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    let won = told.iter().filter(|told| **told == Ok(Outcome::Succeeded)).count();
    let lost = told.iter().filter(|told| **told == Err(BrokerError::Concurrency)).count();
    assert_eq!((won, lost), (2, 6), "{told:?}");
}

#[test]
fn an_update_and_a_deprovision_do_not_mix() {
    let lab = Arc::new(Lab::dreaming(r#"{"delay_ms": 20}"#));
    for round in 0..10 {
        if lab.record("d1").is_none() {
            lab.provision(dream("d1", r#"{"delay_ms": 20}"#)).unwrap();
        }
        let barrier = Arc::new(Barrier::new(2));
        let updating = thread::spawn({
            let (lab, barrier) = (Arc::clone(&lab), Arc::clone(&barrier));
            move || {
                barrier.wait();
                lab.update(change_parameters("d1", &format!(r#"{{"a": {round}}}"#)))
            }
        });
        barrier.wait();
        let gone = lab.deprovision("d1");
        let updated = updating.join().unwrap();
        match (&gone, &updated) {
            (Ok(Outcome::Succeeded), Err(BrokerError::Concurrency | BrokerError::InstanceUnknown)) => {
                assert!(lab.record("d1").is_none(), "{round}");
            }
            // The one in the other's place.
            (Ok(Outcome::Succeeded), Ok(Outcome::Failed { description, .. })) => {
                assert_eq!(description, "ended by a deprovision", "{round}");
                assert!(lab.record("d1").is_none(), "{round}");
            }
            // The one after the other.
            (Ok(Outcome::Succeeded), Ok(Outcome::Succeeded)) => {
                assert!(lab.record("d1").is_none(), "{round}")
            }
            told => panic!("{round}: {told:?}"),
        }
    }
}

/// The instance is as it was, can be used, and can be updated otherwise.
#[test]
fn a_failed_update_changes_nothing() {
    let check = |parameters: &str, limit_s: u64, repeatable: bool| {
        let mut lab = Lab::dreaming(r#"{"a": 1}"#);
        lab.catalog.services[1].plans[1].maximum_polling_duration_s = limit_s;
        lab.start();
        let fails = UpdateRequest {
            plan: Some(plan("large")),
            context: Some(map(r#"{"instance_name": "new"}"#)),
            ..change_parameters("d1", parameters)
        };
        let told = lab.update(fails.clone()).unwrap();
        let Outcome::Failed { instance_usable, update_repeatable, .. } = told else { panic!("{parameters}") };
        assert_eq!((instance_usable, update_repeatable), (Some(true), Some(repeatable)), "{parameters}");
        lab.start();
        let LastOperation::Failed { instance_usable, update_repeatable, .. } = lab.poll("d1").unwrap() else {
            panic!("{parameters}")
        };
        assert_eq!((instance_usable, update_repeatable), (Some(true), Some(repeatable)), "{parameters}");
        let record = lab.record("d1").unwrap().value;
        assert_eq!((record.plan_id.as_str(), record.context.len()), ("small", 0), "{parameters}");
        assert_eq!(lab.fetch("d1").unwrap().parameters, map(r#"{"a": 1}"#), "{parameters}");
        given(lab.broker().bind(bind("d1", "x", "{}")));
        assert_eq!(lab.update(change_parameters("d1", r#"{"a": 2}"#)), Ok(Outcome::Succeeded));
        lab.deprovision("d1").unwrap();
        lab.assert_nothing_left();
    };
    check(r#"{"fail": "update", "b": 1}"#, 60, false);
    check(r#"{"delay_ms": 60000}"#, 1, true);
}

/// A name is the platform's affair: every driver takes it, at once, whatever else is told.
#[test]
fn an_instance_is_renamed() {
    let mut lab = Lab::dreaming(r#"{"asynchronous": true, "fail": "update", "delay_ms": 1000}"#);
    lab.provision(order("b1", "{}")).unwrap();
    let before = lab.engine.containers();
    for request in [named("mine"), of_cluster(named("mine"))] {
        let instance = request.instance.clone();
        assert_eq!(lab.broker().update(request), Ok(Accepted::Already), "{instance}");
        assert_eq!(lab.broker().instance(&instance).unwrap().name.as_deref(), Some("mine"), "{instance}");
    }
    assert_eq!(lab.engine.containers(), before);
    // Also when its plan has left the catalog.
    lab.catalog = Catalog::default();
    lab.start();
    for request in [named("yours"), of_cluster(named("yours"))] {
        let instance = request.instance.clone();
        assert_eq!(lab.broker().update(request), Ok(Accepted::Already), "{instance}");
        assert_eq!(lab.broker().instance(&instance).unwrap().name.as_deref(), Some("yours"), "{instance}");
    }
}

/// An update of one whose order has failed cannot mend it.
#[test]
fn what_was_never_made_is_not_updated() {
    let lab = Lab::new("c1@z1");
    let request = dream("d1", r#"{"fail": "provision", "asynchronous": true}"#);
    lab.broker().provision(ProvisionRequest { accepts_incomplete: true, ..request }).unwrap();
    lab.settle("d1");
    let error = refused(lab.update(change_parameters("d1", r#"{"fail": []}"#)));
    assert!(matches!(error, BrokerError::InstanceFailed { .. }), "{error:?}");
    lab.broker().deprovision(departure("d1", true)).unwrap();
    until("the dream to go", || lab.record("d1").is_none().then_some(()));
}
