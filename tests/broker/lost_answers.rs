//! A store whose answers get lost: what it was asked to write stands there, or does not, and nobody says which.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use patroni_broker::broker::{BindRequest, BrokerError, LastOperation, Outcome, Unbound, UpdateRequest};
use patroni_broker::state::{Instances, OperationKind, OperationState};
use storage::embedded::{Embedded, Options};
use storage::{Changes, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};

use crate::dream::{bind, change, change_parameters, dream, map, plan};
use crate::lab::{Lab, binding, id, order, unbinding, until};

/// How long it takes to know that an answer is lost: long enough that others go on with what was written.
const SILENCE: Duration = Duration::from_millis(200);

/// Where the binding of [`binding`] stands.
const BINDING: &str = "/serviceinstances/b1/bindings/x";

/// Something that others do.
type Act = Box<dyn FnOnce() + Send>;

/// Loses the answer of one of the broker's writes, the one that the count comes to.
pub struct LostAnswers {
    store: Embedded,
    before: AtomicI64,
    lands: AtomicBool,
    lost: Mutex<Option<String>>,
    /// What happens just before the next access there.
    first: Mutex<Option<(Access, &'static str, Act)>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Access {
    Read,
    Write,
}

impl LostAnswers {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            store: Embedded::in_memory(Options::default()).unwrap(),
            before: AtomicI64::new(i64::MAX),
            lands: AtomicBool::new(true),
            lost: Mutex::default(),
            first: Mutex::default(),
        })
    }

    /// Loses the answer after this many.
    pub fn lose(&self, before: i64, lands: bool) {
        self.lands.store(lands, Ordering::SeqCst);
        self.lost.lock().unwrap().take();
        self.before.store(before, Ordering::SeqCst);
    }

    /// Whether that answer was lost since it was said.
    pub fn was_lost(&self) -> bool {
        self.lost.lock().unwrap().take().is_some()
    }

    fn just_before(&self, access: Access, key: &'static str, act: impl FnOnce() + Send + 'static) {
        *self.first.lock().unwrap() = Some((access, key, Box::new(act)));
    }

    fn begin(&self, access: Access, key: &Key) {
        let is_it = |(of, at, _): &mut (Access, &str, Act)| *of == access && *at == key.as_str();
        let first = self.first.lock().unwrap().take_if(is_it);
        if let Some((_, _, act)) = first {
            act();
        }
    }

    fn write<T>(&self, key: &Key, act: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.begin(Access::Write, key);
        // What members write is not the broker's; a lease whose answer is lost only takes its time.
        let foreign = |word: &str| key.as_str().contains(word);
        let counts = !["/members/", "/initialize", "/config", "/leases/"].iter().any(|word| foreign(word));
        if !counts || self.before.fetch_sub(1, Ordering::SeqCst) != 0 {
            return act();
        }
        *self.lost.lock().unwrap() = Some(key.to_string());
        if self.lands.load(Ordering::SeqCst) {
            // Had it been refused, the answer would be lost as well.
            drop(act());
        }
        thread::sleep(SILENCE);
        Err(StoreError::OutcomeUnknown { key: key.clone() })
    }
}

impl Store for LostAnswers {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.begin(Access::Read, key);
        self.store.get(key)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.store.list(prefix)
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        self.write(key, || self.store.put(key, value, ttl, expect))
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.store.refresh(key, ttl, held)
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.write(key, || self.store.delete(key, expect))
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.store.watch(prefix, after, deadline)
    }
}

/// Asks again, as platforms do, while the store is to blame.
pub fn insist<T>(ask: impl Fn() -> Result<T, BrokerError>) -> Result<T, BrokerError> {
    until("an answer", || match ask() {
        Err(BrokerError::Store(_) | BrokerError::Concurrency) => None,
        answer => Some(answer),
    })
}

/// Every port that a record names is claimed for it, and nothing else is.
fn assert_claims(lab: &Lab, what: &str) {
    let record = lab.record("b1").unwrap().value;
    let public = record.allocated_port.map(|port| format!("/broker/ports/public/{port}"));
    let nodes = record.nodes.iter().flat_map(|node| {
        node.ports.iter().map(|port| format!("/broker/ports/cell/{}/{}", node.backend_id, port.host))
    });
    let mut named: Vec<String> = public.into_iter().chain(nodes).collect();
    named.sort();
    let claimed =
        || lab.keys().into_iter().filter(|key| key.starts_with("/broker/ports/")).collect::<Vec<_>>();
    assert_eq!(claimed(), named, "{what}");
}

