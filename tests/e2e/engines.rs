//! The stores that a site may stand on.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::shell::{bash, until};

/// A store, with the part of the configuration that names it.
pub enum Engine {
    /// The broker's own.
    Embedded {
        /// Where containers reach it.
        address: String,
    },
    /// A real etcd.
    Etcd(Etcd),
}

/// An etcd process that ends with this value.
pub struct Etcd {
    pub endpoint: String,
    child: Child,
    _data: TempDir,
}

impl Engine {
    pub fn embedded() -> Result<Self, Failed> {
        Ok(Self::Embedded { address: format!("{}:{}", bridge()?, free_port()?) })
    }

    pub fn etcd() -> Result<Self, Failed> {
        let (bridge, client, peer) = (bridge()?, free_port()?, free_port()?);
        let data = tempfile::tempdir()?;
        let endpoint = format!("http://{bridge}:{client}");
        let child = Command::new("etcd")
            .args(["--enable-v2", "--data-dir"])
            .arg(data.path())
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .args(["--initial-advertise-peer-urls", &format!("http://127.0.0.1:{peer}")])
            .args(["--initial-cluster", &format!("default=http://127.0.0.1:{peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let etcd = Etcd { endpoint, child, _data: data };
        let health = format!("curl -sf {}/health", etcd.endpoint);
        until(Duration::from_secs(20), || bash(&health, &[]).map(drop))?;
        Ok(Self::Etcd(etcd))
    }

    /// The `[storage]` of a site on this store.
    pub fn section(&self) -> String {
        match self {
            Self::Embedded { address } => format!(
                "engine = \"embedded\"\npath = \"data\"\nlisten = \"{address}\"\nusername = \"keeper\"\n\
                 password = \"kept-in-the-test\"\n"
            ),
            Self::Etcd(etcd) => format!("engine = \"etcd-v2\"\nendpoints = [\"{}\"]\n", etcd.endpoint),
        }
    }

    /// curl's words for the store's v2 API.
    pub fn curl(&self) -> String {
        match self {
            Self::Embedded { address } => format!("curl -sf -u keeper:kept-in-the-test http://{address}"),
            Self::Etcd(etcd) => format!("curl -sf {}", etcd.endpoint),
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Where containers reach this machine.
pub fn bridge() -> Result<String, Failed> {
    let script =
        "docker network inspect bridge --format '{{range .IPAM.Config}}{{println .Gateway .Subnet}}{{end}}'";
    let told = bash(script, &[])?;
    let gateway = told.split_whitespace().next().filter(|word| !word.contains('/'));
    match gateway {
        Some(gateway) => Ok(gateway.to_owned()),
        None => {
            Ok(bash("ip -4 -o address show dev docker0 | awk '{ sub(\"/.*\", \"\", $4); print $4 }'", &[])?
                .trim()
                .to_owned())
        }
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
