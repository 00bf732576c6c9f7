//! Stores behind TLS, passwords and tokens, as the configuration describes them.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use test_servers::{
    Certificates, Consul, ConsulOptions, Etcd, EtcdOptions, ROOT, User, enable_auth_v3, free_address,
};

use crate::site::{Engine, Ran, configure, program, run};

const MANAGEMENT: &str = "5e0a1c9e-1d3f-4a83-9a6b-0d8a3f1d2c4b";

type Scenario = fn() -> Result<(), Failed>;

pub fn trials() -> Vec<Trial> {
    let trials: [(Engine, &str, Scenario); 4] = [
        (Engine::EtcdV3, "certificates", etcd_by_certificates),
        (Engine::EtcdV3, "passwords", etcd_by_passwords),
        (Engine::Consul, "tokens_and_certificates", consul),
        (Engine::EtcdV3, "no_administrator_without_users", no_users),
    ];
    let trial = |(engine, name, scenario): (Engine, &str, Scenario)| {
        Trial::test(format!("{}::{name}", engine.name()), scenario).with_ignored_flag(!engine.is_there())
    };
    trials.into_iter().map(trial).collect()
}

/// Configurations side by side, each used once.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Result<Self, Failed> {
        Ok(Self { directory: tempfile::tempdir()? })
    }

    fn program(&self, storage: &str) -> Result<Command, Failed> {
        configure(self.directory.path(), storage)?;
        // The broker's port must not be another one's.
        let file = self.directory.path().join("broker.toml");
        let listen = free_address([127, 0, 0, 1].into())?.to_string();
        std::fs::write(&file, std::fs::read_to_string(&file)?.replace("127.0.0.1:3000", &listen))?;
        let mut command = program();
        command.arg("--config").arg(file);
        Ok(command)
    }

    fn says(&self, storage: &str, words: &str, code: i32, expected: &str) -> Result<(), Failed> {
        let ran = run(self.program(storage)?.args(words.split_whitespace()), b"")?;
        let Ran { stdout, stderr, .. } = &ran;
        let said = if code == 0 { String::from_utf8_lossy(stdout).into_owned() } else { stderr.clone() };
        let fits = ran.code == code && said.contains(expected) && !stderr.contains("hush");
        if fits { Ok(()) } else { Err(format!("{storage}\n{words}: {ran:?}, expected {expected:?}").into()) }
    }
}

fn tls(ca: &Path, client: Option<&test_servers::Identity>) -> String {
    let client = client.map(|client| {
        format!(", cert = \"{}\", key = \"{}\"", client.certificate.display(), client.key.display())
    });
    format!("tls = {{ ca = \"{}\"{} }}", ca.display(), client.unwrap_or_default())
}

fn etcd_by_certificates() -> Result<(), Failed> {
    let certificates = Certificates::make(&[])?;
    let etcd = Etcd::start(&EtcdOptions { tls: Some(certificates.mutual_tls()), ..EtcdOptions::default() })?;
    let bench = Bench::new()?;
    for engine in ["etcd-v2", "etcd-v3"] {
        let storage =
            |tls: String| format!("engine = \"{engine}\"\nendpoints = [\"{}\"]\n{tls}", etcd.endpoint());
        let ours = storage(tls(&certificates.authority, Some(&certificates.client)));
        bench.says(&ours, "kv put /a/b x", 0, "")?;
        bench.says(&ours, "kv get /a/b", 0, "x")?;
        let refused = format!("storage ({engine}): ");
        bench.says(&storage(tls(&certificates.authority, None)), "kv get /a/b", 1, &refused)?;
        let stranger = tls(&certificates.authority, Some(&certificates.stranger));
        bench.says(&storage(stranger), "kv get /a/b", 1, &refused)?;
        let other = tls(&certificates.stranger_authority, Some(&certificates.client));
        bench.says(&storage(other), "kv get /a/b", 1, &refused)?;
        bench.says(&storage(String::new()), "kv get /a/b", 1, &refused)?;
    }
    Ok(())
}

fn etcd_by_passwords() -> Result<(), Failed> {
    let etcd = Etcd::start(&EtcdOptions::default())?;
    let user = User { name: "broker", password: "hush", prefix: "/" };
    enable_auth_v3(etcd.endpoint(), "hush-hush", Some(&user))?;
    let bench = Bench::new()?;
    let storage =
        |lines: &str| format!("engine = \"etcd-v3\"\nendpoints = [\"{}\"]\n{lines}", etcd.endpoint());
    let user =
        |name: &str, password: &str| storage(&format!("username = \"{name}\"\npassword = \"{password}\""));
    bench.says(&user("broker", "hush"), "kv put /a/b x", 0, "")?;
    bench.says(&user(ROOT, "hush-hush"), "kv get /a/b", 0, "x")?;
    bench.says(&user("broker", "hush-not"), "kv get /a/b", 1, "storage (etcd-v3): it does not let us in")?;
    bench.says(&storage(""), "kv get /a/b", 1, "storage (etcd-v3): it does not let us in")?;
    // Whoever may read and write is no administrator yet.
    let administrator = |name: &str, password: &str| {
        let named = format!("administrator = {{ username = \"{name}\", password = \"{password}\" }}");
        format!("{}\n{named}", user("broker", "hush"))
    };
    bench.says(
        &administrator("broker", "hush"),
        "broker",
        1,
        "storage (etcd-v3): storage.administrator: ",
    )?;
    bench.says(
        &administrator(ROOT, "hush-not"),
        "broker",
        1,
        "storage (etcd-v3): storage.administrator: ",
    )?;
    bench.says(&administrator(ROOT, "hush-not"), "kv get /a/b", 0, "x")
}

fn no_users() -> Result<(), Failed> {
    let etcd = Etcd::start(&EtcdOptions::default())?;
    let storage = format!(
        "engine = \"etcd-v3\"\nendpoints = [\"{}\"]\nadministrator = {{ username = \"root\", password = \"hush\" }}",
        etcd.endpoint()
    );
    Bench::new()?.says(&storage, "broker", 1, "storage (etcd-v3): storage.administrator: ")
}

fn consul() -> Result<(), Failed> {
    let certificates = Certificates::make(&[])?;
    let consul = Consul::start(&ConsulOptions {
        tls: Some(certificates.mutual_tls()),
        management_token: Some(MANAGEMENT.to_owned()),
        ..ConsulOptions::default()
    })?;
    let bench = Bench::new()?;
    let tls = tls(&certificates.authority, Some(&certificates.client));
    let storage =
        |lines: &str| format!("engine = \"consul\"\nendpoints = [\"{}\"]\n{tls}\n{lines}", consul.endpoint());
    let rules = "key_prefix \"\" { policy = \"write\" } session_prefix \"\" { policy = \"write\" } \
                 agent_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }";
    let own = consul.token(rules)?;
    bench.says(&storage(&format!("token = \"{own}\"")), "kv put /a/b x", 0, "")?;
    bench.says(&storage(&format!("token = \"{MANAGEMENT}\"")), "kv get /a/b", 0, "x")?;
    bench.says(&storage("token = \"hush\""), "kv get /a/b", 1, "storage (consul): ")?;
    bench.says(&storage(""), "kv get /a/b", 1, "storage (consul): ")?;
    let administrator = format!("token = \"{own}\"\nadministrator = {{ token = \"{own}\" }}");
    bench.says(&storage(&administrator), "broker", 1, "storage (consul): storage.administrator: ")
}
