//! Bindings hand out the instance's application user, and end.

use patroni_broker::broker::{BindRequest, Bound, BrokerError, Unbound};

use crate::lab::{Lab, app_password, binding, binding_id, order, unbinding};

fn bind(id: &str, parameters: &str) -> BindRequest {
    BindRequest {
        binding: binding_id(id),
        parameters: serde_json::from_str(parameters).unwrap(),
        ..binding("b1")
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
    let Bound::Now { binding, new: true } = lab.broker().bind(bind("x", "{}")).unwrap() else {
        panic!("it is not new")
    };
    let password = app_password(&lab.record("b1").unwrap().value).expose().to_owned();
    assert_eq!(binding.credentials["uri"], format!("postgres://appuser:{password}@10.0.0.9:30000/postgres"));
    assert_eq!((binding.endpoints[0].host.as_str(), &binding.endpoints[0].ports), ("10.0.0.9", &vec![30000]));
    assert_eq!(binding.expires_at_ms, None);
    let again = lab.broker().bind(bind("x", "{}")).unwrap();
    assert!(matches!(again, Bound::Now { new: false, .. }));
    assert_eq!(refusal(lab.broker().bind(bind("x", r#"{"a": 1}"#))), BrokerError::BindingExists);

    assert_eq!(lab.broker().unbind(unbinding("b1")), Ok(Unbound::Now));
    assert_eq!(lab.broker().unbind(unbinding("b1")), Err(BrokerError::BindingGone));

    lab.broker().bind(bind("y", "{}")).unwrap_or_else(|error| panic!("{error}"));
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

/// All members share one password: a successor would be the same binding under another name.
#[test]
fn a_clusters_binding_has_no_successor() {
    let lab = Lab::new("c1@z1 c2@z2");
    assert!(!lab.broker().catalog().services[0].binding_rotatable);
    lab.provision(order("b1", "{}")).unwrap();
    lab.broker().bind(bind("x", "{}")).unwrap_or_else(|error| panic!("{error}"));
    let successor = BindRequest { predecessor: Some(binding_id("x")), ..bind("y", "{}") };
    assert!(matches!(refusal(lab.broker().bind(successor)), BrokerError::NotRotatable { .. }));
}
