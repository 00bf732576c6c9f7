//! The configuration file: every rule, as a table of what is written and what is answered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod catalog;
mod http;
mod https;
mod port;
mod site;
mod store_users;
mod users;

use std::fs;
use std::path::Path;

use patroni_broker::config::{self, ConfigError, Loaded, Problem, StorageConfig};
use patroni_broker::model::{Password, PlanSettings, Role};

/// A file without a problem or a warning; the rows below change a line of it.
const GOOD: &str = r#"
[broker]
listen = "127.0.0.1:3000"
username = "platform"
password = "hunter2"
bind_host = "10.0.0.1"
[storage]
engine = "embedded"
path = "data"
listen = "172.17.0.1:4001"
password = "hunter3"
[[cells]]
guid = "c1"
availability_zone = "z1"
docker = "unix:///var/run/docker.sock"
host = "172.17.0.1"
ports = "20000-20999"
[[cells]]
guid = "c2"
availability_zone = "z2"
docker = "unix:///var/run/docker.sock"
host = "172.17.0.1"
ports = "21000-21999"
[routing]
ports = "30000-32767"
[[services]]
id = "s1"
name = "postgresql"
driver = "patroni"
description = "PostgreSQL"
[[services.plans]]
id = "p1"
name = "cluster"
description = "two nodes"
image = "registry.example/postgresql-patroni:17"
"#;

fn parse(text: &str) -> Result<Loaded, ConfigError> {
    config::parse(text, Path::new("/etc/patroni-broker/broker.toml"), &|_| None)
}

/// `GOOD` with each first text replaced by the second.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(GOOD.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the row changes {from:?}, which is not there");
        text.replacen(from, to, 1)
    })
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// The problems of the changed file; each expectation is how one of them begins.
#[track_caller]
fn refused(changes: &[(&str, &str)], expected: &[&str]) {
    let text = changed(changes);
    let found = match parse(&text) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Invalid { problems, .. }) => lines(&problems),
        Err(other) => vec![other.to_string()],
    };
    let fits = found.len() == expected.len()
        && expected.iter().all(|begin| found.iter().any(|line| line.starts_with(begin)));
    assert!(fits, "{changes:?}\n  expected {expected:#?}\n  found {found:#?}");
}

/// The warnings of the changed file, which can be used.
#[track_caller]
fn warned(changes: &[(&str, &str)], expected: &[&str]) {
    let found = parse(&changed(changes)).unwrap_or_else(|error| panic!("{changes:?}: {error}"));
    let found = lines(&found.warnings);
    let fits = found.len() == expected.len()
        && expected.iter().zip(&found).all(|(begin, line)| line.starts_with(begin));
    assert!(fits, "{changes:?}\n  expected {expected:#?}\n  found {found:#?}");
}

#[test]
fn what_is_left_out_has_its_default() {
    let loaded = parse(GOOD).unwrap();
    assert_eq!(lines(&loaded.warnings), Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.broker.name, "patroni-broker");
    assert_eq!((config.broker.workers, config.broker.sync_timeout.as_secs()), (8, 600));
    assert_eq!(config.broker.bind_host.as_deref(), Some("10.0.0.1"));
    assert!(config.broker.tls.is_none());
    assert!(!config.broker.require_api_version && !config.broker.metrics_without_password);
    let [user] = &config.broker.users[..] else { panic!("{:?}", config.broker.users) };
    assert_eq!((user.name.as_str(), user.role), ("platform", Role::Admin));
    let StorageConfig::Embedded { path, advertise, credentials, .. } = &config.storage else {
        panic!("another engine")
    };
    assert_eq!(path, Path::new("/etc/patroni-broker/data"));
    assert_eq!(advertise, "http://172.17.0.1:4001");
    assert_eq!(credentials.username, "patroni-broker");
    assert_eq!(config.routing.directory, Path::new("/etc/patroni-broker/haproxy"));
    assert!(config.routing.haproxy && config.registrar.enabled);
    let plan = &config.catalog.services[0].plans[0];
    assert_eq!((plan.free, plan.maximum_polling_duration_s), (true, 900));
    let PlanSettings::Patroni(settings) = &plan.settings else { panic!("another driver") };
    assert_eq!((settings.node_count, settings.database.as_str()), (2, "postgres"));
    assert_eq!((settings.ttl_s, settings.loop_wait_s, settings.retry_timeout_s), (20, 3, 8));
    assert_eq!((settings.memory_bytes, settings.shm_bytes), (None, 64 << 20));
    assert!(!settings.synchronous);
}

