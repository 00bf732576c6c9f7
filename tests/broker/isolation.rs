//! Each instance is a guest of the store with credentials of its own: who may write what, from when until when.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use patroni_broker::broker::{LastOperation, Outcome};
use patroni_broker::cells::ContainerSpec;
use patroni_broker::cells::fake::{self, Call};
use patroni_broker::model::{Catalog, ContainerName, NodeId, PlanId};
use patroni_broker::scheduler::{self, Step};
use patroni_broker::state::{Instances, OperationKind, keys};
use storage::embedded::http::{Server, ServerOptions};
use storage::embedded::{Embedded, Options};
use storage::remote::{Credentials, Reach};
use storage::{
    AccessControl, Changes, Deadline, Entry, EtcdV2, Expect, Guest, Key, Listing, Revision, Rights, Store,
    StoreError, Ttl,
};

use crate::dream::departure;
use crate::fake_guests::Trouble;
use crate::lab::{Lab, id, order, secrets, until};

const CELLS: &str = "c1@z1 c2@z1 c3@z2 c4@z2";

/// What an instance with these nodes may write.
fn of_patroni(instance: &str, nodes: &[String]) -> BTreeSet<String> {
    let names = ["initialize", "leader", "config", "status", "sync", "failover", "history", "failsafe"];
    let members = nodes.iter().map(|node| format!("members/{node}"));
    let names = names.map(str::to_owned).into_iter().chain(members);
    names.map(|name| format!("/service/{instance}/{name}")).collect()
}

fn nodes(lab: &Lab, instance: &str) -> Vec<String> {
    let record = lab.record(instance).unwrap().value;
    record.nodes.iter().map(|node| node.node_id.to_string()).collect()
}

/// The guest is the instance's, and may do what the record's nodes need: no more and no less.
fn assert_admitted(lab: &Lab, instance: &str, what: &str) {
    let guest = lab.guests.guest(instance).unwrap_or_else(|| panic!("{what}: there is no guest"));
    let recorded = lab.record(instance).unwrap().value.store_credentials.unwrap();
    assert_eq!(guest.password, recorded.password.expose(), "{what}");
    let read: Vec<&str> = guest.rights.read_under.iter().map(|key| key.as_str()).collect();
    assert_eq!(read, [format!("/service/{instance}").as_str(), "/postgresql-patroni"], "{what}");
    let write: BTreeSet<String> = guest.rights.write.iter().map(ToString::to_string).collect();
    assert_eq!(write, of_patroni(instance, &nodes(lab, instance)), "{what}");
    assert_eq!(lab.guests.breaches(), Vec::<String>::new(), "{what}: a member was refused");
}

