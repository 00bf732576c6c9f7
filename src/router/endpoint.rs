//! Addresses out of members' URLs. Whatever is not strictly a host and a port stops here, so that nothing a member
//! says can become HAProxy's configuration.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host and a port, fit for a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

/// An address, or a name that is a name by RFC 1123.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address of either family.
    Address(IpAddr),
    /// A host name.
    Name(String),
}

/// Why a text is not a URL that leads somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUrl(&'static str);

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidUrl {}

impl fmt::Display for Host {
    /// As a server line of HAProxy wants it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Host {
    fn parse(raw: &str) -> Result<Self, InvalidUrl> {
        if let Some(inner) = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = inner.parse::<Ipv6Addr>().map_err(|_| InvalidUrl("has no IPv6 address in []"))?;
            return Ok(Self::Address(address.into()));
        }
        if let Ok(address) = raw.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // What ends in a number is an address gone wrong, not a name.
        let numeric =
            raw.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if raw.len() > 253 || numeric || !raw.split('.').all(label) {
            return Err(InvalidUrl("has a host that is neither an address nor a name"));
        }
        Ok(Self::Name(raw.to_owned()))
    }

    /// Whether a connection to it from this machine stays on this machine, as far as the text tells.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback() || address.is_unspecified(),
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl Endpoint {
    /// The host and the port of `scheme://[user[:password]@]host:port[/…]`, and which of `schemes` it has. The port
    /// must be spelled out.
    ///
    /// # Errors
    /// [`InvalidUrl`] says what is wrong, without repeating the URL: it may hold a password.
    pub fn parse<'a>(url: &str, schemes: &[&'a str]) -> Result<(&'a str, Self), InvalidUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl("has no scheme"))?;
        let scheme = schemes.iter().find(|known| **known == scheme);
        let scheme = scheme.ok_or(InvalidUrl("has another scheme than expected"))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let address = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = address.rsplit_once(':').ok_or(InvalidUrl("names no port"))?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| digits && *port != 0);
        let port = port.ok_or(InvalidUrl("has a port that is none"))?;
        Ok((scheme, Self { host: Host::parse(host)?, port }))
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn only_hosts_and_ports_come_through() {
        let check = |url: &str, expected: &str| {
            let found = Endpoint::parse(url, &["postgres", "postgresql"]);
            let found = found.map_or_else(|_| String::new(), |(_, endpoint)| endpoint.to_string());
            assert_eq!(found, expected, "{url:?}");
        };
        check("postgres://10.0.0.1:5432/postgres", "10.0.0.1:5432");
        check("postgresql://10.0.0.1:5432", "10.0.0.1:5432");
        check("postgres://dvw7:jkT3@10.244.21.8:32768/postgres", "10.244.21.8:32768");
        check("postgres://u:p@ss@10.244.21.8:32768/postgres", "10.244.21.8:32768");
        check("postgres://[::1]:5432/postgres?a=b", "[::1]:5432");
        check("postgres://0.patroni.bosh:5432/postgres", "0.patroni.bosh:5432");
        check("http://10.0.0.1:5432/", "");
        check("postgres://10.0.0.1/postgres", "");
        check("postgres://10.0.0.1:0/postgres", "");
        check("postgres://10.0.0.1:+80/postgres", "");
        check("postgres://10.0.0.1:65536/postgres", "");
        check("postgres://10.0.0.256:5432/postgres", "");
        check("postgres://a,b:5432/postgres", "");
        check("postgres://a:1,b:2/postgres", "");
        check("postgres://-a:5432/postgres", "");
        check("postgres://:5432/postgres", "");
        check("postgres://a b:5432/postgres", "");
        check("postgres://a\n  server evil 1.2.3.4:5432/postgres", "");
        check("postgres://a:5432\n  server evil", "");
        check("postgres://[::1%eth0]:5432/postgres", "");
        check("", "");
    }
}
