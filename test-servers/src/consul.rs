//! One real Consul server.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::ServerTls;
use crate::free_ports::free_address;
use crate::http::{Answer, call};
use crate::process::{Process, on_the_path};

const BINARY: &str = "PATRONI_BROKER_TEST_CONSUL";

fn binary() -> Option<PathBuf> {
    match std::env::var_os(BINARY) {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
        None => on_the_path("consul"),
    }
}

/// Whether a real Consul can be started here: the file that `PATRONI_BROKER_TEST_CONSUL` names, or else `consul` on
/// the PATH.
pub fn consul_is_installed() -> bool {
    binary().is_some()
}

/// What a Consul is started with.
#[derive(Clone, Debug)]
pub struct ConsulOptions {
    /// Where clients reach it. Defaults to 127.0.0.1.
    pub listen: IpAddr,
    /// A UUID. With it, nobody may do anything without a token, and this one may do everything. Defaults to none.
    pub management_token: Option<String>,
    /// TLS for clients. Defaults to none.
    pub tls: Option<ServerTls>,
    /// The shortest TTL of a session. Defaults to Consul's own, 10 s.
    pub session_ttl_min: Option<Duration>,
}

impl Default for ConsulOptions {
    fn default() -> Self {
        Self { listen: Ipv4Addr::LOCALHOST.into(), management_token: None, tls: None, session_ttl_min: None }
    }
}

/// A real Consul server, alone, with a directory of its own. Dropping it kills it.
pub struct Consul {
    process: Process,
    address: SocketAddr,
    endpoint: String,
    /// Where it answers plainly, whatever its clients need.
    plain: SocketAddr,
    management_token: Option<String>,
    policies: AtomicUsize,
    _directory: TempDir,
}

impl Consul {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it is not ready within 30 s.
    pub fn start(options: &ConsulOptions) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let address = free_address(options.listen)?;
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (scheme, plain) = match options.tls {
            Some(_) => ("https", free_address(loopback)?),
            None => ("http", address),
        };
        let ports = [free_address(loopback)?.port(), free_address(loopback)?.port()];
        let mut configuration = json!({
            "server": true,
            "bootstrap_expect": 1,
            "node_name": "alone",
            "data_dir": directory.path().join("data"),
            // Its one peer is itself.
            "bind_addr": loopback,
            "client_addr": options.listen,
            "addresses": {"http": plain.ip()},
            "ports": {
                "http": plain.port(), "https": -1, "serf_lan": ports[0], "server": ports[1],
                "serf_wan": -1, "dns": -1, "grpc": -1,
            },
            "performance": {"raft_multiplier": 1},
            "disable_update_check": true,
            "log_level": "warn",
        });
        if let Some(ttl) = options.session_ttl_min {
            configuration["session_ttl_min"] = format!("{}ms", ttl.as_millis()).into();
        }
        if let Some(token) = &options.management_token {
            // The agent's own token lets it register itself without complaints in the log.
            let tokens = json!({"master": token, "agent": token});
            configuration["acl"] = json!({"enabled": true, "default_policy": "deny", "tokens": tokens});
        }
        if let Some(tls) = &options.tls {
            configuration["ports"]["https"] = address.port().into();
            configuration["cert_file"] = json!(tls.identity.certificate);
            configuration["key_file"] = json!(tls.identity.key);
            configuration["ca_file"] = json!(tls.authority);
            configuration["verify_incoming_https"] = tls.asks_clients.into();
        }
        let file = directory.path().join("consul.json");
        fs::write(&file, configuration.to_string())?;
        let arguments: Vec<OsString> = vec!["agent".into(), "-config-file".into(), file.into()];
        let program = binary().unwrap_or_else(|| PathBuf::from("consul"));
        let mut consul = Self {
            process: Process::new(program, arguments, directory.path().join("consul.log")),
            address,
            endpoint: format!("{scheme}://{address}"),
            plain,
            management_token: options.management_token.clone(),
            policies: AtomicUsize::new(0),
            _directory: directory,
        };
        consul.restart()?;
        Ok(consul)
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
    /// If it is not ready within 30 s.
    pub fn restart(&mut self) -> io::Result<()> {
        self.process.start()?;
        self.wait_until_ready()
    }

    /// Holds it still (`SIGSTOP`): connections are taken by the kernel, and nobody answers.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn pause(&mut self) -> io::Result<()> {
        self.process.pause()
    }

    /// Lets it go on after [`Consul::pause`], without waiting until it is ready again.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn resume(&mut self) -> io::Result<()> {
        self.process.resume()
    }

    /// Waits until there is a leader, sessions can be made, and keys written. Leaves nothing behind but a higher index.
    ///
    /// # Errors
    ///
    /// If that takes more than 30 s, or it ends by itself.
    pub fn wait_until_ready(&mut self) -> io::Result<()> {
        let (plain, token) = (self.plain, self.management_token.clone());
        let ask = |method: &str, path: &str, body: Option<&str>| {
            api(plain, token.as_deref(), method, path, body)?.fine(path)
        };
        self.process.wait_for("ready", || {
            // Sessions need the node to be registered, which comes after the election.
            let session = ask("PUT", "session/create", Some(r#"{"LockDelay": "0s"}"#))?.json();
            let id = session["ID"].as_str().unwrap_or_default();
            ask("PUT", &format!("session/destroy/{id}"), Some(""))?;
            ask("PUT", "kv/patroni-broker-test-servers", Some("ready"))?;
            Ok(ask("DELETE", "kv/patroni-broker-test-servers", None)?.body.trim() == "true")
        })
    }

    /// A new token that may do what `rules` say, like `key_prefix "service/" { policy = "write" }`.
    ///
    /// # Errors
    ///
    /// If it was started without a management token, or refuses the rules.
    pub fn token(&self, rules: &str) -> io::Result<String> {
        let ask = |path: &str, body: &Value| {
            let body = body.to_string();
            api(self.plain, self.management_token.as_deref(), "PUT", path, Some(&body))?.fine(path)
        };
        let name = format!("policy-{}", self.policies.fetch_add(1, Ordering::Relaxed));
        ask("acl/policy", &json!({"Name": name, "Rules": rules}))?;
        let token = ask("acl/token", &json!({"Policies": [{"Name": name}]}))?.json();
        token["SecretID"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other("no token in the answer"))
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn api(
    plain: SocketAddr,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> io::Result<Answer> {
    let url = format!("http://{plain}/v1/{path}");
    let header = token.map(|token| ("X-Consul-Token", token));
    call(method, &url, header.as_slice(), body)
}
