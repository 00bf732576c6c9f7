//! What the program's log looks like, and who decides that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::process::Command;

use serde_json::Value;

/// How the warning about the example's password is logged by a command with this `[log]` and these variables.
fn logged(log: &str, environment: &[(&str, &str)]) -> &'static str {
    let directory = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string("config/local.example.toml").unwrap();
    let file = directory.path().join("broker.toml");
    let example = example.replace("unix:///var/run/docker.sock", "unix:///nowhere/docker.sock");
    std::fs::write(&file, format!("{example}\n{log}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_patroni-broker"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATRONI_BROKER_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").envs(environment.iter().copied());
    let output = command.arg("--config").arg(&file).arg("show-cells").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let Some(line) = said.lines().find(|line| line.contains("EXAMPLE")) else { return "nothing" };
    match serde_json::from_str::<Value>(line) {
        Ok(line) if line["level"] == "WARN" && line["target"] == "patroni_broker::cli" => "json",
        Ok(line) => panic!("{line}"),
        Err(_) if line.starts_with('[') && line.contains(" WARN  patroni_broker::cli] ") => "text",
        Err(_) => panic!("{line}"),
    }
}

#[test]
fn the_environment_goes_before_the_file() {
    const FORMAT: &str = "PATRONI_BROKER_LOG_FORMAT";
    let check = |log: &str, environment: &[(&str, &str)], expected: &str| {
        assert_eq!(logged(log, environment), expected, "{log:?} with {environment:?}");
    };
    check("", &[], "text");
    check("[log]\nformat = \"json\"", &[], "json");
    check("[log]\nformat = \"json\"", &[(FORMAT, "text")], "text");
    check("[log]\nformat = \"text\"", &[(FORMAT, "json")], "json");
    check("[log]\nformat = \"json\"", &[(FORMAT, "")], "json");
    check("[log]\nlevel = \"error\"", &[], "nothing");
    check("[log]\nlevel = \"error\"", &[("RUST_LOG", "warn")], "text");
    check("[log]\nlevel = \"debug\"", &[("RUST_LOG", "error")], "nothing");
    check("", &[("RUST_LOG", "off,patroni_broker=warn")], "text");
}

/// Before there is a configuration, and where there is none.
#[test]
fn the_format_holds_from_the_first_line() {
    let directory = tempfile::tempdir().unwrap();
    let run = |format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_patroni-broker"));
        // The path is a file, so that it ends at once, having warned.
        command.args(["kv", "serve", "--listen", "127.0.0.1:0", "--path", "/dev/null", "--no-auth"]);
        command.current_dir(directory.path()).env_remove("RUST_LOG").env("PATRONI_BROKER_LOG_FORMAT", format);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run("json");
    let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert!(first["message"].as_str().unwrap().starts_with("without authentication"), "{first}");
    assert_eq!(code, Some(1));
    let (code, said) = run("xml");
    assert!(said.starts_with("PATRONI_BROKER_LOG_FORMAT must be \"text\" or \"json\""), "{said}");
    assert_eq!(code, Some(2));
}
