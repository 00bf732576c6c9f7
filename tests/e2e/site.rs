//! A broker process with four cells on one engine, as a newcomer's lab is. Everything it made goes with it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;
use tempfile::TempDir;

use crate::engines::{Engine, bridge, free_port};
use crate::shell::{bash, run, until};

/// Sites of one run do not share ports, nor labels.
static SITES: AtomicU16 = AtomicU16::new(0);

/// A broker with its configuration.
pub struct Site {
    pub name: String,
    /// The seeds' `BROKER_URI`.
    pub uri: String,
    directory: TempDir,
    broker: Option<Child>,
}

impl Site {
    /// Starts a broker on this store and waits until it is ready.
    pub fn start(engine: &Engine) -> Result<Self, Failed> {
        let mut site = Self::prepare(engine)?;
        site.run(&[])?;
        Ok(site)
    }

    /// Writes a configuration, and starts nothing.
    pub fn prepare(engine: &Engine) -> Result<Self, Failed> {
        let number = SITES.fetch_add(1, Ordering::SeqCst);
        let (listen, bridge) = (free_port()?, bridge()?);
        let (cell_first, public_first) = (20_000 + number % 90 * 100, 30_000 + number % 90 * 30);
        let name = format!("test-{}-{number}", std::process::id());
        let directory = tempfile::tempdir()?;
        let mut config = format!(
            "[broker]\nlisten = \"127.0.0.1:{listen}\"\nusername = \"starkandwayne\"\n\
             password = \"starkandwayne\"\nbind_host = \"127.0.0.1\"\nname = \"{name}\"\n\n\
             [storage]\n{}\n[routing]\nports = \"{public_first}-{}\"\nlisten = \"127.0.0.1\"\n\n",
            engine.section,
            public_first + 29,
        );
        for (index, cell) in ["c1", "c2", "c3", "c4"].into_iter().enumerate() {
            let zone = if index < 2 { "z1" } else { "z2" };
            let first = cell_first + 25 * u16::try_from(index)?;
            config += &format!(
                "[[cells]]\nguid = \"{cell}\"\navailability_zone = \"{zone}\"\n\
                 docker = \"unix:///var/run/docker.sock\"\nhost = \"{bridge}\"\nports = \"{first}-{}\"\n\n",
                first + 24,
            );
        }
        config += SERVICES;
        fs::write(directory.path().join("broker.toml"), config)?;
        let uri = format!("http://starkandwayne:starkandwayne@127.0.0.1:{listen}");
        Ok(Self { name, uri, directory, broker: None })
    }

