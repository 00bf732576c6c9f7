//! A stand-in for the broker that keeps what it is told: instances with operations that a test ends, and bindings.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use patroni_broker::api::Orders;
use patroni_broker::broker::{
    Accepted, BindRequest, Bound, BrokerError, DeprovisionRequest, LastOperation, Outcome, ProvisionRequest,
    UnbindRequest,
};
use patroni_broker::model::{InstanceId, OperationId};
use serde_json::{Map, Value, json};

type Then = Box<dyn FnOnce(Outcome) + Send>;

#[derive(Default)]
pub struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    instances: BTreeMap<String, Instance>,
    parked: Vec<(String, Duration, Then)>,
    ready: bool,
}

struct Instance {
    order: String,
    running: bool,
    deleting: bool,
    bindings: BTreeMap<String, String>,
}

impl Desk {
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
}

fn running(instance: &InstanceId) -> Accepted {
    Accepted::Running { operation: OperationId::parse(&format!("op-{instance}")).expect("an id") }
}

impl Orders for Desk {
    fn ready(&self) -> Result<(), String> {
        if self.state.lock().unwrap().ready { Ok(()) } else { Err("the cellar is flooded".to_owned()) }
    }

    fn provision(&self, request: ProvisionRequest) -> Result<Accepted, BrokerError> {
        assert!(!request.parameters.contains_key("panic"), "as the test asked");
        if request.plan.as_str() == "unknown" {
            return Err(BrokerError::UnknownPlan(request.plan));
        }
        let order = format!(
            "{} {} {} {} {:?}",
            request.service, request.plan, request.organization_guid, request.space_guid, request.parameters
        );
        let mut state = self.state.lock().unwrap();
        match state.instances.get(request.instance.as_str()) {
            Some(found) if found.order != order => return Err(BrokerError::InstanceExists),
            Some(found) if !found.running => return Ok(Accepted::Already),
            Some(_) => return Ok(running(&request.instance)),
            None => {}
        }
        let instance = Instance { order, running: true, deleting: false, bindings: BTreeMap::new() };
        state.instances.insert(request.instance.to_string(), instance);
        Ok(running(&request.instance))
    }

    fn recreate(&self, instance: &InstanceId) -> Result<Accepted, BrokerError> {
        match self.state.lock().unwrap().instances.get(instance.as_str()) {
            Some(_) => Err(BrokerError::InstanceExists),
            None => Err(BrokerError::InstanceUnknown),
        }
    }

    fn deprovision(&self, request: DeprovisionRequest) -> Result<Accepted, BrokerError> {
        let mut state = self.state.lock().unwrap();
        let found = state.instances.get_mut(request.instance.as_str()).ok_or(BrokerError::InstanceGone)?;
        if found.running {
            return Err(BrokerError::Concurrency);
        }
        (found.running, found.deleting) = (true, true);
        Ok(running(&request.instance))
    }

    fn last_operation(&self, instance: &InstanceId) -> Result<LastOperation, BrokerError> {
        let state = self.state.lock().unwrap();
        let found = state.instances.get(instance.as_str()).ok_or(BrokerError::InstanceGone)?;
        Ok(if found.running {
            LastOperation::InProgress { description: "members stopped, stopped".to_owned() }
        } else {
            LastOperation::Succeeded { description: "master running; replicas running".to_owned() }
        })
    }

    fn bind(&self, request: BindRequest) -> Result<Bound, BrokerError> {
        let mut state = self.state.lock().unwrap();
        let found = state.instances.get_mut(request.instance.as_str()).ok_or(BrokerError::InstanceUnknown)?;
        let order = format!("{:?}", request.bind_resource);
        let new = match found.bindings.get(request.binding.as_str()) {
            Some(other) if *other != order => return Err(BrokerError::BindingExists),
            Some(_) => false,
            None => true,
        };
        found.bindings.insert(request.binding.to_string(), order);
        let credentials: Map<String, Value> =
            json!({"uri": "postgres://u:p@h:30000/postgres"}).as_object().cloned().expect("an object");
        Ok(Bound { credentials, new })
    }

    fn unbind(&self, request: UnbindRequest) -> Result<(), BrokerError> {
        let mut state = self.state.lock().unwrap();
        let found = state.instances.get_mut(request.instance.as_str()).ok_or(BrokerError::BindingGone)?;
        found.bindings.remove(request.binding.as_str()).map(|_| ()).ok_or(BrokerError::BindingGone)
    }

    fn when_done(&self, instance: &InstanceId, _: &OperationId, patience: Duration, then: Then) {
        self.state.lock().unwrap().parked.push((instance.to_string(), patience, then));
        self.changed.notify_all();
    }
}
