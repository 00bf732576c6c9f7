//! What is a request and where it ends. Nothing that two parties could read differently comes through.

use crate::stage::{BODY_LIMIT, Stage};

/// Sends `request` followed by one that must not be answered where `request` is refused, and compares the statuses.
#[track_caller]
fn check(stage: &Stage, request: &str, expected: u16) {
    let mut client = stage.client();
    client.send(request);
    client.send("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, expected, "{request:?}: {}", answer.text());
    assert_eq!(answer.header("connection"), "close", "{request:?}");
    client.is_closed();
}

#[test]
fn a_body_has_one_length_or_is_refused() {
    let stage = Stage::new(|_| {});
    let check = |headers: &str, expected| {
        check(&stage, &format!("PUT / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n"), expected);
    };
    // What follows is a body by one of the two readings.
    check("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0", 400);
    check("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0", 400);
    check("Content-Length: 5\r\nContent-Length: 5", 400);
    check("Content-Length: 5\r\nContent-Length: 6", 400);
    for length in ["5, 5", "5,6", "+5", "-5", "0x5", "5 5", "", "5;", "18446744073709551616"] {
        check(&format!("Content-Length: {length}"), 400);
    }
    check("Content-Length: 18446744073709551615", 413);
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501);
    for coding in [
        "gzip",
        "chunked, identity",
        "identity",
        "gzip, chunked",
        "chunked, chunked",
        "xchunked",
        "\u{b}chunked",
    ] {
        let status = if coding.starts_with('\u{b}') { 400 } else { 501 };
        check(&format!("Transfer-Encoding: {coding}"), status);
    }
    check("Transfer-Encoding : chunked", 400);
    check("Transfer-Encoding\t: chunked", 400);
    check(" Transfer-Encoding: chunked", 400);
    check("X: y\r\n Transfer-Encoding: chunked", 400);
    check("X: y\r\n\tz", 400);
    let older = "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    super::framing::check(&stage, older, 400);
}

#[test]
fn lines_end_in_one_way_only() {
    let stage = Stage::new(|_| {});
    for request in [
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\n",
        "GET / HTTP/1.1\r\nHost: x\rY: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\rX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX\0: y\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        check(&stage, request, 400);
    }
}

