//! How a store over a network is reached: endpoints, and certificates that are read and checked here, so that a wrong
//! one is a problem of the configuration and not a connection that fails.

use std::net::IpAddr;

use storage::remote::{ClientCertificate, InvalidReach, Tls};

use super::Surroundings;
use super::reader::Section;
use super::secret::read_private;

/// A store's servers. `Debug` leaves the keys out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// At least one URL, each without a trailing slash, all `http` or all `https`, in order of preference.
    pub endpoints: Vec<String>,
    /// For `https`: whom to trust, and who the broker is. Without it the publicly known authorities are trusted.
    pub tls: Option<Tls>,
    /// What containers show the servers instead of the broker's own certificate.
    pub container_certificate: Option<ClientCertificate>,
}

impl Servers {
    /// Whether containers would show the servers the broker's own certificate.
    pub(super) fn containers_are_the_broker(&self) -> bool {
        self.container_certificate.is_none() && self.tls.as_ref().is_some_and(|tls| tls.client.is_some())
    }

    /// Warns of what goes over a network for everybody to read.
    pub(super) fn warn_of_plain_secrets(&self, section: &Section<'_>, what: &str) {
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let plain = endpoint.strip_prefix("http://").and_then(host_and_port);
            if plain.is_some_and(|(host, _)| !is_loopback(&host)) {
                let message = format!("is plain HTTP: whoever is on the way reads the {what}; use https");
                section.warning(&format!("endpoints[{index}]"), message);
            }
        }
    }
}

/// `endpoints`, `tls` and `container_tls`.
pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<Servers> {
    let endpoints = endpoints(section);
    let tls = section.has("tls").then(|| read_tls(&section.section("tls"), surroundings));
    let of_containers = section
        .has("container_tls")
        .then(|| read_container_certificate(&section.section("container_tls"), surroundings));
    let endpoints = endpoints?;
    if endpoints.iter().all(|endpoint| endpoint.starts_with("http://")) {
        let mut fine = true;
        for (field, given) in [("tls", tls.is_some()), ("container_tls", of_containers.is_some())] {
            if given {
                section.problem(field, "has no use beside http endpoints; do you mean https?");
                fine = false;
            }
        }
        return fine.then_some(Servers { endpoints, tls: None, container_certificate: None });
    }
    let tls = match tls {
        Some(read) => Some(read?),
        None => None,
    };
    let container_certificate = match of_containers {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Servers { endpoints, tls, container_certificate })
}

fn endpoints(section: &Section<'_>) -> Option<Vec<String>> {
    let given = section.texts("endpoints");
    let mut endpoints = Vec::new();
    for (index, raw) in given.iter().enumerate() {
        match url(raw) {
            Some(url) => endpoints.push(url),
            None => section.problem(
                &format!("endpoints[{index}]"),
                "must be a URL like \"http://10.244.4.2:4001\": http or https, a host and a port, nothing else",
            ),
        }
    }
    if given.is_empty() {
        section.problem("endpoints", "at least one URL is required, such as [\"http://10.244.4.2:4001\"]");
        return None;
    }
    let secure = endpoints.iter().filter(|endpoint| endpoint.starts_with("https://")).count();
    if secure != 0 && secure != endpoints.len() {
        section.problem("endpoints", "are http and https; they must all be one of them");
        return None;
    }
    (endpoints.len() == given.len()).then_some(endpoints)
}

fn read_tls(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<Tls> {
    let ca = section.has("ca").then(|| read_authorities(section, surroundings));
    let named = section.has("cert") || section.has("key");
    let client = named.then(|| read_certificate(section, surroundings));
    section.end();
    let ca = match ca {
        Some(read) => Some(read?),
        None => None,
    };
    let client = match client {
        Some(read) => Some(read?),
        None => None,
    };
    Some(Tls { ca, client })
}

fn read_container_certificate(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
) -> Option<ClientCertificate> {
    let certificate = read_certificate(section, surroundings);
    section.misplaced("ca", "belongs to tls: containers trust whom the broker trusts");
    section.end();
    certificate
}

fn read_authorities(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<String> {
    let ca = read_file(section, surroundings, "ca", false)?;
    let tls = Tls { ca: Some(ca), client: None };
    check(section, "ca", &tls)?;
    tls.ca
}

/// `cert` and `key`, both.
fn read_certificate(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<ClientCertificate> {
    let chain = read_file(section, surroundings, "cert", false);
    let key = read_file(section, surroundings, "key", true);
    let tls = Tls { ca: None, client: Some(ClientCertificate { chain: chain?, key: key? }) };
    check(section, "cert", &tls)?;
    tls.client
}

fn check(section: &Section<'_>, field: &'static str, tls: &Tls) -> Option<()> {
    let reason = match tls.check() {
        Ok(()) => return Some(()),
        Err(InvalidReach::Tls(reason)) => reason,
        Err(other) => other.to_string(),
    };
    let file = section.text(field).unwrap_or_default();
    section.problem(field, format!("{file}: {reason}"));
    None
}

pub(super) fn read_file(
    section: &Section<'_>,
    surroundings: Surroundings<'_>,
    field: &'static str,
    private: bool,
) -> Option<String> {
    let path = surroundings.path(section.required_text(field)?);
    match read_private(&path) {
        Ok((text, everybody_reads)) => {
            if private && everybody_reads {
                section.warning(field, format!("{} can be read by everybody", path.display()));
            }
            Some(text)
        }
        Err(problem) => {
            section.problem(field, problem);
            None
        }
    }
}

/// `http://host:port`, without path, user or password.
pub(super) fn http_url(raw: &str) -> Result<String, &'static str> {
    url(raw)
        .filter(|url| url.starts_with("http://"))
        .ok_or("must be a URL like \"http://10.244.4.2:4001\": http, a host and a port, nothing else")
}

fn url(raw: &str) -> Option<String> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| raw.starts_with(scheme))?;
    let authority = &raw[scheme.len()..];
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    host_and_port(authority)?;
    Some(format!("{scheme}{authority}"))
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

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
