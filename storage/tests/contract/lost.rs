//! Answers that are lost: what was sent is never sent again, and read back it is known for one's own or another's.

use std::time::Duration;

use storage::{Expect, StoreError, Ttl};
use test_servers::Mode;

use crate::Scenario;
use crate::bench::{Bench, HASTY, PATIENT};
use crate::say::{is_outage, key, value, write_id};

pub const SCENARIOS: &[Scenario] = &[
    ("a_lost_answer_is_unknown_and_never_sent_again", a_lost_answer_is_unknown_and_never_sent_again),
    ("what_was_written_is_known_for_ones_own", what_was_written_is_known_for_ones_own),
    ("a_connection_closed_while_idle_costs_nothing", a_connection_closed_while_idle_costs_nothing),
];

fn a_lost_answer_is_unknown_and_never_sent_again(bench: &mut Bench) {
    let (straight, ttl) = (bench.store.clone(), Ttl::seconds(bench.can.least_ttl.max(30)));
    let served = bench.served();
    let at = key("/a");
    let unknown = StoreError::OutcomeUnknown { key: at.clone() };
    for mode in [Mode::LoseAnswers, Mode::WithholdAnswers, Mode::Truncate] {
        let (bad, good) = (served.proxy(), served.proxy());
        for endpoints in [vec![bad.address()], vec![bad.address(), good.address()]] {
            let store = served.through(&endpoints, PATIENT);
            let held = straight.put(&at, b"0", Some(ttl), Expect::Anything).unwrap();
            let what = format!("{mode:?}, {} endpoints", endpoints.len());
            // Makes the connection, so that it is there to be lost.
            store.get(&at).unwrap();
            let sent = || (bad.requests().len(), good.requests().len());

            bad.set(mode).unwrap();
            let before = sent();
            let mine = write_id();
            let put = store.put(&at, &mine, None, Expect::Unchanged(held));
            assert_eq!(put, Err(unknown.clone()), "{what}");
            assert_eq!(sent(), (before.0 + 1, before.1), "{what}: a put was sent again");
            assert_eq!(value(&*straight, &at), Some(mine), "{what}: it had landed");

            // A client that has asked nobody yet asks this one first.
            let store = served.through(&endpoints, HASTY);
            let before = sent();
            assert_eq!(store.delete(&at, Expect::Anything), Err(unknown.clone()), "{what}");
            assert_eq!(sent(), (before.0 + 1, before.1), "{what}: a delete was sent again");
            assert_eq!(straight.get(&at), Ok(None), "{what}");

            let held = straight.put(&at, b"1", Some(ttl), Expect::Absent).unwrap();
            let store = served.through(&endpoints[..1], HASTY);
            is_outage(&what, &store.refresh(&at, ttl, held), true);
            bad.set(Mode::Pass).unwrap();
        }
    }
}

/// Two write at once and lose their answers; each finds out by reading which of them it was.
fn what_was_written_is_known_for_ones_own(bench: &mut Bench) {
    let straight = bench.store.clone();
    let served = bench.served();
    let proxy = served.proxy();
    let check = |mode: Mode, landed: bool| {
        let at = key("/own").child(&format!("{mode:?}")).unwrap();
        let first = straight.put(&at, b"first", None, Expect::Absent).unwrap();
        let store = served.through(&[proxy.address()], PATIENT);
        proxy.set(mode).unwrap();
        let (mine, other) = (write_id(), write_id());
        let put = store.put(&at, &mine, None, Expect::Unchanged(first));
        assert_eq!(put, Err(StoreError::OutcomeUnknown { key: at.clone() }), "{mode:?}");
        let others = straight.put(&at, &other, None, Expect::Unchanged(first));
        assert_eq!(others.is_ok(), !landed, "{mode:?}: one of them is first: {others:?}");
        proxy.set(Mode::Pass).unwrap();
        let expected = if landed { &mine } else { &other };
        assert_eq!(value(&*store, &at).as_ref(), Some(expected), "{mode:?}");
        // What did not arrive does not arrive later either.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(value(&*straight, &at).as_ref(), Some(expected), "{mode:?}");
    };
    check(Mode::LoseAnswers, true);
    check(Mode::Hang, false);
}

/// A broker that writes now and then must not lose its certainty to a server that tidies up.
fn a_connection_closed_while_idle_costs_nothing(bench: &mut Bench) {
    let served = bench.served();
    let proxy = served.proxy();
    let store = served.through(&[proxy.address()], PATIENT);
    let at = key("/idle");
    let mut held = store.put(&at, b"0", None, Expect::Absent).unwrap();
    for _ in 0..20 {
        proxy.cut();
        held = store.put(&at, &write_id(), None, Expect::Unchanged(held)).unwrap();
    }
}
