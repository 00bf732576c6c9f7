//! What the scenarios share: servers, clients, and calls past the engine.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use storage::remote::{Credentials, Reach, Timeouts};
use storage::{Changed, Deadline, EtcdV3, Key};
use test_servers::{Etcd, EtcdOptions, ROOT, enable_auth_v3};

pub const ROOT_PASSWORD: &str = "root's own: hush";

pub fn key(raw: &str) -> Key {
    Key::parse(raw).unwrap()
}

pub fn etcd() -> Etcd {
    etcd_with(&[])
}

pub fn etcd_with(arguments: &[&str]) -> Etcd {
    let arguments = arguments.iter().map(ToString::to_string).collect();
    Etcd::start(&EtcdOptions { arguments, ..EtcdOptions::default() }).unwrap()
}

/// One that asks for a password.
pub fn closed_etcd() -> Etcd {
    let etcd = etcd();
    enable_auth_v3(etcd.endpoint(), ROOT_PASSWORD, None).unwrap();
    etcd
}

pub fn credentials(user: &str, password: &str) -> Credentials {
    Credentials { username: user.to_owned(), password: password.to_owned() }
}

pub fn root() -> Option<Credentials> {
    Some(credentials(ROOT, ROOT_PASSWORD))
}

/// With patience for a loaded machine, but not too much.
pub fn reach(endpoints: &[&str]) -> Reach {
    let endpoints: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    let timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_secs(4) };
    Reach { timeouts, ..Reach::of(&endpoints) }
}

pub fn client(endpoint: &str, who: Option<Credentials>) -> EtcdV3 {
    EtcdV3::connect(&reach(&[endpoint]), who).unwrap()
}

pub fn within(ms: u64) -> Deadline {
    Deadline::after(Duration::from_millis(ms))
}

pub fn keys(changed: &Changed) -> Vec<&str> {
    match changed {
        Changed::Keys(keys) => keys.iter().map(Key::as_str).collect(),
        Changed::Resync => panic!("a resync was not called for"),
    }
}

pub fn b64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}

/// A call to etcd past the engine: status and answer; of a stream, its first word.
pub fn call(endpoint: &str, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_recv_body(Some(Duration::from_secs(3)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.post(format!("{endpoint}{path}"));
    if !token.is_empty() {
        request = request.header("Authorization", token);
    }
    let mut answer = request.send(body.to_string()).unwrap();
    let reader = answer.body_mut().as_reader();
    let word = serde_json::Deserializer::from_reader(reader).into_iter().next();
    (answer.status().as_u16(), word.and_then(Result::ok).unwrap_or_default())
}

/// As [`call`], of what must go well.
pub fn done(endpoint: &str, token: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = call(endpoint, token, path, body);
    assert_eq!(status, 200, "{path} {body}: {answer}");
    answer
}

pub fn token(endpoint: &str, user: &str, password: &str) -> String {
    let body = json!({"name": user, "password": password});
    done(endpoint, "", "/v3/auth/authenticate", &body)["token"].as_str().unwrap().to_owned()
}

/// How many leases there are.
pub fn leases(endpoint: &str) -> usize {
    done(endpoint, "", "/v3/lease/leases", &json!({}))["leases"].as_array().map_or(0, Vec::len)
}
