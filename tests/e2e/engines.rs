//! The stores that a site may stand on, each as an operator would set it up who takes security seriously: etcd v3 with
//! TLS, users and an administrator, Consul with client certificates, ACLs and an administrator, etcd v2 as the ancestors
//! ran it.

use std::fs::read_to_string;
use std::net::TcpListener;
use std::sync::Mutex;

use libtest_mimic::Failed;
use storage::AccessControl;
use storage::consul::{Policies, Token};
use storage::etcd_v3::Users;
use storage::remote::{ClientCertificate, Credentials, Reach, Tls};
use test_servers::{
    Certificates, Consul, ConsulOptions, Etcd, EtcdCluster, EtcdOptions, ROOT, User, enable_auth_v3,
};

use crate::shell::bash;

/// A store, with the part of the configuration that names it. The store's server goes with it.
pub struct Engine {
    /// The `[storage]` of a site on this store.
    pub section: String,
    /// Who lets each instance in by itself, where this store has such.
    pub guests: Option<Box<dyn AccessControl>>,
    /// Whether each instance has credentials of its own. Who lets them in to the embedded store is in the broker's process.
    pub isolates: bool,
    /// Members that a test may hurt.
    pub cluster: Option<Mutex<EtcdCluster>>,
    _server: Box<dyn Send>,
    _certificates: Option<Certificates>,
}

/// etcd's root and the broker's own user on etcd v3.
const ROOT_PASSWORD: &str = "root-of-the-test";
const BROKER: User<'_> = User { name: "keeper", password: "kept-in-the-test", prefix: "/" };
/// What rules everything on Consul.
const MANAGEMENT_TOKEN: &str = "5bcd1a5e-0c4e-4c9e-9d5e-2f1f4b8f0a11";
/// What the broker's own token may do on Consul.
const BROKER_RULES: &str = r#"key_prefix "" { policy = "write" } session_prefix "" { policy = "write" }"#;

impl Engine {
    /// The broker's own.
    pub fn embedded() -> Result<Self, Failed> {
        let section = format!(
            "engine = \"embedded\"\npath = \"data\"\nlisten = \"{}:{}\"\nusername = \"keeper\"\n\
             password = \"kept-in-the-test\"\n",
            bridge()?,
            free_port()?
        );
        Ok(Self { isolates: true, ..Self::of(section, ()) })
    }

    /// One etcd by its v2 API, open to everybody.
    pub fn etcd_v2() -> Result<Self, Failed> {
        let etcd = Etcd::start(&on_the_bridge()?)?;
        let section = format!("engine = \"etcd-v2\"\nendpoints = [\"{}\"]\n", etcd.endpoint());
        Ok(Self::of(section, etcd))
    }

    /// One etcd by its v3 API, with TLS, users, and an administrator who gives each instance a user of its own.
    pub fn etcd_v3() -> Result<Self, Failed> {
        let certificates = Certificates::make(&[bridge()?.parse()?])?;
        let options = EtcdOptions { tls: Some(certificates.tls()), v2: false, ..on_the_bridge()? };
        let etcd = Etcd::start(&options)?;
        enable_auth_v3(etcd.endpoint(), ROOT_PASSWORD, Some(&BROKER))?;
        let section = format!(
            "engine = \"etcd-v3\"\nendpoints = [\"{}\"]\nusername = \"{}\"\npassword = \"{}\"\n\
             tls = {{ ca = \"{}\" }}\n\
             administrator = {{ username = \"{ROOT}\", password = \"{ROOT_PASSWORD}\" }}\n",
            etcd.endpoint(),
            BROKER.name,
            BROKER.password,
            certificates.authority.display(),
        );
        let tls = Tls { ca: Some(read_to_string(&certificates.authority)?), client: None };
        let reach = Reach { tls: Some(tls), ..Reach::of(&[etcd.endpoint().to_owned()]) };
        let root = Credentials { username: ROOT.to_owned(), password: ROOT_PASSWORD.to_owned() };
        let guests = Users::connect(&reach, root)?;
        let engine = Self::of(section, etcd);
        Ok(Self {
            guests: Some(Box::new(guests)),
            isolates: true,
            _certificates: Some(certificates),
            ..engine
        })
    }

    /// Three etcds by their v3 API, open to everybody.
    pub fn etcd_cluster() -> Result<Self, Failed> {
        let cluster = EtcdCluster::start(&on_the_bridge()?)?;
        let section = format!("engine = \"etcd-v3\"\nendpoints = {:?}\n", cluster.endpoints());
        Ok(Self { cluster: Some(Mutex::new(cluster)), ..Self::of(section, ()) })
    }

    /// One Consul with ACLs, TLS and client certificates, and an administrator who gives each instance a token of its own.
    pub fn consul() -> Result<Self, Failed> {
        let certificates = Certificates::make(&[bridge()?.parse()?])?;
        let options = ConsulOptions {
            listen: bridge()?.parse()?,
            management_token: Some(MANAGEMENT_TOKEN.to_owned()),
            tls: Some(certificates.mutual_tls()),
            ..ConsulOptions::default()
        };
        let consul = Consul::start(&options)?;
        let (certificate, key) = (&certificates.client.certificate, &certificates.client.key);
        let section = format!(
            "engine = \"consul\"\nendpoints = [\"{}\"]\ntoken = \"{}\"\n\
             tls = {{ ca = {:?}, cert = {certificate:?}, key = {key:?} }}\n\
             container_tls = {{ cert = {certificate:?}, key = {key:?} }}\n\
             administrator = {{ token = \"{MANAGEMENT_TOKEN}\" }}\n",
            consul.endpoint(),
            consul.token(BROKER_RULES)?,
            certificates.authority,
        );
        let client = ClientCertificate { chain: read_to_string(certificate)?, key: read_to_string(key)? };
        let tls = Tls { ca: Some(read_to_string(&certificates.authority)?), client: Some(client) };
        let reach = Reach { tls: Some(tls), ..Reach::of(&[consul.endpoint().to_owned()]) };
        let guests = Policies::connect(&reach, Token::parse(MANAGEMENT_TOKEN)?)?;
        let engine = Self::of(section, consul);
        Ok(Self {
            guests: Some(Box::new(guests)),
            isolates: true,
            _certificates: Some(certificates),
            ..engine
        })
    }

    fn of(section: String, server: impl Send + 'static) -> Self {
        Self {
            section,
            guests: None,
            isolates: false,
            cluster: None,
            _server: Box::new(server),
            _certificates: None,
        }
    }
}

fn on_the_bridge() -> Result<EtcdOptions, Failed> {
    Ok(EtcdOptions { listen: bridge()?.parse()?, ..EtcdOptions::default() })
}

/// Where containers reach this machine.
pub fn bridge() -> Result<String, Failed> {
    let script =
        "docker network inspect bridge --format '{{range .IPAM.Config}}{{println .Gateway .Subnet}}{{end}}'";
    let told = bash(script, &[])?;
    let gateway = told.split_whitespace().next().filter(|word| !word.contains('/'));
    match gateway {
        Some(gateway) => Ok(gateway.to_owned()),
        None => {
            Ok(bash("ip -4 -o address show dev docker0 | awk '{ sub(\"/.*\", \"\", $4); print $4 }'", &[])?
                .trim()
                .to_owned())
        }
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
