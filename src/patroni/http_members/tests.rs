//! What is said to members and understood of them, with servers that say one thing each.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use ureq::http::Method;

use super::{HttpMembers, ask};
use crate::model::{NodeId, Secret};
use crate::patroni::{Door, RestApi, RestError, Status};

/// Hears one request to its end, and answers with these bytes.
fn serve(answer: Vec<u8>) -> (Door, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let heard = hear(&mut stream);
        // Who has given up waiting does not hear it.
        let _ = stream.write_all(&answer);
        heard
    });
    (Door { address, user: Some(("patroni".to_owned(), Secret::new("hunter2"))) }, server)
}

fn hear(stream: &mut TcpStream) -> String {
    let mut heard = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        heard.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = heard.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if read == 0 || body.len() >= length.unwrap_or(0) {
            return heard;
        }
    }
}

/// As Patroni's server answers: without a length, to the end of the connection.
fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.0 {status}\r\nServer: BaseHTTP/0.6 Python/3.11.2\r\nContent-Type: application/json\r\n\r\n{body}")
        .into_bytes()
}

fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

#[test]
fn what_a_member_says_of_itself_is_read() {
    /// Whether its settings wait, its version, when it saw the store, who streams from it.
    type Told<'a> = (bool, Option<u32>, Option<u64>, &'a str);
    let check = |raw: Vec<u8>, expected: Result<Told<'_>, &str>| {
        let (door, server) = serve(raw.clone());
        let told = HttpMembers.status(&door);
        let heard = server.join().unwrap();
        assert!(heard.starts_with("GET /patroni HTTP/1.1\r\n"), "{heard}");
        match (told, expected) {
            (Ok(Status { pending_restart, server_version, streaming, store_seen_s }), Ok(expected)) => {
                let told = (pending_restart, server_version, store_seen_s, &*streaming.join(" "));
                assert_eq!(told, expected);
            }
            (Err(error), Err(words)) => {
                assert!(matches!(error, RestError::NoAnswer { .. }), "{error:?}");
                assert!(error.to_string().contains(words), "{error} without {words}");
            }
            (told, expected) => panic!("{told:?} and not {expected:?}"),
        }
    };
    let running = r#"{"state": "running", "postmaster_start_time": "2026-01-01 00:00:00", "role": "master",
        "server_version": 150018, "xlog": {"location": 67108864}, "timeline": 1, "dcs_last_seen": 1760000000,
        "database_system_identifier": "7", "pending_restart": true, "replication": [
        {"usename": "replicator", "application_name": "n2", "state": "streaming", "sync_state": "async"},
        {"usename": "replicator", "application_name": "n3", "state": "backup"}], "patroni": {"version": "3.0.2", "scope": "b1"}}"#;
    let seen = Some(1_760_000_000);
    check(answer("200 OK", running), Ok((true, Some(150_018), seen, "n2")));
    let down = r#"{"state": "stopped", "role": "replica", "dcs_last_seen": 1760000000, "patroni": {"version": "4.0.4"}}"#;
    check(answer("503 Service Unavailable", down), Ok((false, None, seen, "")));
    let odd = r#"{"server_version": "15", "dcs_last_seen": -1, "pending_restart": 1, "patroni": {}}"#;
    check(answer("200 OK", odd), Ok((false, None, None, "")));

    check(answer("200 OK", "<html>"), Err("what answers is not Patroni: <html> (200)"));
    check(answer("200 OK", "{}"), Err("not Patroni"));
    check(answer("200 OK", "[]"), Err("not Patroni"));
    check(answer("500 Internal Server Error", "out of\nmemory"), Err("out of memory (500)"));
    check(answer("404 Not Found", ""), Err("status 404"));
    check(b"what?\r\n\r\n".to_vec(), Err("does not answer"));
    check(Vec::new(), Err("does not answer"));
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"patroni\"".to_vec(), Err("does not answer"));
    check(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec(),
        Err("status 302"),
    );
}

#[test]
fn members_are_told_what_to_do() {
    type Order = fn(&Door) -> Result<(), RestError>;
    let check = |order: Order, head: &str, body: &str| {
        let (door, server) = serve(answer("200 OK", "done"));
        assert_eq!(order(&door), Ok(()));
        let heard = server.join().unwrap();
        assert!(heard.starts_with(head), "{heard}");
        let (head, sent) = heard.split_once("\r\n\r\n").unwrap();
        assert_eq!(sent, body);
        // patroni:hunter2
        assert!(head.to_lowercase().contains("authorization: basic cgf0cm9uatpodw50zxiy"), "{head}");

        let refusals = [
            ("401 Unauthorized", "no auth header received", "no auth header received (401)"),
            ("412 Precondition Failed", "candidate does not exists", "candidate does not exists (412)"),
            ("500 Internal Server Error", "", "status 500"),
            ("503 Service Unavailable", "Switchover failed", "Switchover failed (503)"),
        ];
        for (status, words, expected) in refusals {
            let (door, server) = serve(answer(status, words));
            assert_eq!(order(&door), Err(RestError::Refused { reason: expected.to_owned() }));
            server.join().unwrap();
        }
        let (door, server) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nSuccess".to_vec());
        let cut_off = order(&door);
        server.join().unwrap();
        assert!(matches!(cut_off, Err(RestError::NoAnswer { .. })), "{cut_off:?}");
    };
    check(
        |door| HttpMembers.switch_over(door, &node("n1"), &node("n2")),
        "POST /switchover HTTP/1.1\r\n",
        r#"{"candidate":"n2","leader":"n1"}"#,
    );
    check(
        |door| HttpMembers.patch_config(door, &json!({"ttl": 30, "x": null})),
        "PATCH /config HTTP/1.1\r\n",
        r#"{"ttl":30,"x":null}"#,
    );
    check(|door| HttpMembers.restart(door), "POST /restart HTTP/1.1\r\n", r#"{"restart_pending":true}"#);
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let door = Door { address: listener.local_addr().unwrap().to_string(), user: None };
    let began = Instant::now();
    let told =
        ask(&door, Method::GET, "/patroni", None, Duration::from_millis(200)).map(|answer| answer.status);
    assert!(matches!(told, Err(RestError::NoAnswer { .. })), "{told:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // Nobody listens.
    drop(listener);
    assert!(matches!(HttpMembers.restart(&door), Err(RestError::NoAnswer { .. })));
    let nowhere = Door { address: "no such host:x".to_owned(), user: None };
    assert!(matches!(HttpMembers.status(&nowhere), Err(RestError::NoAnswer { .. })));
}
