//! Small HTTP for looking whether a server is ready and for setting it up.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::TlsConfig;

use crate::certificates::Identity;

/// Servers that are ready answer in milliseconds; one that is paused never does.
const TIMEOUT: Duration = Duration::from_secs(3);

pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body as JSON, or null.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The answer, if it says that all went well.
    pub fn fine(self, what: &str) -> io::Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(io::Error::other(format!("{what}: status {}: {}", self.status, self.body)))
    }
}

/// Any status is an answer.
pub fn call(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> io::Result<Answer> {
    call_as(None, method, url, headers, body)
}

/// Like [`call`], showing a client's certificate where the server asks for one.
pub fn call_as(
    client: Option<&Identity>,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> io::Result<Answer> {
    let certificate = client.map(Identity::read).transpose()?;
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        // What this machine needs to reach the world is not on the way to itself.
        .proxy(None)
        // It is our own server, on this machine.
        .tls_config(TlsConfig::builder().disable_verification(true).client_cert(certificate).build())
        .build()
        .into();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = match body {
        Some(body) => request.body(body).map(|request| agent.run(request)),
        None => request.body(()).map(|request| agent.run(request)),
    };
    let mut answer = sent.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let body = answer.body_mut().read_to_string().map_err(io::Error::other)?;
    Ok(Answer { status: answer.status().as_u16(), body })
}

/// A header's value.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(&format!("{user}:{password}")))
}

pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
