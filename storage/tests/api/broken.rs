//! Input that is too much, or never ends.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use storage::{Key, Store};

use super::client::{Raw, send, serve};

pub const TESTS: &[(&str, fn())] = &[
    ("a_hundred_megabytes_are_refused", a_hundred_megabytes),
    ("a_form_that_never_ends_is_given_up", a_form_that_never_ends),
    ("ten_thousand_keys_in_one_directory", ten_thousand_keys),
    ("what_differs_from_etcd_on_purpose", what_differs),
];

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// Announced, and in chunks that nobody has announced.
fn a_hundred_megabytes() {
    let (server, store) = serve(|_| {});
    let check = |framing: &str, piece: &[u8]| {
        let mut raw = Raw::connect(server.address());
        raw.send(&format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}\r\n{framing}\r\n\r\n"));
        for _ in 0..100 {
            // Whoever is refused may find the connection closed before its end.
            if raw.0.get_mut().write_all(piece).is_err() {
                break;
            }
        }
        let mut told = Vec::new();
        let _reset = raw.0.read_to_end(&mut told);
        let told = String::from_utf8_lossy(&told);
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 413 "), "{framing}: {told}");
        assert_eq!(send(server.address(), "GET", "/version", "", None).status, 200);
    };
    check("Content-Length: 104857600", &[b'x'; 1 << 20]);
    let chunk = [b"100000\r\n".as_slice(), &[b'x'; 1 << 20], b"\r\n"].concat();
    check("Transfer-Encoding: chunked", &chunk);
    assert_eq!(store.get(&Key::parse("/a").unwrap()), Ok(None));
}

fn a_form_that_never_ends() {
    let (server, store) = serve(|options| options.limits.body_timeout = Duration::from_millis(500));
    for framing in ["Content-Length: 5000", "Transfer-Encoding: chunked"] {
        let mut raw = Raw::connect(server.address());
        raw.send(&format!("PUT /v2/keys/a HTTP/1.1\r\nHost: x\r\n{FORM}\r\n{framing}\r\n\r\n"));
        let begun = Instant::now();
        let mut writer = raw.0.get_ref().try_clone().unwrap();
        let trickle = thread::spawn(move || {
            let piece: &[u8] = if framing.starts_with('T') { b"1\r\nx\r\n" } else { b"x" };
            while begun.elapsed() < Duration::from_secs(3) && writer.write_all(piece).is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        assert_eq!(raw.head().0, 408, "{framing}");
        trickle.join().unwrap();
    }
    assert_eq!(store.get(&Key::parse("/a").unwrap()), Ok(None));
}

/// Made, listed and removed, while others are answered.
fn ten_thousand_keys() {
    let (server, _store) = serve(|_| {});
    let address = server.address();
    let ask = |raw: &mut Raw, method: &str, target: &str| {
        raw.send(&format!("{method} /v2/keys/{target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        let (status, length) = raw.head();
        let mut body = vec![0; length];
        raw.0.read_exact(&mut body).unwrap();
        (status, body)
    };
    thread::scope(|scope| {
        for writer in 0..8 {
            scope.spawn(move || {
                let mut raw = Raw::connect(address);
                for number in 0..1250 {
                    assert_eq!(ask(&mut raw, "PUT", &format!("many/{writer}-{number}?value=1")).0, 201);
                }
            });
        }
    });
    thread::scope(|scope| {
        let lists = || {
            let mut raw = Raw::connect(address);
            for _ in 0..5 {
                let (status, body) = ask(&mut raw, "GET", "many?recursive=true");
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!((status, body["node"]["nodes"].as_array().unwrap().len()), (200, 10_000));
            }
        };
        let listing: Vec<_> = (0..4).map(|_| scope.spawn(lists)).collect();
        let mut raw = Raw::connect(address);
        let mut slowest = Duration::ZERO;
        while listing.iter().any(|listing| !listing.is_finished()) {
            let begun = Instant::now();
            assert_eq!(ask(&mut raw, "GET", "many/0-0").0, 200);
            slowest = slowest.max(begun.elapsed());
        }
        assert!(slowest < Duration::from_secs(15), "somebody waited {slowest:?}");
    });
    let mut raw = Raw::connect(address);
    assert_eq!(ask(&mut raw, "DELETE", "many").0, 403);
    assert_eq!(ask(&mut raw, "DELETE", "many?dir=true").0, 403);
    assert_eq!(ask(&mut raw, "DELETE", "many?recursive=true").0, 200);
    assert_eq!(ask(&mut raw, "GET", "many").0, 404);
}

/// The rows of the table in `embedded::http` that a request can tell.
fn what_differs() {
    let (server, _store) = serve(|_| {});
    let check = |method: &str, target: &str, status: u16, word: &str| {
        let answer = send(server.address(), method, target, "", None);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.body);
        assert!(answer.body.contains(word), "{method} {target}: {}", answer.body);
    };
    check("PUT", "/v2/keys/%01?value=1", 400, "\"errorCode\":209");
    check("PUT", "/v2/keys/%ff?value=1", 400, "\"errorCode\":209");
    check("GET", &format!("/v2/keys/{}", "a/".repeat(40)), 400, "\"errorCode\":209");
    check("PUT", &format!("/v2/keys/{}?value=1", "x".repeat(256)), 400, "\"errorCode\":209");
    check("POST", &format!("/v2/keys/{}?value=1", "a/".repeat(32)), 400, "\"errorCode\":209");
    check("PUT", "/v2/keys/t?value=1&ttl=18446744073709551615", 201, "\"ttl\":3153600000");
    check("PUT", "/v2/keys/t?refresh=true&ttl=100&dir=true", 200, "\"value\":\"1\"");
    check("POST", "/v2/members", 403, "message");
    check("DELETE", "/v2/members/abc", 403, "message");
    check("PUT", "/v2/members/abc", 403, "message");
    check("GET", "/v2/auth/users", 404, "404 page not found");
    check("GET", "/metrics", 404, "404 page not found");
}
