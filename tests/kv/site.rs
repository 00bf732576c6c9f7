//! A store of each engine, and the program that is told to use it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Failed;
use tempfile::TempDir;
use test_servers::{Consul, ConsulOptions, Etcd, EtcdOptions, free_address};

/// How long anything may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The engines by the names of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Embedded,
    EtcdV2,
    EtcdV3,
    Consul,
}

impl Engine {
    pub const ALL: [Self; 4] = [Self::Embedded, Self::EtcdV2, Self::EtcdV3, Self::Consul];

    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::EtcdV2 => "etcd-v2",
            Self::EtcdV3 => "etcd-v3",
            Self::Consul => "consul",
        }
    }

    pub fn is_there(self) -> bool {
        match self {
            Self::Embedded => true,
            Self::EtcdV2 | Self::EtcdV3 => test_servers::etcd_is_installed(),
            Self::Consul => test_servers::consul_is_installed(),
        }
    }
}

/// A running store with a configuration that names it.
pub struct Site {
    server: Server,
    directory: TempDir,
}

enum Server {
    Embedded(Embedded),
    Etcd(Box<Etcd>),
    Consul(Box<Consul>),
}

/// `kv serve` in a process of its own.
struct Embedded {
    child: Child,
    address: SocketAddr,
}

impl Site {
    pub fn start(engine: Engine) -> Result<Self, Failed> {
        let directory = tempfile::tempdir()?;
        let (server, section) = match engine {
            Engine::Embedded => {
                let address = free_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
                let server = Embedded { child: serve(directory.path(), address)?, address };
                let section = format!("path = \"data\"\nlisten = \"{address}\"\npassword = \"hush\"");
                (Server::Embedded(server), section)
            }
            Engine::EtcdV2 | Engine::EtcdV3 => {
                let etcd = Etcd::start(&EtcdOptions::default())?;
                let section = format!("endpoints = [\"{}\"]", etcd.endpoint());
                (Server::Etcd(Box::new(etcd)), section)
            }
            Engine::Consul => {
                let consul = Consul::start(&ConsulOptions::default())?;
                let section = format!("endpoints = [\"{}\"]", consul.endpoint());
                (Server::Consul(Box::new(consul)), section)
            }
        };
        let section = format!("engine = \"{}\"\n{section}", engine.name());
        configure(directory.path(), &section)?;
        Ok(Self { server, directory })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the embedded store's API listens.
    pub fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Embedded(server) => server.address,
            Server::Etcd(etcd) => etcd.address(),
            Server::Consul(consul) => consul.address(),
        }
    }

    /// The same as a URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Tells the embedded store's server to stop, and gives its exit code.
    pub fn end(&mut self, signal: &str) -> Result<i32, Failed> {
        let Server::Embedded(server) = &mut self.server else { return Err("not ours to end".into()) };
        end(&mut server.child, signal)
    }

    /// Kills the server as a machine that loses power would.
    pub fn stop(&mut self) -> Result<(), Failed> {
        match &mut self.server {
            Server::Embedded(server) => {
                server.child.kill()?;
                server.child.wait()?;
            }
            Server::Etcd(etcd) => etcd.stop(),
            Server::Consul(consul) => consul.stop(),
        }
        Ok(())
    }

    /// Starts it again on the same data.
    pub fn restart(&mut self) -> Result<(), Failed> {
        match &mut self.server {
            Server::Embedded(server) => server.child = serve(self.directory.path(), server.address)?,
            Server::Etcd(etcd) => etcd.restart()?,
            Server::Consul(consul) => consul.restart()?,
        }
        Ok(())
    }

    /// `patroni-broker --config … kv`.
    pub fn kv(&self) -> Command {
        let mut command = program();
        command.arg("--config").arg(self.path("broker.toml")).arg("kv").current_dir(self.directory.path());
        command
    }

    /// Runs a `kv` command whose words have no blanks, and gives what it says if the exit code is as expected.
    pub fn says(&self, words: &str, code: i32) -> Result<String, Failed> {
        self.says_of(words, code, b"")
    }

    /// As [`Site::says`], with something on stdin.
    pub fn says_of(&self, words: &str, code: i32, stdin: &[u8]) -> Result<String, Failed> {
        let answer = run(self.kv().args(words.split_whitespace()), stdin)?;
        if answer.code != code {
            return Err(format!("kv {words}: {answer:?}, expected {code}").into());
        }
        Ok(if code == 0 { String::from_utf8(answer.stdout)? } else { answer.stderr })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patroni-broker"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATRONI_BROKER_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG");
    command
}

