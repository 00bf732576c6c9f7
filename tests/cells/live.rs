//! A bench over a real Docker engine, at `DOCKER_HOST` or its usual socket, and what only a real engine can show.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use patroni_broker::cells::{Cell, Deadlines, DockerCell, Runtime};
use patroni_broker::model::{ContainerName, DockerAddress};
use serde_json::{Value, json};

use crate::bench::{Bench, LONG_LINE, file, namesake, site};
use crate::contract::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    ("settings_reach_the_engine", settings_reach_the_engine),
    ("secrets_do_not_show", secrets_do_not_show),
    ("the_log_of_one_that_keeps_crashing", the_log_of_one_that_keeps_crashing),
    ("an_image_without_an_environment", an_image_without_an_environment),
];

/// Where the engine is, if one answers.
pub fn engine() -> Option<DockerAddress> {
    static ENGINE: OnceLock<Option<DockerAddress>> = OnceLock::new();
    ENGINE
        .get_or_init(|| {
            let address = std::env::var("DOCKER_HOST").unwrap_or("unix:///var/run/docker.sock".to_owned());
            let address = match address.split_once("://") {
                Some(("unix", path)) => DockerAddress::Unix(PathBuf::from(path)),
                Some(("tcp", address)) => DockerAddress::Tcp { address: address.to_owned(), tls: None },
                _ => return None,
            };
            let cell = DockerCell::connect(
                site("probe", address.clone()),
                Runtime::start().unwrap(),
                Deadlines::default(),
            );
            (cell.ping().is_ok() && run("docker", &["version"]).is_ok()).then_some(address)
        })
        .clone()
}

pub fn bench() -> Bench {
    static IMAGE: OnceLock<String> = OnceLock::new();
    let address = engine().expect("scenarios without an engine are ignored");
    let image = IMAGE.get_or_init(make_image).clone();
    let runtime = Runtime::start().unwrap();
    let site = |guid: &str| site(&format!("{guid}-{}", std::process::id()), address.clone());
    let cell = |site| -> Arc<dyn Cell> {
        Arc::new(DockerCell::connect(site, runtime.clone(), Deadlines::default()))
    };
    let cells = [cell(site("docker-a")), cell(site("docker-b")), cell(namesake(site("docker-a")))];
    let other_image = format!("{image}-other");
    run("docker", &["tag", &image, &other_image]).unwrap();
    let is_there = |volume: &str| run("docker", &["volume", "inspect", volume]).is_ok();
    Bench::new(cells, [image, other_image], Box::new(volumes), Box::new(is_there))
}

/// Runs a command; what it wrote on failure is the error.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr)))
    }
}

pub fn volumes(name: &ContainerName) -> Vec<String> {
    let mounts =
        run("docker", &["inspect", "-f", "{{range .Mounts}}{{.Name}}\n{{end}}", name.as_str()]).unwrap();
    let volumes: Vec<_> = mounts.split_whitespace().map(str::to_owned).collect();
    assert_eq!(volumes.len(), 1, "the test image has one volume");
    volumes
}

