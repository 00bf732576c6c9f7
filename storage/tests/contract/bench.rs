//! The engines: one row each in [`ENGINES`], what each can do, and the ways to hurt the server behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use storage::consul::Token;
use storage::embedded::Options;
use storage::remote::{ClientCertificate, Credentials, Reach, Timeouts, Tls};
use storage::{Embedded, EtcdV2, EtcdV3, Store};
use test_servers::{
    Certificates, Consul, ConsulOptions, Etcd, EtcdCluster, EtcdOptions, Proxy, User, consul_is_installed,
    enable_auth_v3, etcd_is_installed,
};

use crate::live::{Door, Live, PASSWORD, USER};

/// An engine, and how to get a new one.
pub struct Engine {
    pub name: &'static str,
    /// Whether what it needs can be started here.
    pub is_installed: fn() -> bool,
    pub make: fn() -> Bench,
    pub runs: Runs,
}

/// Which scenarios a row runs.
#[derive(Clone, Copy)]
pub enum Runs {
    /// All that need no network.
    InProcess,
    /// All but those that need a server in a process of its own.
    Served,
    Everything,
    /// The core: it is another one in other clothes.
    Core,
    /// Those of several callers, and of several servers.
    Cluster,
}

/// What an engine can do: where engines differ, scenarios ask.
#[derive(Clone, Copy)]
pub struct Can {
    pub values: Values,
    pub keys: Keys,
    pub history: History,
    /// The shortest TTL it keeps, in seconds.
    pub least_ttl: u64,
    /// How long an entry may stay once its TTL is over.
    pub late: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Values {
    Bytes,
    Text,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// An entry can't stand above others.
    Tree,
    /// It can.
    Flat,
}

/// What a watcher that was away for long is told.
#[derive(Clone, Copy)]
pub enum History {
    /// Resync, after a thousand changes elsewhere.
    Thousand,
    /// Resync, after this call.
    Until(fn(&Served)),
    /// There is none: it never falls behind, and may say Resync at any time.
    None,
}

/// An engine at work.
pub struct Bench {
    pub store: Arc<dyn Store>,
    pub can: Can,
    /// For engines over a network.
    pub served: Option<Served>,
}

impl Bench {
    fn with_others(mut self, others: &[SocketAddr]) -> Self {
        self.served().others = others.to_vec();
        self
    }

    /// What the scenarios of engines over a network ask for.
    pub fn served(&mut self) -> &mut Served {
        self.served.as_mut().unwrap()
    }
}

type Connect = Arc<dyn Fn(&[String], Timeouts) -> Arc<dyn Store> + Send + Sync>;

/// Where a store is reached.
pub struct Served {
    pub address: SocketAddr,
    /// Where the same store is reached as well.
    pub others: Vec<SocketAddr>,
    /// `http` or `https`.
    pub scheme: &'static str,
    pub connect: Connect,
    pub server: Box<dyn Live>,
}

/// The patience of a client that waits for a loaded machine.
pub const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(1), total: Duration::from_secs(5) };
/// That of a client of servers which do not answer.
pub const HASTY: Timeouts =
    Timeouts { connect: Duration::from_millis(500), total: Duration::from_millis(900) };
/// What a call may take beyond its timeouts on a loaded machine. With those of [`HASTY`] it is less than the default ones.
pub const SLACK: Duration = Duration::from_secs(3);

const MANAGEMENT_TOKEN: &str = "9f1d1a5e-0c4e-4c9e-9d5e-2f1f4b8f0a11";

impl Served {
    pub fn proxy(&self) -> Proxy {
        Proxy::start(self.address).unwrap()
    }

    pub fn endpoint(&self, address: SocketAddr) -> String {
        format!("{}://{address}", self.scheme)
    }

    /// A client of these, in this order.
    pub fn through(&self, addresses: &[SocketAddr], timeouts: Timeouts) -> Arc<dyn Store> {
        let endpoints: Vec<String> = addresses.iter().map(|&address| self.endpoint(address)).collect();
        (self.connect)(&endpoints, timeouts)
    }
}

