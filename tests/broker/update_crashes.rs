//! A broker that dies at any of its writes during an update of a cluster, and answers that get lost there: the next one
//! brings it to the same end, and nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;

use patroni_broker::broker::{Accepted, BrokerError, LastOperation, UpdateRequest};
use patroni_broker::model::ContainerName;
use patroni_broker::state::keys;
use serde_json::{Value, json};
use storage::embedded::{Embedded, Options};
use storage::{Changes, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};

use crate::cluster::{CELLS, NEWER, alter_parameters, to_plan, upgrade};
use crate::lab::{Lab, id, until};

/// How many labs there are at a time.
const LABS: usize = 6;

/// Fails at one of the broker's writes.
struct Fragile {
    store: Embedded,
    /// How many writes go well before that.
    before: AtomicI64,
    /// Whether that one lands.
    lands: bool,
    /// Whether nothing goes any more after it, as for a broker that has died.
    is_fatal: bool,
    dead: AtomicBool,
    reached: AtomicBool,
}

impl Fragile {
    fn check(&self) -> Result<&Embedded, StoreError> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { engine: "test", reason: "it is dead".to_owned() });
        }
        Ok(&self.store)
    }

    /// Another broker, where one has died.
    fn live_again(&self, lab: &mut Lab) {
        if !self.dead.load(Ordering::SeqCst) {
            return;
        }
        lab.stop();
        self.dead.store(false, Ordering::SeqCst);
        // Its time is over.
        lab.store.delete(&keys::lease(&id("b1")), Expect::Anything).unwrap();
        lab.start();
    }

    fn write<T>(&self, key: &Key, act: impl Fn(&Embedded) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let store = self.check()?;
        let foreign = |word: &str| key.as_str().contains(word);
        let counts = !["/members/", "/initialize", "/config", "/leases/"].iter().any(|word| foreign(word));
        if !counts || self.before.fetch_sub(1, Ordering::SeqCst) != 0 {
            return act(store);
        }
        self.reached.store(true, Ordering::SeqCst);
        // First, so that nobody sees the write and finds the store alive.
        self.dead.store(self.is_fatal, Ordering::SeqCst);
        if self.lands {
            drop(act(store));
        }
        Err(StoreError::OutcomeUnknown { key: key.clone() })
    }
}

impl Store for Fragile {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.check()?.get(key)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.check()?.list(prefix)
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        self.write(key, |store| store.put(key, value, ttl, expect))
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.check()?.refresh(key, ttl, held)
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.write(key, |store| store.delete(key, expect))
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.check()?.watch(prefix, after, deadline)
    }
}

/// Whether nothing is under way, nor owed.
fn is_quiet(lab: &Lab) -> bool {
    matches!(lab.store.get(&keys::pending(&id("b1"))), Ok(None))
}

/// A kind of update.
struct Kind {
    nodes: usize,
    prepare: fn(&mut Lab),
    request: fn() -> UpdateRequest,
    /// The cells in the end.
    placed: &'static [&'static str],
    /// Whether it comes about.
    succeeds: bool,
    /// What else is so in the end.
    check: fn(&Lab, &str),
}

