//! How requests are answered: in order, from anywhere, once; and what happens to those nobody answers or waits for.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use door::Response;

use crate::stage::{Client, PATIENCE, Stage, eventually};

#[test]
fn requests_that_are_sent_ahead_are_answered_in_order_and_one_at_a_time() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    for path in ["/park/1", "/quick", "/park/2", "/ask/yes"] {
        client.ask(path);
    }
    let first = stage.parked();
    // The second is not even looked at: whoever parked the first decides when.
    assert!(stage.parked.recv_timeout(Duration::from_millis(50)).is_err());
    first.reply.send(Response::text(200, "1"));
    assert_eq!(client.answer().text(), "1");
    assert_eq!(client.answer().text(), "quick");
    stage.parked().reply.send(Response::text(200, "2"));
    assert_eq!(client.answer().text(), "2");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_thousand_requests_at_once_are_answered_on_one_connection() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    let many = "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let mut writer = client.0.get_ref().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut writer, many.as_bytes()).unwrap());
        (0..1000).for_each(|_| assert_eq!(client.answer().text(), "quick"));
    });
}

#[test]
fn who_sends_ahead_and_does_not_read_is_not_read_from_either() {
    let stage = Stage::new(|limits| limits.write_timeout = Duration::from_millis(300));
    let mut client = stage.client();
    let stream = client.0.get_ref();
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    client.ask("/large");
    // Not even what would fit into the buffers ten times over is taken.
    let ahead = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500_000);
    assert!(std::io::Write::write_all(client.0.get_mut(), ahead.as_bytes()).is_err());
    stage.until("it is given up", |gauges| gauges.open == 0);
}

#[test]
fn an_answer_is_made_when_the_one_before_it_has_been_taken() {
    let stage = Stage::new(|limits| limits.write_timeout = Duration::from_millis(300));
    let mut client = stage.client();
    client.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20));
    stage.until("it came", |gauges| gauges.accepted == 1);
    stage.until("it is given up", |gauges| gauges.open == 0);
    assert_eq!(stage.admitted.load(Ordering::SeqCst), 1);
}

#[test]
fn who_has_ended_its_half_is_answered() {
    let stage = Stage::new(|_| {});
    for path in ["/quick", "/work", "/ask/no"] {
        let mut client = stage.client();
        client.ask(path);
        client.finish();
        assert_ne!(client.answer().status, 0, "{path}");
        client.is_closed();
    }
    let mut client = stage.client();
    client.ask("/park");
    let call = stage.parked();
    assert!(!call.reply.sender_has_finished());
    client.finish();
    eventually("the end is seen", || call.reply.sender_has_finished());
    assert!(!call.reply.sender_has_gone(), "it may still listen");
    assert!(call.reply.send(Response::text(200, "there")));
    assert_eq!(client.answer().text(), "there");
    client.is_closed();
}

#[test]
fn a_request_that_breaks_off_is_refused_and_never_made() {
    let stage = Stage::new(|_| {});
    for half in [
        "GET /park HTTP/1.1\r\nHost: x\r\n",
        "PUT /park HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        "PUT /park HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ] {
        let mut client = stage.client();
        client.send(half);
        client.finish();
        assert_eq!(client.answer().status, 400, "{half:?}");
        client.is_closed();
    }
    assert!(stage.parked.try_recv().is_err());
}

#[test]
fn a_sender_that_is_gone_is_known_to_be_and_leaves_nothing_behind() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    client.ask("/park");
    let call = stage.parked();
    assert!(!call.reply.sender_has_gone());
    client.reset();
    eventually("it is known", || call.reply.sender_has_gone());
    stage.until("it is closed", |gauges| (gauges.open, gauges.busy) == (0, 0));
    assert!(!call.reply.send(Response::text(200, "nobody")));
    // Its place has another one now, who gets nothing that is not his.
    let mut other = stage.client();
    other.ask("/park");
    let call = stage.parked();
    call.reply.send(Response::text(200, "other"));
    assert_eq!(other.answer().text(), "other");
}

#[test]
fn an_answer_to_who_has_gone_does_not_reach_who_came_after() {
    let stage = Stage::new(|limits| limits.event_threads = 1);
    let mut first = stage.client();
    first.ask("/park/first");
    let late = stage.parked();
    first.reset();
    stage.until("it is closed", |gauges| gauges.open == 0);
    let mut second = stage.client();
    second.ask("/park/second");
    let call = stage.parked();
    drop(late);
    assert!(call.reply.send(Response::text(200, "second")));
    assert_eq!(second.answer().text(), "second");
}

