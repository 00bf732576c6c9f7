//! Endpoints, read: `http://host:port` or `https://host:port`, and nothing else in them.

use std::fmt;

/// Why servers cannot be reached as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidReach {
    /// There is no endpoint.
    None,
    /// This one is not `http://host:port` or `https://host:port`.
    NotAnAddress(String),
    /// Some endpoints are `http`, some `https`.
    Mixed,
    /// A certificate or key cannot be read, or they do not fit together.
    Tls(String),
}

impl fmt::Display for InvalidReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no endpoint is given"),
            Self::NotAnAddress(endpoint) => write!(
                f,
                "the endpoint {endpoint:?} is not of the form http://host:port or https://host:port"
            ),
            Self::Mixed => f.write_str("the endpoints are http and https; they must be one of them"),
            Self::Tls(reason) => write!(f, "TLS: {reason}"),
        }
    }
}

impl std::error::Error for InvalidReach {}

/// Every endpoint without a trailing slash.
pub(super) fn read(endpoints: &[String]) -> Result<Vec<String>, InvalidReach> {
    if endpoints.is_empty() {
        return Err(InvalidReach::None);
    }
    let secure = endpoints.iter().filter(|endpoint| endpoint.starts_with("https://")).count();
    let endpoints = endpoints.iter().map(|raw| one(raw)).collect::<Result<Vec<_>, _>>()?;
    if secure != 0 && secure != endpoints.len() {
        return Err(InvalidReach::Mixed);
    }
    Ok(endpoints)
}

fn one(raw: &str) -> Result<String, InvalidReach> {
    let trimmed = raw.trim_end_matches('/');
    let host =
        trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://")).unwrap_or_default();
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        // A URL with credentials in it must not be shown.
        let shown = raw.rsplit_once('@').map_or(raw, |(_, host)| host);
        return Err(InvalidReach::NotAnAddress(shown.to_owned()));
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{InvalidReach, read};

    #[test]
    fn endpoints_are_plain_addresses() {
        let check = |raw: &str, fine: bool| {
            let endpoints: Vec<String> = raw.split_whitespace().map(ToOwned::to_owned).collect();
            assert_eq!(read(&endpoints).is_ok(), fine, "{raw}");
        };
        check("http://127.0.0.1:4001", true);
        check("http://etcd:4001/ http://[::1]:4001", true);
        check("https://etcd:4001", true);
        check("https://etcd:4001 http://other:4001", false);
        check("etcd:4001", false);
        check("http://", false);
        check("https://etcd:4001/v2", false);
        check("http://user:hush@etcd:4001", false);
        check("", false);
        let shown = read(&["http://u:hush@e".to_owned()]);
        assert_eq!(shown, Err(InvalidReach::NotAnAddress("e".to_owned())));
    }
}
