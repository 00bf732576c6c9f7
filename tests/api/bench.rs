//! The API at its door, over a stand-in for the broker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use patroni_broker::api::{Api, Server, Settings};
use patroni_broker::model::{
    Catalog, DriverKind, MaintenanceInfo, Password, PatroniPlan, Plan, PlanId, PlanSettings, Role, Schemas,
    Secret, Service, ServiceId, User,
};
use serde_json::{Map, Value, json};

use crate::client::{Answer, Client};
use crate::desk::Desk;

pub const ORDER: &str = r#"{"service_id": "s1", "plan_id": "p1", "parameters": {"node-count": 2}}"#;

/// An offering that says as little as it can.
pub fn catalog() -> Catalog {
    let plan = Plan::of(
        PlanId::parse("p1").unwrap(),
        "cluster",
        "two nodes",
        PlanSettings::Patroni(PatroniPlan::of("x")),
    );
    let service = Service {
        id: ServiceId::parse("s1").unwrap(),
        name: "postgresql".to_owned(),
        driver: DriverKind::Patroni,
        description: "PostgreSQL".to_owned(),
        bindable: true,
        plan_updateable: true,
        binding_rotatable: false,
        requires_app: false,
        tags: Vec::new(),
        requires: Vec::new(),
        metadata: Map::new(),
        plans: vec![plan],
    };
    Catalog { services: vec![service] }
}

/// The same, with everything that there is to say.
pub fn whole_catalog() -> Catalog {
    let object = |value: Value| value.as_object().cloned().unwrap();
    let schema =
        |name: &str| Some(json!({"$schema": "http://json-schema.org/draft-04/schema#", "title": name}));
    let mut catalog = catalog();
    let service = &mut catalog.services[0];
    service.tags = vec!["relational".to_owned()];
    service.requires = vec!["syslog_drain".to_owned()];
    service.metadata = object(json!({"displayName": "PostgreSQL"}));
    service.binding_rotatable = true;
    let plan = &mut service.plans[0];
    plan.free = false;
    plan.bindable = Some(false);
    plan.plan_updateable = Some(false);
    plan.metadata = object(json!({"bullets": ["two nodes"]}));
    let (version, description) = ("17.2.0+1".to_owned(), "restarts".to_owned());
    plan.maintenance = Some(MaintenanceInfo { version, description });
    plan.schemas = Schemas { create: schema("create"), update: schema("update"), bind: schema("bind") };
    let mut other = plan.clone();
    other.id = PlanId::parse("p2").unwrap();
    other.binding_rotatable = Some(false);
    other.schemas = Schemas { create: None, update: None, bind: schema("bind") };
    service.plans.push(other);
    catalog
}

pub fn user(name: &str, role: Role) -> User {
    User { name: name.to_owned(), role, password: Password::Plain(Secret::new("hunter2")) }
}

/// Three users with one password.
pub fn settings() -> Settings {
    Settings {
        users: vec![
            user("platform", Role::Platform),
            user("admin", Role::Admin),
            user("viewer", Role::Viewer),
        ],
        sync_timeout: Duration::from_secs(7),
        ..Settings::default()
    }
}

pub struct Bench {
    pub desk: Arc<Desk>,
    pub server: Server,
}

impl Bench {
    pub fn start() -> Self {
        Self::start_with(&catalog(), settings())
    }

    pub fn start_with(catalog: &Catalog, settings: Settings) -> Self {
        let desk = Arc::new(Desk::default());
        let api = Api::new(Arc::clone(&desk) as Arc<_>, catalog, settings);
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), api).unwrap();
        Self { desk, server }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.server.address())
    }

    pub fn ask(&self, line: &str, body: &str) -> Answer {
        self.client().ask(line, &[], body.as_bytes())
    }

    /// Asks, and compares the status and the body.
    #[track_caller]
    pub fn check(&self, line: &str, body: &str, status: u16, expected: &str) {
        let answer = self.ask(line, body);
        assert_eq!((answer.status, answer.body.as_str()), (status, expected), "{line} {body}");
        assert_eq!(answer.header("content-type"), "application/json", "{line}");
    }

    /// Asks, and compares the status and the error.
    #[track_caller]
    pub fn refused(&self, line: &str, body: &str, status: u16, error: &str, description: &str) {
        let answer = self.ask(line, body);
        assert_eq!(answer.status, status, "{line} {body}: {}", answer.body);
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(told["error"], error, "{line} {body}: {}", answer.body);
        let told = told["description"].as_str().unwrap();
        assert!(told.contains(description), "{line} {body}: {told}");
    }

    /// An instance that was ordered and is ready.
    pub fn provisioned(&self, id: &str) {
        let line = format!("PUT /v2/service_instances/{id}?accepts_incomplete=true");
        assert_eq!(self.ask(&line, ORDER).status, 202);
        self.desk.end(id, &patroni_broker::broker::Outcome::Succeeded);
    }
}
