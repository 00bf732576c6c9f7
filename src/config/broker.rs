//! `[broker]`, `[routing]` and `[registrar]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Surroundings;
use super::reader::Section;
use super::secret::Source;
use crate::model::{InstanceId, PortRange, Secret};

/// The password of the documents and examples, which everybody knows.
const EXAMPLE_PASSWORD: &str = "starkandwayne";

/// The HTTP API and the operations.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Who may order.
    pub username: String,
    /// And with what password.
    pub password: Secret,
    /// The host that applications are told to connect to: where a router listens.
    pub bind_host: String,
    /// Labels containers, so that brokers that share an engine leave each other's alone. Defaults to
    /// `patroni-broker`.
    pub name: String,
    /// How many operations go on at the same time. Defaults to 8.
    pub workers: u32,
    /// How long a synchronous request is kept waiting. Defaults to 600 s.
    pub sync_timeout: Duration,
}

/// Public ports and HAProxy.
#[derive(Clone, Debug)]
pub struct RoutingConfig {
    /// The public ports that are given out. Defaults to `30000-32767`.
    pub ports: PortRange,
    /// Whether the router runs inside the broker's process. Defaults to true.
    pub haproxy: bool,
    /// The address on which public ports listen. Defaults to `0.0.0.0`.
    pub listen: IpAddr,
    /// Where HAProxy's configuration and sockets are kept. Defaults to `haproxy`, next to the configuration file.
    pub directory: PathBuf,
}

/// The registrar inside the broker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrarConfig {
    /// Whether it runs. Defaults to true.
    pub enabled: bool,
}

pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<BrokerConfig> {
    let listen = section.required("listen", socket);
    let username = section.required("username", username);
    let password = Source::password(super::PASSWORD_VARIABLE).read(section, surroundings);
    let bind_host = section.required("bind_host", host);
    let name = section.optional("name", "patroni-broker", |raw| {
        // The same characters as an id: it becomes a label and part of a key.
        InstanceId::parse(raw).map(|_| raw.to_owned()).map_err(
            |_| "must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '~', '-' and not '.' or '..'",
        )
    });
    let workers = section.number_or("workers", 8, 1..=256);
    let sync_timeout = section.number_or("sync_timeout_s", 600, 1..=86_400);
    section.end();
    let config = BrokerConfig {
        listen: listen?,
        username: username?,
        password: password?,
        bind_host: bind_host?,
        name: name?,
        workers,
        sync_timeout: Duration::from_secs(u64::from(sync_timeout)),
    };
    if !config.listen.ip().is_loopback() {
        warn_of_example(section, &config.password, config.listen);
    }
    Some(config)
}

pub(super) fn read_routing(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<RoutingConfig> {
    let ports = section.optional("ports", "30000-32767", PortRange::parse);
    let haproxy = section.flag("haproxy", true);
    let listen = section.optional("listen", "0.0.0.0", |raw| {
        raw.parse::<IpAddr>().map_err(|_| "must be an IP address, such as \"0.0.0.0\"")
    });
    let directory = section.optional("directory", "haproxy", not_empty);
    section.end();
    Some(RoutingConfig { ports: ports?, haproxy, listen: listen?, directory: surroundings.path(&directory?) })
}

pub(super) fn read_registrar(section: &Section<'_>) -> RegistrarConfig {
    let enabled = section.flag("enabled", true);
    section.end();
    RegistrarConfig { enabled }
}

/// Loudly: whoever reaches the address may order, and delete, databases.
pub(super) fn warn_of_example(section: &Section<'_>, password: &Secret, listen: SocketAddr) {
    if password.expose() == EXAMPLE_PASSWORD {
        section.warning(
            "password",
            format!(
                "IS THE EXAMPLE'S PASSWORD, WHICH EVERYBODY KNOWS, on {listen}, which others reach: change it"
            ),
        );
    }
}

pub(super) fn socket(raw: &str) -> Result<SocketAddr, &'static str> {
    raw.parse().map_err(|_| "must be an IP address and a port, such as \"127.0.0.1:3000\"")
}

/// Basic authentication ends the name at the first colon (RFC 7617).
pub(super) fn username(raw: &str) -> Result<String, &'static str> {
    if raw.is_empty() || raw.contains(':') || raw.chars().any(char::is_control) {
        return Err("must not be empty and not hold a colon or control characters");
    }
    Ok(raw.to_owned())
}

/// An IP address or a host name: it ends up in connection URIs.
pub(super) fn host(raw: &str) -> Result<String, &'static str> {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if raw.parse::<IpAddr>().is_ok() || (!raw.is_empty() && raw.len() <= 253 && raw.chars().all(name)) {
        return Ok(raw.to_owned());
    }
    Err("must be an IP address or a host name, without a port")
}

pub(super) fn not_empty(raw: &str) -> Result<String, &'static str> {
    if raw.is_empty() { Err("must not be empty") } else { Ok(raw.to_owned()) }
}
