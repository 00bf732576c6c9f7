//! Which ports may not meet. Two containers, or a container and HAProxy, that want the same port of the same host
//! fail late and confusingly; here they fail at once.

use super::broker::{BrokerConfig, RoutingConfig};
use super::reader::Section;
use super::storage::StorageConfig;
use crate::model::{CellSite, DockerAddress, PortRange};

/// From here on Linux gives ports to outgoing connections, whichever they like.
const EPHEMERAL: u16 = 32_768;

pub(super) fn check(
    root: &Section<'_>,
    broker: Option<&BrokerConfig>,
    storage: Option<&StorageConfig>,
    routing: Option<&RoutingConfig>,
    sites: &[(usize, &CellSite)],
) {
    for (index, site) in sites {
        below_ephemeral(root, &format!("cells[{index}].ports"), site.ports);
    }
    for (position, (index, site)) in sites.iter().enumerate() {
        for (other_index, other) in &sites[..position] {
            if site.ports.overlaps(other.ports) && same_host(site, other) {
                let message = format!(
                    "{} overlaps with {} of cells[{other_index}], which is on the same host",
                    site.ports, other.ports
                );
                root.problem(&format!("cells[{index}].ports"), message);
            }
        }
    }
    let Some(routing) = routing else { return };
    below_ephemeral(root, "routing.ports", routing.ports);
    for (index, site) in sites {
        let here = routing.haproxy && is_local(site);
        let there = broker.is_some_and(|broker| broker.bind_host.as_ref() == Some(&site.host));
        if (here || there) && site.ports.overlaps(routing.ports) {
            let message = format!(
                "{} overlaps with {} of routing.ports, which is on the same host",
                site.ports, routing.ports
            );
            root.problem(&format!("cells[{index}].ports"), message);
        }
    }
    check_listeners(root, broker, storage, routing, sites);
}

/// Our own listeners must not stand where HAProxy or a container of this machine will want to.
fn check_listeners(
    root: &Section<'_>,
    broker: Option<&BrokerConfig>,
    storage: Option<&StorageConfig>,
    routing: &RoutingConfig,
    sites: &[(usize, &CellSite)],
) {
    let mut listeners = Vec::new();
    listeners.extend(broker.map(|broker| ("broker.listen", broker.listen)));
    if let Some(StorageConfig::Embedded { listen, .. }) = storage {
        listeners.push(("storage.listen", *listen));
    }
    for (name, listen) in &listeners {
        if routing.haproxy && routing.ports.contains(listen.port()) {
            root.problem(name, format!("port {} is one of routing.ports", listen.port()));
        }
        for (index, _) in
            sites.iter().filter(|(_, site)| is_local(site) && site.ports.contains(listen.port()))
        {
            root.problem(name, format!("port {} is one of cells[{index}].ports", listen.port()));
        }
    }
    if let [(_, one), (name, other)] = listeners[..] {
        let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
        if one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || everywhere) {
            root.problem(name, format!("port {} is broker.listen's", other.port()));
        }
    }
}

fn below_ephemeral(root: &Section<'_>, path: &str, ports: PortRange) {
    if ports.last() >= EPHEMERAL {
        let message = format!(
            "must end below {EPHEMERAL}, where the kernel's own range for outgoing connections begins"
        );
        root.problem(path, message);
    }
}

fn same_host(one: &CellSite, other: &CellSite) -> bool {
    let same_engine = match (&one.docker, &other.docker) {
        (DockerAddress::Unix(one), DockerAddress::Unix(other)) => one == other,
        (DockerAddress::Tcp { address: one, .. }, DockerAddress::Tcp { address: other, .. }) => one == other,
        _ => false,
    };
    same_engine || one.host == other.host
}

fn is_local(site: &CellSite) -> bool {
    matches!(site.docker, DockerAddress::Unix(_))
}
