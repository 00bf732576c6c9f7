//! `[storage]` on a store over a network: every rule, as a table of what is written and what is answered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use patroni_broker::config::{self, ConfigError, Loaded, StorageConfig};
use tempfile::TempDir;
use test_servers::Certificates;

/// A directory of certificates, beside which the configuration stands.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(&[]).expect("openssl makes certificates");
        let identities = [("broker", &certificates.client), ("containers", &certificates.stranger)];
        for (name, identity) in identities {
            let path = |ending: &str| directory.path().join(format!("{name}.{ending}"));
            fs::copy(&identity.certificate, path("pem")).unwrap();
            fs::copy(&identity.key, path("key")).unwrap();
            fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let site = Self { directory };
        site.write("empty.pem", "", 0o644);
        site.write("open.key", &fs::read_to_string(site.path("broker.key")).unwrap(), 0o644);
        site.write("secret", "from-the-file\n", 0o600);
        site.write("open", "from-the-file\n", 0o644);
        site.write("two-lines", "from-the\nfile\n", 0o600);
        site
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self, storage: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let example =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/local.example.toml"))
                .unwrap();
        let (before, rest) = example.split_once("[storage]\n").unwrap();
        let (_, after) = rest.split_once("[[cells]]").unwrap();
        let text = format!("{before}[storage]\n{storage}\n[[cells]]{after}");
        config::parse(&text, &self.path("broker.toml"), &|name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    /// `problem: …` or `warning: …`, each a line, in any order; each expectation is how one of them begins.
    #[track_caller]
    fn check(&self, storage: &str, expected: &[&str]) {
        self.check_in(storage, &[], expected);
    }

    #[track_caller]
    fn check_in(&self, storage: &str, environment: &[(&str, &str)], expected: &[&str]) {
        let (kind, found) = match self.load(storage, environment) {
            Ok(loaded) => ("warning", loaded.warnings),
            Err(ConfigError::Invalid { problems, .. }) => ("problem", problems),
            Err(other) => panic!("{storage}: {other}"),
        };
        let found: Vec<String> = found.iter().map(|one| format!("{kind}: {one}")).collect();
        let fits = found.len() == expected.len()
            && expected.iter().all(|begin| found.iter().any(|line| line.starts_with(begin)));
        assert!(fits, "{storage}\n  expected {expected:#?}\n  found {found:#?}");
        assert!(!found.join("").contains("hush"), "{found:?}");
    }
}

const ALONE: &str =
    "warning: storage.administrator: is not given: every container gets the broker's own rights";

#[test]
fn endpoints() {
    let site = Site::new();
    let check = |endpoints: &str, expected: &[&str]| {
        site.check(&format!("engine = \"etcd-v2\"\n{endpoints}"), expected);
    };
    check("endpoints = [\"http://10.0.0.2:4001/\", \"http://[fd00::1]:4001\"]", &[]);
    check("endpoints = [\"https://etcd:2379\"]", &[]);
    check("", &["problem: storage.endpoints: at least one URL is required"]);
    check(
        "endpoints = [\"etcd:4001\", 3]",
        &["problem: storage.endpoints[1]: must be a text", "problem: storage.endpoints[0]: must be a URL"],
    );
    check("endpoints = [\"http://root:hush@etcd:4001\"]", &["problem: storage.endpoints[0]: must be a URL"]);
    check("endpoints = [\"https://etcd:2379/v3\"]", &["problem: storage.endpoints[0]: must be a URL"]);
    check("endpoints = [\"https://etcd\"]", &["problem: storage.endpoints[0]: must be a URL"]);
    check(
        "endpoints = [\"http://e:1\", \"https://f:1\"]",
        &["problem: storage.endpoints: are http and https; they must all be one of them"],
    );
    let loaded = site
        .load("engine = \"etcd-v2\"\nendpoints = [\"http://10.0.0.2:4001/\", \"http://[fd00::1]:4001\"]", &[])
        .unwrap();
    let servers = loaded.config.storage.servers().unwrap();
    assert_eq!(servers.endpoints, ["http://10.0.0.2:4001", "http://[fd00::1]:4001"]);
}

#[test]
fn users_of_etcd() {
    let site = Site::new();
    for engine in ["etcd-v2", "etcd-v3"] {
        let alone: &[&str] = if engine == "etcd-v3" { &[ALONE] } else { &[] };
        let check = |lines: &str, expected: &[&str]| {
            let storage = format!("engine = \"{engine}\"\nendpoints = [\"http://127.0.0.1:1\"]\n{lines}");
            site.check(&storage, expected);
        };
        check("", alone);
        check("username = \"u\"\npassword = \"hush\"", alone);
        check("username = \"u\"\npassword_file = \"secret\"", alone);
        check("password = \"hush\"", &["problem: storage.username: is required beside a password"]);
        check("username = \"u\"", &["problem: storage.password: is required; or give password_file"]);
        check(
            "token = \"hush\"\ntoken_file = \"secret\"",
            &[
                "problem: storage.token: is Consul's; etcd takes username and password",
                "problem: storage.token_file: is Consul's",
            ],
        );
        check("path = \"data\"", &["problem: storage.path: is not a field here"]);
    }
}

#[test]
fn tokens_of_consul() {
    let site = Site::new();
    let consul = "engine = \"consul\"\nendpoints = [\"http://127.0.0.1:1\"]\n";
    let check = |lines: &str, expected: &[&str]| site.check(&format!("{consul}{lines}"), expected);
    check("", &[ALONE]);
    check("token = \"hush\"", &[ALONE]);
    check("token_file = \"secret\"", &[ALONE]);
    check("token_file = \"open\"", &[ALONE, "warning: storage.token_file: "]);
    check("token_file = \"two-lines\"", &["problem: storage.token_file: "]);
    check("token_file = \"nowhere\"", &["problem: storage.token_file: "]);
    check("token = \"\"", &["problem: storage.token: must not be empty"]);
    check("token = \"hush hush\"", &["problem: storage.token: the token is empty or has something else"]);
    check("token = 3", &["problem: storage.token: must be a text"]);
    check("token = \"a\"\ntoken_file = \"secret\"", &["problem: storage.token_file: is given beside token"]);
    check(
        "username = \"u\"\npassword = \"hush\"",
        &[
            "problem: storage.username: is etcd's; Consul takes a token",
            "problem: storage.password: is etcd's; Consul takes a token",
        ],
    );
    check("administrator = { token = \"hush\" }", &[]);
    check("administrator = { token_file = \"secret\" }", &[]);
    check("administrator = {}", &["problem: storage.administrator.token: is required; or give token_file"]);
    check(
        "administrator = { username = \"root\", token = \"hush\" }",
        &["problem: storage.administrator.username: is etcd's; Consul takes a token"],
    );
    check(
        "administrator = { token = \"hush\", tokn = 3 }",
        &["problem: storage.administrator.tokn: is not a field here; the fields are token, token_file"],
    );
    check(
        "administrator = \"hush\"",
        &[
            "problem: storage.administrator: must be a table, not a text",
            "problem: storage.administrator.token: is required",
        ],
    );

    let from = |name: &'static str| [(name, "from-outside")];
    let read = |lines: &str, name: &'static str| {
        let config = site.load(&format!("{consul}{lines}"), &from(name)).unwrap().config;
        let StorageConfig::Consul { token, administrator, .. } = config.storage else { panic!() };
        let text = |secret: Option<patroni_broker::model::Secret>| {
            secret.map_or_else(String::new, |secret| secret.expose().to_owned())
        };
        (text(token), text(administrator))
    };
    let outside = |own: &str, administrator: &str| (own.to_owned(), administrator.to_owned());
    assert_eq!(read("", config::STORAGE_TOKEN_VARIABLE), outside("from-outside", ""));
    assert_eq!(read("token = \"x\"", config::STORAGE_TOKEN_VARIABLE), outside("from-outside", ""));
    assert_eq!(
        read("token_file = \"secret\"", config::ADMINISTRATOR_TOKEN_VARIABLE),
        outside("from-the-file", "from-outside")
    );
}

