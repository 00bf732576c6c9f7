//! A stand-in for the broker that keeps what it is told: instances with operations that a test ends, and bindings. A
//! test may also say what the next request comes to.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use patroni_broker::api::Orders;
use patroni_broker::broker::{
    Accepted, BindRequest, Binding, Bound, BrokerError, CellStanding, CellView, Demotion, DeprovisionRequest,
    DrainRequest, DrainView, Drained, Endpoint, Fate, FetchRequest, Fetched, InstanceView, LastOperation,
    NodeView, OperationView, Outcome, PollRequest, ProvisionRequest, RehearsedMove, UnbindRequest, Unbound,
    UpdateRequest,
};
use patroni_broker::model::{BindingId, CellGuid, InstanceId, NodeId, OperationId, PlanId, ServiceId};
use serde_json::{Map, Value, json};

type Then = Box<dyn FnOnce(Outcome) + Send>;

/// What is in every binding, and must be nowhere else.
pub const PASSWORD: &str = "correct-horse";

#[derive(Default)]
pub struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    /// What it says of itself.
    reads_are_local: bool,
}

#[derive(Default)]
struct State {
    instances: BTreeMap<String, Instance>,
    parked: Vec<(String, Duration, Then)>,
    ready: bool,
    /// What the next request comes to, whatever it is.
    next: Next,
    /// The last request.
    heard: String,
}

/// What a test says of the next request.
#[derive(Default)]
pub enum Next {
    /// It is done as usual.
    #[default]
    Usual,
    Fail(BrokerError),
    /// An order ends soon, and a binding is not there at once.
    Soon,
    Poll(LastOperation),
    Bind(Binding),
}

struct Instance {
    request: ProvisionRequest,
    running: bool,
    deleting: bool,
    bindings: BTreeMap<String, String>,
}

impl Instance {
    fn order(&self) -> String {
        order(&self.request)
    }
}

/// What makes a request the same as another.
fn order(request: &ProvisionRequest) -> String {
    let ProvisionRequest { service, plan, organization_guid, space_guid, parameters, .. } = request;
    format!("{service} {plan} {organization_guid} {space_guid} {parameters:?}")
}

impl Desk {
    /// One whose store's reads wait for nobody, or may.
    pub fn over(reads_are_local: bool) -> Self {
        Self { reads_are_local, ..Self::default() }
    }

    /// Ends the instance's operation. Synchronous senders hear of it.
    pub fn end(&self, instance: &str, outcome: &Outcome) {
        let mut state = self.state.lock().unwrap();
        if matches!(outcome, Outcome::Succeeded | Outcome::Failed { .. }) {
            let found = state.instances.get_mut(instance).expect("the test ends what it has begun");
            found.running = false;
            if found.deleting {
                state.instances.remove(instance);
            }
        }
        let (ended, parked) =
            std::mem::take(&mut state.parked).into_iter().partition(|(id, ..)| id == instance);
        state.parked = parked;
        drop(state);
        let ended: Vec<(String, Duration, Then)> = ended;
        for (_, _, then) in ended {
            then(outcome.clone());
        }
    }

    /// Waits until somebody is parked for the instance, and says how patient he is.
    pub fn parked(&self, instance: &str) -> Duration {
        let state = self.state.lock().unwrap();
        let waits = |state: &mut State| !state.parked.iter().any(|(id, ..)| id == instance);
        let (state, time) = self.changed.wait_timeout_while(state, Duration::from_secs(5), waits).unwrap();
        assert!(!time.timed_out(), "nobody is parked for {instance}");
        state.parked.iter().find(|(id, ..)| id == instance).expect("just seen").1
    }

    /// Forgets whoever is parked, as a broker with a bug would.
    pub fn forget_parked(&self) {
        let parked = std::mem::take(&mut self.state.lock().unwrap().parked);
        drop(parked);
    }

    pub fn set_ready(&self, ready: bool) {
        self.state.lock().unwrap().ready = ready;
    }

    pub fn orders(&self) -> usize {
        self.state.lock().unwrap().instances.len()
    }

    /// Says what the next request comes to.
    pub fn next(&self, next: Next) {
        self.state.lock().unwrap().next = next;
    }

    /// The last request, as the broker was asked; none twice.
    pub fn heard(&self) -> String {
        std::mem::take(&mut self.state.lock().unwrap().heard)
    }