    /// Starts the broker's process, and waits until it is ready unless it is to die before that.
    pub fn run(&mut self, environment: &[(&str, &str)]) -> Result<(), Failed> {
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let child = Command::new(env!("CARGO_BIN_EXE_patroni-broker"))
            .arg("--config")
            .arg(self.config_file())
            .arg("broker")
            .envs(environment.iter().copied())
            .env("RUST_LOG", "info,patroni_broker=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.broker = Some(child);
        let ready = format!("curl -sf {}/readyz", self.uri);
        until(Duration::from_secs(30), || bash(&ready, &[]).map(drop))
            .map_err(|failed| self.explained(failed))
    }

    /// Where everything is that the broker writes, and its configuration.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("broker.toml")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("broker.log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A failure with the broker's log added.
    pub fn explained(&self, failed: Failed) -> Failed {
        let log = self.log();
        let from = log.len().saturating_sub(6000);
        let from = (from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or_default();
        format!("{}\n--- the broker's log ends:\n{}", failed.message().unwrap_or_default(), &log[from..])
            .into()
    }

    /// A failure with the members' logs added too, each from its end.
    pub fn explained_by_members(&self, failed: Failed) -> Failed {
        let mut text = self.explained(failed).message().unwrap_or_default().to_owned();
        for container in self.containers().unwrap_or_default() {
            let log = bash(&format!("docker logs --tail 60 {container} 2>&1"), &[]).unwrap_or_default();
            text += &format!("\n--- {container} logged last:\n{log}");
        }
        text.into()
    }

    /// Kills the broker as `kill -9` does.
    pub fn kill(&mut self) -> Result<(), Failed> {
        if let Some(mut broker) = self.broker.take() {
            broker.kill()?;
            broker.wait()?;
        }
        Ok(())
    }

    /// Waits until the broker has died by itself.
    pub fn wait_for_death(&mut self, wait: Duration) -> Result<(), Failed> {
        let Some(broker) = &mut self.broker else { return Ok(()) };
        let deadline = Instant::now() + wait;
        while broker.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(self.explained("the broker does not die at its crash point".into()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.broker = None;
        Ok(())
    }

    /// Runs what a user types, with `BROKER_URI` set.
    pub fn type_in(&self, script: &str) -> Result<String, Failed> {
        bash(script, &[("BROKER_URI", &self.uri)]).map_err(|failed| self.explained(failed))
    }

    /// Runs `patroni-broker kv` on this site's store, and gives what it prints.
    pub fn kv(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = Command::new(env!("CARGO_BIN_EXE_patroni-broker"))
            .arg("--config")
            .arg(self.config_file())
            .arg("kv")
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(format!("kv {arguments:?}: {}\n{err}", output.status).into());
        }
        Ok(out.into_owned())
    }

    /// Sends a request; gives the status and the JSON answer.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value), Failed> {
        let mut curl = Command::new("curl")
            .args(["-s", "-m", "700", "-w", "\n%{http_code}", "-X", method, "--data-binary", "@-"])
            .arg(format!("{}{path}", self.uri))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // A broker that refuses a body need not read all of it.
        drop(curl.stdin.take().ok_or("curl has no stdin")?.write_all(body.as_bytes()));
        let output = curl.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (answer, status) = text.rsplit_once('\n').ok_or("no answer")?;
        let status = status.parse().map_err(|_| format!("no status in {text:?}"))?;
        let answer = serde_json::from_str(answer).map_err(|error| format!("{error} in {answer:?}"))?;
        Ok((status, answer))
    }

    /// Polls the last operation until it has ended, and gives every distinct answer on the way.
    pub fn poll(&self, instance: &str, wait: Duration) -> Result<Vec<(String, String)>, Failed> {
        let mut seen: Vec<(String, String)> = Vec::new();
        until(wait, || {
            let (status, answer) =
                self.call("GET", &format!("/v2/service_instances/{instance}/last_operation"), "")?;
            let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
            let now = if status == 410 {
                ("gone".to_owned(), String::new())
            } else {
                (text("state"), text("description"))
            };
            if seen.last() != Some(&now) {
                seen.push(now.clone());
            }
            if now.0 == "in progress" { Err(format!("still in progress: {seen:?}").into()) } else { Ok(()) }
        })
        .map_err(|failed| self.explained(failed))?;
        Ok(seen)
    }

    /// The names of this site's containers.
    pub fn containers(&self) -> Result<Vec<String>, Failed> {
        let script = format!(
            "docker ps -a --format '{{{{.Names}}}}' --filter label=patroni-broker.broker={}",
            self.name
        );
        Ok(bash(&script, &[])?.lines().map(str::to_owned).collect())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let label = format!("label=patroni-broker.broker={}", self.name);
        let pids = self.directory.path().join("haproxy");
        let broker = self.broker.take();
        if let Some(mut broker) = broker {
            drop(broker.kill());
            drop(broker.wait());
        }
        // HAProxy outlives the broker on purpose.
        let script = format!(
            "cat {}/*.pid 2>/dev/null | xargs -r kill -TERM 2>/dev/null; \
             docker ps -aq --filter {label} | xargs -r docker rm -f -v >/dev/null",
            pids.display()
        );
        drop(run(&script, &[]));
    }
}

const SERVICES: &str = r#"
[[services]]
id = "0f5c1670-6dc3-11e5-bc08-6c4008a663f0"
name = "postgresql"
driver = "patroni"
description = "Highly available PostgreSQL"
bindable = true
plan_updateable = true
tags = ["postgresql", "relational"]

[[services.plans]]
id = "1545e30e-6dc3-11e5-826a-6c4008a663f0"
name = "cluster"
description = "Patroni cluster over several cells"
image = "patroni-broker/postgresql-patroni:17"
node_count = 2
database = "postgres"

[[services.plans]]
id = "no-image"
name = "no-image"
description = "A plan whose image there is not"
image = "patroni-broker/no-such-image:1"
node_count = 2

[[services]]
id = "another-service"
name = "another"
driver = "patroni"
description = "Another service"

[[services.plans]]
id = "another-plan"
name = "another-plan"
description = "The same on PostgreSQL 15 and Patroni 3"
image = "patroni-broker/postgresql-patroni:15"
node_count = 2
"#;
