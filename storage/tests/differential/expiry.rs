//! TTLs that run out, in real time, on both at once.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::peer::{Both, normalise};
use super::raw::{Connection, Request};

pub const TESTS: &[(&str, fn())] = &[("what_runs_out_is_told_as_by_etcd", what_runs_out_is_told)];

/// What runs out does so apart by more than either may be late by on a loaded machine, and not before all is written:
/// what runs out first is written last.
const WRITES: &[&str] = &[
    "/e/never?value=0",
    "/e/later?value=2&ttl=6",
    "/e/d?dir=true",
    "/e/d/x?value=3&ttl=100",
    "/e/d?dir=true&prevExist=true&ttl=9",
    "/e/_hidden?value=4&ttl=12",
    "/e/saved?value=5&ttl=4",
    "/e/saved?refresh=true&ttl=100&prevExist=true",
    "/e/updated?value=6&ttl=4",
    "/e/updated?value=7&prevExist=true",
    "/e/dies?value=8&ttl=15",
    "/e/soon?value=1&ttl=3",
];

fn what_runs_out_is_told() {
    let mut both = Both::start();
    let open = |target: &str| {
        let request = Request::new("GET", target, "");
        let open = |connection: &Connection| {
            let mut connection = Connection::new(connection.address());
            assert_eq!(connection.begin(&request).status, 200);
            connection
        };
        (open(&both.theirs.connection), open(&both.ours.connection))
    };
    let (theirs, ours) = open("/v2/keys/e?wait=true&recursive=true&stream=true");
    let (its_theirs, its_ours) = open("/v2/keys/e/d/x?wait=true&stream=true");
    for write in WRITES {
        let (expected, found) = both.ask(&Request::new("PUT", &format!("/v2/keys{write}"), ""));
        assert_eq!(found, expected, "{write}");
    }
    for (mut theirs, mut ours, expired) in [(theirs, ours, 4), (its_theirs, its_ours, 1)] {
        let (expected, found) = (until(&mut theirs, expired), until(&mut ours, expired));
        assert_eq!(found, expected, "ours is on the left");
    }
    let (expected, found) = both.ask(&Request::new("GET", "/v2/keys/e?recursive=true", ""));
    assert_eq!(found, expected);
    let (expected, found) = both.ask(&Request::new("PUT", "/v2/keys/e/dead?value=1&ttl=0", ""));
    assert_eq!(found, expected);
    std::thread::sleep(Duration::from_secs(4));
    let (expected, found) = both.ask(&Request::new("GET", "/v2/keys/e/dead", ""));
    assert_eq!((found.status, found), (404, expected));
    // What is told of the past has the TTLs of the past.
    both.ask(&Request::new("GET", "/v2/keys/e", ""));
    let (expected, found) = both.ask(&Request::new("GET", "/v2/keys/e/dies?wait=true&waitIndex={-9}", ""));
    assert!(found.body["node"].get("ttl").is_some(), "{found:?}");
    assert_eq!(found, expected);
}

/// The events up to the so many-th that something has run out, each once.
fn until(connection: &mut Connection, expired: usize) -> Vec<Value> {
    let begun = Instant::now();
    let mut events: Vec<Value> = Vec::new();
    while events.iter().filter(|event| event["action"] == "expire").count() < expired {
        assert!(begun.elapsed() < Duration::from_secs(60), "only {events:#?}");
        let Ok(Some(chunk)) = connection.chunk(Duration::from_secs(1)) else { continue };
        for event in serde_json::Deserializer::from_slice(&chunk).into_iter::<Value>() {
            let mut event = event.unwrap();
            normalise(&mut event);
            if events.last() != Some(&event) {
                events.push(event);
            }
        }
    }
    events
}
