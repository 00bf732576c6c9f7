//! The program as it is called: exit codes, and which stream says what.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patroni-broker"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATRONI_BROKER_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").env_remove("PORT").env_remove("BROKER_URI");
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

/// Whoever changes something asks a broker; where none is named, or answers, says so.
#[test]
fn a_broker_is_asked() {
    let nobody = "--broker http://u:hush@127.0.0.1:1";
    check("cordon", 2, "", "Required positional arguments not provided:\n    cell");
    check("cordon c1", 2, "", "name a file with --config or PATRONI_BROKER_CONFIG");
    check("cordon a/b", 2, "", "a cell's guid must be 1 to 64 characters");
    check("cordon c1 --broker 127.0.0.1:3000", 2, "", "--broker must be like http://user:password@host:3000");
    check(&format!("cordon c1 {nobody}"), 1, "", "patroni-broker: http://127.0.0.1:1: ");
    check(&format!("uncordon c1 {nobody} --cacert nowhere.pem"), 1, "", "nowhere.pem cannot be read");
    check(&format!("uncordon c1 {nobody} --cacert Cargo.toml"), 1, "", "--cacert: TLS: the CA file holds no");
    check("uncordon c1 --output xml", 2, "", "must be table or json");
    check("drain c1 --at-once x", 2, "", "Error parsing option '--at-once'");
    check(&format!("drain c1 {nobody}"), 1, "", "http://127.0.0.1:1: ");
    check(&format!("demote c1 {nobody}"), 1, "", "http://127.0.0.1:1: ");
    check(&format!("update b1 {nobody}"), 2, "", "name what is to change: --plan, --node-count, --cells or");
    check(&format!("update b1 --cells a,,b {nobody}"), 2, "", "a cell's guid must be");
    check(&format!("update b1 --plan p/1 {nobody}"), 2, "", "a plan id must be");
    check(&format!("update b1 --node-count 3 {nobody}"), 1, "", "http://127.0.0.1:1: ");
    check(&format!("delete b/1 {nobody}"), 2, "", "an instance id must be");
    check(&format!("delete b1 {nobody}"), 1, "", "http://127.0.0.1:1: ");
    let output = program().args(["cordon", "c1"]).env("BROKER_URI", "u:hush@h").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.starts_with("BROKER_URI must be like http://") && !said.contains("hush"), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("broker.toml");
    let example = std::fs::read_to_string("config/dream.example.toml").unwrap();
    let with = |from: &str, to: &str| std::fs::write(&config, example.replacen(from, to, 1)).unwrap();
    with("127.0.0.1:3000", "127.0.0.1:0");
    check(
        &format!("--config {} cordon c1", config.display()),
        1,
        "",
        "the system chooses the port; give --broker",
    );
    with("127.0.0.1:3000", "127.0.0.1:1");
    check(&format!("--config {} cordon c1", config.display()), 1, "", "http://127.0.0.1:1: ");
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
    check(
        good,
        0,
        "fine (cells: 4, plans: 1, users: 1)\n  listens at http://127.0.0.1:3000\n  warning: storage.password: IS",
        "",
    );
    check(&format!("{good} --output json"), 0, "\"fine\": true", "");
    check("--config config/bosh-lite.example.yml check-config", 1, "config/bosh-lite.example.toml", "");
    check("--config nowhere.toml broker", 1, "", "nowhere.toml: cannot be read");

    let dream = "--config config/dream.example.toml check-config";
    check(dream, 0, "fine (cells: 0, plans: 2, users: 1)\n  listens at http://127.0.0.1:3000\n", "");
    check(&format!("{dream} --output json"), 0, "\"listens_at\": \"http://127.0.0.1:3000\"", "");

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

#[test]
fn a_password_is_hashed() {
    let hash = |password: &str| {
        let mut command = program();
        command.arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, first, said) = hash("hunter2\n");
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && first.ends_with('\n'), "{first}");
    // The salt is another one each time.
    assert_ne!(hash("hunter2").1, first);
    assert_eq!(
        hash(""),
        (Some(1), String::new(), "patroni-broker: the password must not be empty\n".to_owned())
    );
    assert_eq!(hash("a\tb\n").0, Some(1));

    // What is printed can be configured.
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("broker.toml");
    let example = std::fs::read_to_string("config/dream.example.toml").unwrap();
    let user =
        format!("[[broker.users]]\nname = \"cf\"\nrole = \"platform\"\npassword_hash = {:?}\n", first.trim());
    std::fs::write(&config, example.replacen("[storage]", &format!("{user}[storage]"), 1)).unwrap();
    check(&format!("--config {} check-config", config.display()), 0, "users: 2)", "");
}

/// A broker without cells, on free ports, and its log.
struct Running {
    broker: Child,
    log: Receiver<String>,
}

/// For a broker to say something.
const PATIENCE: Duration = Duration::from_secs(30);

impl Running {
    fn start(config: &Path) -> Self {
        let mut command = program();
        command.arg("--config").arg(config).arg("broker").stderr(Stdio::piped());
        let mut broker = command.spawn().unwrap();
        let lines = BufReader::new(broker.stderr.take().unwrap()).lines();
        let (say, log) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { broker, log }
    }

    /// The rest of the first line that has this in it; what comes before it is told where there is none.
    fn said(&mut self, begin: &str) -> String {
        let mut before = String::new();
        loop {
            let Ok(line) = self.log.recv_timeout(PATIENCE) else { panic!("no word of {begin:?}:\n{before}") };
            if let Some((_, rest)) = line.split_once(begin) {
                return rest.to_owned();
            }
            before.push_str(&line);
            before.push('\n');
        }
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args(["-s", name, &self.broker.id().to_string()]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

/// SIGHUP ended a broker, as it does whoever does not expect it.
#[test]
fn a_broker_reads_its_configuration_anew() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("broker.toml");
    let example = std::fs::read_to_string("config/dream.example.toml").unwrap();
    let example = example.replace("127.0.0.1:3000", "127.0.0.1:0");
    let example =
        example.replace("\"127.0.0.1:4001\"", "\"127.0.0.1:0\"\nadvertise = \"http://127.0.0.1:1\"");
    std::fs::write(&config, &example).unwrap();
    let mut running = Running::start(&config);
    let limits = running.said("open files: at most ");
    assert!(limits.contains("the limit was ") && limits.contains("the hard one is "), "{limits}");
    let listening = running.said("listening on ");
    let address: SocketAddr = listening.split(',').next().unwrap().parse().unwrap();
    let check = |password: &str, status: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let who = STANDARD.encode(format!("starkandwayne:{password}"));
        let head = format!("Host: x\r\nConnection: close\r\nAuthorization: Basic {who}");
        stream.write_all(format!("GET /v2/catalog HTTP/1.1\r\n{head}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{password}: {answer}");
    };
    check("starkandwayne", "200");
    let changed = example.replace("password = \"starkandwayne\"", "password = \"changed\"");
    std::fs::write(&config, &changed).unwrap();
    running.signal("HUP");
    running.said("broker.toml anew");
    running.said("taken on: users");
    check("starkandwayne", "401");
    check("changed", "200");
    std::fs::write(&config, changed.replace("driver = \"dream\"", "driver = \"nightmare\"")).unwrap();
    running.signal("HUP");
    running.said("everything stays as it is: ");
    running.said("services[0].driver: must be \"patroni\" or \"dream\"");
    check("changed", "200");
    running.signal("TERM");
    running.said("stopping on SIGTERM");
    assert_eq!(running.broker.wait().unwrap().code(), Some(0));
}
