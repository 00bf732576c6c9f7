//! Certificates for a test: an authority with a server and a client, and strangers with the same names. Made by the
//! `openssl` command, with keys on a curve, since those are made at once.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use ureq::tls::{Certificate, ClientCert, PrivateKey};

const CURVE: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const DAYS: [&str; 2] = ["-days", "2"];

/// PEM files: a certificate and its key, unencrypted, in PKCS#8.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Identity {
    /// For a client that shows it.
    pub(crate) fn read(&self) -> io::Result<ClientCert> {
        let certificate = Certificate::from_pem(&fs::read(&self.certificate)?).map_err(io::Error::other)?;
        let key = PrivateKey::from_pem(&fs::read(&self.key)?).map_err(io::Error::other)?;
        Ok(ClientCert::new_with_certs(&[certificate], key))
    }
}

/// What a server needs to speak TLS.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The server's own.
    pub identity: Identity,
    /// Who signed the clients' certificates.
    pub authority: PathBuf,
    /// Whether clients must show one.
    pub asks_clients: bool,
}

/// An authority and whom it signed for, and a stranger whom nobody here knows. The files go with it.
#[derive(Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// For `localhost`, 127.0.0.1 and the addresses that were asked for.
    pub server: Identity,
    /// A client's, called `client`.
    pub client: Identity,
    /// Another authority, under the same name.
    pub stranger_authority: PathBuf,
    /// A client's, called `client` as well, signed by that other authority.
    pub stranger: Identity,
    _directory: TempDir,
}

impl Certificates {
    /// Makes them all. The server's is for `addresses` besides the loopback.
    ///
    /// # Errors
    ///
    /// If there is no `openssl`, or it fails.
    pub fn make(addresses: &[IpAddr]) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let ours = Authority::make(directory.path(), "authority")?;
        let strangers = Authority::make(directory.path(), "strangers")?;
        let mut names = "subjectAltName=DNS:localhost,IP:127.0.0.1".to_owned();
        for address in addresses {
            names.push_str(&format!(",IP:{address}"));
        }
        // etcd's JSON gateway calls etcd itself, and shows the server's certificate as a client's.
        let server = format!("{names}\nextendedKeyUsage=serverAuth,clientAuth\n");
        let client = "extendedKeyUsage=clientAuth\n";
        Ok(Self {
            server: ours.sign("server", "server", &server)?,
            client: ours.sign("client", "client", client)?,
            stranger: strangers.sign("stranger", "client", client)?,
            authority: ours.0.certificate,
            stranger_authority: strangers.0.certificate,
            _directory: directory,
        })
    }

    /// For a server that takes every client.
    pub fn tls(&self) -> ServerTls {
        ServerTls { identity: self.server.clone(), authority: self.authority.clone(), asks_clients: false }
    }

    /// For a server that takes only clients whose certificate the authority signed.
    pub fn mutual_tls(&self) -> ServerTls {
        ServerTls { asks_clients: true, ..self.tls() }
    }
}

struct Authority(Identity);

impl Authority {
    fn make(directory: &Path, name: &str) -> io::Result<Self> {
        let identity = files(directory, name);
        let extension = ["-addext", "keyUsage=critical,keyCertSign"];
        let mut command = openssl("req");
        command.args(["-x509", "-nodes", "-subj", "/CN=patroni-broker tests"]).args(CURVE).args(DAYS);
        command.args(extension).arg("-keyout").arg(&identity.key).arg("-out").arg(&identity.certificate);
        run(command)?;
        Ok(Self(identity))
    }

    fn sign(&self, name: &str, subject: &str, extensions: &str) -> io::Result<Identity> {
        let directory = self.0.key.parent().unwrap_or(Path::new("."));
        let identity = files(directory, name);
        let (request, extended) =
            (directory.join(format!("{name}.csr")), directory.join(format!("{name}.ext")));
        fs::write(&extended, extensions)?;
        let mut command = openssl("req");
        command.args(["-new", "-nodes", "-subj", &format!("/CN={subject}")]).args(CURVE);
        command.arg("-keyout").arg(&identity.key).arg("-out").arg(&request);
        run(command)?;
        let mut command = openssl("x509");
        command.args(["-req", "-CAcreateserial"]).args(DAYS).arg("-in").arg(&request);
        command.arg("-CA").arg(&self.0.certificate).arg("-CAkey").arg(&self.0.key);
        command.arg("-extfile").arg(&extended).arg("-out").arg(&identity.certificate);
        run(command)?;
        Ok(identity)
    }
}

fn files(directory: &Path, name: &str) -> Identity {
    Identity {
        certificate: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    }
}

fn openssl(subcommand: &str) -> Command {
    let mut command = Command::new("openssl");
    command.arg(subcommand).stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))))
}