/// An instance's whole life, with one answer lost in it.
fn live(lab: &Lab, what: &str) {
    let outcome = insist(|| lab.provision(order("b1", "{}"))).unwrap();
    assert_eq!(outcome, Outcome::Succeeded, "{what}");
    assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }), "{what}");
    assert_eq!(lab.engine.containers().len(), 2, "{what}");
    assert_claims(lab, what);
    insist(|| lab.broker().bind(binding("b1"))).unwrap_or_else(|error| panic!("{what}: {error}"));
    let unbound = insist(|| lab.broker().unbind(unbinding("b1")));
    assert!(matches!(unbound, Ok(Unbound::Now) | Err(BrokerError::BindingGone)), "{what}: {unbound:?}");
    let gone = insist(|| lab.deprovision("b1"));
    assert!(matches!(gone, Ok(Outcome::Succeeded) | Err(BrokerError::InstanceGone)), "{what}: {gone:?}");
    until("the record to go", || lab.record("b1").is_none().then_some(()));
    assert_eq!(lab.engine.containers(), [], "{what}");
    until(what, || lab.keys().is_empty().then_some(()));
}

/// The write that a platform's request or a worker waits for may have landed or not: the instance comes and goes all the
/// same, with its ports claimed and nothing left behind.
fn lose_each_answer(lands: bool, live: fn(&Lab, &str), writes: i64) {
    let store = LostAnswers::new();
    let lab = Lab::on(Arc::clone(&store) as Arc<dyn Store>, "c1@z1 c2@z2");
    for before in 0.. {
        store.lose(before, lands);
        live(&lab, &format!("write {before}, which lands: {lands}"));
        if !store.was_lost() {
            assert!(before > writes, "too few writes were tried: {before}");
            return;
        }
    }
}

#[test]
fn any_answer_may_be_lost() {
    lose_each_answer(true, live, 30);
}

#[test]
fn any_write_may_be_lost() {
    lose_each_answer(false, live, 30);
}

