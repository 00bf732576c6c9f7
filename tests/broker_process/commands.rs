//! The commands that operators give to a running broker.

use serde_json::{Value, json};

use crate::site::{ADMIN, Site, order};

const CELLS: &str = r#"
bind_host = "127.0.0.1"

[routing]
haproxy = false

[registrar]
enabled = false

[[cells]]
guid = "c1"
availability_zone = "z1"
docker = "unix:///nowhere/docker.sock"
host = "127.0.0.1"
ports = "20000-20009"

[[cells]]
guid = "c2"
availability_zone = "z2"
docker = "unix:///nowhere/other.sock"
host = "127.0.0.1"
ports = "20010-20019"
"#;

/// The exit code, all of stdout, and a piece of stderr; an empty piece means that it says nothing.
#[track_caller]
fn check(site: &Site, line: &str, code: i32, stdout: &str, stderr: &str) {
    let arguments: Vec<&str> = ["--config", "broker.toml"].into_iter().chain(line.split(' ')).collect();
    // Without what is worth a warning about such a configuration.
    let (found, out, err) = site.operator(&arguments, &[("RUST_LOG", "error")]);
    assert_eq!((found, out.as_str()), (code, stdout), "{line}\n{err}\n{}", site.log());
    let fits = if stderr.is_empty() { err.is_empty() } else { err.contains(stderr) };
    assert!(fits, "{line}: expected {stderr:?} in {err:?}");
}

#[test]
fn cells_are_cordoned_and_drained() {
    let site = Site::started(CELLS);
    check(&site, "cordon c1", 0, "c1: takes no new nodes; nodes on it: 0\n", "");
    check(&site, "cordon c1", 0, "c1: takes no new nodes; nodes on it: 0\n", "");
    let placement = || {
        let (code, out, err) =
            site.operator(&["--config", "broker.toml", "show-cells", "--output", "json"], &[]);
        assert_eq!(code, 1, "no engine answers: {err}");
        let cells: Value = serde_json::from_str(&out).unwrap();
        format!("{} {}", cells[0]["placement"], cells[1]["placement"])
    };
    assert_eq!(placement(), r#""cordoned" "open""#);
    check(&site, "drain c1 --dry-run", 0, "c1: nothing is there to be moved\n", "");
    check(&site, "drain c1 --at-once 3", 0, "c1: safe to reboot\n", "c1: instances left: 0\n");
    assert_eq!(placement(), r#""draining" "open""#);
    let cell = site.ask("GET /admin/cells/c1", &Value::Null).json();
    assert_eq!((&cell["drain"]["at_once"], &cell["safe_to_reboot"]), (&json!(3), &json!(true)));
    check(&site, "drain c1 --at-once 65", 1, "", "at_once must be a whole number from 1 to 64");
    check(&site, "demote c1", 0, "c1: nothing is led from there\n", "");
    check(&site, "uncordon c1", 0, "c1: takes new nodes again; nodes on it: 0\n", "");
    check(&site, "uncordon c1", 0, "c1: takes new nodes again; nodes on it: 0\n", "");
    assert_eq!(placement(), r#""open" "open""#);
    for line in ["cordon c9", "uncordon c9", "drain c9", "drain c9 --dry-run", "demote c9"] {
        check(&site, line, 1, "", "patroni-broker: there is no cell c9\n");
    }
}

/// What a broker knew of its cells is known to the next.
#[test]
fn a_cordon_outlives_the_broker() {
    let mut site = Site::started(CELLS);
    check(&site, "drain c2", 0, "c2: safe to reboot\n", "c2: instances left: 0\n");
    site.kill();
    check(&site, "cordon c1", 1, "", &format!("http://{}: ", site.address));
    let shown = site.operator(&["--config", "broker.toml", "show-cells", "--output", "json"], &[]);
    let cells: Value = serde_json::from_str(&shown.1).unwrap();
    assert_eq!(cells[1]["placement"], Value::Null, "the store is away: {shown:?}");
    site.start();
    let cell = site.ask("GET /admin/cells/c2", &Value::Null).json();
    assert_eq!((&cell["cordoned"], &cell["safe_to_reboot"]), (&json!(true), &json!(true)), "{cell}");
}

#[test]
fn an_instance_is_updated_and_deleted() {
    let site = Site::started("");
    let path = "/v2/service_instances/b1";
    assert_eq!(site.ask(&format!("PUT {path}"), &order(&json!({}))).status, 201);
    check(&site, "update b1 --plan p2 --dry-run", 0, "wait 0 ms\n", "");
    check(&site, "update b1 --plan p1 --dry-run", 0, "nothing has to be done\n", "");
    assert_eq!(site.ask(&format!("GET {path}"), &Value::Null).json()["plan_id"], "p1");
    check(&site, "update b1 --plan p2", 0, "b1: it is so\n", "");
    assert_eq!(site.ask(&format!("GET {path}"), &Value::Null).json()["plan_id"], "p2");
    check(&site, "update b1 --upgrade", 0, "b1: it is so\n", "");
    let said =
        "{\n  \"description\": \"it is so\",\n  \"instance_id\": \"b1\",\n  \"state\": \"succeeded\"\n}\n";
    check(&site, "update b1 --plan p2 --output json", 0, said, "");
    check(&site, "update b1 --plan p9", 1, "", "patroni-broker: there is no plan p9 in the catalog\n");
    check(&site, "update b9 --plan p2", 1, "", "there is no such service instance");
    check(&site, "update b1 --plan p9 --upgrade", 1, "", "the catalog names no version of the plan p9");

    // By another way to the same broker, and as somebody who may not.
    let uri = format!("http://{}:{}@{}", ADMIN.0, ADMIN.1, site.address);
    let (code, out, err) = site.operator(&["delete", "b1"], &[("BROKER_URI", &uri)]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "b1: deleted\n", ""));
    check(&site, "delete b1", 1, "", "patroni-broker: there is no such service instance\n");
    check(&site, "delete b1 --force", 1, "", "patroni-broker: there is no such service instance\n");
    let wrong = format!("http://{}:wrong@{}", ADMIN.0, site.address);
    let (code, out, err) = site.operator(&["cordon", "c1", "--broker", &wrong], &[("BROKER_URI", &uri)]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("a user name and a password are required") && !err.contains("wrong"), "{err}");
}

/// What takes a while is waited for, and how it goes is said beside the result.
#[test]
fn a_command_waits_for_the_end() {
    let site = Site::started("");
    let path = "/v2/service_instances/b1";
    assert_eq!(
        site.ask(&format!("PUT {path}"), &order(&json!({"delay_ms": 4000, "asynchronous": true}))).status,
        422
    );
    let line = format!("PUT {path}?accepts_incomplete=true");
    assert_eq!(site.ask(&line, &order(&json!({"delay_ms": 4000, "asynchronous": true}))).status, 202);
    assert_eq!(site.settled(path), "succeeded");
    let (code, out, err) = site.operator(&["--config", "broker.toml", "update", "b1", "--plan", "p2"], &[]);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}{err}");
    assert!(out.starts_with("b1: ") && err.starts_with("b1: "), "{out}{err}");
    let arguments = ["--config", "broker.toml", "delete", "b1", "--timeout", "1"];
    let (code, out, err) = site.operator(&arguments, &[]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("the time that was given is over; it goes on"), "{err}");
    check(&site, "delete b1", 0, "b1: deleted\n", "b1: ");
}