    fn hear(&self, request: &impl std::fmt::Debug) -> Result<Next, BrokerError> {
        let mut state = self.state.lock().unwrap();
        state.heard = format!("{request:?}");
        match std::mem::take(&mut state.next) {
            Next::Fail(error) => Err(error),
            next => Ok(next),
        }
    }
}

fn operation(id: &str) -> OperationId {
    OperationId::parse(&format!("op-{id}")).expect("an id")
}

fn running(instance: &InstanceId, next: &Next) -> Accepted {
    Accepted::Running { operation: operation(instance.as_str()), soon: matches!(next, Next::Soon) }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

/// What a binding gives.
pub fn binding() -> Binding {
    Binding {
        credentials: object(json!({"uri": format!("postgres://u:{PASSWORD}@h:30000/postgres")})),
        endpoints: Vec::new(),
        parameters: Map::new(),
        expires_at_ms: None,
        renew_before_ms: None,
        metadata: Map::new(),
    }
}

/// A binding that says everything there is to say.
pub fn whole_binding() -> Binding {
    Binding {
        endpoints: vec![Endpoint { host: "h".to_owned(), ports: vec![5432, 5433] }],
        parameters: object(json!({"role": "reader"})),
        expires_at_ms: Some(1_577_836_799_000),
        renew_before_ms: Some(1_577_836_740_250),
        metadata: object(json!({"attributes": {"of": "the driver"}})),
        ..binding()
    }
}

impl Orders for Desk {
    fn ready(&self) -> Result<(), String> {
        if self.state.lock().unwrap().ready { Ok(()) } else { Err("the cellar is flooded".to_owned()) }
    }

    fn reads_are_local(&self) -> bool {
        self.reads_are_local
    }

    fn provision(&self, request: ProvisionRequest) -> Result<Accepted, BrokerError> {
        let next = self.hear(&request)?;
        assert!(!request.parameters.contains_key("panic"), "as the test asked");
        if request.plan.as_str() == "unknown" {
            return Err(BrokerError::UnknownPlan(request.plan));
        }
        let mut state = self.state.lock().unwrap();
        match state.instances.get(request.instance.as_str()) {
            Some(found) if found.order() != order(&request) => return Err(BrokerError::InstanceExists),
            Some(found) if !found.running => return Ok(Accepted::Already),
            Some(_) => return Ok(running(&request.instance, &next)),
            None => {}
        }
        let accepted = running(&request.instance, &next);
        let id = request.instance.to_string();
        let instance = Instance { request, running: true, deleting: false, bindings: BTreeMap::new() };
        state.instances.insert(id, instance);
        Ok(accepted)
    }

    fn recreate(&self, instance: &InstanceId) -> Result<Accepted, BrokerError> {
        self.hear(instance)?;
        match self.state.lock().unwrap().instances.get(instance.as_str()) {
            Some(_) => Err(BrokerError::InstanceExists),
            None => Err(BrokerError::InstanceUnknown),
        }
    }

    fn deprovision(&self, request: DeprovisionRequest) -> Result<Accepted, BrokerError> {
        let next = self.hear(&request)?;
        let mut state = self.state.lock().unwrap();
        let found = state.instances.get_mut(request.instance.as_str()).ok_or(BrokerError::InstanceGone)?;
        if found.running && !found.deleting {
            return Err(BrokerError::Concurrency);
        }
        (found.running, found.deleting) = (true, true);
        Ok(running(&request.instance, &next))
    }

    fn fetch(&self, request: &FetchRequest) -> Result<Fetched, BrokerError> {
        self.hear(request)?;
        let state = self.state.lock().unwrap();
        let found = state.instances.get(request.instance.as_str()).ok_or(BrokerError::InstanceUnknown)?;
        if found.running {
            return Err(BrokerError::Concurrency);
        }
        let order = &found.request;
        let whole = order.maintenance_version.is_some();
        Ok(Fetched {
            service: order.service.clone(),
            plan: order.plan.clone(),
            parameters: order.parameters.clone(),
            maintenance_version: order.maintenance_version.clone(),
            dashboard_url: whole.then(|| "https://d.example/b".to_owned()),
            metadata: whole.then(|| json!({"labels": {"a": "b"}})),
        })
    }

    fn update(&self, request: UpdateRequest) -> Result<Accepted, BrokerError> {
        let next = self.hear(&request)?;
        let mut state = self.state.lock().unwrap();
        let found = state.instances.get_mut(request.instance.as_str()).ok_or(BrokerError::InstanceUnknown)?;
        if request.rehearse {
            return Ok(Accepted::Rehearsed { steps: vec!["add node new-1 on cell c2".to_owned()] });
        }
        if request.plan.is_none() && request.parameters.is_none() {
            return Ok(Accepted::Already);
        }
        found.running = true;
        Ok(running(&request.instance, &next))
    }

    fn last_operation(&self, request: &PollRequest) -> Result<LastOperation, BrokerError> {
        if let Next::Poll(stand) = self.hear(request)? {
            return Ok(stand);
        }
        let state = self.state.lock().unwrap();
        let found = state.instances.get(request.instance.as_str()).ok_or(BrokerError::InstanceGone)?;
        Ok(if found.running {
            let description = "members stopped, stopped".to_owned();
            LastOperation::InProgress { description, retry_after: None }
        } else {
            LastOperation::Succeeded { description: "master running; replicas running".to_owned() }
        })
    }

    fn bind(&self, request: BindRequest) -> Result<Bound, BrokerError> {
        let next = self.hear(&request)?;
        let mut state = self.state.lock().unwrap();
        let found = state.instances.get_mut(request.instance.as_str()).ok_or(BrokerError::InstanceUnknown)?;
        if matches!(next, Next::Soon) {
            return Ok(Bound::Running { operation: operation(request.binding.as_str()) });
        }
        let order = format!("{:?}", request.bind_resource);
        let new = match found.bindings.get(request.binding.as_str()) {
            Some(other) if *other != order => return Err(BrokerError::BindingExists),
            Some(_) => false,
            None => true,
        };
        found.bindings.insert(request.binding.to_string(), order);
        let binding = if let Next::Bind(binding) = next { binding } else { binding() };
        Ok(Bound::Now { binding, new })
    }

    fn fetch_binding(&self, request: &FetchRequest, id: &BindingId) -> Result<Binding, BrokerError> {
        let next = self.hear(&(request, id))?;
        let state = self.state.lock().unwrap();
        let found = state.instances.get(request.instance.as_str()).ok_or(BrokerError::BindingUnknown)?;
        found.bindings.get(id.as_str()).ok_or(BrokerError::BindingUnknown)?;
        Ok(if let Next::Bind(binding) = next { binding } else { binding() })
    }

    fn unbind(&self, request: UnbindRequest) -> Result<Unbound, BrokerError> {
        let next = self.hear(&request)?;
        let mut state = self.state.lock().unwrap();
        let found = state.instances.get_mut(request.instance.as_str()).ok_or(BrokerError::BindingGone)?;
        found.bindings.remove(request.binding.as_str()).ok_or(BrokerError::BindingGone)?;
        Ok(match next {
            Next::Soon => Unbound::Running { operation: operation(request.binding.as_str()) },
            _ => Unbound::Now,
        })
    }

    fn instances(&self) -> Result<Vec<InstanceView>, BrokerError> {
        self.hear(&"instances")?;
        let state = self.state.lock().unwrap();
        Ok(state.instances.values().map(|found| view(found, false)).collect())
    }

    fn instance(&self, instance: &InstanceId) -> Result<InstanceView, BrokerError> {
        self.hear(instance)?;
        let state = self.state.lock().unwrap();
        let found = state.instances.get(instance.as_str()).ok_or(BrokerError::InstanceGone)?;
        Ok(view(found, true))
    }

    fn cells(&self) -> Result<Vec<CellView>, BrokerError> {
        self.hear(&"cells")?;
        Ok(vec![cell_view()])
    }

    fn cell(&self, cell: &CellGuid) -> Result<CellView, BrokerError> {
        self.hear(&("cell", cell))?;
        known(cell)?;
        let standing = draining();
        Ok(CellView { up: true, reason: None, standing, ..cell_view() })
    }

    fn cordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        self.hear(&("cordon", cell))?;
        known(cell)?;
        Ok(CellStanding { drain: None, ..draining() })
    }

    fn uncordon(&self, cell: &CellGuid) -> Result<CellStanding, BrokerError> {
        self.hear(&("uncordon", cell))?;
        known(cell)?;
        Ok(cell_view().standing)
    }

    fn drain(&self, request: &DrainRequest) -> Result<Drained, BrokerError> {
        let next = self.hear(request)?;
        known(&request.cell)?;
        let move_of = |instance: &str, fate: Fate| RehearsedMove {
            instance_id: InstanceId::parse(instance).expect("an id"),
            fate,
        };
        Ok(match next {
            _ if request.dry_run => Drained::Rehearsed {
                moves: vec![
                    move_of("b1", Fate::Steps(vec!["add node new-1 on cell c2".to_owned()])),
                    move_of("b2", Fate::Stuck("it is pinned".to_owned())),
                    move_of("b3", Fate::Waits("it is busy".to_owned())),
                ],
                left_off: 1,
            },
            Next::Soon => {
                Drained::Begun(CellStanding { nodes: 0, safe_to_reboot: true, owed: Some(0), ..draining() })
            }
            _ => Drained::Begun(draining()),
        })
    }

    fn demote(&self, cell: &CellGuid) -> Result<Vec<Demotion>, BrokerError> {
        self.hear(&("demote", cell))?;
        known(cell)?;
        let node = |raw: &str| NodeId::parse(raw).ok();
        let demotion = |instance: &str, to: Option<NodeId>, kept: Option<&str>| Demotion {
            instance_id: InstanceId::parse(instance).expect("an id"),
            from: node("n1"),
            to,
            kept: kept.map(str::to_owned),
        };
        Ok(vec![demotion("b1", node("n2"), None), demotion("b2", None, Some("it is the only node"))])
    }

    fn metrics(&self) -> String {
        "up 1\n".to_owned()
    }

    fn when_done(&self, instance: &InstanceId, _: &OperationId, patience: Duration, then: Then) {
        self.state.lock().unwrap().parked.push((instance.to_string(), patience, then));
        self.changed.notify_all();
    }
}

