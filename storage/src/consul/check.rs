//! What may be wrong with a Consul before anything is begun. Asks, and writes only what can't succeed.

use serde_json::{Value, json};

use super::client::Client;
use super::target;
use crate::remote::Unusable;
use crate::remote::survey::survey;
use crate::remote::wire::{Method, Reply};

/// A name below what is the broker's own. Nothing is ever written there.
const PROBE: &str = "broker/patroni-broker-check";
/// Names all over the store, for who may write one of them may not write all, and the router watches everything. Nothing
/// is ever written there.
const EVERYWHERE: [&str; 4] =
    ["!patroni-broker-check", PROBE, "service/patroni-broker-check/state", "~patroni-broker-check"];

/// An answer that tells something.
struct Told {
    status: u16,
    body: Value,
    words: String,
}

/// One agent of a Consul.
struct Agent<'a> {
    client: &'a Client,
    at: usize,
}

pub(super) fn store(client: &Client) -> Result<(), Unusable> {
    let first = survey(client.endpoints(), |at| Agent { client, at }.serves_a_store())?;
    client.prefer(first);
    Ok(())
}

pub(super) fn policies(client: &Client) -> Result<(), Unusable> {
    let first = survey(client.endpoints(), |at| Agent { client, at }.serves_acls())?;
    client.prefer(first);
    Ok(())
}

impl Agent<'_> {
    fn serves_a_store(&self) -> Result<(), Unusable> {
        self.is_consul()?;
        let denied = |what: &str, told: Told| self.denied(what, told.words);
        for place in EVERYWHERE {
            let read = self.question(Method::Get, &target(place, "consistent"), &Value::Null, |reply| {
                matches!(reply.status, 200 | 404) && reply.header("X-Consul-Index").is_some()
                    || reply.status == 403
            })?;
            if read.status == 403 {
                return Err(denied("to read everything under /", read));
            }
        }
        let writes = EVERYWHERE.map(|place| json!({ "KV": { "Verb": "set", "Key": place, "Value": "" } }));
        if let Some(told) = self.is_forbidden(&writes)? {
            return Err(denied("to write everywhere under /", told));
        }
        // There is no such behavior: whoever may make sessions is told so, with the status of any error.
        let session = json!({ "Behavior": "none" });
        let made = self.question(Method::Put, "/v1/session/create", &session, |reply| {
            matches!(reply.status, 400 | 403 | 500)
        })?;
        if made.status == 403 {
            return Err(denied("to make sessions", made));
        }
        Ok(())
    }

    fn serves_acls(&self) -> Result<(), Unusable> {
        self.is_consul()?;
        let listed = self.question(Method::Get, "/v1/acl/policies?consistent", &Value::Null, |reply| {
            matches!(reply.status, 200 | 401 | 403)
        })?;
        match listed.status {
            200 => {}
            401 => {
                return Err(Unusable::NotServed {
                    what: "Consul's ACLs; set acl.enabled in its configuration",
                    reasons: listed.words,
                });
            }
            _ => return Err(self.denied("to read ACLs", listed.words)),
        }
        // A policy needs a name: whoever may write policies is told so.
        let nameless = json!({ "Name": "" });
        let written = self.question(Method::Put, "/v1/acl/policy", &nameless, |reply| {
            matches!(reply.status, 400 | 403 | 500)
        })?;
        if written.status == 403 {
            return Err(self.denied("to write ACLs", written.words));
        }
        let node = json!({ "Node": "patroni-broker-check", "Address": "127.0.0.1" });
        let register = json!({ "Node": { "Verb": "set", "Node": node } });
        match self.is_forbidden(&[register])? {
            Some(told) => Err(self.denied("to register nodes", told.words)),
            None => Ok(()),
        }
    }

    /// Every agent tells its leader to whoever asks.
    fn is_consul(&self) -> Result<(), Unusable> {
        self.question(Method::Get, "/v1/status/leader", &Value::Null, |reply| {
            let leader = serde_json::from_slice::<String>(&reply.body);
            reply.status == 200 && leader.is_ok_and(|leader| !leader.is_empty())
        })
        .map(drop)
    }

    /// Whether one of these operations is forbidden. They stand in a transaction with two checks of which one always
    /// fails, and Consul looks at permissions first.
    fn is_forbidden(&self, operations: &[Value]) -> Result<Option<Told>, Unusable> {
        let checks = [
            json!({ "KV": { "Verb": "check-not-exists", "Key": PROBE } }),
            json!({ "KV": { "Verb": "check-index", "Key": PROBE, "Index": 1 } }),
        ];
        let transaction = checks.iter().chain(operations).collect::<Vec<_>>();
        let told = self.question(Method::Put, "/v1/txn", &json!(transaction), |reply| {
            matches!(reply.status, 403 | 409)
        })?;
        let errors = told.body["Errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_one = |error: &Value| error["OpIndex"].as_u64().is_some_and(|index| index >= 2);
        let forbidden = told.status == 403 || errors.iter().any(is_one);
        Ok(forbidden.then_some(told))
    }

    /// Asks, and gives the answer if it is to the point.
    fn question(
        &self,
        method: Method,
        target: &str,
        body: &Value,
        to_the_point: impl Fn(&Reply) -> bool,
    ) -> Result<Told, Unusable> {
        let reply = self.client.ask_at(self.at, method, target, body).map_err(|none| {
            let reasons = none.reason;
            if none.not_let_in { Unusable::NotLetIn { reasons } } else { Unusable::NobodyAnswers { reasons } }
        })?;
        let words = self.client.words(&reply);
        if to_the_point(&reply) {
            let body = serde_json::from_slice(&reply.body).unwrap_or_default();
            return Ok(Told { status: reply.status, body, words });
        }
        let plain = reply.header("Content-Type").is_some_and(|kind| kind.starts_with("text/plain"));
        // An agent that knows no leader says so in an error's text, or by an empty name.
        if reply.status == 500 && plain || reply.status == 200 && reply.body.trim_ascii() == b"\"\"" {
            return Err(Unusable::NoQuorum { reasons: words });
        }
        // Consul's own answer to plain HTTP at its port for TLS.
        let plainly = reply.status == 400 && self.client.endpoints()[self.at].starts_with("http:");
        let hint = if plainly { "; does it want https?" } else { "" };
        Err(Unusable::AnotherServer { expected: "Consul", reasons: format!("{words}{hint}") })
    }

    /// Why Consul says no: it does not know who we are, or knows, and we may not.
    fn denied(&self, what: &str, words: String) -> Unusable {
        if !self.client.has_token() {
            return Unusable::NotLetIn {
                reasons: format!("it asks for a token, and none is given ({words})"),
            };
        }
        let myself = self.question(Method::Get, "/v1/acl/token/self", &Value::Null, |reply| {
            matches!(reply.status, 200 | 403)
        });
        match myself {
            Ok(Told { status: 403, words, .. }) => {
                Unusable::NotLetIn { reasons: format!("it does not know the token ({words})") }
            }
            Ok(_) | Err(_) => Unusable::NoPermission { what: what.to_owned(), reasons: words },
        }
    }
}
