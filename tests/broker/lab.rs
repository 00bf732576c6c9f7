//! A broker over stateful stand-ins: the embedded store in memory, cells that are only state, and a Patroni that does
//! no more than write what real members write.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use patroni_broker::broker::{
    Accepted, BindRequest, Broker, BrokerError, LastOperation, Outcome, Pace, Parts, PollRequest,
    ProvisionRequest, RandomMint, Settings, StartError, UnbindRequest,
};
use patroni_broker::cells::fake::{FakeCell, FakeEngine};
use patroni_broker::cells::{Cell, Cells, ContainerState};
use patroni_broker::model::{
    BindingId, Catalog, CellGuid, CellSite, DockerAddress, DriverKind, InstanceId, MaintenanceInfo,
    OperationId, PatroniPlan, Plan, PlanId, PlanSettings, PortRange, Secret, Service, ServiceId,
};
use patroni_broker::services::{Drivers, StoreAccess};
use patroni_broker::state::{InstanceRecord, Instances, OperationState, Stored, keys};
use serde_json::Map;
use storage::embedded::{Embedded, Options};
use storage::{AccessControl, ClientAccess, Clock, Expect, Key, Store, SystemClock};

use crate::dream::departure;
use crate::fake_guests::{Beside, FakeGuests};
use crate::fake_patroni::FakePatroni;
pub use crate::fake_patroni::secrets;

pub const IMAGE: &str = "patroni-broker/postgresql-patroni:17";
const PATIENCE: Duration = Duration::from_secs(30);

/// Short enough that tests need not wait, long enough that one look ends before the next begins.
const PACE: Pace = Pace {
    scan_every: Duration::from_millis(100),
    sweep_every: Duration::from_millis(200),
    reap_every: Duration::from_secs(1),
    leftover_after: Duration::from_secs(5),
    look_every: Duration::from_millis(100),
    stalled_after: Duration::from_secs(1),
    route_refused_after: Duration::from_millis(300),
    observe_every: Duration::from_millis(100),
    watch_for: Duration::from_millis(20),
    farewell: Duration::from_secs(2),
};

pub struct Lab {
    pub store: Arc<dyn Store>,
    pub engine: Arc<FakeEngine>,
    pub cells: Vec<Arc<FakeCell>>,
    pub patroni: FakePatroni,
    /// What the next broker to be started offers.
    pub catalog: Catalog,
    /// How often the next broker to be started looks.
    pub pace: Pace,
    /// Who has credentials of their own.
    pub guests: Arc<FakeGuests>,
    /// Whether the next broker to be started gives instances credentials of their own.
    pub isolates: bool,
    /// A store's own access control, which the next broker to be started uses beside the fake.
    pub real_guests: Option<Arc<dyn AccessControl>>,
    /// The time of the next broker to be started.
    pub clock: Arc<dyn Clock>,
    broker: Option<Broker>,
}

impl Lab {
    /// A broker with these cells, `guid@zone` each.
    pub fn new(cells: &str) -> Self {
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        Self::on(store, cells)
    }

    /// One that gives each instance credentials of its own.
    pub fn isolated(cells: &str) -> Self {
        let mut lab = Self::new(cells);
        lab.isolates = true;
        lab.start();
        lab
    }

    pub fn on(store: Arc<dyn Store>, cells: &str) -> Self {
        let engine = FakeEngine::new();
        engine.add_image(IMAGE, &[]);
        let cells: Vec<Arc<FakeCell>> = cells
            .split(' ')
            .enumerate()
            .map(|(index, raw)| {
                let (guid, zone) = raw.split_once('@').unwrap();
                let first = 20_000 + index * 10;
                let site = CellSite {
                    guid: CellGuid::parse(guid).unwrap(),
                    broker: "test".to_owned(),
                    availability_zone: zone.to_owned(),
                    docker: DockerAddress::Unix("/nowhere".into()),
                    host: "10.0.0.1".to_owned(),
                    ports: PortRange::parse(&format!("{first}-{}", first + 9)).unwrap(),
                };
                FakeCell::new(site, Arc::clone(&engine))
            })
            .collect();
        let guests: Arc<FakeGuests> = Arc::default();
        let patroni = FakePatroni::start(Arc::clone(&store), Arc::clone(&engine), Arc::clone(&guests));
        let catalog = catalog();
        let mut lab = Self {
            store,
            engine,
            cells,
            patroni,
            catalog,
            pace: PACE,
            guests,
            isolates: false,
            real_guests: None,
            clock: Arc::new(SystemClock),
            broker: None,
        };
        lab.start();
        lab
    }

    /// Starts a broker, another one if one was running.
    pub fn start(&mut self) {
        self.try_start().unwrap();
    }

