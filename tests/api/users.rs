//! Who may ask for what, how passwords are verified, and who is slowed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use patroni_broker::api::{Api, FailureLimits, Head, Response, Settings, Verdict};
use patroni_broker::model::{Password, Role, User};

use crate::bench::{Bench, catalog, settings, user};
use crate::client::basic;
use crate::desk::Desk;

#[test]
fn who_may_ask() {
    let bench = Bench::start();
    let check = |line: &str, authorization: &str, status: u16| {
        let mut client = bench.client();
        client.send(format!("{line} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n").as_bytes());
        let answer = client.answer(false);
        assert_eq!(answer.status, status, "{line} {authorization}");
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401, "{line} {authorization}");
    };
    check("GET /v2/catalog", "Authorization: Basic cGxhdGZvcm06aHVudGVyMg==\r\n", 200);
    check("GET /v2/catalog", "AUTHORIZATION: basic cGxhdGZvcm06aHVudGVyMg==\r\n", 200);
    check("GET /v2/catalog", "", 401);
    check("GET /v2/catalog", "Authorization: Basic cGxhdGZvcm06aHVudGVy\r\n", 401);
    check("GET /v2/catalog", "Authorization: Bearer cGxhdGZvcm06aHVudGVyMg==\r\n", 401);
    // Who is not known learns nothing of what there is.
    check("GET /nowhere", "", 401);
    check("POST /v2/catalog", "", 401);
    check("OPTIONS /v2/catalog", "", 401);
    check("PUT /v2/service_instances/b1", "", 401);
    check("GET /livez", "", 200);
    check("GET /readyz", "", 503);
}

fn api(settings: Settings) -> Api {
    Api::new(Arc::new(Desk::default()), &catalog(), settings)
}

/// A head of somebody at an address.
fn head(line: &str, user: &str, password: &str, from: &str, now: Instant) -> Head {
    let (method, target) = line.split_once(' ').unwrap();
    let header = basic(user, password);
    let mut head = Head::new(method, target, &[header.split_once(": ").unwrap()]);
    head.peer = SocketAddr::new(from.parse().unwrap(), 1234);
    head.since = now;
    head
}

/// The status of what is not let in, or 0.
fn status(verdict: Verdict) -> u16 {
    told(verdict).map_or(0, |response| response.status)
}

/// What is told to who is not let in.
fn told(verdict: Verdict) -> Option<Response> {
    match verdict {
        Verdict::Go(_) => None,
        Verdict::Answer(response, _) => Some(response),
        Verdict::Ask => panic!("it is asked for"),
    }
}

/// What waits for nothing is answered where it was read; what reads the store, where that waits for nobody.
#[test]
fn what_never_blocks() {
    let check = |reads_are_local: bool, line: &str, expected: bool| {
        let desk = Desk::over(reads_are_local);
        let api = Api::new(Arc::new(desk), &catalog(), settings());
        let Verdict::Go(admitted) = api.admit(&head(line, "platform", "hunter2", "::1", Instant::now()))
        else {
            panic!("{line} is let in")
        };
        assert_eq!(api.never_blocks(&admitted), expected, "{line}, local: {reads_are_local}");
    };
    for local in [false, true] {
        check(local, "GET /livez", true);
        check(local, "GET /v2/catalog", true);
        check(local, "GET /readyz", false);
        check(local, "GET /v2/service_instances/b1", local);
        check(local, "GET /v2/service_instances/b1/last_operation", local);
        // It may have to settle the binding, which writes.
        check(local, "GET /v2/service_instances/b1/service_bindings/x/last_operation", false);
        check(local, "PUT /v2/service_instances/b1", false);
        check(local, "PUT /v2/service_instances/b1/service_bindings/x", false);
    }
}