#[test]
fn an_instance_is_a_guest_with_its_own_rights() {
    let lab = Lab::isolated(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    assert_admitted(&lab, "b1", "a cluster of two");
    assert_eq!(lab.guests.names(), ["b1"]);
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}

/// `b1` is a prefix of `b10`, and neither has to do with the other.
#[test]
fn instances_of_similar_names_do_not_mix() {
    let lab = Lab::isolated(CELLS);
    for instance in ["b10", "b1"] {
        lab.provision(order(instance, r#"{"node-count": 1}"#)).unwrap();
    }
    let passwords = ["b1", "b10"].map(|instance| {
        assert_admitted(&lab, instance, instance);
        lab.guests.guest(instance).unwrap().password
    });
    assert_ne!(passwords[0], passwords[1]);
    lab.deprovision("b1").unwrap();
    assert_eq!(lab.guests.names(), ["b10"]);
    assert_admitted(&lab, "b10", "after b1 has gone");
}

/// A replaced node's member has no business in the store any more, its container be there or not.
#[test]
fn rights_follow_the_placement() {
    let check = |trouble: fake::Trouble| {
        let lab = Lab::isolated(CELLS);
        lab.cell("c1").trouble(Call::Create, trouble.clone());
        lab.cell("c3").trouble(Call::Create, trouble.clone());
        lab.provision(order("b1", "{}")).unwrap();
        let passed_over = lab.record("b1").unwrap().value.operation.unwrap().passed_over;
        assert_eq!(passed_over.len(), 2, "{trouble:?}");
        let guest = lab.guests.guest("b1").unwrap();
        let write: BTreeSet<String> = guest.rights.write.iter().map(ToString::to_string).collect();
        assert_eq!(write, of_patroni("b1", &nodes(&lab, "b1")), "{trouble:?}");
        lab.deprovision("b1").unwrap();
        lab.assert_nothing_left();
    };
    check(fake::Trouble::Refuse("it is full".to_owned()));
    check(fake::Trouble::SilentWithoutEffect);
    check(fake::Trouble::SilentWithEffect);
}

/// What the records say comes to what a member can do, by the embedded store's own API.
#[test]
fn the_embedded_store_holds_instances_to_their_rights() {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(Arc::clone(&store), listener, ServerOptions::basic("keeper", "kept")).unwrap();
    let guests = Arc::new(server.guests());
    let mut lab = Lab::on(store, CELLS);
    lab.real_guests = Some(Arc::clone(&guests) as Arc<dyn AccessControl>);
    lab.start();
    let client = |instance: &str| {
        let access = guests.client_access(&lab.guests.guest(instance).unwrap());
        let (username, password) = (access.username.unwrap(), access.password.unwrap());
        EtcdV2::connect(&Reach::of(&access.endpoints), Some(Credentials { username, password })).unwrap()
    };
    for instance in ["b1", "b10"] {
        lab.provision(order(instance, r#"{"node-count": 1}"#)).unwrap();
    }
    let mine = client("b1");
    let key = |raw: &str| Key::parse(raw).unwrap();
    let put = |at: &str| mine.put(&key(at), b"{}", None, Expect::Anything).is_ok();
    for at in of_patroni("b1", &nodes(&lab, "b1")) {
        assert!(put(&at), "{at}");
    }
    assert!(mine.get(&keys::record(&id("b1"))).unwrap().is_some());
    for at in ["/service/b1/state", "/service/b1/x", "/service/b10/leader", "/routing/nextport", "/broker/x"]
    {
        assert!(!put(at), "{at}");
    }
    assert!(mine.get(&keys::record(&id("b10"))).is_err());
    let seen = mine.list(&Key::root()).unwrap().entries;
    assert!(seen.iter().all(|entry| entry.key.is_under(&keys::scope(&id("b1")))), "{seen:?}");
    let other = client("b10");
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    assert!(mine.get(&keys::leader(&id("b1"))).is_err() && other.list(&keys::scope(&id("b10"))).is_ok());
    assert_eq!(guests.guests(), Ok(vec!["b10".to_owned()]));
    lab.deprovision("b10").unwrap();
    assert_eq!(guests.guests(), Ok(vec![]));
    lab.assert_nothing_left();
}

#[test]
fn no_container_is_made_before_its_guest_is_admitted() {
    let lab = Lab::isolated(CELLS);
    lab.guests.set_trouble(Some(Trouble::Away));
    lab.broker().provision(order("b1", "{}")).unwrap();
    until("the operation to wait for the store", || {
        let operation = lab.record("b1").unwrap().value.operation.unwrap();
        operation.description.contains("the fake is away").then_some(())
    });
    let told = lab.poll("b1").unwrap();
    let LastOperation::InProgress { description, .. } = &told else { panic!("{told:?}") };
    let members = "members stopped, stopped: the store's access control: ";
    assert!(description.starts_with(members) && description.contains("the fake is away"), "{description}");
    // It is tried again, more than once.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(lab.engine.containers(), []);
    lab.guests.set_trouble(None);
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_admitted(&lab, "b1", "after the outage");
}

#[test]
fn a_lost_answer_is_asked_for_again() {
    for trouble in [Trouble::LostWithEffect, Trouble::LostWithoutEffect, Trouble::Away] {
        let lab = Lab::isolated(CELLS);
        lab.guests.trouble(trouble);
        lab.provision(order("b1", "{}")).unwrap();
        assert_admitted(&lab, "b1", "admitted");
        lab.guests.trouble(trouble);
        assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded, "{trouble:?}");
        lab.assert_nothing_left();
    }
}

/// Who lets guests in is away for longer than the order may take: it ends with what it waited for, and is undone when
/// there is an answer.
#[test]
fn an_outage_ends_the_order_in_time() {
    let mut lab = Lab::isolated(CELLS);
    lab.catalog.services[0].plans[0].maximum_polling_duration_s = 1;
    lab.start();
    lab.guests.set_trouble(Some(Trouble::Away));
    let mut request = order("b1", "{}");
    request.accepts_incomplete = true;
    lab.broker().provision(request).unwrap();
    until("the order to fail", || lab.record("b1")?.value.operation?.failure);
    lab.guests.set_trouble(None);
    let LastOperation::Failed { description, .. } = lab.settle("b1") else { panic!("it succeeded") };
    assert!(description.contains("the fake is away"), "{description}");
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

/// It never will: nobody waits for it, and the operation can be asked for again.
#[test]
fn a_refusal_ends_the_operation() {
    let lab = Lab::isolated(CELLS);
    let refused = |outcome: Outcome| {
        let Outcome::Failed { description, .. } = outcome else { panic!("it succeeded") };
        assert!(description.contains("the fake says no"), "{description}");
    };
    lab.guests.trouble(Trouble::Refuses);
    refused(lab.provision(order("b1", "{}")).unwrap());
    lab.assert_nothing_left();
    // Neither in nor out.
    lab.guests.set_trouble(Some(Trouble::Refuses));
    refused(lab.provision(order("b1", "{}")).unwrap());
    refused(lab.deprovision("b1").unwrap());
    lab.guests.set_trouble(None);
    assert_eq!(lab.deprovision("b1").unwrap(), Outcome::Succeeded);
    lab.assert_nothing_left();
}

#[test]
fn an_order_that_fails_leaves_no_guest() {
    let lab = Lab::isolated(CELLS);
    let mut request = order("b1", "{}");
    request.plan = PlanId::parse("no-image").unwrap();
    assert!(matches!(lab.provision(request).unwrap(), Outcome::Failed { .. }));
    assert!(lab.guests.admitted() > 0, "it failed too early");
    lab.assert_nothing_left();
    // One that is refused before anything is recorded has not been a guest at all.
    let admitted = lab.guests.admitted();
    lab.provision(order("b1", r#"{"node-count": 9}"#)).unwrap_err();
    assert_eq!(lab.guests.admitted(), admitted);
    lab.assert_nothing_left();
}

/// A broker died before it recorded a step: with the step's effects, with its guest alone, or without any.
#[test]
fn a_crash_at_any_step_of_a_provision_leaves_the_right_guest() {
    for done in 0.. {
        for (containers, guest) in [(true, true), (false, true), (false, false)] {
            let what = format!("from step {done}, with containers: {containers}, with its guest: {guest}");
            let mut lab = Lab::isolated(CELLS);
            lab.provision(order("b1", "{}")).unwrap();
            let before = lab.engine.containers();
            let steps = lab.record("b1").unwrap().value.operation.unwrap().steps;
            if done > steps.len() {
                return;
            }
            lab.rewind("b1", done);
            for step in steps[done..].iter().filter(|_| !containers) {
                let Step::AddNode { node, .. } = step else { continue };
                lab.engine.lose(&ContainerName::of(node));
            }
            // Once a node is recorded as added, so is its guest.
            if !guest && !steps[..done].iter().any(|step| matches!(step, Step::AddNode { .. })) {
                lab.guests.lose("b1");
            }
            lab.start();
            assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }), "{what}");
            assert_admitted(&lab, "b1", &what);
            assert_eq!(lab.engine.containers(), before, "{what}");
            lab.deprovision("b1").unwrap();
            lab.assert_nothing_left();
        }
    }
}

/// The same where the operation fails from there: its time is over, its plan has left the catalog, and no member says
/// anything.
#[test]
fn a_crash_at_any_step_of_what_fails_leaves_no_guest() {
    let mut failed = 0;
    for done in 0.. {
        let mut lab = Lab::isolated(CELLS);
        lab.provision(order("b1", "{}")).unwrap();
        lab.rewind("b1", done);
        let mut record = lab.record("b1").unwrap();
        let operation = record.value.operation.as_mut().unwrap();
        if done > operation.steps.len() {
            break;
        }
        operation.deadline_ms = 1;
        Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
        lab.catalog = Catalog::default();
        lab.patroni.silence("b1");
        for member in nodes(&lab, "b1") {
            let key = keys::member(&id("b1"), &member.try_into().unwrap());
            lab.store.delete(&key, Expect::Anything).unwrap();
        }
        lab.start();
        if matches!(lab.settle("b1"), LastOperation::Failed { .. }) {
            assert_eq!(lab.guests.names(), Vec::<String>::new(), "from step {done}");
            failed += 1;
        }
        lab.patroni.silent.lock().unwrap().clear();
        lab.deprovision("b1").unwrap();
        lab.assert_nothing_left();
    }
    assert_eq!(failed, 4, "from how many steps it comes to one that fails: up to the wait for members");
}

/// Any part of the effects may be there, unrecorded.
#[test]
fn a_crash_at_any_step_of_a_deprovision_leaves_no_guest() {
    for done in 0.. {
        let mut lab = Lab::isolated(CELLS);
        lab.provision(order("b1", "{}")).unwrap();
        lab.stop();
        let mut record = lab.record("b1").unwrap();
        let containers = record.value.containers();
        let steps = scheduler::deprovision(&containers);
        if done > steps.len() {
            break;
        }
        for (node, _) in containers.iter().take(done) {
            lab.engine.lose(&ContainerName::of(node));
        }
        if steps[..done].contains(&Step::ForgetMembers) {
            lab.guests.lose("b1");
        }
        let operation = record.value.operation.as_mut().unwrap();
        (operation.kind, operation.steps) = (OperationKind::Deprovision, steps);
        Instances::new(Arc::clone(&lab.store)).save(record).unwrap();
        lab.rewind("b1", 0);
        lab.start();
        until("the instance to go", || lab.record("b1").is_none().then_some(()));
        lab.assert_nothing_left();
    }
}

/// The door does not answer while the instance goes: nothing of it is forgotten, and it goes when it answers again.
#[test]
fn an_outage_holds_a_deprovision_up() {
    let lab = Lab::isolated(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.guests.set_trouble(Some(Trouble::Away));
    lab.broker().deprovision(departure("b1", true)).unwrap();
    until("the operation to wait for the store", || {
        let operation = lab.record("b1").unwrap().value.operation.unwrap();
        operation.description.contains("the fake is away").then_some(())
    });
    assert!(lab.keys().contains(&"/service/b1/initialize".to_owned()), "keys went before who may write them");
    lab.guests.set_trouble(None);
    until("the instance to go", || lab.record("b1").is_none().then_some(()));
    lab.assert_nothing_left();
}

/// The container that the broker makes when it starts and one of `b1`'s is gone.
fn made_anew(lab: &mut Lab) -> ContainerSpec {
    let node: NodeId = nodes(lab, "b1")[0].clone().try_into().unwrap();
    lab.engine.lose(&ContainerName::of(&node));
    lab.start();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    lab.engine.spec(&ContainerName::of(&node)).unwrap()
}

/// Ordered before an administrator was named, and its containers know no other credentials.
#[test]
fn an_instance_without_credentials_goes_on_with_the_shared_access() {
    let mut lab = Lab::new(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    let before = lab.engine.containers();
    assert!(lab.record("b1").unwrap().value.store_credentials.is_none());
    lab.isolates = true;
    lab.rewind("b1", 0);
    lab.start();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_eq!(lab.engine.containers(), before, "its containers were made anew");
    lab.rewind("b1", 1);
    assert_eq!(secrets(&made_anew(&mut lab))["store"], serde_json::Value::Null);
    assert_eq!(lab.guests.admitted(), 0);
    lab.deprovision("b1").unwrap();
    lab.assert_nothing_left();
}

/// The administrator has left the configuration: nobody can make it a guest any more.
#[test]
fn an_instance_without_an_administrator_shares_the_access() {
    let mut lab = Lab::isolated(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.isolates = false;
    lab.rewind("b1", 1);
    assert_eq!(secrets(&made_anew(&mut lab))["store"], serde_json::Value::Null);
    lab.deprovision("b1").unwrap();
}

/// A container is made anew in the middle of a wait: its guest may have gone as well.
#[test]
fn a_container_made_anew_finds_its_guest() {
    let lab = Lab::isolated(CELLS);
    lab.patroni.silent.lock().unwrap().insert("b1".to_owned());
    lab.broker().provision(order("b1", "{}")).unwrap();
    until("the containers to run", || (lab.running().len() == 2).then_some(()));
    lab.guests.lose("b1");
    let node: NodeId = nodes(&lab, "b1")[0].clone().try_into().unwrap();
    lab.engine.lose(&ContainerName::of(&node));
    until("the container to be made anew", || (lab.running().len() == 2).then_some(()));
    lab.patroni.silent.lock().unwrap().clear();
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
    assert_admitted(&lab, "b1", "made anew");
}

/// A broker that had lost its lease admitted a guest late, when the instance was gone. One that has the lease may be
/// about to write the record.
#[test]
fn a_guest_without_a_record_is_dismissed() {
    let mut lab = Lab::isolated(CELLS);
    lab.provision(order("b1", "{}")).unwrap();
    lab.stop();
    for name in ["b10", "late", "held"] {
        let guest = Guest { name: name.to_owned(), password: name.to_owned(), rights: Rights::default() };
        lab.guests.admit(&guest).unwrap();
    }
    lab.store.put(&keys::record(&id("b10")), b"{", None, Expect::Absent).unwrap();
    lab.store.put(&keys::lease(&id("held")), b"another", None, Expect::Absent).unwrap();
    lab.start();
    until("the guest to go", || (!lab.guests.names().contains(&"late".to_owned())).then_some(()));
    assert_eq!(lab.guests.names(), ["b1", "b10", "held"]);
    lab.store.delete(&keys::lease(&id("held")), Expect::Anything).unwrap();
    until("the other guest to go", || (lab.guests.names() == ["b1", "b10"]).then_some(()));
    assert_admitted(&lab, "b1", "left alone");
}

/// A store in which an instance's record is written just before its lease is taken: after the reaper has looked for it.
struct RecordComes(Embedded);

impl Store for RecordComes {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.0.get(key)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.0.list(prefix)
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        if *key == keys::lease(&id("late")) {
            self.0.put(&keys::record(&id("late")), b"{", None, Expect::Anything)?;
        }
        self.0.put(key, value, ttl, expect)
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.0.refresh(key, ttl, held)
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.0.delete(key, expect)
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.0.watch(prefix, after, deadline)
    }
}

#[test]
fn a_guest_whose_record_has_just_come_stays() {
    let store = RecordComes(Embedded::in_memory(Options::default()).unwrap());
    let mut lab = Lab::on(Arc::new(store), CELLS);
    lab.isolates = true;
    let guest = Guest { name: "late".to_owned(), password: "late".to_owned(), rights: Rights::default() };
    lab.guests.admit(&guest).unwrap();
    lab.start();
    until("the reaper to come", || lab.keys().contains(&"/service/late/state".to_owned()).then_some(()));
    // It ends what it is at.
    lab.stop();
    assert_eq!(lab.guests.names(), ["late"]);
}
