//! Makes dockworker's client for an address. Everything that dockworker would panic at is looked at here before.

use dockworker::Docker;

use super::fault::whole;
use super::key;
use crate::model::{DockerAddress, TlsFiles};

/// A client for that address. Nothing is sent.
///
/// # Errors
/// Says what is wrong with the address or its files, for the operator.
pub(super) fn client(address: &DockerAddress) -> Result<Docker, String> {
    let made = match address {
        DockerAddress::Unix(path) => {
            let path = path.to_str().filter(|path| path.starts_with('/'));
            let path = path.ok_or("the path of the engine's socket must be absolute, and UTF-8")?;
            Docker::connect_with_unix(path)
        }
        DockerAddress::Tcp { address, tls: None } => {
            check_host_and_port(address)?;
            Docker::connect_with_http(&format!("tcp://{address}"))
        }
        DockerAddress::Tcp { address, tls: Some(TlsFiles { ca, cert, key }) } => {
            check_host_and_port(address)?;
            key::check_certificates(ca)?;
            key::check_certificates(cert)?;
            let key = key::readable(key)?;
            Docker::connect_with_ssl(&format!("tcp://{address}"), key.path(), cert, ca)
        }
    };
    made.map_err(|error| whole(&error))
}

fn check_host_and_port(address: &str) -> Result<(), String> {
    let fine = address.rsplit_once(':').is_some_and(|(host, port)| {
        let of_a_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let of_an_address = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
        let host_is_fine = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => !inner.is_empty() && inner.chars().all(of_an_address),
            None => !host.is_empty() && host.chars().all(of_a_host),
        };
        host_is_fine && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if fine { Ok(()) } else { Err(format!("the engine's address must be host:port, not {address:?}")) }
}

#[cfg(test)]
mod tests {
    use super::{check_host_and_port, client};
    use crate::model::DockerAddress;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let check = |raw: &str, fine: bool| {
            assert_eq!(check_host_and_port(raw).is_ok(), fine, "{raw:?}");
            let address = DockerAddress::Tcp { address: raw.to_owned(), tls: None };
            assert_eq!(client(&address).is_ok(), fine, "{raw:?}");
        };
        check("10.244.21.7:2376", true);
        check("cell-1.example.org:2375", true);
        check("[::1]:2375", true);
        check("10.244.21.7", false);
        check(":2375", false);
        check("host:0", false);
        check("host:65536", false);
        check("user@host:2375", false);
        check("host:2375/path", false);
        check("a b:2375", false);
        check("[]:2375", false);
        check("::1:2375", false);
    }

    #[test]
    fn a_socket_has_an_absolute_path() {
        assert!(client(&DockerAddress::Unix("/var/run/docker.sock".into())).is_ok());
        assert!(client(&DockerAddress::Unix("docker.sock".into())).is_err());
    }
}
