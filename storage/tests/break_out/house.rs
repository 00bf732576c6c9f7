//! A served store with something in every place, and everybody who has a door to it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use door::FailureLimits;
use storage::embedded::http::{Server, ServerOptions, User};
use storage::embedded::permissions::{Pattern, Permissions};
use storage::embedded::{Guests, Options};
use storage::remote::{Credentials, Reach};
use storage::{AccessControl, Embedded, EtcdV2, Guest, Key, Rights, Store};

use crate::model::Role;
use crate::wire::{Answer, Who, ask};

pub const B1: &str = "0b1b1b1b-1c84-4e1c-b2bd-3a3b2f0f2a55";
pub const B10: &str = "0b10b10b-1c84-4e1c-b2bd-3a3b2f0f2a55";
pub const OWNER: Who<'static> = Some(("keeper", "kept"));
pub const GUEST: Who<'static> = Some(("patroni-broker-guest-b1", B1));

/// Everybody with a role, and what it is.
pub fn callers() -> Vec<(Who<'static>, Role)> {
    let own =
        ["initialize", "leader", "config", "status", "members/n1"].map(|at| format!("/service/b1/{at}"));
    vec![
        (GUEST, Role::of("/service/b1/** /postgresql-patroni/**", &own.join(" "), "")),
        (
            Some(("router", "routes")),
            Role::of(
                "/routing/allocation/** /service/*/leader /service/*/members/**",
                "/broker/routers/r1",
                "",
            ),
        ),
        (
            Some(("registrar", "registers")),
            Role::of("", "/*/h1:*:*", "/service /serviceinstances /routing /broker"),
        ),
        (Some(("monitor", "looks")), Role::default()),
    ]
}

/// Who has no business here.
pub const STRANGERS: [Who<'static>; 9] = [
    None,
    Some(("keeper", "")),
    Some(("keeper", "kep")),
    Some(("keeper", "kept\0")),
    Some(("", "kept")),
    Some(("b1", B1)),
    Some(("patroni-broker-guest-b1", B10)),
    Some(("patroni-broker-guest-", B1)),
    Some(("patroni-broker-guest-gone", "")),
];

/// Where there is a file, each with a value that names it.
pub const SECRETS: [&str; 24] = [
    "/service/b1/state",
    "/service/b1/config",
    "/service/b1/leader",
    "/service/b1/members/n1",
    "/service/b1/members/n2",
    "/service/b1/_hidden",
    "/service/b10/state",
    "/service/b10/leader",
    "/service/b10/members/n1",
    "/service/b10/_hidden/x",
    "/service/b1x",
    "/service/_hidden",
    "/serviceinstances/b1/bindings/x",
    "/serviceinstances/b10/nodes/n/backend",
    "/routing/allocation/b1",
    "/routing/nextport",
    "/broker/routers/r1",
    "/broker/routers/r2",
    "/broker/leases/b1",
    "/postgresql-patroni/h1:pb-1:5432",
    "/postgresql-patroni/h2:pb-2:5432",
    "/image/h1:c:80",
    "/image/h2:c:80",
    "/_hidden/x",
];

pub struct House {
    pub server: Server,
    pub store: Arc<Embedded>,
    pub guests: Guests,
}

pub fn key(raw: &str) -> Key {
    Key::parse(raw).unwrap()
}

/// Of what every encoding leaves as it is.
pub fn secret(path: &str) -> String {
    format!("secret-of{path}.")
}

pub fn guest(name: &str, password: &str) -> Guest {
    let write = ["initialize", "leader", "config", "status", "members/n1"];
    let write = write.map(|at| key(&format!("/service/{name}/{at}"))).to_vec();
    let read_under = vec![key(&format!("/service/{name}")), key("/postgresql-patroni")];
    Guest { name: name.to_owned(), password: password.to_owned(), rights: Rights { read_under, write } }
}

pub fn user(who: Who<'_>, role: &Role) -> User {
    let (name, password) = who.unwrap();
    let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    let never = role.never.iter().map(|text| key(text)).collect();
    let permissions = Permissions::new(patterns(&role.read), patterns(&role.write), never);
    User { name: name.to_owned(), password: password.to_owned(), permissions }
}

/// Serves a store; watches without news end after this.
pub fn serve(store: Arc<Embedded>, users: Vec<User>, longest_wait: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Here it is tried more often than anybody may.
    let failures = FailureLimits { burst: 1_000_000, ..FailureLimits::default() };
    let options = ServerOptions { users, failures, longest_wait, ..ServerOptions::basic("keeper", "kept") };
    Server::start(store, listener, options).unwrap()
}

impl House {
    pub fn new() -> Self {
        Self::waiting(Duration::from_millis(10))
    }

    pub fn waiting(longest_wait: Duration) -> Self {
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let users = callers()[1..].iter().map(|(who, role)| user(*who, role)).collect();
        let server = serve(Arc::clone(&store), users, longest_wait);
        let guests = server.guests();
        let house = Self { server, store, guests };
        for at in SECRETS {
            house.owner_puts(at, &secret(at));
        }
        house.guests.admit(&guest("b1", B1)).unwrap();
        house.guests.admit(&guest("b10", B10)).unwrap();
        house
    }

    pub fn at(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn ask(&self, who: Who<'_>, method: &str, target: &str, form: &str) -> Answer {
        ask(self.at(), who, method, target, form)
    }

    pub fn owner_puts(&self, path: &str, value: &str) {
        let answer = self.ask(OWNER, "PUT", &format!("/v2/keys{path}"), &format!("value={value}"));
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// Every file, with its revision, and every directory.
    pub fn everything(&self) -> Vec<String> {
        let entries = self.store.list(&Key::root()).unwrap().entries;
        let files = entries.iter().map(|entry| {
            format!("{} {:?} {}", entry.key, entry.revision, String::from_utf8_lossy(&entry.value))
        });
        let mut all: Vec<String> = files.collect();
        let mut queue = vec![self.ask(OWNER, "GET", "/v2/keys/?recursive=true", "").json()["node"].clone()];
        while let Some(node) = queue.pop() {
            queue.extend(node["nodes"].as_array().cloned().unwrap_or_default());
            all.extend(node["key"].as_str().map(|path| path.to_owned()));
        }
        all.sort();
        all
    }

    /// A client of the store as somebody.
    pub fn client(&self, who: Who<'_>) -> EtcdV2 {
        let credentials = who
            .map(|(name, password)| Credentials { username: name.to_owned(), password: password.to_owned() });
        let reach = Reach::of(&[format!("http://{}", self.at())]);
        EtcdV2::connect(&reach, credentials).unwrap()
    }
}
