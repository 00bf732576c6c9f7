//! Several at the same time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use storage::{Expect, Store, StoreError};
use test_servers::{Mode, Proxy};

use crate::Scenario;
use crate::bench::{Bench, HASTY, Served};
use crate::history::{Dice, Size, make};
use crate::say::key;

pub const SCENARIOS: &[Scenario] = &[
    ("counters_lose_nothing", counters_lose_nothing),
    ("one_of_many_creates", one_of_many_creates),
    ("histories_are_linearizable", histories_are_linearizable),
];

fn counters_lose_nothing(bench: &mut Bench) {
    let (store, at) = (&bench.store, key("/counter"));
    store.put(&at, b"0", None, Expect::Absent).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut done = 0;
                while done < 25 {
                    let entry = store.get(&at).unwrap().unwrap();
                    let count: u32 = String::from_utf8(entry.value).unwrap().parse().unwrap();
                    let next = (count + 1).to_string();
                    match store.put(&at, next.as_bytes(), None, Expect::Unchanged(entry.revision)) {
                        Ok(_) => done += 1,
                        Err(StoreError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(store.get(&at).unwrap().unwrap().value, b"100");
}

fn one_of_many_creates(bench: &mut Bench) {
    let store = &bench.store;
    for round in 0..10 {
        let at = key("/claims").child(&round.to_string()).unwrap();
        let created = thread::scope(|scope| {
            let claims: Vec<_> =
                (0..4).map(|_| scope.spawn(|| store.put(&at, b"mine", None, Expect::Absent))).collect();
            claims.into_iter().map(|claim| claim.join().unwrap()).filter(Result::is_ok).count()
        });
        assert_eq!(created, 1, "{at}");
    }
}

/// What a run of the tests takes of it; with `PATRONI_BROKER_TEST_ALL=1` all.
const SEEDS: u64 = 5;
const ALL_SEEDS: u64 = 150;
const CALLERS: usize = 4;

/// Several threads call at random while the network loses answers and connections. What each was told must fit one
/// order of all calls.
fn histories_are_linearizable(bench: &mut Bench) {
    let seeds = if std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some() { ALL_SEEDS } else { SEEDS };
    let size = Size { keys: 3, calls: 40 };
    let (mut calls, mut unknown) = (0, 0);
    let proxies = bench.served.as_ref().map(callers_proxies).unwrap_or_default();
    for seed in 1..=seeds {
        let history = match &mut bench.served {
            None => make(&[(); CALLERS].map(|()| Arc::clone(&bench.store)), seed, size),
            Some(served) => troubled(served, &proxies, seed, |stores| make(stores, seed, size)),
        };
        if let Err(wrong) = history.check() {
            panic!("seed {seed}: {wrong}");
        }
        let count = history.count();
        (calls, unknown) = (calls + count.0, unknown + count.1);
    }
    assert!(calls > usize::try_from(seeds).unwrap() * 40, "only {calls} calls came to an end");
    assert!(bench.served.is_none() || unknown > 0, "no answer was lost in {calls} calls");
}

fn addresses(served: &Served) -> Vec<SocketAddr> {
    [served.address].iter().chain(&served.others).copied().collect()
}

fn callers_proxies(served: &Served) -> Vec<Proxy> {
    let addresses = addresses(served);
    (0..CALLERS).map(|nth| Proxy::start(addresses[nth % addresses.len()]).unwrap()).collect()
}

/// Every caller has endpoints of its own: a proxy with troubles first, then another server, if there is one.
fn troubled<T>(
    served: &mut Served,
    proxies: &[Proxy],
    seed: u64,
    run: impl FnOnce(&[Arc<dyn Store>]) -> T,
) -> T {
    let addresses = addresses(served);
    let stores: Vec<Arc<dyn Store>> = (1..)
        .zip(proxies)
        .map(|(nth, proxy)| {
            let own = [proxy.address(), addresses[nth % addresses.len()]];
            served.through(&own, HASTY)
        })
        .collect();
    let over = AtomicBool::new(false);
    let (server, alone) = (&mut served.server, served.others.is_empty());
    thread::scope(|scope| {
        let over = &over;
        let trouble = scope.spawn(move || {
            let mut dice = Dice::new(seed);
            while !over.load(Ordering::SeqCst) {
                // A member that was away for a moment is behind the others.
                if !alone && dice.roll(6) == 0 {
                    server.pause();
                    thread::sleep(Duration::from_millis(20 + dice.roll(60)));
                    server.resume();
                }
                let proxy = &proxies[usize::try_from(dice.roll(CALLERS as u64)).unwrap()];
                match dice.roll(4) {
                    0 => proxy.cut(),
                    1 => proxy.set(Mode::Reset).unwrap(),
                    2 => proxy.set(Mode::Truncate).unwrap(),
                    _ => proxy.set(Mode::LoseAnswers).unwrap(),
                }
                thread::sleep(Duration::from_millis(dice.roll(4)));
                proxy.set(Mode::Pass).unwrap();
                thread::sleep(Duration::from_millis(dice.roll(12)));
            }
        });
        let result = run(&stores);
        over.store(true, Ordering::SeqCst);
        trouble.join().unwrap();
        result
    })
}