/// Every role at every route.
#[test]
fn roles() {
    let failures = FailureLimits { burst: 1000, ..FailureLimits::default() };
    let api = api(Settings { failures, ..settings() });
    let check = |line: &str, platform: u16, admin: u16, viewer: u16| {
        for (name, expected) in
            [("platform", platform), ("admin", admin), ("viewer", viewer), ("nobody", 401)]
        {
            let verdict = api.admit(&head(line, name, "hunter2", "10.0.0.1", Instant::now()));
            let expected = if line.ends_with('z') { 0 } else { expected };
            assert_eq!(status(verdict), expected, "{name} {line}");
        }
    };
    let instance = "/v2/service_instances/b1";
    let binding = "/v2/service_instances/b1/service_bindings/x";
    check("GET /livez", 0, 0, 0);
    check("GET /readyz", 0, 0, 0);
    check("GET /v2/catalog", 0, 0, 0);
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        check(&format!("{method} {instance}"), 0, 0, 403);
        check(&format!("{method} {instance}/?plan_id=p1"), 0, 0, 403);
    }
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        check(&format!("{method} {binding}"), 0, 0, 403);
    }
    check(&format!("GET {instance}/last_operation"), 0, 0, 403);
    check(&format!("GET {binding}/last_operation"), 0, 0, 403);
    for path in ["/admin/service_instances", "/admin/service_instances/b1", "/admin/cells", "/metrics"] {
        check(&format!("GET {path}"), 403, 0, 0);
        check(&format!("HEAD {path}/"), 403, 0, 0);
        check(&format!("POST {path}"), 405, 405, 405);
        check(&format!("OPTIONS {path}"), 200, 200, 200);
    }
    check("GET /admin/cells/c1", 403, 0, 0);
    for what in ["cordon", "uncordon", "drain", "demote"] {
        check(&format!("POST /admin/cells/c1/{what}"), 403, 0, 403);
        check(&format!("GET /admin/cells/c1/{what}"), 405, 405, 405);
    }
    check("DELETE /admin/service_instances/b1?force=true", 403, 0, 403);
    check("GET /admin", 404, 404, 404);
    check("GET /admin/../v2/catalog", 404, 404, 404);
    check("GET /v2/service_instances", 404, 404, 404);
}

fn hashed(name: &str, password: &str) -> User {
    // As cheap as they get: what is asked of argon2 here is only that it tells right from wrong.
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let hash = argon2.hash_password_with_salt(password.as_bytes(), b"some salt").unwrap().to_string();
    User { name: name.to_owned(), role: Role::Platform, password: Password::Argon2(hash) }
}

/// What an event thread and a worker make of it together, and whether the worker was asked.
fn decide(api: &Api, head: &Head) -> (u16, bool) {
    match api.admit(head) {
        Verdict::Ask => (status(api.judge(head)), true),
        told => (status(told), false),
    }
}

#[test]
fn a_verified_password_is_remembered() {
    let users = vec![user("plain", Role::Platform), hashed("cf", "s3cret"), hashed("k8s", "other")];
    let failures = FailureLimits { burst: 1000, ..FailureLimits::default() };
    let api = api(Settings { users, failures, ..settings() });
    let check = |name: &str, password: &str, expected: (u16, bool), verified: u64| {
        let before = api.verifications();
        let head = head("GET /v2/catalog", name, password, "10.0.0.1", Instant::now());
        assert_eq!(decide(&api, &head), expected, "{name}:{password}");
        assert_eq!(api.verifications() - before, verified, "{name}:{password}");
    };
    check("plain", "hunter2", (0, false), 0);
    // Whatever the name, a wrong guess takes as long.
    check("cf", "wrong", (401, true), 1);
    check("plain", "wrong", (401, true), 1);
    check("nobody", "s3cret", (401, true), 1);
    check("", "", (401, true), 1);
    check("cf", "s3cret", (0, true), 1);
    check("cf", "s3cret", (0, false), 0);
    check("cf", "wrong", (401, true), 1);
    check("k8s", "s3cret", (401, true), 1);
    check("k8s", "other", (0, true), 1);
    // All are known now: no guess costs anything any more.
    check("cf", "s3cret", (0, false), 0);
    check("k8s", "other", (0, false), 0);
    check("cf", "wrong", (401, false), 0);
    check("nobody", "s3cret", (401, false), 0);
    check("cf", "other", (401, false), 0);
    // Who claims nothing is not verified either.
    let nobody = Head::new("GET", "/v2/catalog", &[]);
    assert_eq!(decide(&api, &nobody), (401, false));
    let broken = User {
        name: "broken".to_owned(),
        role: Role::Admin,
        password: Password::Argon2("$argon2id$nonsense".to_owned()),
    };
    let api = self::api(Settings { users: vec![broken], ..settings() });
    let head = head("GET /v2/catalog", "broken", "$argon2id$nonsense", "10.0.0.1", Instant::now());
    assert_eq!(decide(&api, &head), (401, true));
}

