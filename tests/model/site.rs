//! A broker with the dream service over a store in memory, asked in plain data: everything but sockets. The fuzzer asks
//! it too.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use patroni_broker::api::{self, Answer, Api, Head, Response, Verdict};
use patroni_broker::broker::{Broker, Pace, Parts, RandomMint, Settings};
use patroni_broker::cells::Cells;
use patroni_broker::model::{
    Catalog, DriverKind, MaintenanceInfo, Password, Plan, PlanId, PlanSettings, PortRange, Role, Schemas,
    Secret, Service, ServiceId, User,
};
use patroni_broker::services::{Drivers, StoreAccess};
use serde_json::{Map, Value};
use storage::embedded::{Embedded, Options};
use storage::{ClientAccess, Store, SystemClock};

/// `platform:hush`.
const AUTHORIZATION: &str = "Basic cGxhdGZvcm06aHVzaA==";

pub const SERVICE: &str = "dream";
pub const OTHER_SERVICE: &str = "other";
/// Bindable, may change to another plan, its bindings may have successors, and it has a version.
pub const SMALL: &str = "small";
/// As `small`, without a version.
pub const LARGE: &str = "large";
/// None of these.
pub const RIGID: &str = "rigid";
/// The other service's.
pub const ELSEWHERE: &str = "elsewhere";
/// Of `small`.
pub const VERSION: &str = "1.2.0";

/// Short enough that tests need not wait.
const PACE: Pace = Pace {
    scan_every: Duration::from_millis(50),
    sweep_every: Duration::from_millis(200),
    reap_every: Duration::from_secs(1),
    leftover_after: Duration::from_secs(5),
    look_every: Duration::from_millis(50),
    stalled_after: Duration::from_secs(1),
    route_refused_after: Duration::from_millis(300),
    watch_for: Duration::from_millis(20),
    farewell: Duration::from_secs(2),
    observe_every: Duration::from_secs(60),
};

pub struct Site {
    store: Arc<dyn Store>,
    sync_timeout: Duration,
    running: Option<Running>,
    stopping: Vec<JoinHandle<()>>,
}

/// The API first, so that it goes first.
struct Running {
    api: Api,
    broker: Arc<Broker>,
}

impl Drop for Site {
    fn drop(&mut self) {
        for stopping in self.stopping.drain(..) {
            // A panic in it has been printed.
            let _ = stopping.join();
        }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Site {
    pub fn start(sync_timeout: Duration) -> Self {
        let store: Arc<dyn Store> =
            Arc::new(Embedded::in_memory(Options::default()).expect("memory does not fail"));
        let mut site = Self { store, sync_timeout, running: None, stopping: Vec::new() };
        site.restart();
        site
    }

    /// Tells the broker to stop, if one runs, and starts another one on the same store. What the first one's threads
    /// have at hand they end meanwhile, which takes a second: nobody waits for it.
    pub fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            running.broker.begin_stop();
            self.stopping.retain(|stopping| !stopping.is_finished());
            self.stopping.push(thread::spawn(|| drop(running)));
        }
        let shared = ClientAccess {
            engine: "etcd",
            endpoints: Vec::new(),
            username: None,
            password: None,
            tls: None,
            session_node: None,
        };
        let parts = Parts {
            store: Arc::clone(&self.store),
            cells: Cells::default(),
            catalog: catalog(),
            drivers: Drivers::new(
                Arc::clone(&self.store),
                StoreAccess { shared, guests: None },
                Arc::new(patroni_broker::patroni::HttpMembers),
            ),
            clock: Arc::new(SystemClock),
            mint: Arc::new(RandomMint),
            metrics: Arc::default(),
            settings: Settings {
                holder: "test".to_owned(),
                bind_host: "127.0.0.1".to_owned(),
                public_ports: PortRange::parse("30000-30099").expect("a range"),
                workers: 4,
                sync_timeout: self.sync_timeout,
                pace: PACE,
            },
        };
        let broker = Arc::new(Broker::start(parts).expect("the store answers"));
        let settings = api::Settings {
            users: vec![User {
                name: "platform".to_owned(),
                role: Role::Admin,
                password: Password::Plain(Secret::new("hush")),
            }],
            sync_timeout: self.sync_timeout,
            ..api::Settings::default()
        };
        let api = Api::new(Arc::clone(&broker) as Arc<dyn api::Orders>, broker.catalog(), settings);
        self.running = Some(Running { api, broker });
    }

    /// Asks as an authenticated platform does, and waits for the answer. What is given of headers goes before those that
    /// every platform sends.
    pub fn ask(&self, method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Reply {
        let api = &self.running.as_ref().expect("it runs but for while it restarts").api;
        let mut headers = headers.to_vec();
        headers.push(("Authorization".to_owned(), AUTHORIZATION.to_owned()));
        headers.push(("X-Broker-API-Version".to_owned(), "2.17".to_owned()));
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let head = Head::new(method, target, &headers);
        let verdict = match api.admit(&head) {
            Verdict::Ask => api.judge(&head),
            verdict => verdict,
        };
        let response = match verdict {
            Verdict::Go(admitted) => match api.perform(admitted, body) {
                Answer::Now(response) => response,
                Answer::Parked(parked) => api.wait(*parked),
            },
            Verdict::Answer(response, _) => response,
            Verdict::Ask => panic!("who has been asked to tell tells"),
        };
        Reply::of(&response)
    }
}

impl Reply {
    fn of(response: &Response) -> Self {
        let body = serde_json::from_slice(&response.body).expect("every answer is JSON");
        Self { status: response.status, body }
    }

    /// A text of the body.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.body[field].as_str()
    }
}

fn catalog() -> Catalog {
    let plan = |id: &str| Plan {
        id: PlanId::parse(id).expect("an id"),
        name: id.to_owned(),
        description: id.to_owned(),
        free: true,
        bindable: Some(id != RIGID),
        plan_updateable: Some(id != RIGID),
        binding_rotatable: Some(id != RIGID),
        metadata: Map::new(),
        maintenance: (id == SMALL)
            .then(|| MaintenanceInfo { version: VERSION.to_owned(), description: String::new() }),
        schemas: Schemas::default(),
        maximum_polling_duration_s: 60,
        settings: PlanSettings::Dream,
    };
    let service = |id: &str, plans: &[&str]| Service {
        id: ServiceId::parse(id).expect("an id"),
        name: id.to_owned(),
        driver: DriverKind::Dream,
        description: id.to_owned(),
        bindable: true,
        plan_updateable: true,
        binding_rotatable: true,
        tags: Vec::new(),
        requires: Vec::new(),
        requires_app: false,
        metadata: Map::new(),
        plans: plans.iter().map(|id| plan(id)).collect(),
    };
    Catalog { services: vec![service(SERVICE, &[SMALL, LARGE, RIGID]), service(OTHER_SERVICE, &[ELSEWHERE])] }
}
