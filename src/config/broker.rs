//! `[broker]`, `[routing]` and `[registrar]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Surroundings;
use super::http::{self, Door, HttpConfig};
use super::https::{self, ServerTls};
use super::reader::Section;
use super::users;
use crate::model::{InstanceId, PortRange, Secret, User};

/// The password of the documents and examples, which everybody knows.
const EXAMPLE_PASSWORD: &str = "starkandwayne";

/// The HTTP API and the operations.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where the API listens. The port is that of the environment's `PORT`, where it has one.
    pub listen: SocketAddr,
    /// Who may ask for what: at least one, each with a name of his own. The one of `username` and `password` comes
    /// first and may do everything.
    pub users: Vec<User>,
    /// HTTPS; without it the API speaks plain HTTP.
    pub tls: Option<ServerTls>,
    /// What the API bears of its callers.
    pub http: HttpConfig,
    /// Whether requests under `/v2` must name the version of the API that they speak (OSB 2.17, "API Version
    /// Header"). Defaults to false: `curl` by hand does not.
    pub require_api_version: bool,
    /// Whether metrics are told to whoever asks. Defaults to false.
    pub metrics_without_password: bool,
    /// The host that applications are told to connect to: where a router listens. There always is one where there are
    /// cells.
    pub bind_host: Option<String>,
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
    /// Whether the router runs inside the broker's process. Defaults to whether there are cells.
    pub haproxy: bool,
    /// The address on which public ports listen. Defaults to `0.0.0.0`.
    pub listen: IpAddr,
    /// Where HAProxy's configuration and sockets are kept. Defaults to `haproxy`, next to the configuration file.
    pub directory: PathBuf,
}

/// The registrar inside the broker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrarConfig {
    /// Whether it runs. Defaults to whether there are cells.
    pub enabled: bool,
}

/// With `cells`, there are some, or should be.
pub(super) fn read(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    cells: bool,
) -> Option<BrokerConfig> {
    let port = given_port(section, surroundings);
    let listen = listen(section, port);
    let users = users::read(section, surroundings, listen);
    let tls = section.has("tls").then(|| https::read(&section.section("tls"), surroundings));
    let http = http::read(&section.section("http"), Door::Broker);
    let require_api_version = section.flag("require_api_version", false);
    let metrics_without_password = section.flag("metrics_without_password", false);
    let wants_host = cells || section.has("bind_host");
    let bind_host = wants_host.then(|| section.required("bind_host", host));
    let name = section.optional("name", "patroni-broker", |raw| {
        // The same characters as an id: it becomes a label and part of a key.
        InstanceId::parse(raw).map(|_| raw.to_owned()).map_err(
            |_| "must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '~', '-' and not '.' or '..'",
        )
    });
    let workers = section.number_or("workers", 8, 1..=256);
    let sync_timeout = section.number_or("sync_timeout_s", 600, 1..=86_400);
    section.end();
    let listen = listen?;
    // What gives the port stands before the broker, and speaks HTTPS to the world.
    if tls.is_none() && port.is_none() && !listen.ip().is_loopback() {
        let message = format!(
            "is plain HTTP on {listen}: whoever is on the way reads the passwords; give [broker.tls]"
        );
        section.warning("listen", message);
    }
    Some(BrokerConfig {
        listen,
        users: users?,
        tls: match tls {
            Some(read) => Some(read?),
            None => None,
        },
        http,
        require_api_version,
        metrics_without_password,
        bind_host: match bind_host {
            Some(read) => Some(read?),
            None => None,
        },
        name: name?,
        workers,
        sync_timeout: Duration::from_secs(u64::from(sync_timeout)),
    })
}

/// The port of the environment, which is how Cloud Foundry tells an application where to listen.
fn given_port(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<u16> {
    let raw = (surroundings.environment)(super::PORT_VARIABLE).filter(|raw| !raw.is_empty())?;
    let port = raw.parse().ok().filter(|port| *port != 0);
    if port.is_none() {
        section.problem(
            "listen",
            format!("{} is {raw:?} in the environment, which is no port", super::PORT_VARIABLE),
        );
    }
    port
}

fn listen(section: &Section<'_>, port: Option<u16>) -> Option<SocketAddr> {
    let listen = match port {
        Some(_) => section.optional("listen", "0.0.0.0:0", socket),
        None => section.required("listen", socket),
    };
    listen.map(|mut listen| {
        listen.set_port(port.unwrap_or(listen.port()));
        listen
    })
}

pub(super) fn read_routing(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    cells: bool,
) -> Option<RoutingConfig> {
    let ports = section.optional("ports", "30000-32767", PortRange::parse);
    let haproxy = section.flag("haproxy", cells);
    let listen = section.optional("listen", "0.0.0.0", |raw| {
        raw.parse::<IpAddr>().map_err(|_| "must be an IP address, such as \"0.0.0.0\"")
    });
    let directory = section.optional("directory", "haproxy", not_empty);
    section.end();
    Some(RoutingConfig { ports: ports?, haproxy, listen: listen?, directory: surroundings.path(&directory?) })
}

pub(super) fn read_registrar(section: &Section<'_>, cells: bool) -> RegistrarConfig {
    let enabled = section.flag("enabled", cells);
    section.end();
    RegistrarConfig { enabled }
}

/// Loudly: whoever reaches the address may order, and delete, databases.
pub(super) fn warn_of_example(section: &Section<'_>, field: &str, password: &Secret, listen: SocketAddr) {
    if password.expose() == EXAMPLE_PASSWORD {
        section.warning(
            field,
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
