//! What other versions, other configurations and the ancestors have left in the store.

use patroni_broker::broker::{Accepted, Bound, BrokerError, LastOperation, Outcome};
use patroni_broker::model::{Catalog, DriverKind, PlanSettings};
use patroni_broker::state::keys;
use storage::{Expect, StoreError};

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
    assert_eq!(lab.poll("b1").unwrap(), said);
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}

/// An operator gives a service to another driver while an instance of it lives: that driver's plan is none for it.
#[test]
fn an_instance_whose_service_has_another_driver_can_go() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.rewind("b1", 1);
    let service = &mut lab.catalog.services[0];
    service.driver = DriverKind::Dream;
    service.plans.iter_mut().for_each(|plan| plan.settings = PlanSettings::Dream);
    lab.start();
    let LastOperation::Failed { description, .. } = lab.settle("b1") else {
        panic!("no container can be made")
    };
    assert!(description.contains("one of dream by now"), "{description}");
    lab.provision(order("b2", "{}")).unwrap();
    lab.catalog.services[0].driver = DriverKind::Patroni;
    lab.start();
    let told = lab.broker().bind(binding("b2"));
    assert!(matches!(told, Err(BrokerError::WrongPlan { .. })));
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    assert_eq!(lab.deprovision("b2").unwrap(), Outcome::Succeeded);
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
    let LastOperation::Failed { description, .. } = lab.settle("b1") else { panic!("it succeeded") };
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
    assert_eq!(lab.poll("b1").unwrap(), said);
    assert_eq!(lab.broker().provision(order("b1", r#"{"node-count": 1}"#)), Err(BrokerError::InstanceExists));
    let Bound::Now { binding: bound, .. } = lab.broker().bind(binding("b1")).unwrap() else {
        panic!("it takes time")
    };
    assert_eq!(bound.credentials["uri"], "postgres://appuser:r@10.0.0.9:33006/postgres");
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}

/// A cluster whose record has lost what it needs is not taken for one without users.
#[test]
fn a_cluster_without_credentials_is_no_record() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.stop();
    for field in ["admin_credentials", "superuser_credentials", "app_credentials"] {
        let key = keys::record(&id("b1"));
        let whole = lab.store.get(&key).unwrap().unwrap().value;
        let mut record: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        record.as_object_mut().unwrap().remove(field).unwrap();
        lab.store.put(&key, record.to_string().as_bytes(), None, Expect::Anything).unwrap();
        lab.start();
        match lab.poll("b1") {
            Err(BrokerError::Store(StoreError::Corrupt { reason })) => {
                assert!(reason.contains(field), "{reason}")
            }
            told => panic!("{field}: {told:?}"),
        }
        lab.store.put(&key, &whole, None, Expect::Anything).unwrap();
    }
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
}

/// As the version before this one wrote it: without updates, remembered operations, or bindings' operations.
#[test]
fn a_record_of_the_version_before_is_used() {
    let mut lab = Lab::new("c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.stop();
    let key = keys::record(&id("b1"));
    let mut record: serde_json::Value =
        serde_json::from_slice(&lab.store.get(&key).unwrap().unwrap().value).unwrap();
    record.as_object_mut().unwrap().remove("made_by").unwrap();
    let known = [
        "admin_credentials",
        "allocated_port",
        "app_credentials",
        "context",
        "driver",
        "format",
        "instance_id",
        "nodes",
        "operation",
        "organization_guid",
        "parameters",
        "plan_id",
        "replication_credentials",
        "rest_credentials",
        "service_id",
        "space_guid",
        "superuser_credentials",
        "write_id",
    ];
    let fields: Vec<&String> = record.as_object().unwrap().keys().collect();
    assert_eq!(fields, known);
    lab.store.put(&key, record.to_string().as_bytes(), None, Expect::Anything).unwrap();
    let bound = r#"{"write_id": "w", "binding_id": "x", "service_id": "postgresql", "plan_id": "cluster",
        "parameters": {}, "bind_resource": {}, "created_ms": 1}"#;
    let bindings = keys::bindings(&id("b1")).child("x").unwrap();
    lab.store.put(&bindings, bound.as_bytes(), None, Expect::Absent).unwrap();
    lab.start();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert!(matches!(lab.broker().bind(binding("b1")), Ok(Bound::Now { new: false, .. })));
    assert_eq!(lab.broker().provision(order("b1", "{}")), Ok(Accepted::Already));
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}
