//! Thousands who keep the door waiting, and the few who do not.

use std::time::Duration;

use door::Response;

use crate::stage::{Client, Stage};

const CROWD: usize = 2000;

/// Heads without an end, bodies without an end, and handshakes that do not belong here.
fn trickle(number: usize) -> &'static [u8] {
    match number % 4 {
        0 => b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        1 => b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx",
        2 => b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nx",
        _ => b"",
    }
}

#[test]
fn honest_senders_are_answered_beside_thousands_who_trickle() {
    let stage = Stage::new(|_| {});
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| stage.client()).collect();
    for (number, client) in crowd.iter_mut().enumerate() {
        client.send(trickle(number));
    }
    stage.until("the crowd is there", |gauges| gauges.open == CROWD);
    for round in 0..20 {
        for client in crowd.iter_mut().skip(round).step_by(20).filter(|_| round % 4 != 3) {
            // Those who were waited for too long on a slow machine are closed by now.
            drop(std::io::Write::write_all(client.0.get_mut(), b"y"));
        }
        for path in ["/quick", "/work"] {
            assert_eq!(stage.get(path).status, 200);
        }
    }
}

#[test]
fn who_has_kept_the_door_waiting_longest_makes_room_and_who_is_worked_on_never() {
    let stage = Stage::new(|limits| {
        limits.max_connections = 10;
        limits.event_threads = 1;
    });
    let mut parked: Vec<Client> = (0..5).map(|_| stage.client()).collect();
    parked.iter_mut().for_each(|client| client.ask("/park"));
    let calls: Vec<_> = parked.iter().map(|_| stage.parked()).collect();
    let mut answered = stage.client();
    assert_eq!(answered.get("/quick").status, 200);
    let mut waiting: Vec<Client> = Vec::new();
    for number in 0..4 {
        let mut client = stage.client();
        client.send(trickle(number));
        waiting.push(client);
        stage.until("it is there", |gauges| gauges.open == 7 + number);
    }
    // It waits from now on, not from when it came.
    assert_eq!(answered.get("/quick").status, 200);
    let mut newcomers = Vec::new();
    for (number, oldest) in waiting.iter_mut().enumerate() {
        let mut newcomer = stage.client();
        assert_eq!(newcomer.get("/work").status, 200);
        newcomers.push(newcomer);
        oldest.is_closed_by_now();
        let gauges = stage.server().gauges();
        assert_eq!((gauges.open, gauges.given_up), (10, 1 + number as u64));
    }
    assert_eq!(answered.get("/quick").status, 200);
    calls.into_iter().for_each(|call| assert!(call.reply.send(Response::text(200, "kept"))));
    parked.iter_mut().for_each(|client| assert_eq!(client.answer().text(), "kept"));
}

#[test]
fn where_all_are_worked_on_accepting_pauses_and_goes_on() {
    // The listener's own thread has to hear of what happens on the other one.
    for (event_threads, first) in [(1, 0), (2, 0), (2, 1)] {
        let stage = Stage::new(|limits| {
            limits.max_connections = 10;
            limits.event_threads = event_threads;
            // No deadline wakes anybody by chance.
            limits.head_timeout = 10 * crate::stage::PATIENCE;
        });
        let mut parked: Vec<Client> = Vec::new();
        let mut calls = Vec::new();
        for _ in 0..10 {
            let mut client = stage.client();
            client.ask("/park");
            calls.push(stage.parked());
            parked.push(client);
        }
        stage.until("all are known to be busy", |gauges| gauges.busy == 10);
        let mut outside = stage.client();
        outside.ask("/quick");
        outside.0.get_ref().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(std::io::Read::read(&mut outside.0, &mut [0]).is_err(), "nobody was let in");
        assert_eq!(stage.server().gauges().accepted, 10);
        // Whoever has been answered may go.
        calls.remove(first).reply.send(Response::text(200, "parked"));
        outside.0.get_ref().set_read_timeout(Some(crate::stage::PATIENCE)).unwrap();
        assert_eq!(outside.answer().text(), "quick");
        assert_eq!(stage.server().gauges().given_up, 1);
        calls.into_iter().for_each(|call| assert!(call.reply.send(Response::text(200, "parked"))));
    }
}

#[test]
fn no_connection_of_a_burst_is_forgotten() {
    let stage = Stage::new(|_| {});
    for _ in 0..10 {
        let mut clients: Vec<Client> = (0..200).map(|_| stage.client()).collect();
        clients.iter_mut().for_each(|client| client.ask("/work"));
        clients.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
    }
}

/// A slow login is answered late on purpose; a crowd of them must not lock the door.
#[test]
fn a_delayed_answer_is_no_reason_to_keep_others_out() {
    let stage = Stage::new(|limits| {
        limits.max_connections = 20;
        limits.event_threads = 1;
    });
    let mut guessing: Vec<Client> = (0..20).map(|_| stage.client()).collect();
    guessing.iter_mut().for_each(|client| client.ask("/much-later"));
    stage.until("they wait", |gauges| gauges.open == 20);
    assert_eq!(stage.get("/quick").status, 200);
}
