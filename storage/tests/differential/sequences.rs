//! The same random requests to both, and the answers compared.

use std::time::{Duration, Instant};

use super::generator::{Random, request};
use super::peer::{Both, Seen};
use super::raw::Request;

pub const TESTS: &[(&str, fn())] = &[
    ("generated_requests_are_answered_as_by_etcd", generated_requests),
    ("the_history_is_cleared_as_by_etcd", the_history_is_cleared),
];

/// Requests of which the answers are compared after both were emptied.
const LENGTH: usize = 100;

/// Where a body may differ, and why.
const WANTED: &[(&str, &str)] = &[
    ("/version", "it is another program"),
    ("/v2/machines", "its address is another"),
    ("/v2/members", "its name and its addresses are others"),
    ("/v2/stats/", "it counts something else"),
];

fn generated_requests() {
    let all = std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some();
    let rounds = if all { 4000 } else { 40 };
    let seed = std::env::var("DIFFERENTIAL_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut both = Both::start();
    let begun = Instant::now();
    for round in seed..seed + rounds {
        let mut random = Random::new(round);
        let requests: Vec<Request> = (0..LENGTH).map(|_| request(&mut random)).collect();
        if let Some(found) = first_difference(&mut both, &requests) {
            let shortest = shrink(&mut both, requests[..=found].to_vec());
            report(&mut both, round, &shortest);
        }
        if all && round.is_multiple_of(100) {
            println!("{} requests in {:?}", (round + 1 - seed) * LENGTH as u64, begun.elapsed());
        }
    }
    println!("{} requests in {:?}", rounds * LENGTH as u64, begun.elapsed());
}

/// The place of the first request that is answered differently.
fn first_difference(both: &mut Both, requests: &[Request]) -> Option<usize> {
    both.reset();
    requests.iter().position(|request| {
        let (theirs, ours) = both.ask(request);
        !agree(request, theirs, ours)
    })
}

fn agree(request: &Request, mut theirs: Seen, mut ours: Seen) -> bool {
    if theirs.status == 200 && WANTED.iter().any(|(path, _)| request.target.starts_with(path)) {
        let shape = |seen: &Seen| seen.body.as_object().map(|body| body.keys().cloned().collect::<Vec<_>>());
        if shape(&theirs) != shape(&ours) && !request.target.starts_with("/v2/stats/self") {
            return false;
        }
        (theirs.body, ours.body) = Default::default();
    }
    theirs == ours
}

/// Leaves out whatever is not needed for the last one to be answered differently.
fn shrink(both: &mut Both, mut requests: Vec<Request>) -> Vec<Request> {
    let deadline = Instant::now() + Duration::from_secs(60);
    for at in (0..requests.len().saturating_sub(1)).rev() {
        let mut fewer = requests.clone();
        fewer.remove(at);
        if Instant::now() < deadline && first_difference(both, &fewer) == Some(fewer.len() - 1) {
            requests = fewer;
        }
    }
    requests
}

fn report(both: &mut Both, round: u64, requests: &[Request]) -> ! {
    both.reset();
    let mut told = format!("DIFFERENTIAL_SEED={round} finds a difference:\n");
    for request in requests {
        let (theirs, ours) = both.ask(request);
        told += &format!("{request:?}\n");
        if !agree(request, theirs.clone(), ours.clone()) {
            told += &format!("  etcd: {theirs:?}\n  ours: {ours:?}\n");
        }
    }
    panic!("{told}");
}

/// The last 1,000 changes can be told, and who asks for an older one learns which is the oldest.
fn the_history_is_cleared() {
    let mut both = Both::start();
    let mut check = |method: &str, target: &str| {
        let request = Request::new(method, target, "");
        let (theirs, ours) = both.ask(&request);
        assert!(agree(&request, theirs.clone(), ours.clone()), "{request:?}:\n{theirs:?}\n{ours:?}");
        theirs.status
    };
    for number in 0..1100 {
        check("PUT", &format!("/v2/keys/a?value={number}"));
    }
    for (back, status) in [(0, 200), (1, 200), (998, 200), (999, 200), (1000, 400), (1001, 400), (1050, 400)]
    {
        let target = format!("/v2/keys/a?wait=true&waitIndex={{-{back}}}");
        assert_eq!(check("GET", &target), status, "{target}");
        assert_eq!(check("GET", &format!("{target}&stream=true&recursive=true")), status, "{target}");
    }
    // Refreshes push others out, and are not told.
    for _ in 0..50 {
        check("PUT", "/v2/keys/a?refresh=true&ttl=1000");
    }
    for back in [0, 49, 50, 949, 999, 1000] {
        check("GET", &format!("/v2/keys/a?wait=true&waitIndex={{-{back}}}"));
    }
}