/// The only one that there is is `c1`.
fn known(cell: &CellGuid) -> Result<(), BrokerError> {
    if cell.as_str() == "c1" { Ok(()) } else { Err(BrokerError::UnknownCell(cell.clone())) }
}

fn cell_view() -> CellView {
    CellView {
        guid: "c1".to_owned(),
        availability_zone: "z1".to_owned(),
        host: "10.0.0.7".to_owned(),
        up: false,
        reason: Some("it does not answer".to_owned()),
        standing: CellStanding { nodes: 3, ..CellStanding::default() },
    }
}

fn draining() -> CellStanding {
    let id = |raw: &str| InstanceId::parse(raw).expect("an id");
    CellStanding {
        nodes: 3,
        cordoned: true,
        cordoned_since_ms: Some(1_577_836_799_000),
        drain: Some(DrainView {
            at_once: 2,
            left: 2,
            moving: vec![id("b1")],
            waiting: vec![id("b3")],
            stuck: BTreeMap::from([(id("b2"), "it is pinned".to_owned())]),
            ended: false,
        }),
        owed: Some(1),
        safe_to_reboot: false,
    }
}

fn view(found: &Instance, whole: bool) -> InstanceView {
    let bindings = found.bindings.keys().map(|id| BindingId::parse(id).expect("an id")).collect();
    let reported = |text: &str| whole.then(|| text.to_owned());
    InstanceView {
        instance_id: found.request.instance.clone(),
        service_id: ServiceId::parse("s1").expect("an id"),
        service_name: Some("postgresql".to_owned()),
        plan_id: PlanId::parse("p1").expect("an id"),
        plan_name: None,
        name: None,
        organization_guid: found.request.organization_guid.clone(),
        space_guid: found.request.space_guid.clone(),
        public_port: Some(30_000),
        nodes: vec![NodeView {
            node_id: "n1".to_owned(),
            cell: "c1".to_owned(),
            ports: vec!["10.0.0.7:20000".to_owned()],
            role: reported("leader"),
            state: reported("running"),
        }],
        operation: Some(OperationView {
            id: operation(found.request.instance.as_str()),
            kind: "provision",
            state: "in progress",
            description: "members stopped".to_owned(),
            steps_done: 1,
            steps: 4,
            started_ms: 1_577_836_799_000,
        }),
        maintenance_version: None,
        bindings: whole.then_some(bindings),
    }
}
