//! `[[cells]]`: the Docker hosts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Surroundings;
use super::broker::host;
use super::reader::Section;
use super::servers::host_and_port;
use crate::model::{CellGuid, CellSite, DockerAddress, PortRange, TlsFiles};

/// A cell of the broker with this name.
pub(super) fn read(section: &Section<'_>, surroundings: Surroundings<'_>, broker: &str) -> Option<CellSite> {
    let guid = section.required("guid", CellGuid::parse);
    let availability_zone = section.required_text("availability_zone");
    let docker = docker(section, surroundings);
    let host = section.required("host", host);
    let ports = section.required("ports", PortRange::parse);
    section.end();
    Some(CellSite {
        guid: guid?,
        broker: broker.to_owned(),
        availability_zone: availability_zone?.to_owned(),
        docker: docker?,
        host: host?,
        ports: ports?,
    })
}

fn docker(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<DockerAddress> {
    const WANTED: &str = "must be \"unix:///path/to/docker.sock\" or \"tcp://host:port\"";
    let tls = section.has("tls");
    let files = tls.then(|| tls_files(&section.section("tls"), surroundings));
    let raw = section.required_text("docker")?;
    if let Some(path) = raw.strip_prefix("unix://") {
        if !path.starts_with('/') {
            section.problem("docker", WANTED);
            return None;
        }
        if tls {
            section.problem("tls", "has no use beside a Unix socket");
            return None;
        }
        return Some(DockerAddress::Unix(PathBuf::from(path)));
    }
    let Some(address) = raw.strip_prefix("tcp://").filter(|rest| host_and_port(rest).is_some()) else {
        section.problem("docker", WANTED);
        return None;
    };
    if !tls {
        let message = "is plain TCP: whoever reaches it is root on that host; give tls = { ca, cert, key }";
        section.warning("docker", message);
    }
    let tls = match files {
        Some(files) => Some(files?),
        None => None,
    };
    Some(DockerAddress::Tcp { address: address.to_owned(), tls })
}

fn tls_files(section: &Section<'_>, surroundings: Surroundings<'_>) -> Option<TlsFiles> {
    let file = |name: &'static str| {
        section.required(name, |raw| {
            let path = surroundings.path(raw);
            if path.is_file() { Ok(path) } else { Err(format!("there is no file {}", path.display())) }
        })
    };
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    section.end();
    Some(TlsFiles { ca: ca?, cert: cert?, key: key? })
}

/// Records name cells by guid, for ever.
pub(super) fn check_guids(root: &Section<'_>, sites: &[(usize, &CellSite)]) {
    let mut seen = BTreeMap::new();
    for (index, site) in sites {
        if let Some(first) = seen.insert(&site.guid, index) {
            let message = format!("{} is the guid of cells[{first}] too", site.guid);
            root.problem(&format!("cells[{index}].guid"), message);
        }
    }
}