impl Kind {
    /// Performs it with one failure; tells whether the write was reached.
    fn live(&self, before: usize, lands: bool, is_fatal: bool) -> bool {
        let what = format!("write {before}, which lands: {lands}, and is fatal: {is_fatal}");
        let store = Arc::new(Fragile {
            store: Embedded::in_memory(Options::default()).unwrap(),
            before: AtomicI64::new(i64::MAX),
            lands,
            is_fatal,
            dead: AtomicBool::new(false),
            reached: AtomicBool::new(false),
        });
        let mut lab = Lab::on(Arc::clone(&store) as Arc<dyn Store>, CELLS);
        lab.offer_updates();
        lab.cluster(self.nodes);
        (self.prepare)(&mut lab);
        until("the note to go", || is_quiet(&lab).then_some(()));
        store.before.store(i64::try_from(before).unwrap(), Ordering::SeqCst);
        let ended = until(&format!("the update to end: {what}"), || {
            store.live_again(&mut lab);
            let request = UpdateRequest { accepts_incomplete: true, ..(self.request)() };
            match lab.broker().update(request) {
                Ok(Accepted::Running { .. }) | Err(BrokerError::Store(_) | BrokerError::Concurrency) => {}
                Ok(Accepted::Already) => return Some(true),
                told => panic!("{what}: {told:?}"),
            }
            until(&format!("it to go on: {what}"), || match lab.poll("b1") {
                _ if store.dead.load(Ordering::SeqCst) => Some(None),
                Ok(LastOperation::InProgress { .. }) | Err(BrokerError::Store(_)) => None,
                // It may be the order's, where the update was not recorded.
                Ok(LastOperation::Succeeded { .. }) => Some(None),
                Ok(LastOperation::Failed { instance_usable, .. }) => {
                    assert_eq!(instance_usable, Some(true), "{what}");
                    Some(Some(false))
                }
                Err(error) => panic!("{what}: {error:?}"),
            })
        });
        assert_eq!(ended, self.succeeds, "{what}");
        until(&format!("the note to go: {what}"), || {
            store.live_again(&mut lab);
            is_quiet(&lab).then_some(())
        });
        store.before.store(i64::MAX, Ordering::SeqCst);
        // Whoever looks for what is left over may have come to that write.
        store.live_again(&mut lab);
        let reached = store.reached.load(Ordering::SeqCst);
        let mut placed = lab.placed();
        placed.sort();
        assert_eq!(placed, self.placed, "{what}");
        (self.check)(&lab, &what);
        let events = lab.patroni.events("b1");
        assert!(events.iter().all(|event| !event.ends_with("lost")), "{what}: {events:?}");
        // A request that died, or whose record's answer was lost, may leave claims; nothing else does.
        if reached && is_fatal {
            lab.reap();
        }
        lab.assert_as_recorded(&what);
        lab.assert_goes();
        reached
    }