#[test]
fn secrets_do_not_print() {
    let shown = format!("{:?}", parse(GOOD).unwrap());
    assert!(!shown.contains("hunter"), "{shown}");
    // A syntax error on the line of a password, too, is told without the line.
    let error = parse(&changed(&[("\"hunter2\"", "\"hunter2")])).unwrap_err().to_string();
    assert!(error.contains("line 5") && !error.contains("hunter"), "{error}");
    let error = parse(&changed(&[("\"hunter2\"", "\"hun\\u0007ter2\"")])).unwrap_err().to_string();
    assert!(error.contains("broker.password") && !error.contains("hun"), "{error}");
}

#[test]
fn the_shape() {
    refused(
        &[("listen = \"127.0.0.1:3000\"", "listne = \"127.0.0.1:3000\"")],
        &["broker.listen: is required", "broker.listne: is not a field here; the fields are bind_host, "],
    );
    refused(&[("[routing]", "[rooting]")], &["rooting: is not a field here"]);
    refused(&[("guid = \"c2\"", "guid = 2")], &["cells[1].guid: must be a text, not a whole number"]);
    refused(&[("bind_host = \"10.0.0.1\"", "bind_host = \"\"")], &["broker.bind_host: must not be empty"]);
    refused(
        &[("[routing]", "[registrar]\nenabled = \"yes\"\n[routing]")],
        &["registrar.enabled: must be true or false, not a text"],
    );
    refused(
        &[("[broker]", "cells = 3\n[broker]"), ("[[cells]]", "[x]"), ("[[cells]]", "[y]")],
        &[
            "x: is not",
            "y: is not",
            "cells: must be a list of tables, each under [[cells]], not a whole number",
            "cells: at least one [[cells]] is required",
            "services[0].plans[0].node_count: 2 nodes cannot be spread over 0 cells",
        ],
    );
    refused(
        &[("[storage]", "workers = 0\nsync_timeout_s = 1.5\n[storage]")],
        &[
            "broker.workers: must be from 1 to 256, not 0",
            "broker.sync_timeout_s: must be a whole number, not a fraction",
        ],
    );
}

#[test]
fn every_problem_at_once() {
    refused(
        &[
            ("listen = \"127.0.0.1:3000\"", "listen = \"localhost\""),
            ("engine = \"embedded\"", "engine = \"etcd\""),
            ("docker = \"unix:///var/run/docker.sock\"", "docker = \"docker.sock\""),
            ("guid = \"c2\"", "guid = \"a/b\""),
            ("driver = \"patroni\"", "driver = \"mysql\""),
            ("id = \"p1\"", "id = \"s1\""),
        ],
        &[
            "broker.listen: must be an IP address and a port",
            "storage.engine: must be \"embedded\", ",
            "cells[0].docker: must be \"unix:///path/to/docker.sock\" or \"tcp://host:port\"",
            "cells[1].guid: a cell's guid must be",
            "services[0].driver: must be \"patroni\" or \"dream\"",
            "services[0].plans[0].id: s1 is that of services[0].id too",
        ],
    );
}

