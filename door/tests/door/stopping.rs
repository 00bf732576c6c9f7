//! How a door is closed: what it has taken on is finished, what it has not is refused.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use door::Response;

use crate::stage::{PATIENCE, Stage};

#[test]
fn what_is_in_flight_is_answered_and_nobody_else_is_let_in() {
    let mut stage = Stage::new(|limits| limits.workers = 2);
    let (mut idle, mut half, mut sending) = (stage.client(), stage.client(), stage.client());
    let (mut held, mut parked, mut streamed) = (stage.client(), stage.client(), stage.client());
    assert_eq!(idle.get("/quick").status, 200);
    half.send("GET /");
    sending.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf");
    held.ask("/held");
    parked.ask("/park");
    let parked_call = stage.parked();
    streamed.ask("/park");
    let stream = stage.parked().reply.stream(Response::text(200, ""));
    streamed.head();
    stage.until("all are there", |gauges| (gauges.open, gauges.busy) == (6, 3));
    let server = stage.server.take().unwrap();
    server.begin_stop();
    idle.is_closed();
    for refused in [&mut half, &mut sending] {
        assert_eq!(refused.answer().status, 503);
        refused.is_closed();
    }
    let address = server.address();
    crate::stage::eventually("nobody is let in", || TcpStream::connect(address).is_err());
    assert!(!server.wait_until_worked(Duration::from_millis(50)), "one is held");
    stage.gate.send(()).unwrap();
    assert!(server.wait_until_worked(PATIENCE));
    assert!(!server.wait_until_answered(Duration::from_millis(50)), "one is parked and one streamed");
    let answer = held.answer();
    assert_eq!((answer.text(), answer.header("connection")), ("held", "close"));
    held.is_closed();
    let stopping = std::thread::spawn(move || server.stop(PATIENCE));
    parked_call.reply.send(Response::text(200, "parked"));
    assert_eq!(parked.answer().header("connection"), "close");
    stream.push(&b"last"[..]);
    stream.end();
    assert_eq!((streamed.chunk().as_slice(), streamed.chunk().as_slice()), (&b"last"[..], &b""[..]));
    streamed.is_closed();
    assert!(stopping.join().unwrap(), "everything was answered");
}

#[test]
fn patience_has_an_end() {
    let mut stage = Stage::new(|limits| limits.workers = 1);
    let (mut parked, mut held) = (stage.client(), stage.client());
    parked.ask("/park");
    let call = stage.parked();
    held.ask("/held");
    stage.until("both are there", |gauges| gauges.busy == 2);
    let begun = Instant::now();
    assert!(!stage.server.take().unwrap().stop(Duration::from_millis(200)));
    assert!(begun.elapsed() < PATIENCE);
    parked.is_closed();
    held.is_closed();
    assert!(call.reply.sender_has_gone());
    assert!(!call.reply.send(Response::text(200, "too late")));
}

#[test]
fn nothing_of_a_closed_door_is_left() {
    let count = |kind: &str| std::fs::read_dir(format!("/proc/self/{kind}")).unwrap().count();
    for _ in 0..20 {
        let stage = Stage::new(|_| {});
        let mut client = stage.client();
        assert_eq!(client.get("/work").status, 200);
        drop(stage);
        client.is_closed();
    }
    // 200 threads and 200 descriptors, if they stayed; tests beside this one have some of their own.
    let named = std::fs::read_dir("/proc/self/task").unwrap().flatten().filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("worker-"))
    });
    assert!(named.count() < 150, "threads: {}", count("task"));
}
