//! Several endpoints, not all of which can be used: in bounded time the good one is found, and remembered.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use storage::remote::Timeouts;
use storage::{Changed, Deadline, Expect};
use test_servers::{Mode, free_address};

use crate::Scenario;
use crate::bench::{Bench, PATIENT, SLACK, Served};
use crate::say::{is_outage, key, within, write_id};

pub const SCENARIOS: &[Scenario] = &[
    ("one_good_endpoint_is_found_and_remembered", one_good_endpoint_is_found_and_remembered),
    ("a_watch_leaves_an_endpoint_that_fell_silent", a_watch_leaves_an_endpoint_that_fell_silent),
    ("calls_share_a_connection", calls_share_a_connection),
    ("what_was_not_sent_goes_to_the_next_endpoint", what_was_not_sent_goes_to_the_next_endpoint),
];

/// `G`ood, `H`anging, `R`efused: in any order.
const LISTS: [&str; 12] = ["G", "GH", "HG", "RG", "GRH", "GHR", "RGH", "HGR", "RHG", "HRG", "HHG", "RRRRG"];

/// Each would cost a handshake, with TLS two more ways there and back.
fn calls_share_a_connection(bench: &mut Bench) {
    let served = bench.served();
    let proxy = served.proxy();
    let store = served.through(&[proxy.address()], PATIENT);
    let at = key("/kept-alive");
    for _ in 0..10 {
        let revision = store.put(&at, b"1", None, Expect::Absent).unwrap();
        assert!(store.get(&at).unwrap().is_some());
        assert_eq!(store.list(&key("/")).unwrap().entries.len(), 1);
        store.delete(&at, Expect::Unchanged(revision)).unwrap();
    }
    assert_eq!(proxy.connections(), 1);
}

fn one_good_endpoint_is_found_and_remembered(bench: &mut Bench) {
    let served: &Served = bench.served();
    thread::scope(|scope| {
        for list in LISTS {
            scope.spawn(|| the_good_one_is_found_and_remembered(served, list));
        }
    });
}

fn the_good_one_is_found_and_remembered(served: &Served, list: &str) {
    let (good, hanging) = (served.proxy(), served.proxy());
    hanging.set(Mode::Hang).unwrap();
    let nobody = free_address(Ipv4Addr::LOCALHOST.into()).unwrap();
    let addresses: Vec<SocketAddr> = list
        .chars()
        .map(|sort| match sort {
            'G' => good.address(),
            'H' => hanging.address(),
            _ => nobody,
        })
        .collect();
    // Every endpoint's share is enough for a good one on a loaded machine.
    let timeouts = Timeouts { total: Duration::from_secs(2 * list.len() as u64), ..PATIENT };
    let (at, longest) = (key("/list").child(list).unwrap(), timeouts.total + SLACK);
    let store = served.through(&addresses, timeouts);
    let got = within(list, longest, || store.get(&at));
    assert_eq!(got, Ok(None), "{list}");
    // By now it is known who answers: nobody else is asked.
    let asked = hanging.connections();
    within(list, SLACK, || store.get(&at).unwrap());
    let first = within(list, SLACK, || store.put(&at, b"1", None, Expect::Absent)).unwrap();
    let wait = Duration::from_millis(100);
    within(list, wait + SLACK, || store.watch(&at, first, Deadline::after(wait)).unwrap());
    assert_eq!(hanging.connections(), asked, "{list}");

    // Who begins with a watch or a write finds it as well.
    let fresh = served.through(&addresses, timeouts);
    let watched = within(list, wait + longest, || fresh.watch(&at, first, Deadline::after(wait)));
    assert!(watched.is_ok(), "{list}: {watched:?}");
    let fresh = served.through(&addresses, timeouts);
    let mut held = first;
    for _ in 0..addresses.len() {
        match within(list, longest, || fresh.put(&at, &write_id(), None, Expect::Unchanged(held))) {
            Ok(revision) => held = revision,
            unknown => {
                is_outage(list, &unknown, true);
                assert!(list.contains('H'), "{list}: who refuses has taken nothing: {unknown:?}");
            }
        }
    }
    let asked = hanging.connections();
    let put = within(list, SLACK, || fresh.put(&at, &write_id(), None, Expect::Unchanged(held)));
    assert!(put.is_ok(), "{list}: the good one was not found by writing: {put:?}");
    assert_eq!(hanging.connections(), asked, "{list}");
}

fn what_was_not_sent_goes_to_the_next_endpoint(bench: &mut Bench) {
    let served = bench.served();
    let refused = served.proxy();
    refused.set(Mode::Refuse).unwrap();
    let store = || served.through(&[refused.address(), served.address], PATIENT);
    let first = store().put(&key("/a"), b"1", None, Expect::Absent).unwrap();
    assert!(store().get(&key("/a")).unwrap().is_some());
    assert!(store().watch(&key("/"), first, Deadline::after(Duration::from_millis(100))).is_ok());
    assert_eq!(store().delete(&key("/a"), Expect::Unchanged(first)), Ok(()));
}

/// Its connection stays open, and nothing comes any more: no error tells of that.
fn a_watch_leaves_an_endpoint_that_fell_silent(bench: &mut Bench) {
    let straight = bench.store.clone();
    let served = bench.served();
    let (silent, good) = (served.proxy(), served.proxy());
    let store = served.through(&[silent.address(), good.address()], PATIENT);
    let after = straight.put(&key("/w/x"), b"1", None, Expect::Absent).unwrap();
    let changes = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (minute, mut after) = (Deadline::after(Duration::from_secs(60)), after);
            loop {
                let changes = store.watch(&key("/w"), after, minute).unwrap();
                if changes.what != Changed::Keys(Vec::new()) || minute.has_passed() {
                    return changes;
                }
                after = changes.revision;
            }
        });
        thread::sleep(Duration::from_millis(300));
        silent.set(Mode::Hang).unwrap();
        straight.put(&key("/w/y"), b"1", None, Expect::Absent).unwrap();
        within("the watch", Duration::from_secs(30), || watcher.join().unwrap())
    });
    assert_ne!(changes.what, Changed::Keys(Vec::new()));
}
