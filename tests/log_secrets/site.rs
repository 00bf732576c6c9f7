//! The real program, where it stands, and what it wrote.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use test_servers::{Certificates, free_address};

use super::configuration::{Place, Users, configuration, users};
use super::hoard::Hoard;
use super::wire::{Reply, Request, Way, trusting};

const PATIENCE: Duration = Duration::from_secs(30);
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const USERNAME: &str = "platform";

/// The program, with nothing of the environment that it reads.
pub fn bare_program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patroni-broker"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATRONI_BROKER_")) {
        command.env_remove(name);
    }
    command.env_remove("PORT");
    command
}

/// A broker with its directories.
pub struct Site {
    /// `etc` holds what was given to the program, and its passwords with it; all else is searched.
    pub directory: TempDir,
    pub hoard: Hoard,
    format: &'static str,
    /// How it is reached.
    pub way: Way,
    /// What the broker takes.
    pub password: String,
    broker: Option<Child>,
    /// Of the broker that was started last.
    log: PathBuf,
    runs: usize,
    pub users: Users,
    certificates: Certificates,
}

impl Site {
    pub fn new(format: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["etc", "var", "log"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let mut hoard = Hoard::default();
        let certificates = Certificates::make(&[]).unwrap();
        let key = fs::read_to_string(&certificates.client.key).unwrap();
        hoard.keep("a cell's key", key.lines().nth(1).unwrap());
        let (address, store) = (free_address(LOOPBACK).unwrap(), free_address(LOOPBACK).unwrap());
        let password = hoard.mint("broker.password");
        let users = users(&mut hoard, directory.path());
        let place = Place { directory: directory.path(), certificates: &certificates, address, store };
        let text = configuration(&mut hoard, &place, format, &password);
        let text = text.replacen("[storage]", &format!("{}\n[storage]", users.table), 1);
        fs::write(directory.path().join("etc/broker.toml"), text).unwrap();
        Self {
            directory,
            hoard,
            format,
            way: Way { address, tls: None },
            password,
            broker: None,
            log: PathBuf::new(),
            runs: 0,
            users,
            certificates,
        }
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("etc/broker.toml")
    }

    /// From its next start on it is reached by HTTPS alone.
    pub fn use_https(&mut self) {
        let server = &self.certificates.server;
        let key = fs::read_to_string(&server.key).unwrap();
        self.hoard.keep("the broker's key", key.lines().nth(1).unwrap());
        let (cert, key) = (server.certificate.display(), server.key.display());
        let client_ca = self.certificates.authority.display();
        let table = format!(
            "[broker.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\nclient_ca = \"{client_ca}\"\n\
             client_certificates = \"optional\"\n\n[storage]"
        );
        let text = fs::read_to_string(self.config()).unwrap();
        fs::write(self.config(), text.replacen("[storage]", &table, 1)).unwrap();
        self.way.tls = Some(trusting(&self.certificates.authority));
    }

    pub fn program(&self) -> Command {
        let mut command = bare_program();
        command.env("RUST_LOG", "trace").env("PATRONI_BROKER_LOG_FORMAT", self.format);
        command.current_dir(self.directory.path().join("var"));
        command
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Starts the broker, and waits until it listens.
    pub fn start(&mut self, environment: &[(&str, &str)]) {
        self.runs += 1;
        let out = self.directory.path().join(format!("log/broker-{}.out", self.runs));
        self.log = out.with_extension("err");
        let broker = self
            .program()
            .envs(environment.iter().copied())
            .arg("--config")
            .arg(self.config())
            .arg("broker")
            .stdin(Stdio::null())
            .stdout(File::create(out).unwrap())
            .stderr(File::create(&self.log).unwrap())
            .spawn()
            .unwrap();
        self.broker = Some(broker);
        self.says("listening on");
    }

    /// Waits until the log says this.
    #[track_caller]
    pub fn says(&self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(Instant::now() < until, "{words:?} is not in the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn kill(&mut self) {
        let mut broker = self.broker.take().unwrap();
        broker.kill().unwrap();
        broker.wait().unwrap();
    }

    /// Ends it as an operator does.
    pub fn stop(&mut self) {
        let mut broker = self.broker.take().unwrap();
        Command::new("kill").arg(broker.id().to_string()).status().unwrap();
        assert_eq!(broker.wait().unwrap().code(), Some(0), "{}", self.log());
    }

    /// An order from somebody who may order.
    pub fn call(&self, method: &str, target: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Request::new(method, target).basic(USERNAME, &self.password).body(body).send(&self.way)
    }

    /// Runs another command, and keeps what it says as a log.
    pub fn command(&mut self, config: &Path, arguments: &[&str], stdin: &str) -> bool {
        self.runs += 1;
        let log = |end: &str| self.directory.path().join(format!("log/command-{}.{end}", self.runs));
        let mut child = self
            .program()
            .arg("--config")
            .arg(config)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(File::create(log("out")).unwrap())
            .stderr(File::create(log("err")).unwrap())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait().unwrap().success()
    }

    /// Searches everything, and looks whether there was something to search.
    #[track_caller]
    pub fn is_clean(&self) {
        let mut found = self.hoard.found_below(&self.directory.path().join("var"));
        found.extend(self.hoard.found_below(&self.directory.path().join("log")));
        assert!(found.is_empty(), "\n{}", found.join("\n"));
        for run in fs::read_dir(self.directory.path().join("log")).unwrap() {
            let path = run.unwrap().path();
            if self.format != "json" || path.extension().is_none_or(|end| end != "err") {
                continue;
            }
            for line in fs::read_to_string(&path).unwrap().lines() {
                // A command that fails says why in words, as its last word.
                let words = line.starts_with("patroni-broker: ") || line.starts_with("  ");
                let read = serde_json::from_str::<Value>(line);
                let fields = ["time", "level", "target", "message"];
                let whole = read.is_ok_and(|line| fields.iter().all(|field| line[field].is_string()));
                assert!(whole || words, "{}: {line:?} is no line of JSON", path.display());
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            drop(broker.kill());
            drop(broker.wait());
        }
    }
}
