//! An engine behind TLS that asks for our certificate: one that this scenario starts, and ends by its own process.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use patroni_broker::cells::{Cell, CellError, Deadlines, DockerCell, Runtime};
use patroni_broker::model::{DockerAddress, TlsFiles};

use crate::bench::site;
use crate::live::run;

/// Whether this machine lacks what the scenario needs: root, an engine to start in a network of its own, certificates.
pub fn missing() -> bool {
    run("id", &["-u"]).is_ok_and(|id| id.trim() != "0")
        || run("dockerd", &["--version"]).is_err()
        || run("unshare", &["--net", "true"]).is_err()
        || run("openssl", &["version"]).is_err()
}

/// Found in dockworker: it passes over every key that is not PKCS#1, the default of no tool since OpenSSL 3, and takes
/// the process down at one that is broken.
pub fn keys_of_every_kind() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca");
    let (server_key, server) = authority.certify("server", &["-algorithm", "RSA"]);
    let engine = Engine::start(directory.path(), &authority.certificate, &server_key, &server);

    let ping = |tls: TlsFiles| engine.cell(Some(tls)).ping().map(drop);
    let files = |key: PathBuf, cert: PathBuf| TlsFiles { ca: authority.certificate.clone(), cert, key };
    let kinds: [(&str, &[&str]); 3] = [
        ("rsa", &["-algorithm", "RSA"]),
        ("ec", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("ed25519", &["-algorithm", "ED25519"]),
    ];
    for (kind, algorithm) in kinds {
        let (key, cert) = authority.certify(kind, algorithm);
        let text = fs::read_to_string(&key).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"), "{kind} is PKCS#8");
        assert_eq!(ping(files(key.clone(), cert.clone())), Ok(()), "{kind}");
        // PKCS#1 for RSA, SEC1 for EC; Ed25519 has no such form.
        if kind != "ed25519" {
            let old = directory.path().join(format!("{kind}.old.key"));
            run("openssl", &["pkey", "-traditional", "-in", text_of(&key), "-out", text_of(&old)]).unwrap();
            assert!(!fs::read_to_string(&old).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
            assert_eq!(ping(files(old, cert)), Ok(()), "{kind}, its old form");
        }
    }

    let (key, cert) = authority.certify("ours", &["-algorithm", "RSA"]);
    let strangers = Authority::new(directory.path(), "strangers");
    let (their_key, their_cert) = strangers.certify("theirs", &["-algorithm", "RSA"]);
    let broken = directory.path().join("broken.key");
    fs::write(&broken, "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n").unwrap();
    let nowhere = directory.path().join("nowhere.pem");
    let check = |what: &str, tls: Option<TlsFiles>, said: &str| match engine.cell(tls).ping().unwrap_err() {
        CellError::NoAnswer { reason, .. } => assert!(reason.contains(said), "{what}: {reason}"),
        other => panic!("{what}: {other:?}"),
    };
    let ours = files(key.clone(), cert.clone());
    check("plain text", None, "");
    check("a stranger", Some(files(their_key, their_cert)), "");
    check("an engine of strangers", Some(TlsFiles { ca: strangers.certificate, ..ours.clone() }), "");
    check("a broken key", Some(files(broken, cert.clone())), "broken.key is broken");
    check("a certificate for a key", Some(files(cert.clone(), cert)), "holds no private key");
    check("a key for a certificate", Some(files(key.clone(), key)), "holds no certificate");
    check("no file", Some(TlsFiles { ca: nowhere, ..ours }), "nowhere.pem could not be read");
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Signs certificates for 127.0.0.1.
struct Authority {
    directory: PathBuf,
    key: PathBuf,
    certificate: PathBuf,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let (key, certificate) =
            (directory.join(format!("{name}.key")), directory.join(format!("{name}.pem")));
        let subject = format!("/CN={name}");
        run(
            "openssl",
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                &subject,
                "-addext",
                "keyUsage=critical,keyCertSign",
                "-keyout",
                text_of(&key),
                "-out",
                text_of(&certificate),
            ],
        )
        .unwrap();
        Self { directory: directory.to_owned(), key, certificate }
    }

    /// A new key in PKCS#8, and its certificate.
    fn certify(&self, name: &str, algorithm: &[&str]) -> (PathBuf, PathBuf) {
        let path = |end: &str| self.directory.join(format!("{name}.{end}"));
        let (key, request, cert, extensions) = (path("key"), path("csr"), path("pem"), path("ext"));
        fs::write(&extensions, "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
            .unwrap();
        run("openssl", &[&["genpkey", "-out", text_of(&key)], algorithm].concat()).unwrap();
        let subject = format!("/CN={name}");
        run("openssl", &["req", "-new", "-key", text_of(&key), "-subj", &subject, "-out", text_of(&request)])
            .unwrap();
        run(
            "openssl",
            &[
                "x509",
                "-req",
                "-days",
                "2",
                "-CAcreateserial",
                "-in",
                text_of(&request),
                "-CA",
                text_of(&self.certificate),
                "-CAkey",
                text_of(&self.key),
                "-extfile",
                text_of(&extensions),
                "-out",
                text_of(&cert),
            ],
        )
        .unwrap();
        (key, cert)
    }
}

/// A dockerd of our own, in a network of its own: told to do without a bridge, an engine takes `docker0` away from
/// the machine's engine when it starts. It gets a listening socket from out here as its standard input, and takes it
/// for one that systemd has handed over.
struct Engine {
    process: Child,
    port: u16,
}

/// The socket becomes descriptor 3; the ids stay the same from here to dockerd, which looks at them.
const IN_ITS_OWN_NETWORK: &str =
    r#"exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec dockerd "$@""#;

impl Engine {
    fn start(directory: &Path, ca: &Path, key: &Path, cert: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = directory.join("dockerd.log");
        let state = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let config = directory.join("daemon.json");
        fs::write(&config, "{}").unwrap();
        let process = Command::new("unshare")
            .args(["--net", "sh", "-c", IN_ITS_OWN_NETWORK, "sh", "--host=fd://", "--tlsverify"])
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false"])
            .args(["--data-root", &state("data"), "--exec-root", &state("exec"), "--pidfile", &state("pid")])
            .args(["--config-file", text_of(&config)])
            .args(["--tlscacert", text_of(ca), "--tlscert", text_of(cert), "--tlskey", text_of(key)])
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let mut engine = Self { process, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        // The socket takes connections long before there is anybody to answer.
        while !fs::read_to_string(&log).unwrap().contains("API listen on") {
            let said = || fs::read_to_string(&log).unwrap();
            assert!(engine.process.try_wait().unwrap().is_none(), "{}", said());
            assert!(Instant::now() < deadline, "{}", said());
            std::thread::sleep(Duration::from_millis(100));
        }
        engine
    }

    fn cell(&self, tls: Option<TlsFiles>) -> DockerCell {
        let address = DockerAddress::Tcp { address: format!("127.0.0.1:{}", self.port), tls };
        DockerCell::connect(site("tls", address), Runtime::start().unwrap(), Deadlines::default())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Asked nicely it takes its own containerd along.
        let _ = run("kill", &["-TERM", &self.process.id().to_string()]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
