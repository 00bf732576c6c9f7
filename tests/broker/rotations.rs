//! Bindings that end by themselves, and their successors; who may be bound at all.

use patroni_broker::broker::{BindRequest, BrokerError, ProvisionRequest, UnbindRequest};
use patroni_broker::model::ServiceId;
use serde_json::Map;

use crate::dream::{bind, binding_goes_on, dream, given, look, map, now_ms, plan, refused, unbind};
use crate::lab::{Lab, binding_id};

/// As a platform asks for one: with nothing but whose successor it is.
fn successor(name: &str, predecessor: &str) -> BindRequest {
    BindRequest {
        service: None,
        plan: None,
        predecessor: Some(binding_id(predecessor)),
        ..bind("d1", name, "{}")
    }
}

#[test]
fn a_successor_takes_over_what_its_predecessor_was_asked_with() {
    let mut lab = Lab::dreaming("{}");
    let mut first = bind("d1", "x", r#"{"a": 1, "b": 2}"#);
    first.bind_resource = map(r#"{"app_guid": "a1"}"#);
    first.context = map(r#"{"platform": "p"}"#);
    given(lab.broker().bind(first));
    let (binding, new) = given(lab.broker().bind(successor("y", "x")));
    assert!(new);
    assert_eq!(binding.parameters, map(r#"{"a": 1, "b": 2}"#));
    assert_eq!(
        binding.metadata,
        map(r#"{"bind_resource": {"app_guid": "a1"}, "context": {"platform": "p"}}"#)
    );
    // Both stand beside each other, and the one outlives the other.
    lab.start();
    assert!(!given(lab.broker().bind(successor("y", "x"))).1);
    lab.broker().unbind(unbind("d1", "x")).unwrap();
    assert!(!given(lab.broker().bind(successor("y", "x"))).1, "the same again, after the rotation");
    assert_eq!(refused(lab.broker().bind(successor("y", "z"))), BrokerError::BindingExists);
    assert_eq!(refused(lab.broker().bind(bind("d1", "y", "{}"))), BrokerError::BindingExists);
    assert!(given(lab.broker().bind(successor("z", "y"))).1);
}

#[test]
fn what_has_no_successor() {
    let mut lab = Lab::dreaming("{}");
    let check = |lab: &Lab, what: &str, request: BindRequest| {
        let error = refused(lab.broker().bind(request));
        assert!(matches!(error, BrokerError::NotRotatable { .. }), "{what}: {error:?}");
    };
    check(&lab, "nobody", successor("y", "x"));
    given(lab.broker().bind(bind("d1", "x", r#"{"expires_in_s": 1}"#)));
    let slow = bind("d1", "slow", r#"{"asynchronous": true, "delay_ms": 60000}"#);
    binding_goes_on(lab.broker().bind(BindRequest { accepts_incomplete: true, ..slow }));
    check(&lab, "what is not there yet", successor("y", "slow"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    check(&lab, "what is over", successor("y", "x"));
    // Of another instance.
    lab.provision(dream("d2", "{}")).unwrap();
    given(lab.broker().bind(bind("d2", "theirs", "{}")));
    check(&lab, "another's", successor("y", "theirs"));
    given(lab.broker().bind(bind("d1", "z", "{}")));
    lab.catalog.services[1].plans[0].binding_rotatable = Some(false);
    lab.start();
    check(&lab, "where the plan says so", successor("y", "z"));
}

#[test]
fn a_binding_says_when_it_ends() {
    let lab = Lab::dreaming(r#"{"expires_in_s": 100}"#);
    let check = |name: &str, parameters: &str, life_ms: Option<u128>| {
        let before = now_ms();
        let (binding, _) = given(lab.broker().bind(bind("d1", name, parameters)));
        let after = now_ms();
        let Some(life_ms) = life_ms else {
            return assert_eq!(
                (binding.expires_at_ms, binding.renew_before_ms),
                (None, None),
                "{parameters}"
            );
        };
        let (expires, renew) = (binding.expires_at_ms.unwrap(), binding.renew_before_ms.unwrap());
        assert!((before + life_ms..=after + life_ms).contains(&u128::from(expires)), "{parameters}");
        assert!(renew < expires && u128::from(renew) > before, "{parameters}");
        let again = lab
            .broker()
            .fetch_binding(&look("d1"), &binding_id(name))
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (again.expires_at_ms, again.renew_before_ms),
            (Some(expires), Some(renew)),
            "{parameters}"
        );
    };
    check("x", "{}", Some(100_000));
    check("y", r#"{"expires_in_s": 1}"#, Some(1000));
    // Whoever has waited for it has all of it.
    check("z", r#"{"expires_in_s": 50, "delay_ms": 100}"#, Some(50_000));
    let lab = Lab::dreaming("{}");
    let (binding, _) = given(lab.broker().bind(bind("d1", "x", "{}")));
    assert_eq!((binding.expires_at_ms, binding.renew_before_ms), (None, None));
}

#[test]
fn who_may_be_bound() {
    let mut lab = Lab::new("c1@z1");
    lab.provision(ProvisionRequest { plan: plan("lonely"), ..dream("d1", "{}") }).unwrap();
    let request = BindRequest { plan: Some(plan("lonely")), ..bind("d1", "x", "{}") };
    assert_eq!(refused(lab.broker().bind(request)), BrokerError::NotBindable);
    lab.deprovision("d1").unwrap();
    lab.provision(dream("d1", "{}")).unwrap();
    let of = |service: &str, of: &str| BindRequest {
        service: Some(ServiceId::parse(service).unwrap()),
        plan: Some(plan(of)),
        ..bind("d1", "x", "{}")
    };
    let wrong = |error: BrokerError| assert!(matches!(error, BrokerError::WrongPlan { .. }), "{error:?}");
    wrong(refused(lab.broker().bind(of("dream", "large"))));
    wrong(refused(lab.broker().bind(of("postgresql", "cluster"))));
    assert!(matches!(refused(lab.broker().bind(of("dream", "no"))), BrokerError::UnknownPlan(_)));
    // A service for applications alone.
    lab.catalog.services[1].requires_app = true;
    lab.start();
    let with = |resource: &str| BindRequest { bind_resource: map(resource), ..bind("d1", "x", "{}") };
    for resource in ["{}", r#"{"app_guid": ""}"#, r#"{"app_guid": 7}"#, r#"{"route": "r"}"#] {
        assert_eq!(refused(lab.broker().bind(with(resource))), BrokerError::RequiresApp, "{resource}");
    }
    given(lab.broker().bind(with(r#"{"app_guid": "a1"}"#)));
    given(lab.broker().bind(successor("y", "x")));
    let end = UnbindRequest { plan: Some(plan("large")), ..unbind("d1", "y") };
    wrong(refused(lab.broker().unbind(end)));
    let end = UnbindRequest { plan: Some(plan("small")), ..unbind("d1", "y") };
    lab.broker().unbind(end).unwrap();
    assert_eq!(Map::new(), lab.fetch("d1").unwrap().parameters);
}