#[test]
fn a_handler_that_fails_costs_one_answer() {
    let stage = Stage::new(|limits| limits.workers = 1);
    let mut client = stage.client();
    let paths =
        ["/panics", "/lost", "/once/panics", "/once/lost", "/admit-panics", "/ask/panics", "/ask/again"];
    for path in paths {
        for _ in 0..3 {
            assert_eq!(client.get(path).status, 500, "{path}");
        }
    }
    assert_eq!(client.get("/work").status, 200);
}

#[test]
fn what_never_blocks_waits_for_no_worker() {
    let stage = Stage::new(|limits| (limits.workers, limits.event_threads) = (1, 1));
    let mut held = stage.client();
    held.ask("/held");
    stage.until("the worker is held", |gauges| gauges.working == 1);
    let mut client = stage.client();
    for body in ["", "a body"] {
        client.send(format!("PUT /once HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(client.answer().text(), body);
    }
    // One after the other, also where they were sent ahead.
    client.send("GET /once/a HTTP/1.1\r\nHost: x\r\n\r\nGET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().text(), "");
    assert_eq!(client.answer().text(), "quick");
    stage.gate.send(()).unwrap();
    assert_eq!(held.answer().text(), "held");
}

#[test]
fn a_parked_reply_that_is_dropped_is_an_answer() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    client.ask("/park");
    drop(stage.parked());
    assert_eq!(client.answer().status, 500);
    assert_eq!(client.get("/quick").status, 200);
}

#[test]
fn thousands_may_be_parked_without_a_thread_each() {
    let stage = Stage::new(|_| {});
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let mut clients: Vec<Client> = (0..2000).map(|_| stage.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("/park"));
    let calls: Vec<_> = clients.iter().map(|_| stage.parked()).collect();
    // Tests beside this one have threads of their own, but not as many.
    assert!(threads() < before + 500);
    stage.until("all are known to be busy", |gauges| gauges.busy == 2000);
    assert_eq!(stage.get("/work").status, 200);
    calls.into_iter().for_each(|call| assert!(call.reply.send(Response::text(200, "at last"))));
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "at last"));
    stage.until("nobody is busy", |gauges| gauges.busy == 0);
}

#[test]
fn an_answer_may_be_delayed_and_holds_nobody_up() {
    let stage = Stage::new(|limits| limits.workers = 1);
    let begun = Instant::now();
    let mut delayed: Vec<Client> = (0..20).map(|_| stage.client()).collect();
    delayed.iter_mut().for_each(|client| client.ask("/later"));
    assert_eq!(stage.get("/work").status, 200);
    for client in &mut delayed {
        assert_eq!(client.answer().text(), "later");
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert_eq!(client.get("/quick").status, 200);
    }
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn what_takes_time_to_judge_is_judged_by_workers() {
    let stage = Stage::new(|limits| limits.workers = 2);
    let mut client = stage.client();
    client.ask("/ask/held");
    let mut body = stage.client();
    body.send("PUT /ask/yes HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(body.answer().text(), "abc");
    assert_eq!(stage.get("/ask/no").status, 401);
    stage.gate.send(()).unwrap();
    assert_eq!(client.answer().status, 401);
}

/// To close with something unread is a reset, which throws away what the client has not read yet.
#[test]
fn who_is_refused_while_sending_reads_the_answer() {
    let stage = Stage::new(|_| {});
    for (path, status, length) in
        [("/secret", 401, 3_u64 << 20), ("/", 413, 3 << 20), ("/secret", 401, 1 << 40)]
    {
        let mut client = stage.client();
        client.send(format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        ));
        (0..48).for_each(|_| client.send([b'z'; 64 << 10]));
        assert_eq!(client.answer().status, status, "{path} {length}");
        client.finish();
        client.is_closed();
    }
    // At once, not after the body, of which nothing is there yet.
    for wish in ["", "Connection: close\r\n"] {
        let mut client = stage.client();
        client.send(format!("PUT /secret HTTP/1.1\r\nHost: x\r\n{wish}Content-Length: 9\r\n\r\n"));
        assert_eq!(client.answer().status, 401);
        for byte in 0..9 {
            client.send([byte]);
            std::thread::sleep(Duration::from_millis(2));
        }
        client.finish();
        client.is_closed();
    }
    // A body that is there already is passed over, and the connection kept.
    let mut client = stage.client();
    for _ in 0..3 {
        client.send("PUT /secret HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nGET ");
        assert_eq!(client.answer().status, 401);
    }
}
