//! Answers that go out in pieces.

use std::time::Duration;

use door::{Response, Stream};

use crate::stage::{Client, Stage, eventually};

fn head() -> Response {
    Response::new(200, "application/json", Vec::new())
}

#[test]
fn a_stream_is_read_as_it_is_written() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    client.ask("/park");
    let stream = stage.parked().reply.stream(head());
    let answer = client.head();
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, "chunked"));
    for word in ["one", "two"] {
        assert!(stream.push(word.as_bytes()));
        assert_eq!(client.chunk(), word.as_bytes());
    }
    assert!(stream.push(Vec::new()), "an empty piece would be the end");
    stream.end();
    assert_eq!(client.chunk(), b"");
    assert_eq!(client.get("/quick").status, 200, "the connection is kept");
}

#[test]
fn an_older_reader_gets_the_same_without_chunks() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    client.send("GET /park HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let stream = stage.parked().reply.stream(head());
    stream.push(&b"all"[..]);
    stream.end();
    let answer = client.head();
    assert_eq!((answer.header("transfer-encoding"), answer.header("connection")), ("", "close"));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut client.0, &mut rest).unwrap();
    assert_eq!(rest, "all");
    // And one who asked for the head only gets no more.
    let mut client = stage.client();
    client.send("HEAD /park HTTP/1.1\r\nHost: x\r\n\r\n");
    let stream = stage.parked().reply.stream(head());
    stream.push(&b"all"[..]);
    stream.end();
    assert_eq!(client.head().status, 200);
    assert_eq!(client.get("/quick").text(), "quick");
}

/// A part must not be taken for the whole.
#[test]
fn a_stream_that_is_dropped_is_cut_off() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    client.ask("/park");
    let stream = stage.parked().reply.stream(head());
    stream.push(&b"part"[..]);
    client.head();
    assert_eq!(client.chunk(), b"part");
    drop(stream);
    client.is_closed();
}

#[test]
fn who_does_not_read_is_cut_off_when_the_buffer_is_full() {
    let stage = Stage::new(|limits| limits.max_stream_bytes = 64 << 10);
    let mut client = stage.client();
    client.ask("/park");
    let stream = stage.parked().reply.stream(head());
    let piece: std::sync::Arc<[u8]> = vec![b'x'; 32 << 10].into();
    let pushed = (0..10_000).take_while(|_| stream.push(piece.clone())).count();
    assert!(pushed < 10_000, "320 MB were taken for somebody who reads nothing");
    stage.until("it is closed", |gauges| gauges.open == 0);
    eventually("the stream knows", || stream.reader_has_gone());
}

#[test]
fn who_takes_nothing_for_long_is_cut_off() {
    let stage = Stage::new(|limits| limits.write_timeout = Duration::from_millis(300));
    let mut client = stage.client();
    client.ask("/park");
    let stream = stage.parked().reply.stream(head());
    assert!(stream.push(vec![b'x'; 64 << 20]), "one piece is taken whatever its size");
    stage.until("it is closed", |gauges| gauges.open == 0);
    assert!(!stream.push(&b"more"[..]));
    drop(client);
}

#[test]
fn a_stream_to_who_has_gone_is_over() {
    let stage = Stage::new(|_| {});
    for reset in [true, false] {
        let mut client = stage.client();
        client.ask("/park");
        let stream = stage.parked().reply.stream(head());
        client.head();
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        eventually("the stream knows", || stream.reader_has_gone());
        assert!(!stream.push(&b"x"[..]));
    }
    stage.until("they are closed", |gauges| gauges.open == 0);
}

#[test]
fn thousands_of_streams_need_no_thread_each() {
    let stage = Stage::new(|_| {});
    let mut clients: Vec<Client> = (0..2000).map(|_| stage.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("/park"));
    let streams: Vec<Stream> = clients.iter().map(|_| stage.parked().reply.stream(head())).collect();
    let word: std::sync::Arc<[u8]> = (*b"shared by all").into();
    streams.iter().for_each(|stream| assert!(stream.push(word.clone())));
    for client in &mut clients {
        client.head();
        assert_eq!(client.chunk(), b"shared by all");
    }
    streams.into_iter().for_each(Stream::end);
    clients.iter_mut().for_each(|client| assert_eq!(client.chunk(), b""));
}

/// Far more than may be held back, for one who reads; and one who does not is given up by who waits for him.
#[test]
fn who_waits_for_room_is_not_cut_off() {
    const PIECES: usize = 400;
    let stage = Stage::new(|limits| limits.max_stream_bytes = 64 << 10);
    let mut client = stage.client();
    client.ask("/park");
    let stream = stage.parked().reply.stream(head());
    client.head();
    let writer = std::thread::spawn(move || {
        for _ in 0..PIECES {
            assert!(stream.wait_for_room(Duration::from_secs(30)) && stream.push(vec![b'x'; 60_000]));
        }
        stream.end();
    });
    for _ in 0..PIECES {
        assert_eq!(client.chunk().len(), 60_000);
    }
    assert_eq!(client.chunk(), b"");
    writer.join().unwrap();

    let mut sleeper = stage.client();
    sleeper.ask("/park");
    let stream = stage.parked().reply.stream(head());
    while stream.wait_for_room(Duration::from_millis(300)) {
        assert!(stream.push(vec![b'x'; 60_000]));
    }
    assert!(!stream.reader_has_gone());
    drop(sleeper);
    eventually("its end is seen", || stream.reader_has_gone());
    assert!(!stream.wait_for_room(Duration::from_secs(30)));
}
