//! Who is told the credentials that an instance has for the store: its containers, and nobody else.

use std::sync::{Mutex, Once};

use patroni_broker::broker::{Bound, LastOperation};
use patroni_broker::cells::ContainerState;
use patroni_broker::model::ContainerName;
use patroni_broker::state::OperationState;

use crate::fake_guests::{KEY_LINE, Trouble};
use crate::lab::{IMAGE, Lab, binding, order, secrets, until};

const CELLS: &str = "c1@z1 c2@z1 c3@z2 c4@z2";

#[test]
fn a_container_is_told_who_it_is() {
    let lab = Lab::isolated(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    let record = lab.record("b1").unwrap().value;
    let password = record.store_credentials.unwrap().password;
    assert!(uuid::Uuid::parse_str(password.expose()).is_ok_and(|uuid| uuid.to_string() == password.expose()));
    for node in &record.nodes {
        let spec = lab.engine.spec(&ContainerName::of(&node.node_id)).unwrap();
        let told = secrets(&spec);
        let store = serde_json::json!({"username": "guest-b1", "password": password.expose()});
        assert_eq!(told["store"], store);
        assert_eq!(told["store_tls"]["ca"], "the authority");
        assert_eq!(told["store_tls"]["cert"], "the chain");
        assert!(told["store_tls"]["key"].as_str().unwrap().contains(KEY_LINE));
        let env = |name: &str| spec.env[name].as_str();
        assert_eq!(env("BROKER_STORE_ENGINE"), "etcd");
        assert_eq!(env("BROKER_STORE_ENDPOINTS"), "https://10.0.0.5:2379");
        assert_eq!(env("BROKER_STORE_SESSION_NODE"), "agent-5");
    }
}

/// What was logged in this process so far.
static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Logged;

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}\n", record.target(), record.args());
        LOGGED.lock().unwrap().push_str(&line);
    }

    fn flush(&self) {}
}

fn log_everything() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Logged).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// Its containers log what they know, and end again and again: what the user and the operator are told of it is clean.
#[test]
fn nobody_else_is_told_the_credentials() {
    log_everything();
    let mut lab = Lab::isolated(CELLS);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.guests.trouble(Trouble::Away);
    let mut request = order("b1", "{}");
    request.accepts_incomplete = true;
    lab.broker().provision(request).unwrap();
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    let record = lab.record("b1").unwrap().value;
    let password = record.store_credentials.as_ref().unwrap().password.expose().to_owned();
    let clean = |what: &str, text: &str| {
        assert!(!text.contains(&password) && !text.contains(KEY_LINE), "{what}: {text}");
    };
    for node in &record.nodes {
        let spec = lab.engine.spec(&ContainerName::of(&node.node_id)).unwrap();
        clean("the container, beside its file", &format!("{spec:?}"));
    }
    for view in lab.engine.containers() {
        clean("its labels", &format!("{view:?}"));
    }
    clean("the record", &format!("{record:?} {:?}", lab.guests.guest("b1")));
    lab.engine.add_image(IMAGE, &["I am", &format!("guest-b1:{password}"), KEY_LINE]);
    until("the order to fail", || {
        for view in lab.engine.containers() {
            if view.state == ContainerState::Running {
                lab.engine.crash(&view.name, 1);
            }
        }
        // It may have been undone, too, by now.
        let operation = lab.record("b1").unwrap().value.operation.unwrap();
        (operation.failure.is_some() || operation.state == OperationState::Failed).then_some(())
    });
    let LastOperation::Failed { description, .. } = lab.settle("b1") else { panic!("it succeeded") };
    assert!(description.contains("guest-b1:<redacted> | <redacted>"), "{description}");
    lab.deprovision("b1").unwrap();
    lab.stop();
    let logged = LOGGED.lock().unwrap();
    assert!(logged.contains("guest-b1:<redacted>"), "nothing was logged");
    clean("the log", &logged);
}

#[test]
fn a_binding_has_no_part_in_it() {
    let lab = Lab::isolated(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    let Bound::Now { binding: bound, .. } = lab.broker().bind(binding("b1")).unwrap() else {
        panic!("it takes time")
    };
    let bound = serde_json::to_string(&bound.credentials).unwrap();
    let password = lab.record("b1").unwrap().value.store_credentials.unwrap().password;
    assert!(!bound.contains(password.expose()) && !bound.contains("guest"), "{bound}");
}
