//! The same watchers on both, the same writes to both: the same events.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::generator::{Random, request};
use super::peer::{Both, normalise};
use super::raw::{Connection, Request};

pub const TESTS: &[(&str, fn())] = &[("watchers_hear_the_same", watchers_hear_the_same)];

/// Among these keys the generator writes.
const WATCHED: &[&str] = &["/", "/a", "/a/b", "/a/_h", "/a/_h/b", "/_h", "/b", "/ab", "/b/a/0", "/c%20d"];

/// How late one of etcd's threads may be on a loaded machine.
const LATE: Duration = Duration::from_secs(1);

fn watchers_hear_the_same() {
    let all = std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some();
    let mut both = Both::start();
    let mut heard = 0;
    for seed in 1..=if all { 200 } else { 10 } {
        both.reset();
        let mut watches = Vec::new();
        for key in WATCHED {
            for parameters in ["", "&recursive=true", "&stream=true", "&stream=true&recursive=true"] {
                let target = format!("/v2/keys{key}?wait=true{parameters}");
                let request = Request::new("GET", &target, "");
                let open = |connection: &Connection| {
                    let mut connection = Connection::new(connection.address());
                    assert_eq!(connection.begin(&request).status, 200);
                    connection
                };
                let pair = (open(&both.theirs.connection), open(&both.ours.connection));
                watches.push((target, pair));
            }
        }
        let mut random = Random::new(seed);
        let mut written = Vec::new();
        while written.len() < 200 {
            let request = request(&mut random);
            if matches!(request.method.as_str(), "PUT" | "POST" | "DELETE") {
                both.ask(&request);
                written.push(request);
            }
        }
        // Each has a last word, so that nobody waits in vain for it.
        let (theirs, ours) = both.ask(&Request::new("PUT", "/v2/keys/last/word?value=1", ""));
        assert_eq!(theirs, ours);
        // It has been told to all watchers by now. Each of etcd's has a thread that writes it down, and may be late.
        thread::sleep(LATE);
        for (target, (theirs, ours)) in &mut watches {
            let expected = all_events(theirs, None);
            let found = all_events(ours, Some(expected.len()));
            let key = target["/v2/keys".len()..].split('?').next().unwrap();
            let same = without_what_is_above(key, &expected) == without_what_is_above(key, &found)
                && expected.iter().all(|event| found.contains(event));
            let stream = target.contains("stream");
            let same = same || (!stream && is_early_news(key, &found));
            assert!(same, "{target}, {written:#?}\netcd: {expected:#?}\nours: {found:#?}");
            heard += expected.len();
        }
    }
    assert!(heard > 500, "{heard} events were compared");
}

/// What comes until nothing more does. etcd tells some removals twice.
fn all_events(connection: &mut Connection, at_least: Option<usize>) -> Vec<Value> {
    let begun = Instant::now();
    let mut events: Vec<Value> = Vec::new();
    loop {
        let waits =
            at_least.is_some_and(|count| events.len() < count) && begun.elapsed() < Duration::from_secs(5);
        match connection.chunk(Duration::from_millis(if waits { 500 } else { 15 })) {
            Ok(Some(chunk)) => {
                for event in serde_json::Deserializer::from_slice(&chunk).into_iter::<Value>() {
                    let mut event = event.unwrap();
                    normalise(&mut event);
                    if events.last() != Some(&event) {
                        events.push(event);
                    }
                }
            }
            Ok(None) => return events,
            Err(_) if waits => {}
            Err(_) => return events,
        }
    }
}

/// Ours are told of a removal above them even where nothing was there: etcd's only hear of it when they ask later.
fn without_what_is_above(key: &str, events: &[Value]) -> Vec<Value> {
    let is_above = |event: &Value| {
        let at = event["node"]["key"].as_str().unwrap();
        key.starts_with(&format!("{at}/"))
    };
    events.iter().filter(|event| !is_above(event)).cloned().collect()
}

fn is_early_news(key: &str, events: &[Value]) -> bool {
    events.len() == 1 && without_what_is_above(key, events).is_empty()
}
