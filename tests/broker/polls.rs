//! What is said of operations: the last one, named ones, and those of what is not there.

use std::time::Duration;

use patroni_broker::broker::{
    BrokerError, FetchRequest, LastOperation, PollRequest, ProvisionRequest, UpdateRequest,
};
use patroni_broker::model::ServiceId;

use crate::dream::{
    accepted, bind, binding_goes_on, change, change_parameters, departure, dream, given, goes_on, look, plan,
    poll_binding, service,
};
use crate::lab::{Lab, binding_id, order, poll, until};

fn named(instance: &str, operation: &str) -> PollRequest {
    PollRequest { operation: Some(operation.to_owned()), ..poll(instance) }
}

/// Gone is what was to go. Who waits for something to come must not take that for a success.
#[test]
fn what_is_not_there_is_gone_or_unknown() {
    let lab = Lab::new("c1@z1");
    let check = |request: PollRequest, expected: BrokerError| {
        assert_eq!(lab.broker().last_operation(&request), Err(expected), "{request:?}");
    };
    check(poll("d1"), BrokerError::InstanceGone);
    check(named("d1", "deprovision-1"), BrokerError::InstanceGone);
    check(named("d1", "anything"), BrokerError::InstanceGone);
    check(named("d1", "provision-1"), BrokerError::InstanceUnknown);
    check(named("d1", "update-1"), BrokerError::InstanceUnknown);
    let of_binding =
        |operation: &str| PollRequest { binding: Some(binding_id("x")), ..named("d1", operation) };
    check(poll_binding("d1", "x", None), BrokerError::BindingGone);
    check(of_binding("unbind-1"), BrokerError::BindingGone);
    check(of_binding("bind-1"), BrokerError::BindingUnknown);
    lab.provision(dream("d1", "{}")).unwrap();
    let check = |request: PollRequest, expected: BrokerError| {
        assert_eq!(lab.broker().last_operation(&request), Err(expected), "{request:?}");
    };
    check(poll_binding("d1", "x", None), BrokerError::BindingGone);
    check(of_binding("unbind-1"), BrokerError::BindingGone);
    check(of_binding("bind-1"), BrokerError::BindingUnknown);
}