#[test]
fn the_broker_and_its_password() {
    refused(
        &[("username = \"platform\"", "username = \"a:b\"")],
        &["broker.username: must not be empty and not"],
    );
    refused(
        &[("password = \"hunter2\"\n", "")],
        &["broker.password: is required; or give password_file, or set"],
    );
    refused(&[("\"hunter2\"", "\"\"")], &["broker.password: must not be empty"]);
    refused(&[("\"hunter2\"", "7")], &["broker.password: must be a text"]);
    refused(
        &[("password = \"hunter2\"", "password = \"hunter2\"\npassword_file = \"secret\"")],
        &["broker.password_file: is given beside password"],
    );
    refused(
        &[("password = \"hunter2\"", "password_file = \"nowhere\"")],
        &["broker.password_file: /etc/patroni-broker/nowhere cannot be read"],
    );
    refused(
        &[("bind_host = \"10.0.0.1\"", "bind_host = \"db:5432\"")],
        &["broker.bind_host: must be an IP address or"],
    );
    refused(&[("[storage]", "name = \"a b\"\n[storage]")], &["broker.name: must be 1 to 64 characters"]);
    warned(&[("\"hunter2\"", "\"starkandwayne\"")], &[]);
    warned(
        &[("\"hunter2\"", "\"starkandwayne\""), ("127.0.0.1:3000", "0.0.0.0:3000")],
        &[
            "broker.password: IS THE EXAMPLE'S PASSWORD",
            "broker.listen: is plain HTTP on 0.0.0.0:3000: whoever is on the way reads the passwords",
        ],
    );
    warned(&[("\"hunter3\"", "\"starkandwayne\"")], &["storage.password: IS THE EXAMPLE'S PASSWORD"]);
}

#[test]
fn a_password_may_come_from_a_file_or_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.toml");
    fs::write(directory.path().join("secret"), "from the file\n").unwrap();
    let check = |line: &str, environment: Option<&str>, expected: &str| {
        let text = changed(&[("password = \"hunter2\"", line)]);
        let loaded = config::parse(&text, &file, &|name| {
            environment.filter(|_| name == config::PASSWORD_VARIABLE).map(str::to_owned)
        });
        let users = loaded.unwrap().config.broker.users;
        let [Password::Plain(found)] = [&users[0].password] else { panic!("{users:?}") };
        assert_eq!(found.expose(), expected, "{line} {environment:?}");
    };
    check("password = \"inline\"", None, "inline");
    check("password_file = \"secret\"", None, "from the file");
    check("password = \"inline\"", Some("from outside"), "from outside");
    check("password_file = \"secret\"", Some("from outside"), "from outside");
    check("", Some("from outside"), "from outside");
}

#[test]
fn the_store() {
    let engine = |name: &str, expected: &str| {
        refused(&[("engine = \"embedded\"", &format!("engine = \"{name}\""))], &[expected]);
    };
    const WANTED: &str = "storage.engine: must be \"embedded\", \"etcd-v2\", \"etcd-v3\" or \"consul\", not";
    engine("redis", &format!("{WANTED} \"redis\""));
    engine("etcd", &format!("{WANTED} \"etcd\"; do you mean \"etcd-v2\" or \"etcd-v3\"?"));
    engine("etcd3", &format!("{WANTED} \"etcd3\"; do you mean \"etcd-v3\"?"));
    engine("ETCD_V2", &format!("{WANTED} \"ETCD_V2\"; do you mean \"etcd-v2\"?"));
    engine("Consul", &format!("{WANTED} \"Consul\"; do you mean \"consul\"?"));
    refused(
        &[("path = \"data\"", "path = \"data\"\nadministrator = { username = \"root\" }")],
        &[
            "storage.administrator: is not needed: the broker serves the store, and gives each instance a user",
        ],
    );
    refused(&[("path = \"data\"\n", "")], &["storage.path: is required"]);
    refused(&[("listen = \"172.17.0.1:4001\"\n", "")], &["storage.listen: is required"]);
    refused(&[("password = \"hunter3\"\n", "")], &["storage.password: is required"]);
    refused(
        &[("172.17.0.1:4001", "0.0.0.0:4001")],
        &["storage.advertise: is required, since nobody can call"],
    );
    refused(
        &[("172.17.0.1:4001\"", "0.0.0.0:4001\"\nadvertise = \"https://x:1\"")],
        &["storage.advertise: must be a URL"],
    );
    refused(
        &[("path = \"data\"", "path = \"data\"\nendpoints = []")],
        &["storage.endpoints: is not a field here"],
    );
    warned(
        &[("172.17.0.1:4001", "127.0.0.1:4001")],
        &["storage.listen: containers cannot reach 127.0.0.1:4001"],
    );
    warned(&[("172.17.0.1:4001\"", "127.0.0.1:4001\"\nadvertise = \"http://db.example:80\"")], &[]);
}