    /// The same where it may be refused.
    pub fn try_start(&mut self) -> Result<(), StartError> {
        self.stop();
        self.broker = Some(self.another("test")?);
        Ok(())
    }

    /// A broker beside the one that runs, on the same store and cells.
    pub fn another(&self, holder: &str) -> Result<Broker, StartError> {
        let cells: Cells = self
            .cells
            .iter()
            .map(|cell| (cell.site().guid.clone(), Arc::clone(cell) as Arc<dyn Cell>))
            .collect();
        let shared = ClientAccess {
            engine: "etcd",
            endpoints: Vec::new(),
            username: None,
            password: None,
            tls: None,
            session_node: None,
        };
        let fake = Arc::clone(&self.guests);
        let guests: Option<Arc<dyn AccessControl>> = match &self.real_guests {
            Some(real) => Some(Arc::new(Beside { real: Arc::clone(real), fake })),
            None => self.isolates.then_some(fake as Arc<dyn AccessControl>),
        };
        let access = StoreAccess { shared, guests };
        let parts = Parts {
            store: Arc::clone(&self.store),
            cells,
            catalog: self.catalog.clone(),
            drivers: Drivers::new(Arc::clone(&self.store), access, self.patroni.members()),
            clock: Arc::clone(&self.clock),
            mint: Arc::new(RandomMint),
            metrics: Arc::default(),
            settings: Settings {
                holder: holder.to_owned(),
                bind_host: "10.0.0.9".to_owned(),
                public_ports: PortRange::parse("30000-30003").unwrap(),
                workers: 4,
                sync_timeout: PATIENCE,
                pace: self.pace,
            },
        };
        Broker::start(parts)
    }

    pub fn stop(&mut self) {
        self.broker.take();
    }

    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    pub fn cell(&self, guid: &str) -> &FakeCell {
        self.cells.iter().find(|cell| cell.site().guid.as_str() == guid).unwrap()
    }

    /// Orders and waits for the end, as a synchronous caller does.
    pub fn provision(&self, request: ProvisionRequest) -> Result<Outcome, BrokerError> {
        let instance = request.instance.clone();
        match self.broker().provision(request)? {
            Accepted::Already | Accepted::Rehearsed { .. } => Ok(Outcome::Succeeded),
            Accepted::Running { operation, .. } => Ok(self.wait(&instance, &operation)),
        }
    }

    pub fn deprovision(&self, instance: &str) -> Result<Outcome, BrokerError> {
        let instance = id(instance);
        match self.broker().deprovision(departure(instance.as_str(), false))? {
            Accepted::Already | Accepted::Rehearsed { .. } => Ok(Outcome::Succeeded),
            Accepted::Running { operation, .. } => Ok(self.wait(&instance, &operation)),
        }
    }

    pub fn wait(&self, instance: &InstanceId, operation: &OperationId) -> Outcome {
        let (told, outcome) = channel();
        let then = move |outcome| told.send(outcome).unwrap();
        self.broker().when_done(instance, operation, PATIENCE, Box::new(then));
        outcome.recv_timeout(PATIENCE + Duration::from_secs(5)).unwrap()
    }

    /// How the last operation stands, as the ancestors' users ask.
    pub fn poll(&self, instance: &str) -> Result<LastOperation, BrokerError> {
        self.broker().last_operation(&poll(instance))
    }

    /// Waits until the last operation has ended.
    pub fn settle(&self, instance: &str) -> LastOperation {
        until("the operation to end", || match self.poll(instance).unwrap() {
            LastOperation::InProgress { .. } => None,
            ended => Some(ended),
        })
    }

    pub fn record(&self, instance: &str) -> Option<Stored<InstanceRecord>> {
        Instances::new(Arc::clone(&self.store)).load(&id(instance)).unwrap()
    }

    /// Stops the broker and takes a finished operation back to one of its steps, as a broker that died before it
    /// recorded the step leaves it.
    pub fn rewind(&mut self, instance: &str, done: usize) {
        self.stop();
        let mut record = self.record(instance).unwrap();
        let operation = record.value.operation.as_mut().unwrap();
        (operation.done, operation.state) = (done, OperationState::InProgress);
        (operation.description, operation.answer_by_ms) = (String::new(), None);
        Instances::new(Arc::clone(&self.store)).save(record).unwrap();
        self.store.put(&keys::pending(&id(instance)), b"0", None, Expect::Anything).unwrap();
    }

    /// Running containers as `cell`, sorted.
    pub fn running(&self) -> Vec<String> {
        let running =
            self.engine.containers().into_iter().filter(|view| view.state == ContainerState::Running);
        let mut cells: Vec<String> = running.map(|view| view.labels["patroni-broker.cell"].clone()).collect();
        cells.sort();
        cells
    }

