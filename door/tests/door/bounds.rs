//! Every wait has an end and every queue a bound.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::stage::{PATIENCE, Stage};

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn whoever_is_slow_has_an_end() {
    // The head must have come before the connection has been idle for too long.
    let end = Duration::from_secs(1);
    let stage = Stage::new(|limits| {
        limits.head_timeout = end;
        limits.body_timeout = end;
        limits.idle_timeout = end;
    });
    let check = |sent: &str, status: Option<u16>| {
        let mut client = stage.client();
        client.send(sent);
        if let Some(status) = status {
            assert_eq!(client.answer().status, status, "{sent:?}");
        }
        client.is_closed();
    };
    check("", None);
    check("G", Some(408));
    check("GET / HTTP/1.1\r\nHost: x\r\n", Some(408));
    check("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", Some(408));
    check("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", Some(408));
    check("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n", Some(200));
    check("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n\r\n", Some(200));
}

#[test]
fn a_byte_now_and_then_does_not_put_the_end_off() {
    let stage = Stage::new(|limits| {
        limits.head_timeout = SHORT;
        limits.body_timeout = SHORT;
    });
    for begin in ["GET /", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"] {
        let mut client = stage.client();
        client.send(begin);
        client.0.get_ref().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let begun = Instant::now();
        // It is refused in time, and lingering ends as well.
        let mut answer = Vec::new();
        while client.0.read_to_end(&mut answer).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{begin:?} goes on for ever");
            if answer.is_empty() {
                client.send("x");
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 408 "), "{begin:?}");
    }
}

#[test]
fn a_refused_sender_is_read_from_for_a_while_only() {
    let stage = Stage::new(|limits| {
        limits.linger_timeout = SHORT;
        limits.linger_bytes = 1 << 20;
    });
    let refused = |stage: &Stage| {
        let mut client = stage.client();
        client.send("PUT /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
        assert_eq!(client.answer().status, 401);
        client
    };
    let _silent = refused(&stage);
    stage.until("it is closed after a time", |gauges| gauges.open == 0);
    let stage = Stage::new(|limits| limits.linger_bytes = 1 << 20);
    let mut busy = refused(&stage);
    let piece = [b'z'; 64 << 10];
    let all = (0..10_000).all(|_| std::io::Write::write_all(busy.0.get_mut(), &piece).is_ok());
    assert!(!all, "640 MB were read for nothing");
}

#[test]
fn who_does_not_read_its_answer_has_an_end() {
    let stage = Stage::new(|limits| limits.write_timeout = SHORT);
    let mut client = stage.client();
    client.ask("/large");
    stage.until("it came", |gauges| gauges.accepted == 1);
    stage.until("it is closed", |gauges| gauges.open == 0);
    // Who reads slowly is not who does not read.
    let whole = Duration::from_secs(3);
    let stage = Stage::new(|limits| limits.write_timeout = whole);
    let mut client = stage.client();
    client.ask("/large");
    let begun = Instant::now();
    let mut left = 32 << 20;
    let mut buffer = vec![0; 1 << 20];
    client.head();
    while left > 0 {
        let read = client.0.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "cut off with {left} left");
        left -= read;
        std::thread::sleep(Duration::from_millis(110));
    }
    assert!(begun.elapsed() > whole, "the test did not take long enough to show anything");
}

#[test]
fn a_full_queue_says_so_at_once() {
    let stage = Stage::new(|limits| {
        limits.workers = 1;
        limits.queue = 4;
    });
    let mut held: Vec<_> = (0..5).map(|_| stage.client()).collect();
    held[0].ask("/held");
    stage.until("the worker has one", |gauges| (gauges.working, gauges.queued) == (1, 0));
    held[1..].iter_mut().for_each(|client| client.ask("/held"));
    stage.until("the queue is full", |gauges| gauges.queued == 4);
    let mut late = stage.client();
    for path in ["/work", "/ask/no"] {
        let answer = late.get(path);
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{path}");
    }
    assert_eq!(late.get("/quick").status, 200);
    (0..5).for_each(|_| stage.gate.send(()).unwrap());
    held.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "held"));
    assert_eq!(late.get("/work").status, 200);
}

/// Guessing passwords fills the queue's half, not the way of those who are known.
#[test]
fn who_is_to_be_judged_leaves_room_for_the_others() {
    let stage = Stage::new(|limits| {
        limits.workers = 1;
        limits.queue = 4;
    });
    let mut strangers: Vec<_> = (0..3).map(|_| stage.client()).collect();
    strangers[0].ask("/ask/held");
    stage.until("the worker has one", |gauges| (gauges.working, gauges.queued) == (1, 0));
    strangers[1..].iter_mut().for_each(|client| client.ask("/ask/held"));
    stage.until("half of the queue is full", |gauges| gauges.queued == 2);
    assert_eq!(stage.get("/ask/held").status, 503);
    let mut known = stage.client();
    known.ask("/work");
    stage.until("it waits", |gauges| gauges.queued == 3);
    (0..3).for_each(|_| stage.gate.send(()).unwrap());
    assert_eq!(known.answer().status, 200);
}

/// The announced is not reserved, and what arrives has a bound: the oldest body makes room.
#[test]
fn bodies_have_a_memory_together() {
    let stage = Stage::new(|limits| {
        limits.max_request_memory = 4 << 20;
        limits.event_threads = 1;
    });
    let put = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    let mut announced: Vec<_> = (0..100).map(|_| stage.client()).collect();
    announced.iter_mut().for_each(|client| client.send(format!("{put}z")));
    stage.until("they are there", |gauges| gauges.open == 100 && gauges.request_bytes >= 100);
    assert!(stage.server().gauges().request_bytes < 1 << 20);
    let body = vec![b'z'; 999_998];
    let oldest = &mut announced[..8];
    for (number, client) in oldest.iter_mut().enumerate() {
        client.send(&body);
        stage.until("it is held or another was given up", |gauges| {
            gauges.request_bytes >= 1_000_000 * (number + 1).min(3)
        });
        assert!(stage.server().gauges().request_bytes <= 5 << 20);
    }
    stage.until("somebody made room", |gauges| gauges.refused >= 1);
    assert_eq!(oldest[0].answer().status, 503);
    // The last one to come is not the one to go.
    oldest[7].send("z");
    assert_eq!(oldest[7].answer().status, 200);
    drop(announced);
    stage.until("all is given back", |gauges| gauges.request_bytes == 0);
}

#[test]
fn heads_count_as_well() {
    let stage = Stage::new(|limits| {
        limits.max_request_memory = 1 << 20;
        limits.event_threads = 1;
    });
    let head = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(8 << 10));
    let mut crowd: Vec<_> = (0..400).map(|_| stage.client()).collect();
    for (number, client) in crowd.iter_mut().enumerate() {
        client.send(&head);
        stage.until("it has been read", |gauges| gauges.accepted == 400 && gauges.request_bytes > 0);
        assert!(stage.server().gauges().request_bytes <= (1 << 20) + (32 << 10), "{number}");
    }
    assert_eq!(crowd[0].answer().status, 503);
    assert_eq!(stage.get("/work").status, 200);
}
