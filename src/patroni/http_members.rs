//! Members' REST APIs over HTTP (Patroni's documentation, "Patroni REST API"; `patroni/api.py`). Each request is a
//! connection of its own, as Patroni's server has it.

use std::io::Read as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::header::AUTHORIZATION;
use ureq::http::{Method, Request};

use super::rest::{Door, RestApi, RestError, Status};
use crate::model::NodeId;

/// To a member that is there.
const CONNECT: Duration = Duration::from_secs(2);
const STATUS: Duration = Duration::from_secs(5);
const CONFIG: Duration = Duration::from_secs(10);
/// Patroni looks once a second, 20 times, whether the candidate leads, and reads the store each time.
const SWITCHOVER: Duration = Duration::from_secs(40);
/// A checkpoint, and the replay of what was written since.
const RESTART: Duration = Duration::from_secs(120);
/// Of an answer, no more is read.
const ANSWER_BYTES: u64 = 1 << 20;
/// Of an answer's words, no more is shown.
const SHOWN: usize = 200;

/// Speaks HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpMembers;

struct Answer {
    status: u16,
    body: String,
}

fn ask(
    door: &Door,
    method: Method,
    path: &str,
    body: Option<&Value>,
    limit: Duration,
) -> Result<Answer, RestError> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(limit))
        .build();
    let no_answer = |error: &dyn std::fmt::Display| RestError::NoAnswer { reason: error.to_string() };
    let mut request = Request::builder().method(method).uri(format!("http://{}{path}", door.address));
    if let Some((user, password)) = &door.user {
        let credentials = STANDARD.encode(format!("{user}:{}", password.expose()));
        request = request.header(AUTHORIZATION, format!("Basic {credentials}"));
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = request.body(body).map_err(|error| no_answer(&error))?;
    let mut answer = Agent::new_with_config(config).run(request).map_err(|error| no_answer(&error))?;
    let mut text = Vec::new();
    let read = answer.body_mut().as_reader().take(ANSWER_BYTES).read_to_end(&mut text);
    read.map_err(|error| no_answer(&error))?;
    Ok(Answer { status: answer.status().as_u16(), body: String::from_utf8_lossy(&text).into_owned() })
}

impl Answer {
    /// What it says, on one line.
    fn words(&self) -> String {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let words: String = self.body.trim().chars().take(SHOWN).map(plain).collect();
        if words.is_empty() {
            format!("status {}", self.status)
        } else {
            format!("{words} ({})", self.status)
        }
    }

    fn done(&self) -> Result<(), RestError> {
        if self.status == 200 { Ok(()) } else { Err(RestError::Refused { reason: self.words() }) }
    }
}

impl RestApi for HttpMembers {
    fn status(&self, door: &Door) -> Result<Status, RestError> {
        let answer = ask(door, Method::GET, "/patroni", None, STATUS)?;
        // The answer is the same while PostgreSQL does not run, but for its status in some versions.
        let told = match answer.status {
            200 | 503 => serde_json::from_str::<Value>(&answer.body).ok(),
            _ => None,
        };
        let Some(told) = told.filter(|told| told.get("patroni").is_some()) else {
            let reason = format!("what answers is not Patroni: {}", answer.words());
            return Err(RestError::NoAnswer { reason });
        };
        let number = |name: &str| told.get(name).and_then(Value::as_u64);
        let replicas = told.get("replication").and_then(Value::as_array).into_iter().flatten();
        let streaming = replicas.filter(|replica| replica.get("state") == Some(&json!("streaming")));
        let names = streaming.filter_map(|replica| replica.get("application_name")?.as_str());
        Ok(Status {
            pending_restart: told.get("pending_restart").and_then(Value::as_bool).unwrap_or(false),
            server_version: number("server_version").and_then(|version| u32::try_from(version).ok()),
            streaming: names.map(str::to_owned).collect(),
            store_seen_s: number("dcs_last_seen"),
        })
    }

    fn switch_over(&self, door: &Door, leader: &NodeId, candidate: &NodeId) -> Result<(), RestError> {
        let wish = json!({"leader": leader.as_str(), "candidate": candidate.as_str()});
        ask(door, Method::POST, "/switchover", Some(&wish), SWITCHOVER)?.done()
    }

    fn patch_config(&self, door: &Door, patch: &Value) -> Result<(), RestError> {
        ask(door, Method::PATCH, "/config", Some(patch), CONFIG)?.done()
    }

    fn restart(&self, door: &Door) -> Result<(), RestError> {
        let wish = json!({"restart_pending": true});
        ask(door, Method::POST, "/restart", Some(&wish), RESTART)?.done()
    }
}

#[cfg(test)]
mod tests;