    /// Every key that should go with its instance.
    pub fn keys(&self) -> Vec<String> {
        let listing = self.store.list(&Key::root()).unwrap();
        let stays = |key: &&str| *key == "/routing/nextport" || key.starts_with("/broker/leases/");
        let all = listing.entries.iter().map(|entry| entry.key.as_str());
        all.filter(|key| !stays(key)).map(str::to_owned).collect()
    }

    /// The same, as soon as what is noted of operations that have ended is cleared: their ends are told before.
    pub fn settled_keys(&self) -> Vec<String> {
        until("the notes to go", || {
            Some(self.keys()).filter(|keys| keys.iter().all(|key| !key.starts_with("/broker/pending/")))
        })
    }

    /// No container, no key, no guest.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.engine.containers(), [], "containers are left");
        assert_eq!(self.guests.names(), Vec::<String>::new(), "guests are left");
        let mut left = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            left = self.keys();
            if left.is_empty() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("keys are left: {left:?}");
    }

    /// The ports that are claimed on a cell.
    pub fn claims(&self, cell: &str) -> usize {
        self.store.list(&keys::cell_claims(&CellGuid::parse(cell).unwrap())).unwrap().entries.len()
    }
}

/// Waits for something, with a deadline.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn id(raw: &str) -> InstanceId {
    InstanceId::parse(raw).unwrap()
}

/// A look at the last operation of an instance.
pub fn poll(instance: &str) -> PollRequest {
    PollRequest { instance: id(instance), binding: None, operation: None, service: None, plan: None }
}

/// A binding called `x`.
pub fn binding(instance: &str) -> BindRequest {
    BindRequest {
        instance: id(instance),
        binding: binding_id("x"),
        service: Some(ServiceId::parse("postgresql").unwrap()),
        plan: Some(PlanId::parse("cluster").unwrap()),
        parameters: Map::new(),
        bind_resource: Map::new(),
        context: Map::new(),
        predecessor: None,
        accepts_incomplete: false,
    }
}

/// The end of a binding called `x`.
pub fn unbinding(instance: &str) -> UnbindRequest {
    UnbindRequest {
        instance: id(instance),
        binding: binding_id("x"),
        service: None,
        plan: None,
        accepts_incomplete: false,
    }
}

pub fn binding_id(raw: &str) -> BindingId {
    BindingId::parse(raw).unwrap()
}

/// An order with these parameters.
pub fn order(instance: &str, parameters: &str) -> ProvisionRequest {
    ProvisionRequest {
        instance: id(instance),
        service: ServiceId::parse("postgresql").unwrap(),
        plan: PlanId::parse("cluster").unwrap(),
        organization_guid: String::new(),
        space_guid: String::new(),
        parameters: serde_json::from_str(parameters).unwrap(),
        context: Map::new(),
        maintenance_version: None,
        accepts_incomplete: false,
    }
}

fn catalog() -> Catalog {
    let settings = PatroniPlan::of(IMAGE);
    let plan = |id: &str, settings: PlanSettings| Plan {
        maximum_polling_duration_s: 60,
        ..Plan::of(PlanId::parse(id).unwrap(), &format!("the {id}"), id, settings)
    };
    let service = |id: &str, driver: DriverKind, plans: Vec<Plan>| Service {
        id: ServiceId::parse(id).unwrap(),
        name: format!("the {id}"),
        driver,
        description: id.to_owned(),
        bindable: true,
        plan_updateable: false,
        binding_rotatable: true,
        tags: Vec::new(),
        requires: Vec::new(),
        requires_app: false,
        metadata: Map::new(),
        plans,
    };
    let no_image = PatroniPlan { image: "nowhere/nothing:1".to_owned(), ..settings.clone() };
    let clusters = vec![
        plan("cluster", PlanSettings::Patroni(settings)),
        plan("no-image", PlanSettings::Patroni(no_image)),
    ];
    let maintained = |id: &str| {
        let version = MaintenanceInfo { version: "1.0.0".to_owned(), description: "the first".to_owned() };
        Plan { maintenance: Some(version), ..plan(id, PlanSettings::Dream) }
    };
    let dreams = vec![
        maintained("small"),
        maintained("large"),
        // Its instances keep it.
        Plan { plan_updateable: Some(false), ..plan("last", PlanSettings::Dream) },
        Plan { bindable: Some(false), binding_rotatable: Some(false), ..plan("lonely", PlanSettings::Dream) },
    ];
    Catalog {
        services: vec![
            service("postgresql", DriverKind::Patroni, clusters),
            Service { plan_updateable: true, ..service("dream", DriverKind::Dream, dreams) },
        ],
    }
}

/// The secret that a binding of this record hands out.
pub fn app_password(record: &InstanceRecord) -> &Secret {
    &record.app_credentials.as_ref().unwrap().password
}