/// Who asks late is told how it ended, also when others have followed, over restarts.
#[test]
fn operations_are_remembered() {
    let mut lab = Lab::new("c1@z1");
    let (made, _) = accepted(lab.broker().provision(dream("d1", "{}")));
    lab.settle("d1");
    let failing =
        UpdateRequest { plan: Some(plan("large")), ..change_parameters("d1", r#"{"fail": "update"}"#) };
    let (failed, _) = accepted(lab.broker().update(failing));
    lab.settle("d1");
    let (changed, _) = accepted(lab.broker().update(change_parameters("d1", r#"{"a": 1}"#)));
    lab.settle("d1");
    lab.start();
    let told = |operation: &str| lab.broker().last_operation(&named("d1", operation));
    for operation in [&made, &changed] {
        assert!(matches!(told(operation.as_str()), Ok(LastOperation::Succeeded { .. })), "{operation}");
    }
    let Ok(LastOperation::Failed { instance_usable, update_repeatable, .. }) = told(failed.as_str()) else {
        panic!("{failed}")
    };
    assert_eq!((instance_usable, update_repeatable), (Some(true), Some(false)));
    assert!(matches!(told("update-1"), Err(BrokerError::InvalidParameters { .. })));
    // Not for ever.
    for number in 0..8 {
        lab.update(change_parameters("d1", &format!(r#"{{"a": [{number}]}}"#))).unwrap();
    }
    assert!(matches!(told(made.as_str()), Err(BrokerError::InvalidParameters { .. })));
    assert_eq!(lab.record("d1").unwrap().value.ended.len(), patroni_broker::state::REMEMBERED);
}

#[test]
fn who_polls_is_told_when_to_ask_again() {
    let lab = Lab::new("c1@z1 c2@z2");
    let polled = |parameters: &str| ProvisionRequest { accepts_incomplete: true, ..dream("d1", parameters) };
    lab.broker().provision(polled(r#"{"asynchronous": true, "delay_ms": 30000}"#)).unwrap();
    let left = goes_on(&lab.poll("d1")).unwrap();
    assert!(left > Duration::from_secs(25) && left <= Duration::from_secs(30), "{left:?}");
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.broker().provision(order("b1", "{}")).unwrap();
    let pause = goes_on(&lab.poll("b1")).unwrap();
    assert!(pause >= Duration::from_secs(1) && pause <= Duration::from_secs(5), "{pause:?}");
    lab.patroni.silent.lock().unwrap().clear();
    lab.settle("b1");
}

/// What a platform believes an instance to be must be so; of an update, the plan before it.
#[test]
fn beliefs_are_checked() {
    let lab = Lab::dreaming("{}");
    given(lab.broker().bind(bind("d1", "x", "{}")));
    let check = |of: Option<&str>, by: Option<&str>, fine: bool| {
        let (service, plan) = (of.map(|raw| ServiceId::parse(raw).unwrap()), by.map(plan));
        let is_fine = |told: Result<(), BrokerError>| match told {
            Ok(()) => true,
            Err(BrokerError::WrongPlan { .. }) => false,
            Err(error) => panic!("{error:?}"),
        };
        let fetch = FetchRequest { service: service.clone(), plan: plan.clone(), ..look("d1") };
        let asked = PollRequest { service: service.clone(), plan: plan.clone(), ..poll("d1") };
        let of_binding = PollRequest { service, plan, ..poll_binding("d1", "x", None) };
        assert_eq!(is_fine(lab.broker().fetch(&fetch).map(|_| ())), fine, "{of:?} {by:?}");
        assert_eq!(is_fine(lab.broker().fetch_binding(&fetch, &binding_id("x")).map(|_| ())), fine);
        assert_eq!(is_fine(lab.broker().last_operation(&asked).map(|_| ())), fine, "{of:?} {by:?}");
        assert_eq!(is_fine(lab.broker().last_operation(&of_binding).map(|_| ())), fine, "{of:?} {by:?}");
    };
    check(None, None, true);
    check(Some("dream"), Some("small"), true);
    check(Some("postgresql"), None, false);
    check(None, Some("large"), false);
    check(None, Some("nope"), false);
    // Whoever polls the update calls the plan by what it was before.
    lab.update(UpdateRequest { plan: Some(plan("large")), ..change("d1") }).unwrap();
    let calls = |by: &str| {
        let request = PollRequest { service: Some(service()), plan: Some(plan(by)), ..poll("d1") };
        lab.broker().last_operation(&request).is_ok()
    };
    assert_eq!((calls("small"), calls("large"), calls("last")), (true, true, false));
}

#[test]
fn what_comes_and_what_goes_is_fetched_as_the_text_says() {
    let mut lab = Lab::new("c1@z1");
    let clock = lab.stop_the_clock();
    let sleepy = r#"{"asynchronous": true, "delay_ms": 1000}"#;
    assert_eq!(lab.fetch("d1"), Err(BrokerError::InstanceUnknown));
    let request = ProvisionRequest { accepts_incomplete: true, ..dream("d1", sleepy) };
    lab.broker().provision(request).unwrap();
    assert_eq!(lab.fetch("d1"), Err(BrokerError::InstanceUnknown), "it is not there yet");
    clock.pass(1000);
    lab.settle("d1");
    assert_eq!(lab.fetch("d1").unwrap().plan, plan("small"));
    lab.broker().deprovision(departure("d1", true)).unwrap();
    assert_eq!(lab.fetch("d1").unwrap().plan, plan("small"), "it is there until it is gone");
    clock.pass(1000);
    until("the dream to go", || lab.record("d1").is_none().then_some(()));
    assert_eq!(lab.fetch("d1"), Err(BrokerError::InstanceUnknown));
}

/// An operation of a binding that was another's, or is long over.
#[test]
fn bindings_operations_are_told_apart() {
    let lab = Lab::dreaming("{}");
    let slow = bind("d1", "x", r#"{"asynchronous": true, "delay_ms": 50}"#);
    let slow = patroni_broker::broker::BindRequest { accepts_incomplete: true, ..slow };
    let operation = binding_goes_on(lab.broker().bind(slow));
    lab.settle_binding("d1", "x", &operation);
    given(lab.broker().bind(bind("d1", "y", "{}")));
    let told = |name: &str| lab.broker().last_operation(&poll_binding("d1", name, Some(&operation)));
    assert!(matches!(told("x"), Ok(LastOperation::Succeeded { .. })));
    assert!(matches!(told("y"), Err(BrokerError::InvalidParameters { .. })));
    let told = lab.broker().last_operation(&poll_binding("d1", "y", None));
    assert!(matches!(told, Ok(LastOperation::Succeeded { .. })), "{told:?}");
}
