//! A store of each engine, and the program that is told to use it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
        Command::new("kill").args([signal, &self.child.id().to_string()]).status()?;
        let mut code = None;
        until("the command ends", || {
            code = self.child.try_wait().ok().flatten();
            code.is_some()
        })?;
        Ok(code.and_then(|status| status.code()).unwrap_or(-1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