/// A dream's life, with updates and bindings that take time.
fn dream_on(lab: &Lab, what: &str) {
    assert_eq!(insist(|| lab.provision(dream("b1", r#"{"a": 1}"#))), Ok(Outcome::Succeeded), "{what}");
    lab.settle("b1");
    let other = || UpdateRequest { plan: Some(plan("large")), ..change_parameters("b1", r#"{"b": 2}"#) };
    assert_eq!(insist(|| lab.update(other())), Ok(Outcome::Succeeded), "{what}");
    lab.settle("b1");
    let renamed = || UpdateRequest { context: Some(map(r#"{"instance_name": "n"}"#)), ..change("b1") };
    assert_eq!(insist(|| lab.update(renamed())), Ok(Outcome::Succeeded), "{what}");
    let record = lab.record("b1").unwrap().value;
    let is = (record.plan_id.as_str(), &record.parameters, &record.context["instance_name"]);
    assert_eq!(is, ("large", &map(r#"{"a": 1, "b": 2}"#), &serde_json::json!("n")), "{what}");
    let slow = || BindRequest { plan: None, ..bind("b1", "x", r#"{"delay_ms": 20}"#) };
    insist(|| lab.broker().bind(slow())).unwrap_or_else(|error| panic!("{what}: {error}"));
    let unbound = insist(|| lab.broker().unbind(unbinding("b1")));
    assert!(matches!(unbound, Ok(Unbound::Now) | Err(BrokerError::BindingGone)), "{what}: {unbound:?}");
    let gone = insist(|| lab.deprovision("b1"));
    assert!(matches!(gone, Ok(Outcome::Succeeded) | Err(BrokerError::InstanceGone)), "{what}: {gone:?}");
    until(what, || lab.keys().is_empty().then_some(()));
}

#[test]
fn any_answer_about_a_dream_may_be_lost() {
    lose_each_answer(true, dream_on, 12);
}

#[test]
fn any_write_of_a_dream_may_be_lost() {
    lose_each_answer(false, dream_on, 12);
}

/// A mistake in the broker must end one operation, and not the worker that all the others need.
#[test]
fn a_panic_ends_one_operation() {
    let store = LostAnswers::new();
    let lab = Lab::on(Arc::clone(&store) as Arc<dyn Store>, "c1@z1 c2@z2");
    for _ in 0..5 {
        store.just_before(Access::Write, "/routing/allocation/b1", || panic!("as told"));
        let Outcome::Failed { description, .. } = lab.provision(order("b1", "{}")).unwrap() else {
            panic!("it succeeded")
        };
        assert!(description.contains("mistake"), "{description}");
        until("every key to go", || lab.keys().is_empty().then_some(()));
    }
    live(&lab, "after five panics of four workers");
}

/// The answer that was lost said that somebody else's record stands there: reading back must not take it for one's own.
#[test]
fn a_lost_refusal_is_no_success() {
    let store = LostAnswers::new();
    let mut lab = Lab::on(Arc::clone(&store) as Arc<dyn Store>, "c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.stop();
    let instances = Instances::new(Arc::clone(&lab.store));
    let (first, second) = (lab.record("b1").unwrap(), lab.record("b1").unwrap());
    store.lose(0, true);
    assert_eq!(instances.create(first.value.clone()).unwrap_err(), StoreError::Conflict);
    // One's own is told too.
    store.lose(0, true);
    instances.save(first).unwrap();
    // Who has read before must not write after.
    assert_eq!(instances.save(second).unwrap_err(), StoreError::Conflict);
}

/// The instance's record as if a deprovision had begun; nobody performs it.
fn begin_deprovision(store: Arc<dyn Store>) {
    let instances = Instances::new(store);
    let mut record = instances.load(&id("b1")).unwrap().unwrap();
    let operation = record.value.operation.as_mut().unwrap();
    (operation.kind, operation.state) = (OperationKind::Deprovision, OperationState::InProgress);
    instances.save(record).unwrap();
}

/// A deprovision that began while a binding was being written had passed the bindings already: the application was given
/// credentials of what was being removed, and the binding's record stayed.
#[test]
fn a_binding_does_not_outlive_its_instance() {
    let store = LostAnswers::new();
    let mut lab = Lab::on(Arc::clone(&store) as Arc<dyn Store>, "c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    // Nobody is to perform what is written then.
    lab.settled_keys();
    let meanwhile = Arc::clone(&lab.store);
    store.just_before(Access::Write, BINDING, move || begin_deprovision(meanwhile));
    assert_eq!(lab.broker().bind(binding("b1")).err(), Some(BrokerError::Concurrency));
    assert!(!lab.keys().iter().any(|key| key.contains("/bindings/")), "{:?}", lab.keys());
    lab.stop();
}

/// Who only asked again for a binding that stood took it away from a deprovision that then failed.
#[test]
fn a_binding_that_stands_is_the_deprovisions_to_take() {
    let store = LostAnswers::new();
    let mut lab = Lab::on(Arc::clone(&store) as Arc<dyn Store>, "c1@z1 c2@z2");
    lab.provision(order("b1", "{}")).unwrap();
    lab.broker().bind(binding("b1")).unwrap();
    lab.settled_keys();
    let meanwhile = Arc::clone(&lab.store);
    store.just_before(Access::Read, BINDING, move || begin_deprovision(meanwhile));
    assert_eq!(lab.broker().bind(binding("b1")).err(), Some(BrokerError::Concurrency));
    assert!(lab.keys().iter().any(|key| key == BINDING), "{:?}", lab.keys());
    lab.stop();
}

/// Another broker takes the port between the look and the claim.
#[test]
fn a_port_is_claimed_once() {
    let store = LostAnswers::new();
    let lab = Lab::on(Arc::clone(&store) as Arc<dyn Store>, "c1@z1 c2@z2");
    let meanwhile = Arc::clone(&lab.store);
    store.just_before(Access::Write, "/broker/ports/public/30000", move || {
        let claim = br#"{"instance": "b2", "claimed_ms": 99999999999999}"#;
        let key = Key::parse("/broker/ports/public/30000").unwrap();
        meanwhile.put(&key, claim, None, Expect::Absent).unwrap();
    });
    lab.provision(order("b1", "{}")).unwrap();
    assert_eq!(lab.record("b1").unwrap().value.allocated_port, Some(30001));
}
