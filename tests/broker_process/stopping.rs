//! SIGTERM: who is being answered is answered, and nobody else comes in.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::site::{ADMIN, Site, order};

#[test]
fn a_broker_says_farewell() {
    let mut site = Site::started("");
    // It cannot end while the broker stops.
    let slow = order(&json!({"delay_ms": 4000}));
    let parked: Vec<_> = (0..5)
        .map(|number| {
            let (address, body) = (site.address, slow.to_string());
            let line = format!("PUT /v2/service_instances/b{number}");
            thread::spawn(move || Client::plain(address).ask(ADMIN, &line, &body))
        })
        .collect();
    for number in 0..5 {
        site.wait("operation in progress", || {
            let line = format!("GET /v2/service_instances/b{number}/last_operation");
            site.ask(&line, &Value::Null).body.contains("in progress")
        });
    }
    let mut idle = Client::plain(site.address);
    assert_eq!(idle.ask(ADMIN, "GET /v2/catalog", "").unwrap().status, 200);
    let begun = Instant::now();
    site.signal("TERM");
    for answer in parked {
        let answer = answer.join().unwrap().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.json()["error"], "Stopping", "{answer:?}");
    }
    assert_eq!(site.ended(), Some(0), "{}", site.log());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "it takes {took:?}");
    assert!(!site.log().contains("left without an answer"), "{}", site.log());
    assert!(idle.answer().is_err(), "who asks nothing is told nothing");
    assert!(TcpStream::connect(site.address).is_err(), "somebody listens yet");
    assert!(TcpStream::connect(site.store).is_err(), "somebody listens yet");

    site.start();
    for number in 0..5 {
        let path = format!("/v2/service_instances/b{number}");
        assert_eq!(site.settled(&path), "succeeded");
        let heal = json!({"service_id": "s1", "parameters": {"delay_ms": 0}});
        assert_eq!(site.ask(&format!("PATCH {path}"), &heal).status, 200);
        assert_eq!(site.ask(&format!("DELETE {path}"), &Value::Null).status, 200);
    }
    site.is_empty();
}

/// A body of which the rest comes after the signal.
#[test]
fn what_is_being_read_is_answered_or_refused() {
    let mut site = Site::started("");
    let body = order(&json!({})).to_string();
    let whole = crate::client::request(ADMIN, "PUT /v2/service_instances/b1", &body);
    let mut client = Client::plain(site.address);
    client.send(&whole.as_bytes()[..whole.len() - 5]).unwrap();
    // The door has it in hand: requests that come later have been answered.
    assert_eq!(site.ask("GET /v2/catalog", &Value::Null).status, 200);
    let mark = site.log().len();
    site.signal("TERM");
    site.says(mark, "stopping on SIGTERM");
    let rest = client.send(&whole.as_bytes()[whole.len() - 5..]);
    let status = rest.and_then(|()| client.answer()).map_or(0, |answer| answer.status);
    assert_eq!(site.ended(), Some(0), "{}", site.log());
    site.start();
    let found = site.ask("GET /v2/service_instances/b1", &Value::Null).status;
    match status {
        201 => assert_eq!(found, 200),
        // Told, or cut off before it was whole; begun, it would go on.
        503 | 0 => assert!(matches!(found, 200 | 404), "{found}"),
        other => panic!("answered {other}"),
    }
}