const V2: Can = Can {
    values: Values::Text,
    keys: Keys::Tree,
    history: History::Thousand,
    least_ttl: 1,
    late: Duration::from_secs(1),
};

/// Every engine. A new one joins by a row.
pub const ENGINES: &[Engine] = &[
    Engine { name: "embedded", is_installed: || true, make: embedded, runs: Runs::InProcess },
    Engine { name: "etcd-v2", is_installed: etcd_is_installed, make: etcd_v2, runs: Runs::Everything },
    Engine { name: "etcd-v2-tls", is_installed: etcd_is_installed, make: etcd_v2_tls, runs: Runs::Core },
    Engine { name: "etcd-v3", is_installed: etcd_is_installed, make: etcd_v3, runs: Runs::Everything },
    Engine {
        name: "etcd-v3-secured",
        is_installed: etcd_is_installed,
        make: etcd_v3_secured,
        runs: Runs::Core,
    },
    Engine { name: "consul", is_installed: consul_is_installed, make: consul, runs: Runs::Everything },
    Engine {
        name: "consul-secured",
        is_installed: consul_is_installed,
        make: consul_secured,
        runs: Runs::Core,
    },
    Engine {
        name: "etcd-v3-cluster",
        is_installed: etcd_is_installed,
        make: etcd_v3_cluster,
        runs: Runs::Cluster,
    },
    Engine {
        name: "etcd-v2-cluster",
        is_installed: etcd_is_installed,
        make: etcd_v2_cluster,
        runs: Runs::Cluster,
    },
    Engine {
        name: "etcd-v2-to-embedded",
        is_installed: || true,
        make: etcd_v2_to_embedded,
        runs: Runs::Served,
    },
];

const V3: Can = Can {
    values: Values::Bytes,
    keys: Keys::Flat,
    history: History::Until(compact),
    // Shorter ones are lengthened to an election timeout and a half.
    least_ttl: 2,
    late: Duration::from_secs(2),
};

const CONSUL: Can = Can {
    values: Values::Bytes,
    keys: Keys::Flat,
    history: History::None,
    least_ttl: 10,
    // As much again, which Consul's leader adds as grace, and what it takes to tell.
    late: Duration::from_secs(11),
};

fn embedded() -> Bench {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    Bench { store, can: Can { values: Values::Bytes, ..V2 }, served: None }
}

fn etcd_v2() -> Bench {
    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    let connect = connect_v2(None, None);
    served(V2, etcd.address(), "http", connect, Box::new(etcd))
}

fn etcd_v3() -> Bench {
    let etcd = Etcd::start(&EtcdOptions::default()).unwrap();
    served(V3, etcd.address(), "http", connect_v3(None, None), Box::new(etcd))
}

/// With TLS, and a user who may read and write everything.
fn etcd_v3_secured() -> Bench {
    let certificates = Certificates::make(&[]).unwrap();
    let options = EtcdOptions { tls: Some(certificates.tls()), ..EtcdOptions::default() };
    let etcd = Etcd::start(&options).unwrap();
    let user = User { name: USER, password: PASSWORD, prefix: "/" };
    enable_auth_v3(etcd.endpoint(), "root's own", Some(&user)).unwrap();
    let who = Credentials { username: USER.to_owned(), password: PASSWORD.to_owned() };
    let tls = Tls { client: None, ..client_tls(&certificates).unwrap() };
    let connect = connect_v3(Some(who), Some(tls));
    let history = History::None;
    served(Can { history, ..V3 }, etcd.address(), "https", connect, Box::new((etcd, certificates)))
}

fn connect_v3(who: Option<Credentials>, tls: Option<Tls>) -> Connect {
    Arc::new(move |endpoints, timeouts| {
        let reach = Reach { endpoints: endpoints.to_vec(), tls: tls.clone(), timeouts };
        Arc::new(EtcdV3::connect(&reach, who.clone()).unwrap())
    })
}

/// Lets etcd forget everything but what is there now.
fn compact(served: &Served) {
    let post = |what: &str, body: serde_json::Value| -> serde_json::Value {
        let answer = ureq::post(format!("http://{}/v3/kv/{what}", served.address)).send(body.to_string());
        serde_json::from_str(&answer.unwrap().body_mut().read_to_string().unwrap()).unwrap()
    };
    let now = &post("range", serde_json::json!({"key": "AA=="}))["header"]["revision"];
    post("compaction", serde_json::json!({"revision": now, "physical": true}));
}

