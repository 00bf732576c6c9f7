//! Where a running broker is, and as whom it is asked: what the command line says, else the environment, else the
//! configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::Failure;
use crate::config::BrokerConfig;
use crate::model::{Password, Role, Secret};

/// Names the broker where `--broker` does not, as the ancestors' documents have it.
pub(super) const VARIABLE: &str = "BROKER_URI";
const FORM: &str = "must be like http://user:password@host:3000";

/// A broker, and who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BrokerUri {
    /// Such as `http://10.0.0.1:3000`.
    pub(super) base: String,
    pub(super) user: String,
    pub(super) password: Secret,
}

impl BrokerUri {
    /// What `--broker`, [`VARIABLE`] or the configuration says, in this order.
    pub(super) fn find(named: Option<&str>, config: Option<PathBuf>) -> Result<Self, Failure> {
        let given = super::environment(VARIABLE).filter(|uri| !uri.is_empty());
        match (named, given) {
            (Some(uri), _) => Self::parse(uri).map_err(|wrong| Failure::Usage(format!("--broker {wrong}"))),
            (None, Some(uri)) => {
                Self::parse(&uri).map_err(|wrong| Failure::Usage(format!("{VARIABLE} {wrong}")))
            }
            (None, None) => {
                Self::of_configuration(&super::load(config)?.config.broker).map_err(Failure::Failed)
            }
        }
    }

    /// The text of an error does not repeat the URI, which holds a password.
    fn parse(uri: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = uri.split_once("://").ok_or(FORM)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (who, host) = rest.rsplit_once('@').ok_or(FORM)?;
        let (user, password) = who.split_once(':').ok_or(FORM)?;
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if !matches!(scheme, "http" | "https") || host.is_empty() || !host.chars().all(sound) {
            return Err(FORM);
        }
        let user = decode(user).filter(|user| !user.is_empty()).ok_or(FORM)?;
        let password = Secret::new(decode(password).ok_or(FORM)?);
        Ok(Self { base: format!("{scheme}://{host}"), user, password })
    }

    /// The broker that this configuration starts, asked on its own machine by its first admin.
    fn of_configuration(broker: &BrokerConfig) -> Result<Self, String> {
        let instead = format!("give --broker or {VARIABLE}");
        if broker.listen.port() == 0 {
            return Err(format!("broker.listen: the system chooses the port; {instead}"));
        }
        let admin = broker.users.iter().find_map(|user| match (user.role, &user.password) {
            (Role::Admin, Password::Plain(password)) => Some((user.name.clone(), password.clone())),
            _ => None,
        });
        let (user, password) = admin
            .ok_or_else(|| format!("the configuration has no admin with a password in plain; {instead}"))?;
        let scheme = if broker.tls.is_some() { "https" } else { "http" };
        Ok(Self { base: format!("{scheme}://{}", reached(broker.listen)), user, password })
    }
}

/// Where one who listens everywhere is reached from his own machine.
fn reached(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Decodes percents, as they stand in a URI before its `@`. `None` for a broken escape, or what is no text.
fn decode(raw: &str) -> Option<String> {
    let mut pieces = raw.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{BrokerUri, reached};

    #[test]
    fn a_uri_says_where_and_who() {
        let check = |uri: &str, expected: &str| {
            let found = match BrokerUri::parse(uri) {
                Ok(found) => format!("{} {} {}", found.base, found.user, found.password.expose()),
                Err(wrong) => {
                    assert!(!wrong.contains("hush"), "{wrong}");
                    "wrong".to_owned()
                }
            };
            assert_eq!(found, expected, "{uri}");
        };
        check("http://u:hush@10.0.0.1:3000", "http://10.0.0.1:3000 u hush");
        check("https://u:hush@broker.example/", "https://broker.example u hush");
        check("http://u:hush@[fd00::1]:3000", "http://[fd00::1]:3000 u hush");
        check("http://u:a%40b%3ac@h", "http://h u a@b:c");
        check("http://u:a@b@h", "http://h u a@b");
        check("http://u:@h", "http://h u ");
        for wrong in [
            "",
            "h:3000",
            "http://h:3000",
            "http://u@h",
            "http://:hush@h",
            "http://u:hush@",
            "ftp://u:hush@h",
            "http://u:hush@h/v2",
            "http://u:hush@h?a=b",
            "http://u:hush%4@h",
            "http://u:hush%+1@h",
            "http://u:hush%0a@h",
            "http://u:hush%ff@h",
        ] {
            check(wrong, "wrong");
        }
    }

    #[test]
    fn who_listens_everywhere_is_reached_here() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(reached(listen.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:3000", "127.0.0.1:3000");
        check("[::]:3000", "[::1]:3000");
        check("10.0.0.1:3000", "10.0.0.1:3000");
    }
}
