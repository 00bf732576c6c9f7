//! What the door does with connections, sizes and stops, over real sockets.

use std::thread;
use std::time::{Duration, Instant};

use patroni_broker::broker::Outcome;

use crate::bench::{Bench, ORDER};
use crate::client::{Client, request};

#[test]
fn a_connection_is_kept_and_its_answers_come_at_once() {
    let bench = Bench::start();
    let mut client = bench.client();
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(client.ask("GET /v2/catalog", &[], b"").status, 200);
    }
    // With Nagle's algorithm in the way each would take 40 ms.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let answer = client.ask("GET /v2/catalog", &["Connection: close"], b"");
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    assert!(client.is_closed());
}

#[test]
fn sizes() {
    let bench = Bench::start();
    let line = |id: &str| format!("PUT /v2/service_instances/{id}?accepts_incomplete=true");
    let padded = |length: usize| format!("{ORDER}{}", " ".repeat(length - ORDER.len()));
    assert_eq!(bench.ask(&line("a"), &padded(1 << 20)).status, 202);
    bench.refused(&line("b"), &padded((1 << 20) + 1), 413, "BodyTooLarge", "1048576");
    let chunked = |body: &str, id: &str| {
        let mut client = bench.client();
        client.send(&request(&line(id), &["Transfer-Encoding: chunked"], b""));
        for part in body.as_bytes().chunks(60_000) {
            client.send(format!("{:x}\r\n", part.len()).as_bytes());
            client.send(part);
            client.send(b"\r\n");
        }
        client.send(b"0\r\n\r\n");
        client.answer(false).status
    };
    assert_eq!(chunked(&padded(1 << 20), "c"), 202);
    assert_eq!(chunked(&padded((1 << 20) + 1), "d"), 413);
    // Who announces too much is told before sending it, and who is not known before sending anything.
    let mut client = bench.client();
    client.send(&request(&line("e"), &["Content-Length: 2000000", "Expect: 100-continue"], b""));
    assert_eq!(client.answer(false).status, 413);
    let mut client = bench.client();
    client.send(b"PUT /v2/service_instances/f HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n");
    assert_eq!(client.answer(false).status, 401);
    assert_eq!(bench.desk.orders(), 2);
}

/// Memory was once reserved for the whole of a body that was to be discarded: a length of a terabyte ended the process.
#[test]
fn a_terabyte_is_announced() {
    let bench = Bench::start();
    for length in ["1000000000000", "18446744073709551615", "99999999999999999999999"] {
        let mut client = bench.client();
        let header = format!("Content-Length: {length}");
        client.send(&request("PUT /v2/service_instances/a", &[&header], b""));
    }
    assert_eq!(bench.ask("GET /v2/catalog", "").status, 200);
}

/// Two connections of a burst were once left to one idle thread, which did not look at the second before the first one
/// ended: here, never.
#[test]
fn who_waits_holds_no_worker() {
    let bench = Bench::start();
    let mut clients: Vec<Client> = (0..100).map(|_| bench.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&request(&format!("PUT /v2/service_instances/i{number}"), &[], ORDER.as_bytes()));
        bench.desk.parked(&format!("i{number}"));
    }
    assert_eq!(bench.ask("GET /v2/catalog", "").status, 200);
    for (number, client) in clients.iter_mut().enumerate() {
        bench.desk.end(&format!("i{number}"), &Outcome::Succeeded);
        assert_eq!(client.answer(false).status, 201);
    }
}

#[test]
fn only_so_many_may_wait() {
    let bench = Bench::start();
    let mut clients: Vec<Client> = (0..256).map(|_| bench.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&request(&format!("PUT /v2/service_instances/i{number}"), &[], ORDER.as_bytes()));
        bench.desk.parked(&format!("i{number}"));
    }
    bench.refused("PUT /v2/service_instances/late", ORDER, 503, "Busy", "try again");
    assert_eq!(bench.desk.orders(), 256, "the order that could not be waited for was not placed");
    bench.check("PUT /v2/service_instances/x?accepts_incomplete=true", ORDER, 202, r#"{"operation":"op-x"}"#);
}

/// Two synchronous orders on one connection: the second is not even placed before the first has been answered, and the
/// broker's own thread, which answers, is never held up.
#[test]
fn answers_keep_the_order_of_their_requests() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.send(&request("PUT /v2/service_instances/a", &[], ORDER.as_bytes()));
    client.send(&request("PUT /v2/service_instances/b", &[], ORDER.as_bytes()));
    bench.desk.parked("a");
    assert_eq!(bench.desk.orders(), 1);
    let (instance_usable, update_repeatable) = (None, None);
    let description = "first".to_owned();
    bench.desk.end("a", &Outcome::Failed { description, instance_usable, update_repeatable });
    assert_eq!(client.answer(false).status, 500);
    bench.desk.parked("b");
    bench.desk.end("b", &Outcome::Succeeded);
    assert_eq!(client.answer(false).status, 201);
}

#[test]
fn a_bug_costs_one_answer() {
    let bench = Bench::start();
    let body = r#"{"service_id": "s1", "plan_id": "p1", "parameters": {"panic": true}}"#;
    for _ in 0..40 {
        bench.refused("PUT /v2/service_instances/b1", body, 500, "InternalError", "its log says more");
    }
    assert_eq!(bench.ask("GET /v2/catalog", "").status, 200);
}

/// A platform that had died in the middle of a request kept the broker from stopping, for ever.
#[test]
fn a_stop_does_not_wait_for_a_body_that_does_not_come() {
    let bench = Bench::start();
    let mut client = bench.client();
    // A shorter one is waited for before anybody is asked to read it.
    let whole = request("PUT /v2/service_instances/a", &[], &[b' '; 4096]);
    client.send(&whole[..whole.len() - 1]);
    thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    bench.server.stop();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_stop_finishes_what_is_in_flight() {
    let bench = Bench::start();
    let address = bench.server.address();
    let mut client = bench.client();
    client.send(&request("PUT /v2/service_instances/a", &[], ORDER.as_bytes()));
    bench.desk.parked("a");
    bench.server.stop();
    assert!(!bench.server.wait_for_parked(Duration::from_millis(50)), "it is not answered yet");
    bench.desk.end("a", &Outcome::Stopping);
    assert_eq!(client.answer(false).status, 503);
    assert!(bench.server.wait_for_parked(Duration::from_secs(5)));
    // The listener goes shortly after.
    let refuses = || std::net::TcpStream::connect(address).is_err();
    for _ in 0..100 {
        if refuses() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it still listens");
}