#[test]
fn only_requests_of_this_protocol_are_taken() {
    let stage = Stage::new(|_| {});
    check(&stage, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    check(&stage, "GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505);
    check(&stage, "GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505);
    check(&stage, "GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505);
    for request in [
        "GET /\r\n",
        "GET / HTTP\r\n\r\n",
        "GET / HTTP/1.10\r\nHost: x\r\n\r\n",
        "GET / http/1.1\r\nHost: x\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\ny\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        check(&stage, request, 400);
    }
}

#[test]
fn what_will_never_be_a_request_is_not_waited_for() {
    let stage = Stage::new(|_| {});
    for (begin, expected) in
        [("\u{16}\u{3}\u{1}", 400), (" ", 400), ("GET /\r\n", 400), ("GET / HTTP/2.0\r\n", 505), ("\n", 400)]
    {
        let mut client = stage.client();
        client.send(begin);
        assert_eq!(client.answer().status, expected, "{begin:?}");
    }
}

#[test]
fn heads_have_a_size() {
    let stage = Stage::new(|limits| limits.max_head_bytes = 8 << 10);
    let of = |size: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(size - 32));
    let mut client = stage.client();
    client.send(of(8 << 10));
    assert_eq!(client.answer().status, 200);
    check(&stage, &of((8 << 10) + 1), 431);
    // Without an end in sight as well.
    for begin in ["GET /", "GET / HTTP/1.1\r\nX: "] {
        let mut client = stage.client();
        client.send(format!("{begin}{}", "y".repeat(9 << 10)));
        assert_eq!(client.answer().status, 431, "{begin:?}");
    }
    let headers = |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    client.send(headers(100));
    assert_eq!(client.answer().status, 200);
    check(&stage, &headers(101), 431);
}

#[test]
fn bodies_have_a_size() {
    let stage = Stage::new(|_| {});
    let put = |headers: &str, body: &str| format!("PUT / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}");
    let body = "z".repeat(BODY_LIMIT);
    let mut client = stage.client();
    client.send(put(&format!("Content-Length: {BODY_LIMIT}"), &body));
    assert_eq!(client.answer().body.len(), BODY_LIMIT);
    let chunked = format!("{BODY_LIMIT:x}\r\n{body}\r\n0\r\n\r\n");
    client.send(put("Transfer-Encoding: chunked", &chunked));
    assert_eq!(client.answer().body.len(), BODY_LIMIT);
    // Before anything of it has been sent.
    check(&stage, &put(&format!("Content-Length: {}", BODY_LIMIT + 1), ""), 413);
    check(&stage, &put("Transfer-Encoding: chunked", "100001\r\n"), 413);
    check(&stage, &put("Transfer-Encoding: chunked", "ffffffffffffffff\r\n"), 413);
    check(&stage, &put("Transfer-Encoding: chunked", "1ffffffffffffffff\r\n"), 400);
    // And one that never ends, byte by byte.
    let pieces = "1\r\nz\r\n".repeat(BODY_LIMIT + 1);
    check(&stage, &put("Transfer-Encoding: chunked", &pieces), 413);
}

#[test]
fn what_stands_around_chunks_is_bounded_and_well_formed() {
    let stage = Stage::new(|_| {});
    let put = |body: &str| format!("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let mut client = stage.client();
    let good = |client: &mut crate::stage::Client, body: &str, expected: &str| {
        client.send(put(body));
        assert_eq!(client.answer().text(), expected, "{body:?}");
    };
    good(&mut client, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde");
    good(&mut client, "3;a=b\r\nabc\r\n0;c\r\nX-Trailer: y\r\n\r\n", "abc");
    good(&mut client, "A\r\n0123456789\r\n0000\r\n\r\n", "0123456789");
    good(&mut client, "0\r\n\r\n", "");
    for bad in [
        "\r\n",
        "g\r\n",
        "3\nabc\r\n",
        "3\r\nabcd",
        "3\r\nabc\n",
        "3 \r\nabc",
        "+3\r\n",
        "0x3\r\n",
        "-1\r\n",
        ";\r\n",
        "3;a\0\r\n",
        "3;a\n",
        "0\r\nX\n",
        "0\r\n\n",
        "0\r\nX: y\rz",
        "00000000000000003\r\nabc\r\n",
    ] {
        check(&stage, &put(bad), 400);
    }
    check(&stage, &put(&format!("1;{}\r\n", "x".repeat(9 << 10))), 431);
    check(&stage, &put(&format!("0\r\n{}", "X: y\r\n".repeat(3000))), 431);
    check(&stage, &put(&"1;xxxxxxxx\r\nz\r\n".repeat(3000)), 431);
}

#[test]
fn the_handler_hears_of_every_method_and_target() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    for line in [
        "GET /",
        "BREW /",
        "get /",
        "OPTIONS *",
        "CONNECT x:1",
        "TRACE /",
        "GET http://x/y",
        "GET https://x",
        "GET /%00?a=b",
        "M-SEARCH /",
    ] {
        client.send(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = client.answer();
        let method = line.split(' ').next().unwrap();
        assert_eq!((answer.status, answer.header("x-method")), (200, method), "{line}");
    }
    // An empty line after a request is no part of the next; with more of them nobody keeps a connection for ever.
    for _ in 0..3 {
        client.send("\r\nGET / HTTP/1.1\r\nHost:\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    client.send("\r\n\r\n");
    assert_eq!(client.answer().status, 400);
}

#[test]
fn a_head_may_come_in_pieces_of_any_size() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    for size in [1, 2, 3, 7] {
        let request =
            "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n";
        request.as_bytes().chunks(size).for_each(|piece| client.send(piece));
        assert_eq!(client.answer().text(), "abc", "{size}");
    }
}

#[test]
fn who_expects_to_be_asked_is_asked_once_admitted() {
    let stage = Stage::new(|_| {});
    let put = |path: &str, expected: &str, length: usize| {
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nExpect: {expected}\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut client = stage.client();
    client.send(put("/", "100-Continue", 3));
    assert_eq!(client.head().status, 100);
    client.send("abc");
    assert_eq!(client.answer().text(), "abc");
    client.send(put("/secret", "100-continue", 3));
    assert_eq!(client.answer().status, 401);
    client.is_closed();
    check(&stage, &put("/", "100-continue", BODY_LIMIT + 1), 413);
    check(&stage, &put("/", "a-miracle", 0), 417);
    let mut client = stage.client();
    client.send(put("/", "100-continue", 0));
    assert_eq!(client.answer().status, 200);
    // An older sender does not know that word.
    client.send("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.answer().text(), "abc");
}

#[test]
fn connections_are_kept_as_their_senders_wish() {
    let stage = Stage::new(|_| {});
    let check = |version: &str, header: &str, expected: &str| {
        let mut client = stage.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: x\r\n{header}\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, expected), "{version} {header}");
        if expected == "close" {
            client.is_closed();
        } else {
            assert_eq!(client.get("/").status, 200);
        }
    };
    check("1.1", "", "");
    check("1.1", "Connection: keep-alive\r\n", "");
    check("1.1", "Connection: upgrade\r\nUpgrade: h2c\r\n", "");
    check("1.1", "Connection: Close\r\n", "close");
    check("1.1", "Connection: x, close\r\n", "close");
    check("1.1", "Connection: x\r\nConnection: close\r\n", "close");
    check("1.0", "", "close");
    check("1.0", "Connection: Keep-Alive\r\n", "keep-alive");
}

#[test]
fn an_answer_to_head_has_no_body_and_no_answer_has_a_foreign_header() {
    let stage = Stage::new(|_| {});
    let mut client = stage.client();
    client.send("HEAD /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.header("content-length")), (200, "5"));
    let answer = client.get("/quick");
    assert_eq!(answer.text(), "quick");
    assert!(answer.header("date").ends_with(" GMT"), "{}", answer.header("date"));
    let answer = client.get("/injected");
    assert_eq!((answer.header("x-echo"), answer.header("x-evil")), ("a  X-Evil: b", ""));
}