#[test]
fn an_administrator_of_etcd() {
    let site = Site::new();
    let v3 = "engine = \"etcd-v3\"\nendpoints = [\"http://127.0.0.1:1\"]\n";
    let check = |lines: &str, expected: &[&str]| site.check(&format!("{v3}{lines}"), expected);
    check("administrator = { username = \"root\", password = \"hush\" }", &[]);
    check(
        "administrator = { username = \"root\", password_file = \"open\" }",
        &["warning: storage.administrator.password_file: "],
    );
    check(
        "administrator = { username = \"root\" }",
        &["problem: storage.administrator.password: is required; or give password_file, or set PATRONI"],
    );
    check(
        "administrator = { password = \"hush\" }",
        &["problem: storage.administrator.username: is required"],
    );
    check(
        "administrator = { username = \"root\", password = \"hush\", token = \"hush\" }",
        &["problem: storage.administrator.token: is Consul's"],
    );
    let named = format!("{v3}administrator = {{ username = \"root\" }}");
    site.check_in(&named, &[(config::ADMINISTRATOR_PASSWORD_VARIABLE, "hush")], &[]);
    site.check_in(
        v3,
        &[(config::ADMINISTRATOR_PASSWORD_VARIABLE, "hush")],
        &["problem: storage.administrator.username: is required"],
    );
    site.check(
        "engine = \"etcd-v2\"\nendpoints = [\"http://127.0.0.1:1\"]\nadministrator = { username = \"root\" }",
        &["problem: storage.administrator: etcd v2 is not isolated: every container gets the broker's own rights; \
           use \"etcd-v3\""],
    );
}

