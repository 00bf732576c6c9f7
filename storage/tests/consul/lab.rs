//! A Consul, clients of it, and its own API as anybody may use it.

use std::time::Duration;

use serde_json::{Value, json};
use storage::consul::{Policies, Token};
use storage::remote::{Reach, Timeouts};
use storage::{Consul, Deadline, Key};
use test_servers::ConsulOptions;

pub const MANAGEMENT: &str = "3f0cd05b-1c84-4e1c-b2bd-3a3b2f0f2a55";
pub const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_secs(5) };

pub struct Lab {
    pub server: test_servers::Consul,
    token: Option<&'static str>,
}

impl Lab {
    /// Anybody may do anything.
    pub fn open() -> Self {
        let server = test_servers::Consul::start(&ConsulOptions::default()).unwrap();
        Self { server, token: None }
    }

    /// Nobody may do anything but with a token.
    pub fn closed() -> Self {
        let management_token = Some(MANAGEMENT.to_owned());
        let options = ConsulOptions { management_token, ..ConsulOptions::default() };
        Self { server: test_servers::Consul::start(&options).unwrap(), token: Some(MANAGEMENT) }
    }

    pub fn store(&self) -> Consul {
        self.store_as(self.token)
    }

    pub fn store_as(&self, token: Option<&str>) -> Consul {
        let token = token.map(|token| Token::parse(token).unwrap());
        Consul::connect(&self.reach(), token).unwrap()
    }

    pub fn policies_as(&self, token: &str) -> Policies {
        Policies::connect(&self.reach(), Token::parse(token).unwrap()).unwrap()
    }

    pub fn reach(&self) -> Reach {
        Reach { timeouts: PATIENT, ..Reach::of(&[self.server.endpoint().to_owned()]) }
    }

    /// Consul's own API, as the administrator.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.api_as(self.token, method, path, body)
    }

    pub fn api_as(&self, token: Option<&str>, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.server.endpoint());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = ureq::http::Request::builder().method(method).uri(url);
        let request =
            token.into_iter().fold(request, |request, token| request.header("X-Consul-Token", token));
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
        let agent = ureq::Agent::new_with_config(config.build());
        let mut response = if method == "GET" || method == "DELETE" {
            agent.run(request.body(()).unwrap()).unwrap()
        } else {
            agent.run(request.body(body).unwrap()).unwrap()
        };
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The sessions there are, by id.
    pub fn sessions(&self) -> Vec<String> {
        let (_, sessions) = self.api("GET", "session/list", &Value::Null);
        sessions.as_array().unwrap().iter().map(|session| text(&session["ID"])).collect()
    }

    /// The session of an entry.
    pub fn session_of(&self, at: &str) -> Option<String> {
        let (_, found) = self.api("GET", &format!("kv{at}?consistent"), &Value::Null);
        found[0]["Session"].as_str().map(ToOwned::to_owned)
    }

    /// What an expiry does, at once.
    pub fn end(&self, session: &str) {
        let (status, _) = self.api("PUT", &format!("session/destroy/{session}"), &Value::Null);
        assert_eq!(status, 200);
    }

    /// A session of somebody else's.
    pub fn session(&self, lock_delay: &str) -> String {
        let wanted = json!({"TTL": "60s", "Behavior": "delete", "LockDelay": lock_delay, "Checks": [], "NodeChecks": []});
        text(&self.api("PUT", "session/create", &wanted).1["ID"])
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

pub fn key(raw: &str) -> Key {
    Key::parse(raw).unwrap()
}

pub fn within(milliseconds: u64) -> Deadline {
    Deadline::after(Duration::from_millis(milliseconds))
}