#[test]
fn the_cells() {
    refused(&[("guid = \"c2\"", "guid = \"c1\"")], &["cells[1].guid: c1 is the guid of cells[0] too"]);
    refused(&[("availability_zone = \"z2\"\n", "")], &["cells[1].availability_zone: is required"]);
    refused(&[("unix:///var", "unix://var")], &["cells[0].docker: must be"]);
    refused(&[("unix:///var/run/docker.sock", "tcp://10.0.0.5")], &["cells[0].docker: must be"]);
    warned(&[("unix:///var/run/docker.sock", "tcp://10.0.0.5:2375")], &["cells[0].docker: is plain TCP"]);
    refused(
        &[(
            "unix:///var/run/docker.sock\"",
            "tcp://10.0.0.5:2376\"\ntls = { ca = \"ca.pem\", cret = \"x\" }",
        )],
        &[
            "cells[0].tls.ca: there is no file /etc/patroni-broker/ca.pem",
            "cells[0].tls.cert: is required",
            "cells[0].tls.key: is required",
            "cells[0].tls.cret: is not a field here",
        ],
    );
}

#[test]
fn ports_that_may_not_meet() {
    refused(&[("20000-20999", "20000")], &["cells[0].ports: must be a range of ports"]);
    refused(&[("20000-20999", "33000-33999")], &["cells[0].ports: must end below 32768"]);
    refused(&[("30000-32767", "30000-33006")], &["routing.ports: must end below 32768"]);
    refused(
        &[("21000-21999", "20999-21999")],
        &["cells[1].ports: 20999-21999 overlaps with 20000-20999 of cells[0]"],
    );
    // On another engine and another host, nothing meets.
    warned(
        &[
            ("docker = \"unix:///var/run/docker.sock\"", "docker = \"tcp://10.0.0.5:2376\""),
            ("host = \"172.17.0.1\"", "host = \"10.0.0.5\""),
            ("20000-20999", "21000-21999"),
        ],
        &["cells[0].docker: is plain TCP"],
    );
    // Two engines, one of them by TCP, but one host.
    refused(
        &[
            ("docker = \"unix:///var/run/docker.sock\"", "docker = \"tcp://10.0.0.5:2376\""),
            ("20000-20999", "21000-21999"),
        ],
        &["cells[1].ports: 21000-21999 overlaps with 21000-21999 of cells[0]"],
    );
    refused(
        &[("20000-20999", "30000-30999")],
        &["cells[0].ports: 30000-30999 overlaps with 30000-32767 of routing"],
    );
    refused(&[("127.0.0.1:3000", "127.0.0.1:30000")], &["broker.listen: port 30000 is one of routing.ports"]);
    refused(
        &[("172.17.0.1:4001", "172.17.0.1:20000")],
        &["storage.listen: port 20000 is one of cells[0].ports"],
    );
    refused(&[("127.0.0.1:3000", "0.0.0.0:4001")], &["storage.listen: port 4001 is broker.listen's"]);
}

