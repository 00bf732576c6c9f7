//! Dreams: nothing but what was posted. They take as long and fail as they are told, and forget nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use patroni_broker::broker::{Accepted, BrokerError, LastOperation, Outcome, ProvisionRequest};
use patroni_broker::state::{OperationState, keys};
use serde_json::json;
use storage::Store;

use crate::dream::{
    accepted, bind, change_parameters, departure, dream, given, goes_on, map, plan, refused, unbind,
};
use crate::gate::Gate;
use crate::lab::{Lab, binding_id, id, order, until};

const CELLS: &str = "c1@z1 c2@z2";

#[test]
fn a_dream_comes_and_goes_and_takes_nothing() {
    let lab = Lab::new(CELLS);
    assert_eq!(lab.provision(dream("d1", "{}")).unwrap(), Outcome::Succeeded);
    assert_eq!(lab.engine.containers(), []);
    until("the note to go", || (lab.keys() == ["/service/d1/state"]).then_some(()));
    assert_eq!(lab.poll("d1"), Ok(LastOperation::Succeeded { description: "dreaming".to_owned() }));
    assert_eq!(lab.broker().provision(dream("d1", "{}")), Ok(Accepted::Already));
    assert_eq!(lab.broker().provision(dream("d1", r#"{"a": 1}"#)), Err(BrokerError::InstanceExists));
    let (binding, new) = given(lab.broker().bind(bind("d1", "x", "{}")));
    let nothing = json!({"uri": null, "hostname": null, "port": null, "username": null, "password": null});
    assert_eq!((json!(binding.credentials), binding.endpoints.len(), new), (nothing, 0, true));
    lab.broker().unbind(unbind("d1", "x")).unwrap();
    given(lab.broker().bind(bind("d1", "y", "{}")));
    assert_eq!(lab.deprovision("d1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
    assert_eq!(lab.deprovision("d1"), Err(BrokerError::InstanceGone));
}

/// No made-up users, and no port.
#[test]
fn a_dreams_record_holds_no_secret() {
    let lab = Lab::dreaming(r#"{"a": 1}"#);
    let record = lab.record("d1").unwrap().value;
    assert_eq!((record.secrets().len(), record.nodes.len(), record.allocated_port), (0, 0, None));
    let written = serde_json::to_string(&record).unwrap();
    assert!(!written.contains("credentials"), "{written}");
}

/// The property that a dream is for: whatever was posted is there again, in whatever order brokers come and go.
#[test]
fn a_dream_forgets_nothing() {
    let mut lab = Lab::new(CELLS);
    let parameters = r#"{"size": "large", "deep": {"list": [1, null, "ä", {"x": 1.5}]}, "0": false}"#;
    let context = r#"{"platform": "cloudfoundry", "instance_name": "mine", "labels": {"a/b": "c"}}"#;
    let request = ProvisionRequest {
        context: map(context),
        organization_guid: "org".to_owned(),
        space_guid: "space".to_owned(),
        ..dream("d1", parameters)
    };
    lab.provision(request).unwrap();
    let mut with_app = bind("d1", "x", r#"{"own": [2]}"#);
    with_app.bind_resource = map(r#"{"app_guid": "a1", "route": "r"}"#);
    with_app.context = map(r#"{"platform": "kubernetes"}"#);
    given(lab.broker().bind(with_app));
    lab.update(change_parameters("d1", r#"{"size": "small", "new": []}"#)).unwrap();
    let all = |lab: &Lab| {
        let fetched = lab.fetch("d1").unwrap();
        let binding = lab
            .broker()
            .fetch_binding(&crate::dream::look("d1"), &binding_id("x"))
            .unwrap_or_else(|error| panic!("{error}"));
        json!([
            fetched.service,
            fetched.plan,
            fetched.parameters,
            fetched.maintenance_version,
            fetched.metadata,
            binding.parameters,
            binding.metadata,
            binding.credentials,
        ])
    };
    let before = all(&lab);
    let merged = r#"{"size": "small", "deep": {"list": [1, null, "ä", {"x": 1.5}]}, "0": false, "new": []}"#;
    let posted = json!({"context": map(context), "organization_guid": "org", "space_guid": "space"});
    let expected = json!([
        "dream", "small", map(merged), "1.0.0", {"labels": {}, "attributes": posted},
        {"own": [2]},
        {"bind_resource": {"app_guid": "a1", "route": "r"}, "context": {"platform": "kubernetes"}},
        {"uri": null, "hostname": null, "port": null, "username": null, "password": null},
    ]);
    assert_eq!(before, expected);
    for _ in 0..3 {
        lab.start();
        assert_eq!(all(&lab), before);
    }
}

/// Who cannot poll is not served where that is told; who can is told what to poll, and who need not is answered at the
/// end.
#[test]
fn asynchronous_operations_are_for_who_polls() {
    let mut lab = Lab::new(CELLS);
    let clock = lab.stop_the_clock();
    let asynchronous = r#"{"asynchronous": true, "delay_ms": 1000}"#;
    assert_eq!(lab.broker().provision(dream("d1", asynchronous)), Err(BrokerError::AsyncRequired));
    lab.assert_nothing_left();
    let polled = ProvisionRequest { accepts_incomplete: true, ..dream("d1", asynchronous) };
    let (operation, soon) = accepted(lab.broker().provision(polled.clone()));
    assert!(!soon && operation.as_str().starts_with("provision-"));
    assert_eq!(accepted(lab.broker().provision(polled.clone())), (operation.clone(), false));
    assert_eq!(lab.broker().provision(dream("d1", asynchronous)), Err(BrokerError::AsyncRequired));
    assert_eq!(goes_on(&lab.poll("d1")), Some(Duration::from_secs(1)));
    clock.pass(1000);
    assert!(matches!(lab.settle("d1"), LastOperation::Succeeded { .. }));
    assert_eq!(lab.broker().provision(polled), Ok(Accepted::Already));

    assert_eq!(lab.deprovision("d1"), Err(BrokerError::AsyncRequired));
    let (operation, soon) = accepted(lab.broker().deprovision(departure("d1", true)));
    assert!(!soon);
    assert_eq!(accepted(lab.broker().deprovision(departure("d1", true))), (operation, false));
    assert_eq!(lab.deprovision("d1"), Err(BrokerError::AsyncRequired));
    clock.pass(1000);
    until("the dream to go", || lab.record("d1").is_none().then_some(()));
    lab.assert_nothing_left();

    let soon = ProvisionRequest { accepts_incomplete: true, ..dream("d2", r#"{"delay_ms": 200}"#) };
    assert!(accepted(lab.broker().provision(soon)).1);
}

/// A lab whose brokers look for pending operations when they start and hardly ever after: whoever is woken in time is
/// woken by the alarm.
fn without_scans() -> Lab {
    let mut lab = Lab::new(CELLS);
    lab.pace.scan_every = Duration::from_secs(60);
    lab.start();
    lab
}

/// Who is woken so late at most was not woken by a scan.
const BEFORE_THE_SCAN: Duration = Duration::from_secs(20);

#[test]
fn an_operation_takes_as_long_as_it_is_told() {
    let lab = without_scans();
    for delay_ms in [0, 200, 500] {
        let begun = Instant::now();
        lab.provision(dream("d1", &format!(r#"{{"delay_ms": {delay_ms}}}"#))).unwrap();
        let took = begun.elapsed();
        // Records count in whole milliseconds.
        assert!(took + Duration::from_millis(1) >= Duration::from_millis(delay_ms), "{delay_ms}: {took:?}");
        assert!(took < Duration::from_millis(delay_ms) + BEFORE_THE_SCAN, "{delay_ms}: {took:?}");
        lab.deprovision("d1").unwrap();
    }
}

/// Whoever had performed its id's last operation had told its end, and not let go of it yet: the next one was found to be
/// somebody's already, and waited for the scan.
#[test]
fn the_next_operation_waits_for_no_scan() {
    let gate = Gate::new();
    let mut lab = Lab::on(Arc::clone(&gate) as Arc<dyn Store>, CELLS);
    lab.pace.scan_every = Duration::from_secs(60);
    lab.start();
    lab.provision(dream("d1", "{}")).unwrap();
    lab.settled_keys();
    gate.close("worker", Some(keys::pending(&id("d1"))), 0);
    assert_eq!(lab.deprovision("d1"), Ok(Outcome::Succeeded));
    until("the note to be cleared", || gate.at());
    accepted(lab.broker().provision(dream("d1", "{}")));
    // Time for another worker to find it taken.
    std::thread::sleep(Duration::from_millis(100));
    gate.open();
    assert!(matches!(lab.settle("d1"), LastOperation::Succeeded { .. }));
}

/// Each told operation fails, says so, and does no harm.
#[test]
fn operations_fail_as_they_are_told() {
    let lab = Lab::new(CELLS);
    // Its sender waits and is told: nothing is left.
    let told = lab.provision(dream("d1", r#"{"fail": "provision"}"#)).unwrap();
    let Outcome::Failed { description, instance_usable: None, update_repeatable: None } = told else {
        panic!("{told:?}")
    };
    assert!(description.contains("provision"), "{description}");
    lab.assert_nothing_left();
    // Who polls is told by polling; one that never was goes, whatever it was told.
    let fails = r#"{"fail": ["provision", "deprovision"], "asynchronous": true}"#;
    let polled = ProvisionRequest { accepts_incomplete: true, ..dream("d1", fails) };
    lab.broker().provision(polled.clone()).unwrap();
    let LastOperation::Failed { instance_usable: None, .. } = lab.settle("d1") else { panic!("it is there") };
    assert_eq!(lab.fetch("d1"), Err(BrokerError::InstanceUnknown));
    assert!(matches!(refused(lab.broker().provision(polled)), BrokerError::InstanceFailed { .. }));
    assert!(matches!(refused(lab.broker().bind(bind("d1", "x", "{}"))), BrokerError::InstanceFailed { .. }));
    lab.broker().deprovision(departure("d1", true)).unwrap();
    until("the dream to go", || lab.record("d1").is_none().then_some(()));
    lab.assert_nothing_left();

    lab.provision(dream("d1", r#"{"fail": ["deprovision"]}"#)).unwrap();
    given(lab.broker().bind(bind("d1", "x", "{}")));
    let told = lab.deprovision("d1").unwrap();
    assert!(matches!(told, Outcome::Failed { instance_usable: Some(true), update_repeatable: None, .. }));
    // It is there as before, with its binding, until it is told otherwise.
    lab.fetch("d1").unwrap();
    assert!(!given(lab.broker().bind(bind("d1", "x", "{}"))).1);
    assert_eq!(lab.broker().provision(dream("d1", r#"{"fail": ["deprovision"]}"#)), Ok(Accepted::Already));
    assert_eq!(lab.update(change_parameters("d1", r#"{"fail": []}"#)), Ok(Outcome::Succeeded));
    assert_eq!(lab.deprovision("d1"), Ok(Outcome::Succeeded));
    lab.assert_nothing_left();
}

/// A sleeping dream once would have held one of four workers.
#[test]
fn sleeping_dreams_delay_nobody() {
    let lab = Lab::new(CELLS);
    let sleep = r#"{"asynchronous": true, "delay_ms": 600000}"#;
    for number in 0..8 {
        let request = dream(&format!("d{number}"), sleep);
        lab.broker().provision(ProvisionRequest { accepts_incomplete: true, ..request }).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(lab.provision(order("b1", "{}")).unwrap(), Outcome::Succeeded);
    lab.provision(dream("awake", r#"{"delay_ms": 10}"#)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let left = goes_on(&lab.poll("d7")).unwrap();
    assert!(left > Duration::from_secs(30), "{left:?}");
}

/// The time goes on while no broker is there, and the next one finds what is left of it.
#[test]
fn a_sleep_survives_its_broker() {
    let check = |away: Duration| {
        let mut lab = without_scans();
        let begun = Instant::now();
        let request = dream("d1", r#"{"asynchronous": true, "delay_ms": 4000}"#);
        lab.broker().provision(ProvisionRequest { accepts_incomplete: true, ..request }).unwrap();
        lab.stop();
        std::thread::sleep(away);
        assert_eq!(lab.record("d1").unwrap().value.operation.unwrap().state, OperationState::InProgress);
        let back = Instant::now();
        lab.start();
        assert!(matches!(lab.settle("d1"), LastOperation::Succeeded { .. }), "{away:?}");
        assert!(begun.elapsed() >= Duration::from_millis(3999), "{away:?}");
        let late = back.elapsed().min(begun.elapsed().saturating_sub(Duration::from_secs(4)));
        assert!(late < BEFORE_THE_SCAN, "{away:?}: {late:?} too late");
    };
    check(Duration::ZERO);
    check(Duration::from_secs(5));
}

/// Every step of every operation may run twice: a broker died before it recorded that it was done.
#[test]
fn every_step_of_a_dream_may_run_twice() {
    let mut lab = Lab::dreaming(r#"{"delay_ms": 1, "a": 1}"#);
    for done in [0, 1] {
        lab.rewind("d1", done);
        lab.start();
        assert!(matches!(lab.settle("d1"), LastOperation::Succeeded { .. }), "{done}");
    }
    lab.update(change_parameters("d1", r#"{"b": 2}"#)).unwrap();
    for done in [0, 1] {
        lab.rewind("d1", done);
        lab.start();
        assert!(matches!(lab.settle("d1"), LastOperation::Succeeded { .. }), "{done}");
        assert_eq!(lab.fetch("d1").unwrap().parameters, map(r#"{"delay_ms": 1, "a": 1, "b": 2}"#));
    }
}

/// The plan says how long its operations may take: then it is over, and not at the end of the sleep.
#[test]
fn who_sleeps_too_long_fails() {
    let mut lab = Lab::new(CELLS);
    lab.catalog.services[1].plans[0].maximum_polling_duration_s = 1;
    lab.start();
    let begun = Instant::now();
    let told = lab.provision(dream("d1", r#"{"delay_ms": 60000}"#)).unwrap();
    let Outcome::Failed { description, .. } = told else { panic!("{told:?}") };
    assert!(description.contains("longer"), "{description}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    lab.assert_nothing_left();
}

/// A broker that was away ends in time what was done in time.
#[test]
fn a_broker_that_was_away_ends_what_was_due() {
    let mut lab = Lab::dreaming(r#"{"delay_ms": 100}"#);
    lab.rewind("d1", 0);
    let mut record = lab.record("d1").unwrap();
    let operation = record.value.operation.as_mut().unwrap();
    (operation.started_ms, operation.deadline_ms) = (1000, 2000);
    patroni_broker::state::Instances::new(std::sync::Arc::clone(&lab.store)).save(record).unwrap();
    lab.start();
    assert!(matches!(lab.settle("d1"), LastOperation::Succeeded { .. }));
}

#[test]
fn the_platform_must_know_what_is_offered() {
    let lab = Lab::new(CELLS);
    let check = |version: Option<&str>, of: &str, fine: bool| {
        let maintenance_version = version.map(str::to_owned);
        let request = ProvisionRequest { maintenance_version, plan: plan(of), ..dream("d1", "{}") };
        let told = lab.provision(request);
        if fine {
            assert_eq!(told, Ok(Outcome::Succeeded), "{version:?} of {of}");
            let offered = (of == "small").then(|| "1.0.0".to_owned());
            assert_eq!(lab.fetch("d1").unwrap().maintenance_version, offered);
            lab.deprovision("d1").unwrap();
        } else {
            assert!(
                matches!(refused(told), BrokerError::MaintenanceInfoConflict { .. }),
                "{version:?} of {of}"
            );
        }
        lab.assert_nothing_left();
    };
    check(None, "small", true);
    check(Some("1.0.0"), "small", true);
    check(Some("0.9.0"), "small", false);
    check(None, "last", true);
    check(Some("1.0.0"), "last", false);
}
