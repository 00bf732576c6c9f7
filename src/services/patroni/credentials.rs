//! Who may log in, and what a binding is told.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::guest;
use crate::model::{InstanceId, Mint, PatroniPlan};
use crate::services::NewCredentials;
use crate::state::{Credentials, InstanceRecord};

/// New credentials for a cluster, with the ancestors' user names; for the store too, if it has `guests`.
pub(super) fn mint(instance: &InstanceId, guests: bool, mint: &dyn Mint) -> NewCredentials {
    let user = |name: &str| Credentials { username: name.to_owned(), password: mint.password() };
    NewCredentials {
        admin: Some(user("pgadmin")),
        superuser: Some(user("postgres")),
        app: Some(user("appuser")),
        replication: Some(user("replicator")),
        rest: Some(user("patroni")),
        store: guests
            .then(|| Credentials { username: guest::name(instance).to_owned(), password: mint.token() }),
    }
}

/// Whether a member in this state is making the cluster's first data.
pub(super) fn is_bootstrapping(state: &str) -> bool {
    matches!(
        state,
        "initializing new cluster" | "running custom bootstrap script" | "starting after custom bootstrap"
    )
}

/// The `credentials` object of a binding: the instance's application user, at its public port.
pub(super) fn of_binding(plan: &PatroniPlan, record: &InstanceRecord, host: &str) -> Map<String, Value> {
    let port = record.allocated_port.unwrap_or_default();
    // A record of this driver's without them is refused where it is read.
    let Some(Credentials { username, password }) = &record.app_credentials else { return Map::new() };
    let password = password.expose();
    let place = format!("{}:{port}/{}", bracketed(host), encoded(&plan.database));
    let uri = format!("postgres://{}:{}@{place}", encoded(username), encoded(password));
    let jdbc = format!("jdbc:postgresql://{place}?user={}&password={}", encoded(username), encoded(password));
    let fields = [
        ("host", Value::from(host)),
        ("port", Value::from(port)),
        ("name", Value::from(plan.database.as_str())),
        ("username", Value::from(username.as_str())),
        ("password", Value::from(password)),
        ("uri", Value::from(uri)),
        ("jdbcUrl", Value::from(jdbc)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn user_info_is_percent_encoded() {
        let check = |raw: &str, expected: &str| assert_eq!(encoded(raw), expected);
        check("rug4iXK4J0ecwsnD", "rug4iXK4J0ecwsnD");
        check("a:b@c/d?e#f g%", "a%3Ab%40c%2Fd%3Fe%23f%20g%25");
        check("ä", "%C3%A4");
    }
}
