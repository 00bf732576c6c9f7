//! Several servers that are one store.

use std::thread;
use std::time::Duration;

use storage::remote::Timeouts;
use storage::{Deadline, Expect};

use crate::Scenario;
use crate::bench::{Bench, HASTY, PATIENT};
use crate::say::{key, put_surely, write_id};

pub const SCENARIOS: &[Scenario] = &[
    ("who_was_away_does_not_answer_from_memory", who_was_away_does_not_answer_from_memory),
    ("a_read_waits_for_an_election", a_read_waits_for_an_election),
];

/// An order was answered with 503 while etcd elected a leader: those who were left said at once that they had none, and
/// a read was given up after one round, with most of its time left.
fn a_read_waits_for_an_election(bench: &mut Bench) {
    let served = bench.served();
    let mut addresses = vec![served.address];
    addresses.extend(&served.others);
    let patient = Timeouts { total: Duration::from_secs(25), ..PATIENT };
    let store = served.through(&addresses, patient);
    let (at, mine) = (key("/kept"), write_id());
    put_surely(&*store, &at, &mine);
    served.server.kill_majority();
    // etcd v2 keeps one waiting; v3 says it, once it has noticed.
    let hasty = served.through(&addresses, HASTY);
    let until = Deadline::after(Duration::from_secs(4));
    while !until.has_passed() && !hasty.get(&at).is_err_and(|error| error.to_string().contains("no leader")) {
    }
    thread::scope(|scope| {
        let got = scope.spawn(|| store.get(&at));
        let listed = scope.spawn(|| store.list(&key("/")));
        thread::sleep(Duration::from_millis(500));
        served.server.restart();
        assert_eq!(got.join().unwrap().unwrap().map(|entry| entry.value), Some(mine));
        assert_eq!(listed.join().unwrap().unwrap().entries.len(), 1);
    });
}

/// A member stands still while the others go on. What it is asked meanwhile it answers as soon as it moves again, and
/// that must not be what it knew before.
fn who_was_away_does_not_answer_from_memory(bench: &mut Bench) {
    let served = bench.served();
    let away = served.through(&[served.address], PATIENT);
    let rest = served.through(&served.others, PATIENT);
    let at = key("/away");
    put_surely(&*rest, &at, &write_id());
    let mut answers = 0;
    for _ in 0..12 {
        // Makes the connection that is used below.
        drop(away.get(&at));
        served.server.pause();
        let last = write_id();
        put_surely(&*rest, &at, &last);
        let got = thread::scope(|scope| {
            let got = scope.spawn(|| away.get(&at));
            thread::sleep(Duration::from_millis(40));
            served.server.resume();
            got.join().unwrap()
        });
        // It may have found no leader in time.
        if let Ok(found) = got {
            answers += 1;
            assert_eq!(found.map(|entry| entry.value), Some(last), "it answers from memory");
        }
    }
    assert!(answers > 6, "{answers} answers");
    assert!(rest.delete(&at, Expect::Anything).is_ok());
}
