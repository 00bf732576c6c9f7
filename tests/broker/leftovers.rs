//! What other versions, other configurations and the ancestors have left in the store.

use patroni_broker::broker::{BrokerError, LastOperation, Outcome};
use patroni_broker::model::Catalog;
use patroni_broker::state::keys;
use storage::Expect;

use crate::lab::{Lab, binding, id, order};

/// An operator takes a plan out of the configuration while an instance of it lives.
#[test]
fn an_instance_whose_plan_is_gone_can_go() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.stop();
    lab.catalog = Catalog::default();
    lab.start();
    let said = LastOperation::Succeeded { description: "master running; replicas running".to_owned() };
    assert_eq!(lab.broker().last_operation(&id("b1")).unwrap(), said);
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}

/// The same while the instance is being made: no container can be made any more, but those there are can go.
#[test]
fn an_order_whose_plan_is_gone_is_undone() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.rewind("b1", 1);
    lab.catalog = Catalog::default();
    lab.start();
    let LastOperation::Failed { description } = lab.settle("b1") else { panic!("it succeeded") };
    assert!(description.contains("postgresql"), "{description}");
    assert_eq!(lab.engine.containers(), []);
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}

/// An ancestor's record knows no operation, no ports and no hosts, and its containers are called otherwise.
#[test]
fn an_ancestors_instance_is_used_and_given_back() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.stop();
    let record = r#"{"instance_id": "b1", "service_id": "postgresql", "plan_id": "cluster",
        "admin_credentials": {"username": "pgadmin", "password": "k"},
        "superuser_credentials": {"username": "postgres", "password": "P"},
        "app_credentials": {"username": "appuser", "password": "r"}, "allocated_port": 33006,
        "nodes": [{"node_id": "n1", "backend_id": "c1", "plan_id": "cluster", "service_id": "postgresql"}]}"#;
    let member = r#"{"role": "master", "state": "running", "conn_url": "", "api_url": ""}"#;
    let written = [
        (keys::record(&id("b1")), record),
        (keys::allocation(&id("b1")), "33006"),
        (keys::members(&id("b1")).child("n1").unwrap(), member),
    ];
    for (key, value) in written {
        lab.store.put(&key, value.as_bytes(), None, Expect::Absent).unwrap();
    }
    lab.start();
    let said = LastOperation::Succeeded { description: "master running".to_owned() };
    assert_eq!(lab.broker().last_operation(&id("b1")).unwrap(), said);
    assert_eq!(lab.broker().provision(order("b1", r#"{"node-count": 1}"#)), Err(BrokerError::InstanceExists));
    let bound = lab.broker().bind(binding("b1")).unwrap();
    assert_eq!(bound.credentials["uri"], "postgres://appuser:r@10.0.0.9:33006/postgres");
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}