pub fn run(command: &mut Command, stdin: &[u8]) -> Result<Ran, Failed> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().ok_or("no stdin")?;
    let stdin = stdin.to_vec();
    // A command that reads nothing closes its end.
    let writer = thread::spawn(move || drop(input.write_all(&stdin)));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| "the writer panicked")?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Ran { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr })
}

/// Writes a configuration that is complete but for the store.
pub fn configure(directory: &Path, storage: &str) -> Result<(), Failed> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/local.example.toml");
    let example = std::fs::read_to_string(example)?;
    let (before, rest) = example.split_once("[storage]\n").ok_or("no [storage]")?;
    let (_, after) = rest.split_once("[[cells]]").ok_or("no [[cells]]")?;
    std::fs::write(directory.join("broker.toml"), format!("{before}[storage]\n{storage}\n[[cells]]{after}"))?;
    Ok(())
}

fn serve(directory: &Path, address: SocketAddr) -> Result<Child, Failed> {
    std::fs::write(directory.join("password"), "hush\n")?;
    let child = program()
        .args(["kv", "serve", "--user", "patroni-broker", "--password-file", "password", "--path", "data"])
        .args(["--listen", &address.to_string()])
        .current_dir(directory)
        .stderr(Stdio::null())
        .spawn()?;
    until("kv serve listens", || TcpStream::connect(address).is_ok())?;
    Ok(child)
}

/// What the embedded store asks for.
pub fn authorization(password: &str) -> String {
    authorization_of("patroni-broker", password)
}

/// The same of another user.
pub fn authorization_of(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The embedded store's answer: its status, and its body where that is JSON.
pub fn get(address: SocketAddr, target: &str, password: &str) -> Result<(u16, serde_json::Value), Failed> {
    get_with(address, target, &authorization(password))
}

/// The same to who shows this `Authorization`.
pub fn get_with(
    address: SocketAddr,
    target: &str,
    authorization: &str,
) -> Result<(u16, serde_json::Value), Failed> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let request = agent.get(format!("http://{address}{target}"));
    let mut answer = request.header("Authorization", authorization).call()?;
    let body = answer.body_mut().read_to_string()?;
    Ok((answer.status().as_u16(), serde_json::from_str(&body).unwrap_or_default()))
}

/// Asks until the answer is yes.
pub fn until(what: &str, mut yes: impl FnMut() -> bool) -> Result<(), Failed> {
    let begun = Instant::now();
    while !yes() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("not within {PATIENCE:?}: {what}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn kill(child: &Child, signal: &str) -> Result<(), Failed> {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status()?;
    if sent.success() { Ok(()) } else { Err("it has ended already".into()) }
}

fn end(child: &mut Child, signal: &str) -> Result<i32, Failed> {
    kill(child, signal)?;
    let mut code = None;
    until("the command ends", || {
        code = child.try_wait().ok().flatten();
        code.is_some()
    })?;
    Ok(code.and_then(|status| status.code()).unwrap_or(-1))
}

/// A command that goes on, with what it says so far.
pub struct Running {
    child: Child,
    said: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Result<Self, Failed> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let said = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (stdout, stderr) =
            (child.stdout.take().ok_or("no stdout")?, child.stderr.take().ok_or("no stderr")?);
        for stream in [Box::new(stdout) as Box<dyn Read + Send>, Box::new(stderr)] {
            let said = std::sync::Arc::clone(&said);
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut said = said.lock().expect("nobody panics with it");
                    said.push_str(&line);
                    said.push('\n');
                }
            });
        }
        Ok(Self { child, said })
    }

    pub fn said(&self) -> String {
        self.said.lock().expect("nobody panics with it").clone()
    }

    pub fn wait_for(&self, text: &str) -> Result<(), Failed> {
        let heard = until(text, || self.said().contains(text));
        heard.map_err(|_| format!("{text:?} was never said, but {}", self.said()).into())
    }

    /// Tells it to stop, and gives its exit code.
    pub fn end(mut self, signal: &str) -> Result<i32, Failed> {
        end(&mut self.child, signal)
    }

    /// Sends it a signal that it outlives.
    pub fn signal(&self, signal: &str) -> Result<(), Failed> {
        kill(&self.child, signal)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