    /// At each write in turn: every second one lands.
    fn live_through(&self, is_fatal: bool, writes: usize) {
        let next = AtomicUsize::new(0);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..LABS {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let before = next.fetch_add(1, Ordering::SeqCst);
                        if !self.live(before / 2, before.is_multiple_of(2), is_fatal) {
                            over.store(true, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let tried = next.load(Ordering::SeqCst) / 2;
        assert!(tried > writes, "too few writes were tried: {tried}");
    }
}

fn nothing(_: &mut Lab) {}

fn as_placed(_: &Lab, _: &str) {}

const GROW: Kind = Kind {
    nodes: 1,
    prepare: nothing,
    request: || alter_parameters(r#"{"node-count": 3}"#),
    placed: &["c1", "c2", "c3"],
    succeeds: true,
    check: |lab, what| assert_eq!(lab.record("b1").unwrap().value.parameters["node-count"], 3, "{what}"),
};

/// Limits and settings, one of which takes a restart.
const PLAN: Kind = Kind {
    nodes: 2,
    prepare: |lab| {
        lab.patroni.trouble(|troubles| troubles.needs_restart = ["max_connections".to_owned()].into());
    },
    request: || to_plan("large"),
    placed: &["c1", "c2"],
    succeeds: true,
    check: |lab, what| is_of(lab, "large", Some(1 << 30), json!({"max_connections": 200}), what),
};

/// A replica lags that would have to be well before the leader is restarted.
const NO_PLAN: Kind = Kind {
    prepare: |lab| {
        (PLAN.prepare)(lab);
        lab.patroni.trouble(|troubles| troubles.held_back = ["c2".to_owned()].into());
        lab.change_plan(|plan| plan.maximum_polling_duration_s = 1);
        lab.catalog.services[0].plans.last_mut().unwrap().maximum_polling_duration_s = 1;
        lab.start();
    },
    succeeds: false,
    check: |lab, what| is_of(lab, "cluster", None, json!({}), what),
    ..PLAN
};

fn is_of(lab: &Lab, plan: &str, memory_bytes: Option<u64>, parameters: Value, what: &str) {
    let record = lab.record("b1").unwrap().value;
    assert_eq!(record.plan_id.as_str(), plan, "{what}");
    for node in &record.nodes {
        assert_eq!((node.plan_id.as_str(), node.build.as_ref().unwrap().memory_bytes), (plan, memory_bytes));
        let spec = lab.engine.spec(&ContainerName::of(&node.node_id)).unwrap();
        assert_eq!(spec.memory_bytes, memory_bytes, "{what}");
    }
    assert_eq!(lab.patroni.config("b1")["postgresql"]["parameters"], parameters, "{what}");
}

const MOVE: Kind = Kind {
    nodes: 1,
    prepare: nothing,
    request: || alter_parameters(r#"{"cells": ["c3"]}"#),
    placed: &["c3"],
    succeeds: true,
    check: as_placed,
};

const SHRINK: Kind = Kind {
    nodes: 2,
    prepare: nothing,
    request: || alter_parameters(r#"{"node-count": 1}"#),
    placed: &["c1"],
    succeeds: true,
    check: as_placed,
};

const UPGRADE: Kind = Kind {
    nodes: 2,
    prepare: |lab| lab.offer_upgrade(NEWER),
    request: upgrade,
    placed: &["c1", "c2"],
    succeeds: true,
    check: as_placed,
};

const UNDONE: Kind = Kind {
    nodes: 1,
    prepare: |lab| {
        lab.patroni.trouble(|troubles| troubles.held_back = ["c3".to_owned()].into());
        lab.change_plan(|plan| plan.maximum_polling_duration_s = 1);
    },
    request: || alter_parameters(r#"{"cells": ["c3"]}"#),
    placed: &["c1"],
    succeeds: false,
    check: as_placed,
};

#[test]
fn a_broker_may_die_anywhere_in_a_move() {
    MOVE.live_through(true, 10);
}

#[test]
fn any_answer_about_a_move_may_be_lost() {
    MOVE.live_through(false, 10);
}

#[test]
fn a_broker_may_die_anywhere_while_a_cluster_grows() {
    GROW.live_through(true, 15);
}

#[test]
fn any_answer_about_a_growth_may_be_lost() {
    GROW.live_through(false, 15);
}

#[test]
fn a_broker_may_die_anywhere_in_a_change_of_plan() {
    PLAN.live_through(true, 10);
}

#[test]
fn any_answer_about_a_change_of_plan_may_be_lost() {
    PLAN.live_through(false, 10);
}

#[test]
fn a_broker_may_die_anywhere_while_a_change_of_plan_is_undone() {
    NO_PLAN.live_through(true, 8);
}

#[test]
fn a_broker_may_die_anywhere_while_a_cluster_shrinks() {
    SHRINK.live_through(true, 5);
}

#[test]
fn a_broker_may_die_anywhere_in_an_upgrade() {
    UPGRADE.live_through(true, 8);
}

#[test]
fn a_broker_may_die_anywhere_in_an_undoing() {
    UNDONE.live_through(true, 8);
}

/// The effects of the later steps are there already, and each step is done once more.
#[test]
fn every_step_of_an_update_may_run_twice() {
    for kind in [MOVE, GROW, SHRINK, UPGRADE, PLAN] {
        let mut lab = Lab::clustered(CELLS, kind.nodes);
        (kind.prepare)(&mut lab);
        lab.begin((kind.request)());
        assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }));
        let before = lab.engine.containers();
        let steps = lab.record("b1").unwrap().value.operation.unwrap().steps.len();
        for done in 0..=steps {
            lab.rewind("b1", done);
            lab.start();
            assert!(matches!(lab.settle("b1"), LastOperation::Succeeded { .. }), "from step {done}");
            assert_eq!(lab.engine.containers(), before, "from step {done}");
            lab.assert_as_recorded(&format!("from step {done}"));
        }
        lab.assert_goes();
    }
}
