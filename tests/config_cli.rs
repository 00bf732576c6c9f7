//! The program as it is called: exit codes, and which stream says what.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patroni-broker"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATRONI_BROKER_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG");
    command
}

/// The exit code, and a piece of what each stream says; an empty piece means that it says nothing.
#[track_caller]
fn check(arguments: &str, code: i32, stdout: &str, stderr: &str) {
    let output = program().args(arguments.split_whitespace()).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments}\n{out}\n{err}");
    for (said, expected) in [(out, stdout), (err, stderr)] {
        let fits = if expected.is_empty() { said.is_empty() } else { said.contains(expected) };
        assert!(fits, "{arguments}: expected {expected:?} in {said:?}");
    }
}

#[test]
fn usage_help_and_version() {
    check("--help", 0, "Usage: patroni-broker", "");
    check("kv serve --help", 0, "--password-file", "");
    check("--version", 0, env!("CARGO_PKG_VERSION"), "");
    check("", 2, "", "A command is required");
    check("dance", 2, "", "Unrecognized argument: dance");
    check("check-config", 2, "", "name a file with --config or PATRONI_BROKER_CONFIG");
    check("check-config --output xml", 2, "", "must be table or json");
    check("kv serve --listen 127.0.0.1:0 --path x", 2, "", "Either --user and --password-file are required");
    check("kv serve --listen 127.0.0.1:0 --path x --user u --no-auth", 2, "", "--no-auth stands alone");
}

/// With `RUST_LOG=trace` the HTTP client logged the bytes of every request: the store's password, and records.
#[test]
fn no_log_level_shows_passwords() {
    let store = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = store.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in store.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string("config/local.example.toml").unwrap();
    let (before, rest) = example.split_once("[storage]").unwrap();
    let (_, after) = rest.split_once("[[cells]]").unwrap();
    let storage = format!(
        "[storage]\nengine = \"etcd-v2\"\nendpoints = [\"http://{address}\"]\nusername = \"u\"\npassword = \"hunter2\"\n"
    );
    let config = directory.path().join("broker.toml");
    std::fs::write(&config, format!("{before}{storage}\n[[cells]]{after}")).unwrap();
    let arguments = ["--config", config.to_str().unwrap(), "service-status"];
    let output = program().env("RUST_LOG", "trace").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("DEBUG ureq"), "{said}");
    // Each line of such a trace holds a few bytes only, so that the password itself would not be found.
    assert!(!said.contains("TRACE"), "{said}");
}

/// A broker whose port was another one's ended only after it had started a HAProxy, which stayed.
#[test]
fn a_broker_whose_port_is_taken_begins_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string("config/local.example.toml").unwrap();
    let config = directory.path().join("broker.toml");
    std::fs::write(&config, example.replace("127.0.0.1:3000", &address)).unwrap();
    let arguments = format!("--config {} broker", config.display());
    check(&arguments, 1, "", &format!("cannot listen on {address}"));
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(left, [config]);
}

#[test]
fn a_configuration_is_checked() {
    let good = "--config config/local.example.toml check-config";
    check(good, 0, "fine (cells: 4, plans: 1)\n  warning: storage.password: IS THE EXAMPLE'S", "");
    check(&format!("{good} --output json"), 0, "\"fine\": true", "");
    check("--config config/bosh-lite.example.yml check-config", 1, "config/bosh-lite.example.toml", "");
    check("--config nowhere.toml broker", 1, "", "nowhere.toml: cannot be read");

    let directory = tempfile::tempdir().unwrap();
    let bad = directory.path().join("bad.toml");
    std::fs::write(&bad, "[broker]\nlisten = 3\n[storage]\nengine = \"zookeeper\"\n").unwrap();
    let bad = bad.to_str().unwrap();
    check(&format!("--config {bad} check-config"), 1, "\n  storage.engine: must be \"embedded\"", "");
    check(&format!("--config {bad} check-config --output json"), 1, "\"path\": \"broker.listen\"", "");
    check(&format!("--config {bad} broker"), 1, "", "\n  storage.engine: must be \"embedded\"");
}

#[test]
fn a_store_is_served_until_it_is_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    let mut server = program()
        .args(["kv", "serve", "--listen", "127.0.0.1:0", "--user", "u", "--path"])
        .arg(directory.path().join("data"))
        .arg("--password-file")
        .arg(&password)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let address: SocketAddr = loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended without listening");
        if let Some((_, address)) = line.trim_end().rsplit_once(" on ") {
            break address.parse().unwrap();
        }
    };
    let ask = |authorization: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let head =
            format!("GET /v2/machines HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("").starts_with("HTTP/1.1 401"));
    // "u:hunter2"
    assert!(ask("Authorization: Basic dTpodW50ZXIy\r\n").starts_with("HTTP/1.1 200"));
    let told = Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(told.success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("stopping on SIGTERM"), "{rest}");
    assert!(Path::new(&directory.path().join("data")).is_dir());
}
