//! Bindings hand out the instance's application user, and end.

use patroni_broker::broker::{BindRequest, Bound, BrokerError, UnbindRequest};
use patroni_broker::model::{BindingId, PlanId, ServiceId};
use serde_json::Map;

use crate::lab::{Lab, app_password, id, order};

fn bind(binding: &str, parameters: &str) -> BindRequest {
    BindRequest {
        instance: id("b1"),
        binding: BindingId::parse(binding).unwrap(),
        service: ServiceId::parse("postgresql").unwrap(),
        plan: PlanId::parse("cluster").unwrap(),
        parameters: serde_json::from_str(parameters).unwrap(),
        bind_resource: Map::new(),
    }
}

fn refusal(answer: Result<Bound, BrokerError>) -> BrokerError {
    match answer {
        Ok(_) => panic!("it was bound"),
        Err(error) => error,
    }
}

#[test]
fn a_binding_comes_and_goes() {
    let lab = Lab::new("c1@z1 c2@z2");
    assert_eq!(refusal(lab.broker().bind(bind("x", "{}"))), BrokerError::InstanceUnknown);
    lab.provision(order("b1", "{}")).unwrap();
    let bound = lab.broker().bind(bind("x", "{}")).unwrap();
    let password = app_password(&lab.record("b1").unwrap().value).expose().to_owned();
    assert!(bound.new);
    assert_eq!(bound.credentials["uri"], format!("postgres://appuser:{password}@10.0.0.9:30000/postgres"));
    assert!(!lab.broker().bind(bind("x", "{}")).unwrap().new);
    assert_eq!(refusal(lab.broker().bind(bind("x", r#"{"a": 1}"#))), BrokerError::BindingExists);

    let unbind = || UnbindRequest { instance: id("b1"), binding: BindingId::parse("x").unwrap() };
    assert_eq!(lab.broker().unbind(unbind()), Ok(()));
    assert_eq!(lab.broker().unbind(unbind()), Err(BrokerError::BindingGone));

    lab.broker().bind(bind("y", "{}")).unwrap();
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

#[test]
fn nobody_is_bound_to_what_is_not_there_yet() {
    let lab = Lab::new("c1@z1 c2@z2");
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.broker().provision(order("b1", "{}")).unwrap();
    assert_eq!(refusal(lab.broker().bind(bind("x", "{}"))), BrokerError::Concurrency);
    lab.patroni.silent.lock().unwrap().clear();
    lab.settle("b1");
}