fn consul() -> Bench {
    let server = Consul::start(&ConsulOptions::default()).unwrap();
    served(CONSUL, server.address(), "http", connect_consul(None, None), Box::new(server))
}

/// With TLS and client certificates, and a token that may do what a broker's must.
fn consul_secured() -> Bench {
    let certificates = Certificates::make(&[]).unwrap();
    let options = ConsulOptions {
        tls: Some(certificates.mutual_tls()),
        management_token: Some(MANAGEMENT_TOKEN.to_owned()),
        ..ConsulOptions::default()
    };
    let server = Consul::start(&options).unwrap();
    let rules = r#"key_prefix "" { policy = "write" } session_prefix "" { policy = "write" }"#;
    let token = Token::parse(&server.token(rules).unwrap()).unwrap();
    let connect = connect_consul(Some(token), Some(client_tls(&certificates).unwrap()));
    served(CONSUL, server.address(), "https", connect, Box::new((server, certificates)))
}

fn connect_consul(token: Option<Token>, tls: Option<Tls>) -> Connect {
    Arc::new(move |endpoints, timeouts| {
        let reach = Reach { endpoints: endpoints.to_vec(), tls: tls.clone(), timeouts };
        Arc::new(storage::Consul::connect(&reach, token.clone()).unwrap())
    })
}

fn etcd_v2_cluster() -> Bench {
    cluster(V2, connect_v2(None, None))
}

fn etcd_v3_cluster() -> Bench {
    cluster(V3, connect_v3(None, None))
}

fn cluster(can: Can, connect: Connect) -> Bench {
    let cluster = EtcdCluster::start(&EtcdOptions::default()).unwrap();
    let urls = cluster.endpoints();
    let addresses: Vec<SocketAddr> =
        urls.iter().map(|url| url.strip_prefix("http://").unwrap().parse().unwrap()).collect();
    let bench = served(can, addresses[0], "http", connect, Box::new(cluster));
    bench.with_others(&addresses[1..])
}

fn etcd_v2_tls() -> Bench {
    let certificates = Certificates::make(&[]).unwrap();
    let options = EtcdOptions { tls: Some(certificates.mutual_tls()), ..EtcdOptions::default() };
    let etcd = Etcd::start(&options).unwrap();
    let connect = connect_v2(None, Some(client_tls(&certificates).unwrap()));
    served(V2, etcd.address(), "https", connect, Box::new((etcd, certificates)))
}

fn etcd_v2_to_embedded() -> Bench {
    let address = test_servers::free_address("127.0.0.1".parse().unwrap()).unwrap();
    let door = Door::open(address);
    let who = Credentials { username: USER.to_owned(), password: PASSWORD.to_owned() };
    served(V2, address, "http", connect_v2(Some(who), None), Box::new(door))
}

/// What the client needs to be let in by a server with these certificates.
fn client_tls(certificates: &Certificates) -> io::Result<Tls> {
    use std::fs::read_to_string;
    let client = ClientCertificate {
        chain: read_to_string(&certificates.client.certificate)?,
        key: read_to_string(&certificates.client.key)?,
    };
    Ok(Tls { ca: Some(read_to_string(&certificates.authority)?), client: Some(client) })
}

fn connect_v2(who: Option<Credentials>, tls: Option<Tls>) -> Connect {
    Arc::new(move |endpoints, timeouts| {
        let reach = Reach { endpoints: endpoints.to_vec(), tls: tls.clone(), timeouts };
        Arc::new(EtcdV2::connect(&reach, who.clone()).unwrap())
    })
}

fn served(
    can: Can,
    address: SocketAddr,
    scheme: &'static str,
    connect: Connect,
    server: Box<dyn Live>,
) -> Bench {
    let served = Served { address, others: Vec::new(), scheme, connect, server };
    Bench { store: served.through(&[address], PATIENT), can, served: Some(served) }
}
