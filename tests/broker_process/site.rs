//! A broker of its own: directory, ports, process and log.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use test_servers::free_address;

use crate::client::{Answer, Client};

/// For whatever must happen at some time.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const ADMIN: (&str, &str) = ("admin", "hush");
pub const STORE: (&str, &str) = ("patroni-broker", "hushed");

/// Where the store has what is kept of instances and bindings.
pub const RECORDS: [&str; 3] = ["/service", "/serviceinstances", "/routing/allocation"];

pub struct Site {
    directory: TempDir,
    pub address: SocketAddr,
    /// Where the embedded store's API listens.
    pub store: SocketAddr,
    broker: Option<Child>,
}

impl Site {
    /// With these lines in `[broker]`, and tables after it.
    pub fn new(broker: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address(Ipv4Addr::LOCALHOST.into()).unwrap();
        let store = free_address(Ipv4Addr::LOCALHOST.into()).unwrap();
        let site = Self { directory, address, store, broker: None };
        site.configure(broker);
        site
    }

    pub fn configure(&self, broker: &str) {
        let (address, store) = (self.address, self.store);
        let ((name, password), (store_name, store_password)) = (ADMIN, STORE);
        let text = format!(
            r#"[broker]
listen = "{address}"
username = "{name}"
password = "{password}"
{broker}

[storage]
engine = "embedded"
path = "data"
listen = "{store}"
username = "{store_name}"
password = "{store_password}"

[[services]]
id = "s1"
name = "dream"
driver = "dream"
description = "Nothing"
bindable = true
plan_updateable = true
binding_rotatable = true

[[services.plans]]
id = "p1"
name = "small"
description = "A small one"
maintenance_info = {{ version = "1.0.0", description = "Dreamt anew" }}

[[services.plans]]
id = "p2"
name = "large"
description = "A large one"
maintenance_info = {{ version = "1.0.0", description = "Dreamt anew" }}
"#
        );
        self.write("broker.toml", text.as_bytes());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file that nobody else reads.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    pub fn started(broker: &str) -> Self {
        let mut site = Self::new(broker);
        site.start();
        site
    }

    pub fn start(&mut self) {
        self.start_by(&[], &[]);
    }

    /// By this command, with this environment; waits until it listens.
    pub fn start_by(&mut self, by: &[&str], environment: &[(&str, &str)]) {
        let mut words = by.to_vec();
        words.push(env!("CARGO_BIN_EXE_patroni-broker"));
        let mark = self.log().len();
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = clean(words[0]);
        command.args(&words[1..]).args(["--config", "broker.toml", "broker"]);
        command.envs(environment.iter().copied()).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.broker = Some(command.spawn().unwrap());
        self.says(mark, "listening on");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the log says this, from `mark` on.
    #[track_caller]
    pub fn says(&self, mark: usize, words: &str) {
        let said = || self.log()[mark..].contains(words);
        self.wait(&format!("{words:?} in the log:\n{}", self.log()), said);
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < until, "no {what}\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, name: &str) {
        let id = self.broker.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// SIGHUP; waits until the log says this.
    #[track_caller]
    pub fn reload(&self, expected: &str) {
        let mark = self.log().len();
        self.signal("HUP");
        self.says(mark, expected);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut broker = self.broker.take().unwrap();
        broker.kill().unwrap();
        broker.wait().unwrap();
    }

    /// Waits for the end of a process that was told to stop, and says how it ended.
    #[track_caller]
    pub fn ended(&mut self) -> Option<i32> {
        let mut broker = self.broker.take().unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = broker.try_wait().unwrap() {
                return status.code();
            }
            if Instant::now() > until {
                broker.kill().unwrap();
                panic!("it does not end:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// On a connection of its own, by the administrator.
    #[track_caller]
    pub fn ask(&self, line: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = Client::plain(self.address).ask(ADMIN, line, &body);
        answer.unwrap_or_else(|error| panic!("{line}: {error}\n{}", self.log()))
    }

    /// Polls until an operation has ended: its state, or `gone`.
    #[track_caller]
    pub fn settled(&self, path: &str) -> String {
        let mut state = String::new();
        self.wait(&format!("end of {path}"), || {
            let answer = self.ask(&format!("GET {path}/last_operation"), &Value::Null);
            state = match answer.status {
                410 => "gone".to_owned(),
                _ => answer.json()["state"].as_str().unwrap().to_owned(),
            };
            state != "in progress"
        });
        state
    }

    /// A command that asks this broker: its exit code, and what it says on stdout and stderr.
    pub fn operator(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = clean(env!("CARGO_BIN_EXE_patroni-broker"));
        command.args(arguments).envs(environment.iter().copied()).current_dir(self.directory.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What another command says, and whether it is content.
    pub fn command(&self, arguments: &[&str], stdin: &str) -> (bool, String) {
        let mut command = clean(env!("CARGO_BIN_EXE_patroni-broker"));
        command.args(arguments).current_dir(self.directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    /// Nothing is left in the store of instances, bindings and operations.
    #[track_caller]
    pub fn is_empty(&self) {
        self.has_nothing_below(&RECORDS);
        self.has_nothing_below(&["/broker/pending"]);
    }

    #[track_caller]
    pub fn has_nothing_below(&self, directories: &[&str]) {
        for directory in directories {
            self.wait(&format!("end of what is below {directory}"), || {
                let left = Client::plain(self.store).ask(
                    STORE,
                    &format!("GET /v2/keys{directory}?recursive=true"),
                    "",
                );
                let left = left.unwrap();
                left.status == 404 || !left.body.contains("\"value\"")
            });
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            let _ = broker.kill();
            let _ = broker.wait();
        }
    }
}

/// An order, or a binding, that is told how to behave.
pub fn order(told: &Value) -> Value {
    json!({
        "service_id": "s1", "plan_id": "p1", "organization_guid": "o", "space_guid": "s",
        "context": {"platform": "test"}, "parameters": told,
    })
}

/// A command with nothing of the environment that the broker reads.
fn clean(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATRONI_BROKER_")) {
        command.env_remove(name);
    }
    command.env_remove("PORT").env_remove("RUST_LOG").env_remove("BROKER_URI");
    command
}
