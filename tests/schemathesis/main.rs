//! The real program against what the official OpenAPI description generates: schemathesis from PyPI. Shows as ignored
//! where either is missing: the description is not ours to ship.

mod amendments;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use tempfile::TempDir;
use test_servers::free_address;

use amendments::{CHECKS, PLAN, SERVICE, amendments, parameters};

const PATIENCE: Duration = Duration::from_secs(30);
const SEED: &str = "217";

fn main() {
    let (description, program) = (description(), program());
    let missing = description.is_none() || program.is_none();
    let run = move || {
        let description = description.ok_or("no description")?;
        finds_nothing(&description, &program.ok_or("no schemathesis")?)
    };
    let trial = Trial::test("schemathesis_finds_nothing", run).with_ignored_flag(missing);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

/// The official description, where it is on this machine.
fn description() -> Option<PathBuf> {
    let named = std::env::var_os("PATRONI_BROKER_TEST_OPENAPI").filter(|path| !path.is_empty());
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/osb-openapi.yaml");
    Some(named.map_or_else(beside, PathBuf::from)).filter(|path| path.is_file())
}

/// The one that `scripts/test` installs, or the one on the PATH.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("PATRONI_BROKER_TEST_SCHEMATHESIS").filter(|path| !path.is_empty());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).map(|directory| directory.join("schemathesis"));
    named.map(PathBuf::from).or_else(|| on_path().find(|path| path.is_file()))
}

fn finds_nothing(description: &Path, schemathesis: &Path) -> Result<(), Failed> {
    let site = Site::start()?;
    let all = std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some();
    fs::write(site.path("schemathesis.toml"), CHECKS)?;
    let rows: Vec<_> = amendments().iter().map(|row| json!({"at": row.at, "is": row.is})).collect();
    let output = Command::new(schemathesis)
        .args(["--config-file", "schemathesis.toml", "run"])
        .arg(fs::canonicalize(description)?)
        .args(["--url", &site.url(), "--auth", "platform:hush", "--header", "X-Broker-API-Version: 2.17"])
        .args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"])
        .args([
            "--seed",
            SEED,
            "--generation-database",
            "none",
            "--max-examples",
            if all { "400" } else { "30" },
        ])
        .args(["--request-timeout", "20", "--continue-on-failure", "--no-color", "--warnings", "off"])
        .args(["--output-truncate", "false"])
        .current_dir(site.directory.path())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PATRONI_BROKER_TEST_AMENDMENTS", json!(rows).to_string())
        .stdin(Stdio::null())
        .output()?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("schemathesis: {}\n{said}", output.status).into());
    }
    site.has_no_trouble()
}

/// A broker with the dream service.
struct Site {
    directory: TempDir,
    address: SocketAddr,
    broker: Child,
}

impl Site {
    fn start() -> Result<Self, Failed> {
        let directory = tempfile::tempdir()?;
        let address = free_address(Ipv4Addr::LOCALHOST.into())?;
        let store = free_address(Ipv4Addr::LOCALHOST.into())?;
        fs::write(directory.path().join("broker.toml"), config(address, store))?;
        let mut schema = parameters();
        schema["$schema"] = json!("http://json-schema.org/draft-04/schema#");
        fs::write(directory.path().join("parameters.json"), schema.to_string())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_patroni-broker"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATRONI_BROKER_")) {
            command.env_remove(name);
        }
        let log = File::create(directory.path().join("broker.log"))?;
        command.args(["--config", "broker.toml", "broker"]).current_dir(directory.path());
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut site = Self { broker: command.spawn()?, directory, address };
        let begun = Instant::now();
        while TcpStream::connect(site.address).is_err() {
            if site.broker.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                return Err(format!("the broker does not start:\n{}", site.log()).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(site)
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("broker.log")).unwrap_or_default()
    }

    /// What a 500 on demand would hide.
    fn has_no_trouble(&self) -> Result<(), Failed> {
        let log = self.log();
        let trouble = |line: &&str| line.contains("ERROR") || line.contains("panicked");
        match log.lines().find(trouble) {
            Some(line) => Err(format!("the broker's log has: {line}").into()),
            None => Ok(()),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have died by itself.
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

fn config(address: SocketAddr, store: SocketAddr) -> String {
    format!(
        "[broker]\nlisten = \"{address}\"\nusername = \"platform\"\npassword = \"hush\"\n\
         bind_host = \"127.0.0.1\"\nrequire_api_version = true\n\n\
         [storage]\nengine = \"embedded\"\npath = \"data\"\nlisten = \"{store}\"\npassword = \"hush\"\n\n\
         [routing]\nhaproxy = false\nports = \"30000-30099\"\n\n[registrar]\nenabled = false\n\n\
         [[services]]\nid = \"{SERVICE}\"\nname = \"dream\"\ndriver = \"dream\"\ndescription = \"Nothing\"\n\
         bindable = true\nplan_updateable = true\nbinding_rotatable = true\n\n\
         [[services.plans]]\nid = \"{PLAN}\"\nname = \"only\"\ndescription = \"The only one\"\n\
         schemas = {{ create = \"parameters.json\", update = \"parameters.json\", bind = \"parameters.json\" }}\n"
    )
}
