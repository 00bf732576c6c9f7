//! `[storage]`: which engine, and how it is reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Surroundings;
use super::broker::{not_empty, password, socket, username, warn_of_example};
use super::reader::Section;
use crate::model::Secret;

/// A name and a password.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Where everything is kept.
#[derive(Clone, Debug)]
pub enum StorageConfig {
    /// A file of our own, and an etcd v2 API over it for Patroni, the router, the registrar and other commands.
    Embedded {
        /// The directory of the file.
        path: PathBuf,
        /// Where the API listens.
        listen: SocketAddr,
        /// The URL at which others reach the API, without a trailing slash. Defaults to `http://` and `listen`.
        advertise: String,
        /// What the API asks for: it is never open.
        credentials: Credentials,
    },
    /// An etcd that serves `/v2/keys`.
    EtcdV2 {
        /// At least one URL, each without a trailing slash.
        endpoints: Vec<String>,
        /// None where the etcd has no authentication.
        credentials: Option<Credentials>,
    },
}

pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<StorageConfig> {
    let engine = section.required_text("engine");
    let config = match engine? {
        "embedded" => read_embedded(section, surroundings),
        "etcd-v2" => read_etcd(section, surroundings),
        "etcd-v3" | "consul" => {
            section.problem("engine", "is not in this version; use \"embedded\" or \"etcd-v2\"");
            return None;
        }
        _ => {
            section.problem("engine", "must be \"embedded\" or \"etcd-v2\"");
            return None;
        }
    };
    // Only here: of an unknown engine, nobody knows the fields.
    section.end();
    config
}

fn read_embedded(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<StorageConfig> {
    let path = section.required("path", not_empty);
    let listen = section.required("listen", socket);
    let advertise = advertise(section, listen);
    let username = section.optional("username", "patroni-broker", username);
    let password = password(section, surroundings, super::STORAGE_PASSWORD_VARIABLE);
    let (listen, password) = (listen?, password?);
    if !listen.ip().is_loopback() {
        warn_of_example(section, &password, listen);
    }
    Some(StorageConfig::Embedded {
        path: surroundings.path(&path?),
        listen,
        advertise: advertise?,
        credentials: Credentials { username: username?, password },
    })
}

/// The address that is put into containers has to be one that they can call.
fn advertise(section: &Section<'_>, listen: Option<SocketAddr>) -> Option<String> {
    if section.has("advertise") {
        return section.required("advertise", http_url);
    }
    let listen = listen?;
    if listen.ip().is_unspecified() || listen.port() == 0 {
        let message =
            format!("is required, since nobody can call {listen}; such as \"http://172.17.0.1:4001\"");
        section.problem("advertise", message);
        return None;
    }
    if listen.ip().is_loopback() {
        section.warning(
            "listen",
            format!(
                "containers cannot reach {listen}: give an address of this host that they reach, or advertise"
            ),
        );
    }
    Some(format!("http://{listen}"))
}

fn read_etcd(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<StorageConfig> {
    let mut endpoints = Vec::new();
    let mut fine = true;
    for (index, raw) in section.texts("endpoints").into_iter().enumerate() {
        match http_url(raw) {
            Ok(url) => endpoints.push(url),
            Err(message) => {
                section.problem(&format!("endpoints[{index}]"), message);
                fine = false;
            }
        }
    }
    if fine && endpoints.is_empty() {
        section.problem("endpoints", "at least one URL is required, such as [\"http://10.244.4.2:4001\"]");
        fine = false;
    }
    let names_user = section.has("username");
    let user = section.optional("username", "-", username);
    let from_environment = (surroundings.environment)(super::STORAGE_PASSWORD_VARIABLE).is_some();
    let gives_password = section.has("password") || section.has("password_file");
    let credentials = if names_user {
        let password = password(section, surroundings, super::STORAGE_PASSWORD_VARIABLE);
        Some(Credentials { username: user?, password: password? })
    } else {
        if gives_password || from_environment {
            section.problem("username", "is required beside a password");
            fine = false;
        }
        None
    };
    fine.then_some(StorageConfig::EtcdV2 { endpoints, credentials })
}

/// `http://host:port`, without path, user or password.
fn http_url(raw: &str) -> Result<String, &'static str> {
    const WANTED: &str =
        "must be a URL like \"http://10.244.4.2:4001\": http, a host and a port, nothing else";
    let authority = raw.strip_prefix("http://").ok_or(WANTED)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    host_and_port(authority).ok_or(WANTED)?;
    Ok(format!("http://{authority}"))
}

/// The parts of `host:port`; an IPv6 address stands in brackets.
pub(super) fn host_and_port(raw: &str) -> Option<(String, u16)> {
    let (host, port) = raw.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None if host.contains(':') => return None,
        None => super::broker::host(host).ok()?,
    };
    Some((host, port))
}
