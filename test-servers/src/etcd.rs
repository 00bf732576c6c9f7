//! One real etcd.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::certificates::{Identity, ServerTls};
use crate::free_ports::free_address;
use crate::http::{call, call_as};
use crate::process::{Process, on_the_path};

/// Whether a real etcd can be started here.
pub fn etcd_is_installed() -> bool {
    on_the_path("etcd").is_some()
}

/// What an etcd is started with.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// Where clients reach it. Defaults to 127.0.0.1.
    pub listen: IpAddr,
    /// Whether it serves `/v2` beside `/v3`. Defaults to yes.
    pub v2: bool,
    /// TLS for clients; members of a cluster speak plainly among themselves. Defaults to none.
    pub tls: Option<ServerTls>,
    /// More of its own arguments, each in one word with its value. Defaults to none.
    pub arguments: Vec<String>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self { listen: Ipv4Addr::LOCALHOST.into(), v2: true, tls: None, arguments: Vec::new() }
    }
}

/// A real etcd with a directory of its own. Dropping it kills it.
///
/// It does not wait for its disk: what it has acknowledged survives its being killed, not the machine's.
pub struct Etcd {
    process: Process,
    address: SocketAddr,
    endpoint: String,
    /// Where its health is asked, plainly and without a password whatever its clients need.
    metrics: SocketAddr,
    /// Its own certificate, which is as good as a client's.
    identity: Option<Identity>,
    _directory: TempDir,
}

/// Who a member of a cluster is among the others.
pub(crate) struct Membership {
    pub name: String,
    pub peer: SocketAddr,
    /// All members, as `--initial-cluster` wants them.
    pub all: String,
}

impl Etcd {
    /// Starts one, alone, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it is not ready within 30 s.
    pub fn start(options: &EtcdOptions) -> io::Result<Self> {
        let peer = free_address(Ipv4Addr::LOCALHOST.into())?;
        let membership = Membership { name: "alone".to_owned(), peer, all: format!("alone=http://{peer}") };
        let mut etcd = Self::member(options, &membership)?;
        etcd.restart()?;
        Ok(etcd)
    }

    /// Starts nothing yet.
    pub(crate) fn member(options: &EtcdOptions, membership: &Membership) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (address, metrics) = (free_address(options.listen)?, free_address(Ipv4Addr::LOCALHOST.into())?);
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{address}");
        let peer = format!("http://{}", membership.peer);
        let mut arguments: Vec<OsString> = Vec::new();
        let mut say = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        say("--name", membership.name.as_str().into());
        say("--data-dir", directory.path().join("data").into());
        say("--listen-client-urls", endpoint.as_str().into());
        say("--advertise-client-urls", endpoint.as_str().into());
        say("--listen-peer-urls", peer.as_str().into());
        say("--initial-advertise-peer-urls", peer.as_str().into());
        say("--initial-cluster", membership.all.as_str().into());
        say("--listen-metrics-urls", format!("http://{metrics}").into());
        say("--auto-compaction-retention", "0".into());
        say("--logger", "zap".into());
        // It warns of every question for its health that comes too early.
        say("--log-level", "error".into());
        if let Some(tls) = &options.tls {
            say("--cert-file", tls.identity.certificate.as_os_str().into());
            say("--key-file", tls.identity.key.as_os_str().into());
            if tls.asks_clients {
                say("--trusted-ca-file", tls.authority.as_os_str().into());
            }
        }
        // Yes and no stand in one word with the name.
        arguments.push("--unsafe-no-fsync".into());
        arguments.push(format!("--enable-v2={}", options.v2).into());
        if options.tls.as_ref().is_some_and(|tls| tls.asks_clients) {
            arguments.push("--client-cert-auth".into());
        }
        arguments.extend(options.arguments.iter().map(OsString::from));
        let program = on_the_path("etcd").unwrap_or_else(|| PathBuf::from("etcd"));
        let process = Process::new(program, arguments, directory.path().join("etcd.log"));
        let identity = options.tls.as_ref().map(|tls| tls.identity.clone());
        Ok(Self { process, address, endpoint, metrics, identity, _directory: directory })
    }

    /// Where clients reach it: `http://…` or `https://…`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where clients reach it, for a [`crate::Proxy`].
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it (`kill -9`). Nothing happens if it does not run.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it on the same ports and data, killing it first if it runs, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it is not ready within 30 s; a member of a cluster is not while there is no majority.
    pub fn restart(&mut self) -> io::Result<()> {
        self.launch()?;
        self.wait_until_ready()
    }

    /// Starts it like [`Etcd::restart`], without waiting.
    ///
    /// # Errors
    ///
    /// If the process can't be started.
    pub fn launch(&mut self) -> io::Result<()> {
        self.process.start()
    }

    /// Holds it still (`SIGSTOP`): connections are taken by the kernel, and nobody answers.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn pause(&mut self) -> io::Result<()> {
        self.process.pause()
    }

    /// Lets it go on after [`Etcd::pause`], without waiting until it is ready again.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn resume(&mut self) -> io::Result<()> {
        self.process.resume()
    }

    /// Waits until it answers its clients, knows a leader, and reads with a quorum.
    ///
    /// # Errors
    ///
    /// If that takes more than 30 s, or it ends by itself.
    pub fn wait_until_ready(&mut self) -> io::Result<()> {
        let health = format!("http://{}/health", self.metrics);
        // Where its health is asked it answers before it has looked at its clients' certificates and keys.
        let version = format!("{}/version", self.endpoint);
        let client = self.identity.as_ref();
        self.process.wait_for("ready", || {
            call_as(client, "GET", &version, &[], None)?.fine("its version")?;
            Ok(call("GET", &health, &[], None)?.json()["health"] == "true")
        })
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.process.is_active()
    }

    /// Whether it takes itself for the leader.
    pub(crate) fn says_it_leads(&self) -> io::Result<bool> {
        let metrics = call("GET", &format!("http://{}/metrics", self.metrics), &[], None)?;
        Ok(metrics.body.lines().any(|line| line == "etcd_server_is_leader 1"))
    }
}