#[test]
fn who_guesses_is_slowed() {
    let begin = Instant::now();
    for users in [vec![user("cf", Role::Platform)], vec![hashed("cf", "hunter2"), hashed("other", "x")]] {
        let failures =
            FailureLimits { burst: 3, every: Duration::from_secs(1), longest_delay: Duration::from_secs(2) };
        let is_hashed = users.len() > 1;
        let api = api(Settings { users, failures, ..settings() });
        let ask = |password: &str, from: &str, at_s: u64| -> Option<Response> {
            let head = head("GET /v2/catalog", "cf", password, from, begin + Duration::from_secs(at_s));
            match api.admit(&head) {
                Verdict::Ask => told(api.judge(&head)),
                verdict => told(verdict),
            }
        };
        let check = |password: &str, from: &str, at_s: u64, status: u16, delay_s: u64, retry_after: &str| {
            let response = ask(password, from, at_s);
            let found = response.as_ref().map_or((0, 0), |response| {
                (response.status, response.delay.map_or(0, |delay| delay.as_secs()))
            });
            assert_eq!(found, (status, delay_s), "{password} {from} {at_s}");
            let header = response.iter().flat_map(|response| &response.headers);
            let header = header.filter(|(name, _)| *name == "Retry-After").map(|(_, value)| value.as_str());
            assert_eq!(header.collect::<String>(), retry_after, "{password} {from} {at_s}");
        };
        // A verification that goes well costs nothing.
        check("hunter2", "10.0.0.1", 0, 0, 0, "");
        for _ in 0..3 {
            check("wrong", "10.0.0.1", 0, 401, 0, "");
        }
        check("wrong", "10.0.0.1", 0, 401, 1, "");
        check("wrong", "10.0.0.1", 0, 401, 2, "");
        let verified = api.verifications();
        check("wrong", "10.0.0.1", 0, 429, 0, "1");
        check("wrong", "::ffff:10.0.0.1", 0, 429, 0, "1");
        assert_eq!(api.verifications(), verified, "who is refused is not verified");
        // Others are not slowed, nor is who is known, at the very address.
        check("hunter2", "10.0.0.1", 0, 0, 0, "");
        check("wrong", "10.0.0.2", 0, 401, 0, "");
        check("wrong", "10.0.0.1", 1, 401, 2, "");
        check("wrong", "10.0.0.1", 1, 429, 0, "1");
        check("wrong", "10.0.0.1", 60, 401, 0, "");
        check("wrong", "2001:db8::1", 0, 401, 0, "");
        check("wrong", "2001:db8::2", 0, 401, 0, "");
        check("wrong", "2001:db8::3", 0, 401, 0, "");
        check("wrong", "2001:db8::4", 0, 401, 1, "");
        check("wrong", "2001:db8:0:1::4", 0, 401, 0, "");
        // Who says that he comes from elsewhere is not believed, and who claims nothing guesses nothing.
        for number in 0..10 {
            let (wrong, elsewhere) = (basic("cf", "wrong"), format!("192.0.2.{number}"));
            let headers = [wrong.split_once(": ").unwrap(), ("X-Forwarded-For", elsewhere.as_str())];
            let mut head = Head::new("GET", "/v2/catalog", &headers);
            (head.peer, head.since) = (SocketAddr::from(([10, 0, 0, 3], 1)), begin);
            let response = match api.admit(&head) {
                Verdict::Ask => told(api.judge(&head)),
                verdict => told(verdict),
            };
            let status = response.unwrap().status;
            assert_eq!(status, if number < 5 { 401 } else { 429 }, "{number} {is_hashed}");
            let mut nobody = Head::new("GET", "/v2/catalog", &[]);
            nobody.peer = SocketAddr::from(([10, 0, 0, 4], 1));
            let response = told(api.admit(&nobody)).unwrap();
            assert_eq!((response.status, response.delay), (401, None));
        }
    }
}

/// As many guesses at once as there are threads: none is verified before it was paid for.
#[test]
fn a_flood_of_guesses_is_not_verified() {
    let failures = FailureLimits { burst: 2, every: Duration::from_secs(1), longest_delay: Duration::ZERO };
    let api = api(Settings { users: vec![hashed("cf", "s3cret")], failures, ..settings() });
    let now = Instant::now();
    let heads: Vec<Head> =
        (0..50).map(|n| head("GET /v2/catalog", "cf", &format!("guess{n}"), "10.0.0.1", now)).collect();
    // All were let through to the workers before the first had failed.
    assert!(heads.iter().all(|head| matches!(api.admit(head), Verdict::Ask)));
    let refused = heads.iter().filter(|head| status(api.judge(head)) == 429).count();
    assert_eq!((refused, api.verifications()), (48, 2));
    // From now on not even a worker is asked.
    assert_eq!(status(api.admit(&heads[0])), 429);
}

#[test]
fn through_the_door() {
    let users = vec![hashed("cf", "s3cret")];
    let bench = Bench::start_with(&catalog(), Settings { users, ..settings() });
    let ask = |password: &str| bench.client().ask("GET /v2/catalog", &[&basic("cf", password)], b"").status;
    assert_eq!((ask("wrong"), ask("s3cret"), ask("s3cret"), ask("wrong")), (401, 200, 200, 401));
}