#[test]
fn certificates() {
    let site = Site::new();
    let check = |lines: &str, expected: &[&str]| {
        site.check(&format!("engine = \"etcd-v2\"\nendpoints = [\"https://e:1\"]\n{lines}"), expected);
    };
    check("tls = {}", &[]);
    check("tls = { ca = \"broker.pem\" }", &[]);
    check("tls = { cert = \"broker.pem\", key = \"broker.key\" }", &[]);
    check("tls = { ca = \"broker.pem\", cert = \"broker.pem\", key = \"broker.key\" }", &[]);
    check(
        "tls = { cert = \"broker.pem\", key = \"open.key\" }",
        &[&format!("warning: storage.tls.key: {} can be read by everybody", site.path("open.key").display())],
    );
    check("tls = { ca = \"nowhere.pem\" }", &["problem: storage.tls.ca: /"]);
    check(
        "tls = { ca = \"empty.pem\" }",
        &["problem: storage.tls.ca: empty.pem: the CA file holds no certificate"],
    );
    check("tls = { cert = \"broker.pem\" }", &["problem: storage.tls.key: is required"]);
    check("tls = { key = \"broker.key\" }", &["problem: storage.tls.cert: is required"]);
    check(
        "tls = { cert = \"broker.pem\", key = \"containers.key\" }",
        &["problem: storage.tls.cert: broker.pem: the key is not that of the certificate"],
    );
    check(
        "tls = { cert = \"broker.key\", key = \"broker.key\" }",
        &["problem: storage.tls.cert: broker.key: "],
    );
    check(
        "tls = { cert = \"broker.pem\", key = \"broker.pem\" }",
        &["problem: storage.tls.cert: broker.pem: "],
    );
    check("tls = { crt = \"broker.pem\" }", &["problem: storage.tls.crt: is not a field here"]);
    check("tls = \"broker.pem\"", &["problem: storage.tls: must be a table"]);
    let theirs = "container_tls = { cert = \"containers.pem\", key = \"containers.key\" }";
    check(theirs, &[]);
    check(
        "container_tls = { ca = \"broker.pem\", cert = \"containers.pem\", key = \"broker.key\" }",
        &["problem: storage.container_tls.ca: belongs to tls", "problem: storage.container_tls.cert: "],
    );
    site.check(
        &format!("engine = \"etcd-v2\"\nendpoints = [\"http://e:1\"]\ntls = {{}}\n{theirs}"),
        &[
            "problem: storage.tls: has no use beside http endpoints",
            "problem: storage.container_tls: has no use beside http endpoints",
        ],
    );

    let own = "engine = \"consul\"\nendpoints = [\"https://c:1\"]\nadministrator = { token = \"hush\" }\n\
               tls = { ca = \"broker.pem\", cert = \"broker.pem\", key = \"broker.key\" }\n";
    site.check(
        own,
        &["warning: storage.container_tls: is not given: every container gets the broker's own client"],
    );
    let loaded = site.load(&format!("{own}{theirs}"), &[]).unwrap();
    assert_eq!(loaded.warnings, []);
    let servers = loaded.config.storage.servers().unwrap().clone();
    let text = |name: &str| fs::read_to_string(site.path(name)).unwrap();
    assert_eq!(servers.tls.clone().unwrap().client.unwrap().key, text("broker.key"));
    assert_eq!(servers.container_certificate.clone().unwrap().key, text("containers.key"));
    let shown = format!("{loaded:?}");
    assert!(!shown.contains("hush") && !shown.contains("PRIVATE KEY"), "{shown}");
}

#[test]
fn secrets_over_plain_http() {
    let site = Site::new();
    let check = |engine: &str, endpoint: &str, lines: &str, expected: &[&str]| {
        site.check(&format!("engine = \"{engine}\"\nendpoints = [\"{endpoint}\"]\n{lines}"), expected);
    };
    let user = "username = \"u\"\npassword = \"hush\"";
    let warned = "warning: storage.endpoints[0]: is plain HTTP: whoever is on the way reads the";
    check("etcd-v2", "http://10.0.0.2:1", "", &[]);
    check("etcd-v2", "http://10.0.0.2:1", user, &[&format!("{warned} password")]);
    check("etcd-v2", "http://etcd:1", user, &[&format!("{warned} password")]);
    check("etcd-v2", "http://localhost:1", user, &[]);
    check("etcd-v2", "http://[::1]:1", user, &[]);
    check("etcd-v2", "https://etcd:1", user, &[]);
    check("etcd-v3", "http://etcd:1", user, &[ALONE, &format!("{warned} password")]);
    let administrator = "administrator = { token = \"hush\" }";
    check("consul", "http://consul:1", administrator, &[&format!("{warned} token")]);
}
