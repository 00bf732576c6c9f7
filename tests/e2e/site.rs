//! A broker process with four cells on one engine, as a newcomer's lab is. Everything it made goes with it.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::engines::{Engine, bridge, free_port};
use crate::shell::{bash, run, until};

/// Sites of one run do not share ports, nor labels.
static SITES: AtomicU16 = AtomicU16::new(0);

/// A broker with its configuration.
pub struct Site {
    pub name: String,
    broker: Broker,
    directory: TempDir,
    process: Option<Child>,
}

impl Deref for Site {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
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
        config += include_str!("../../scripts/lib/lab-services.toml");
        config += SERVICES;
        fs::write(directory.path().join("broker.toml"), config)?;
        let broker = Broker {
            uri: format!("http://starkandwayne:starkandwayne@127.0.0.1:{listen}"),
            config: directory.path().join("broker.toml"),
            log: directory.path().join("broker.log"),
            docker: |_| "docker".to_owned(),
        };
        Ok(Self { name, broker, directory, process: None })
    }

    /// Starts the broker's process, and waits until it is ready unless it is to die before that.
    pub fn run(&mut self, environment: &[(&str, &str)]) -> Result<(), Failed> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_patroni-broker"))
            .arg("--config")
            .arg(&self.config)
            .arg("broker")
            .envs(environment.iter().copied())
            .env("RUST_LOG", "info,patroni_broker=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(child);
        let ready = format!("curl -sf {}/readyz", self.uri);
        until(Duration::from_secs(30), || bash(&ready, &[]).map(drop))
            .map_err(|failed| self.explained(failed))
    }

    /// Where everything is that the broker writes, and its configuration.
    pub fn directory(&self) -> &Path {
        self.directory.path()
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
        if let Some(mut broker) = self.process.take() {
            broker.kill()?;
            broker.wait()?;
        }
        Ok(())
    }

    /// Waits until the broker has died by itself.
    pub fn wait_for_death(&mut self, wait: Duration) -> Result<(), Failed> {
        let Some(broker) = &mut self.process else { return Ok(()) };
        let deadline = Instant::now() + wait;
        while broker.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(self.explained("the broker does not die at its crash point".into()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.process = None;
        Ok(())
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
        let broker = self.process.take();
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