#[test]
fn the_file() {
    let check = |name: &str, expected: &str| {
        let error = config::load(Path::new(name), &|_| None).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    };
    check(
        "config/bosh-lite.example.yml",
        "starting from config/local.example.toml or config/bosh-lite.example.toml",
    );
    check("broker.yaml", "YAML is not read");
    check("nowhere.toml", "nowhere.toml: cannot be read: No such file");
    check("config", "config: cannot be read");

    let from = |name: &str| (name == config::CONFIG_VARIABLE).then(|| "from.toml".to_owned());
    assert_eq!(config::file(Some("a.toml".into()), &from).unwrap(), Path::new("a.toml"));
    assert_eq!(config::file(None, &from).unwrap(), Path::new("from.toml"));
    assert!(matches!(config::file(None, &|_| None), Err(ConfigError::NotNamed)));
}

/// Everything that is questionable about one file, word by word: operators read this, and programs look for it.
#[test]
fn the_warnings() {
    let text = changed(&[
        ("127.0.0.1:3000", "10.0.0.1:3000"),
        ("\"hunter2\"", "\"starkandwayne\""),
        ("172.17.0.1:4001", "127.0.0.1:4001"),
        ("unix:///var/run/docker.sock", "tcp://10.0.0.5:2375"),
        (
            "[storage]",
            "[[broker.users]]\nname = \"cf\"\nrole = \"platform\"\npassword = \"starkandwayne\"\n[storage]",
        ),
    ]);
    let expected = "\
broker.password: IS THE EXAMPLE'S PASSWORD, WHICH EVERYBODY KNOWS, on 10.0.0.1:3000, which others reach: change it
broker.users[0].password: IS THE EXAMPLE'S PASSWORD, WHICH EVERYBODY KNOWS, on 10.0.0.1:3000, which others reach: change it
broker.listen: is plain HTTP on 10.0.0.1:3000: whoever is on the way reads the passwords; give [broker.tls]
storage.listen: containers cannot reach 127.0.0.1:4001: give an address of this host that they reach, or advertise
cells[0].docker: is plain TCP: whoever reaches it is root on that host; give tls = { ca, cert, key }";
    assert_eq!(lines(&parse(&text).unwrap().warnings).join("\n"), expected);
}

#[test]
fn the_examples_can_be_used() {
    const POSTGRESQL: &str = "0f5c1670-6dc3-11e5-bc08-6c4008a663f0 1545e30e-6dc3-11e5-826a-6c4008a663f0";
    const DREAM: &str = "f817abda-a76d-405f-93a7-521e1e442918 c20930bc-b094-442c-812f-637acdd87e99 \
                         ea5a99a2-cbc7-4a0d-abce-62f1a1f45279";
    let check = |name: &str, cells: usize, ids: &str, warnings: &[&str]| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let environment = |name: &str| match name {
            _ if !file.ends_with("cloudfoundry.example.toml") => None,
            config::PASSWORD_VARIABLE | config::STORAGE_PASSWORD_VARIABLE => Some("hunter2".to_owned()),
            config::PORT_VARIABLE => Some("8080".to_owned()),
            _ => None,
        };
        let loaded = config::load(&file, &environment).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.config.cells.len(), cells, "{name}");
        let [service] = &loaded.config.catalog.services[..] else { panic!("{name}: another catalog") };
        let plans = service.plans.iter().map(|plan| plan.id.as_str());
        let found: Vec<&str> = std::iter::once(service.id.as_str()).chain(plans).collect();
        assert_eq!(found.join(" "), ids, "{name}");
        let found: Vec<&str> = loaded.warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(found, warnings, "{name}");
    };
    check("local.example.toml", 4, POSTGRESQL, &["storage.password"]);
    check("dream.example.toml", 0, DREAM, &[]);
    check("cloudfoundry.example.toml", 0, DREAM, &[]);
    check(
        "bosh-lite.example.toml",
        4,
        POSTGRESQL,
        &[
            "broker.password",
            "broker.listen",
            "cells[0].docker",
            "cells[1].docker",
            "cells[2].docker",
            "cells[3].docker",
        ],
    );
    let shipped = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap();
    let names = shipped.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".toml")).count(), 4, "an example is not looked at");
}