/// A shell, a few commands and a volume: all that the scenarios need, from busybox, without a registry.
fn make_image() -> String {
    let script = format!(
        "trap 'exit 0' TERM; test -e /crash && echo crashing && exit 7; echo hello; echo {LONG_LINE}; \
         while :; do sleep 0.05; done"
    );
    let command = json!(["sh", "-c", script]).to_string();
    let tag = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, command.as_bytes()).simple().to_string();
    let image = format!("patroni-broker/test-busybox:{}", &tag[..12]);
    if run("docker", &["image", "inspect", &image]).is_ok() {
        return image;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy(busybox(directory.path()), root.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "echo", "sleep", "stat", "test", "true"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let tar = directory.path().join("root.tar");
    let (root, tar) = (root.to_str().unwrap(), tar.to_str().unwrap());
    run("tar", &["-C", root, "--owner=0", "--group=0", "-cf", tar, "."]).unwrap();
    let (command, path) = (format!("CMD {command}"), "ENV PATH=/bin");
    run(
        "docker",
        &["import", "--change", &command, "--change", "VOLUME /data", "--change", path, tar, &image],
    )
    .unwrap();
    image
}

/// This machine's static busybox, or Debian's.
fn busybox(directory: &Path) -> PathBuf {
    let own = PathBuf::from("/bin/busybox");
    if own.exists() {
        return own;
    }
    let fetched = Command::new("sh")
        .args(["-c", "apt-get download -q busybox-static && dpkg-deb -x busybox-static*.deb unpacked"])
        .current_dir(directory)
        .output()
        .unwrap();
    let found = directory.join("unpacked/bin/busybox");
    assert!(found.exists(), "no busybox: {}", String::from_utf8_lossy(&fetched.stderr));
    found
}

fn inspected(name: &ContainerName) -> Value {
    let shown = run("docker", &["inspect", name.as_str()]).unwrap();
    serde_json::from_str::<Value>(&shown).unwrap()[0].take()
}

fn settings_reach_the_engine(bench: &Bench) {
    let mut spec = bench.spec();
    spec.memory_bytes = Some(128 << 20);
    bench.a.create(&spec).unwrap();
    let shown = inspected(&spec.name);
    let check = |pointer: &str, expected: Value| {
        assert_eq!(shown.pointer(pointer), Some(&expected), "{pointer} in {shown:#}");
    };
    check("/HostConfig/RestartPolicy/Name", json!("unless-stopped"));
    check("/HostConfig/SecurityOpt", json!(["no-new-privileges"]));
    check(
        "/HostConfig/LogConfig",
        json!({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}),
    );
    check("/HostConfig/ShmSize", json!(64 << 20));
    check("/HostConfig/Memory", json!(128 << 20));
    check("/Config/StopTimeout", json!(5));
    // What we do not ask for is the image's.
    check("/Config/User", json!(""));
    check("/Config/WorkingDir", json!(""));
    check("/Config/Entrypoint", Value::Null);
    check("/Config/Tty", json!(false));
    check("/Config/Cmd/0", json!("sh"));
    assert_eq!(shown.pointer("/Config/StopSignal").filter(|signal| **signal != json!("")), None);
    let hostname = shown.pointer("/Config/Hostname").and_then(Value::as_str).unwrap();
    assert!(shown["Id"].as_str().unwrap().starts_with(hostname), "{hostname}");
}

fn secrets_do_not_show(bench: &Bench) {
    let mut spec = bench.spec();
    spec.files = vec![file("/etc/secret", 0o600, "hunter2")];
    bench.a.create(&spec).unwrap();
    bench.a.start(&spec.name).unwrap();
    assert!(!inspected(&spec.name).to_string().contains("hunter2"));
    assert!(!format!("{spec:?}").contains("hunter2"));
}

/// Engines refuse to attach to a container that is between two restarts, and that is when its log is asked for.
fn the_log_of_one_that_keeps_crashing(bench: &Bench) {
    let mut spec = bench.spec();
    spec.files = vec![file("/crash", 0o600, "")];
    bench.a.create(&spec).unwrap();
    bench.a.start(&spec.name).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let log = bench.a.log_tail(&spec.name, 2).unwrap();
        if log == ["crashing", "crashing"] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{log:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    bench.a.start(&spec.name).unwrap();
    bench.a.stop(&spec.name, std::time::Duration::from_secs(1)).unwrap();
}

/// Engines leave it out, or say null, and dockworker gives up on both.
fn an_image_without_an_environment(bench: &Bench) {
    let directory = tempfile::tempdir().unwrap();
    let tar = directory.path().join("empty.tar");
    let tar = tar.to_str().unwrap();
    run("tar", &["-cf", tar, "--files-from", "/dev/null"]).unwrap();
    let image = format!("patroni-broker/test-empty:{}", std::process::id());
    run("docker", &["import", tar, &image]).unwrap();
    let environment = bench.a.image_environment(&image);
    run("docker", &["image", "rm", &image]).unwrap();
    assert_eq!(environment, Ok(Some(std::collections::BTreeMap::new())));
    assert_eq!(bench.a.image_environment(&image), Ok(None));
}
