//! Performs one step. Each may run twice: it looks first at what is there.

use std::cell::Cell as Shared;
use std::time::Instant;

use log::{debug, info, warn};
use storage::{Expect, Key, StoreError};

use super::core::Core;
use super::step_error::StepError;
use crate::cells::{Cell, CellError, ContainerSpec, ContainerState};
use crate::model::{CellGuid, ContainerName, InstanceId, NodeId, Plan};
use crate::scheduler::Step;
use crate::state::{InstanceRecord, Lease, keys};

/// What a step is performed with.
pub(super) struct Task<'a> {
    pub(super) core: &'a Core,
    pub(super) record: &'a InstanceRecord,
    pub(super) lease: &'a Lease,
    /// When was last looked whether the record still says to.
    pub(super) looked: Shared<Instant>,
}

impl<'a> Task<'a> {
    pub(super) fn new(core: &'a Core, record: &'a InstanceRecord, lease: &'a Lease) -> Self {
        Self { core, record, lease, looked: Shared::new(Instant::now()) }
    }

    /// The same as far as another record goes.
    pub(super) fn on<'b>(&'b self, record: &'b InstanceRecord) -> Task<'b> {
        Task::new(self.core, record, self.lease)
    }
}

impl Task<'_> {
    pub(super) fn perform(&self, step: &Step) -> Result<(), StepError> {
        let instance = &self.record.instance_id;
        match step {
            Step::PublishRoute => self.publish_route(),
            Step::AddNode { node, cell } => self.add_node(node, cell),
            Step::AwaitMembers { running } => self.await_members(*running),
            Step::AwaitRoute => self.await_route(),
            Step::RemoveNode { node, cell } => self.remove_node(node, cell),
            Step::CheckImage { image, cells } => self.check_image(image, cells),
            Step::AwaitNodes { nodes } => self.await_nodes(nodes),
            Step::HandOver { to } => self.hand_over(to),
            Step::RemakeNode { node, cell, to, .. } => self.remake_node(node, cell, to),
            Step::ReviveNode { node, cell } => self.put_right(node, cell),
            Step::Configure { from, to } => {
                self.ask_members(|containers| containers.configure(self.record, from, to))
            }
            Step::RestartNode { node } => self.restart_node(node),
            Step::RetireNode { node, cell } => self.retire_node(node, cell),
            Step::ForgetMembers => {
                let containers = self.core.containers_of(self.record)?;
                // First, so that a container that is owed for removal and runs yet writes nothing any more.
                containers.dismiss(instance).map_err(at_the_door)?;
                containers.forget(instance)?;
                Ok(self.core.delete_under(&keys::nodes(instance))?)
            }
            Step::ForgetBindings => Ok(self.core.forget_bindings(instance)?),
            Step::WithdrawRoute => {
                self.core.allocations.withdraw(instance)?;
                match self.record.allocated_port {
                    Some(port) => Ok(self.core.ports.release_public(instance, port)?),
                    None => Ok(()),
                }
            }
            Step::Wait { for_ms } => self.wait(*for_ms),
            Step::Fail { reason } => Err(StepError::Failed(reason.clone())),
        }
    }

    /// Its time is counted from the operation's beginning, so that a broker's death costs none.
    fn wait(&self, for_ms: u64) -> Result<(), StepError> {
        let Some(operation) = self.record.under_way() else { return Ok(()) };
        match operation.waits_until_ms() {
            Some(until_ms) if self.core.now_ms() < until_ms => Err(StepError::NotBefore(until_ms)),
            _ if operation.started_ms.saturating_add(for_ms) > operation.deadline_ms => {
                Err(StepError::Failed("it takes longer than operations of its plan may".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the step must not go on: the broker stops, the lease is another's, or, which is looked at now and then,
    /// another operation has taken its operation's place. What waits asks again and again.
    pub(super) fn check_going_on(&self) -> Result<(), StepError> {
        if self.core.is_stopping() || !self.lease.is_held() {
            return Err(StepError::Abandoned);
        }
        if self.looked.get().elapsed() < self.core.settings.pace.look_every {
            return Ok(());
        }
        self.check_not_superseded()
    }

    /// The same about the operation, looked at now.
    fn check_not_superseded(&self) -> Result<(), StepError> {
        self.looked.set(Instant::now());
        let id = |record: &InstanceRecord| record.operation.as_ref().map(|operation| operation.id.clone());
        match self.core.instances.load(&self.record.instance_id)? {
            Some(now) if id(&now.value) == id(self.record) => Ok(()),
            _ => Err(StepError::Superseded),
        }
    }

    fn publish_route(&self) -> Result<(), StepError> {
        let Some(port) = self.record.allocated_port else {
            return Err(StepError::Failed("the record names no public port".to_owned()));
        };
        match self.core.allocations.publish(&self.record.instance_id, port) {
            Err(StoreError::Conflict) => {
                Err(StepError::Failed("another public port is allocated to this instance already".to_owned()))
            }
            answer => Ok(answer?),
        }
    }

    fn add_node(&self, node: &NodeId, guid: &CellGuid) -> Result<(), StepError> {
        let spec = self.spec(node)?;
        self.core.check_scope_is_free(self.record)?;
        self.admit()?;
        // That may have taken as long as the store was away: what stands in the index of an instance that is gone stays.
        self.check_not_superseded()?;
        let backend = keys::backend(&self.record.instance_id, node);
        self.core.store.put(&backend, guid.as_str().as_bytes(), None, Expect::Anything)?;
        let holds_data = self.core.containers_of(self.record)?.holds_data(self.record)?;
        let pass_over = |reason| {
            let may_exist = matches!(reason, CellError::NoAnswer { .. });
            StepError::PassOver { node: node.clone(), may_exist, reason }
        };
        let cell = self.core.cell(guid).map_err(pass_over)?;
        if stands(&*cell, &spec, holds_data).map_err(pass_over)? {
            return Ok(());
        }
        // Getting the image may have taken minutes.
        self.check_not_superseded()?;
        create(&*cell, &spec).map_err(pass_over)
    }

    /// Restarts what runs in a node; one that has left the record has nothing that waits.
    fn restart_node(&self, node: &NodeId) -> Result<(), StepError> {
        if self.record.nodes.iter().all(|known| known.node_id != *node) {
            return Ok(());
        }
        self.let_only_this_be_down(node)?;
        self.ask_members(|containers| containers.restart_if_pending(self.record, node))
    }

    /// Lets the containers into the store with the rights that the record's nodes need now.
    pub(super) fn admit(&self) -> Result<(), StepError> {
        let containers = self.core.containers_of(self.record)?;
        containers.admit(self.plan()?, self.record).map_err(at_the_door)
    }

    /// The plan that the instance is on its way to, or else the one that it has.
    pub(super) fn plan(&self) -> Result<&Plan, StepError> {
        let update = self.record.operation.as_ref().and_then(|operation| operation.update.as_ref());
        let target = update.and_then(|update| self.core.offering_to(self.record, &update.plan_id).ok());
        match target {
            Some((_, plan)) => Ok(plan),
            None => Ok(self.core.plan_of(self.record)?),
        }
    }

    /// The container of one of the record's nodes, by the plan that it was made for as long as the catalog has that.
    pub(super) fn spec(&self, node: &NodeId) -> Result<ContainerSpec, StepError> {
        let Some(node) = self.record.node(node) else {
            return Err(StepError::Failed(format!("the record has no node {node}")));
        };
        let plan = match self.core.offering_to(self.record, &node.plan_id) {
            Ok((_, plan)) => plan,
            Err(_) => self.plan()?,
        };
        Ok(self.core.containers_of(self.record)?.container(plan, self.record, node))
    }

    /// Removes what a node has: its container and volumes, its place in the index, its ports.
    fn remove_node(&self, node: &NodeId, guid: &CellGuid) -> Result<(), StepError> {
        let name = ContainerName::of(node);
        let removed = self.core.cell(guid).and_then(|cell| cell.remove(&name));
        removed.map_err(|error| StepError::Later(error.to_string()))?;
        match self.record.node(node) {
            Some(node) => self.core.forget_node(self.record, node),
            None => Ok(()),
        }
    }
}

/// Who lets guests in may be away while the store goes on: then the operation has a deadline all the same, and says what
/// it waits for.
fn at_the_door(error: StoreError) -> StepError {
    match error {
        StoreError::Conflict => StepError::Store(error),
        StoreError::Corrupt { reason } => StepError::Failed(format!("the store's access control: {reason}")),
        error => StepError::Later(format!("the store's access control: {error}")),
    }
}

impl Core {
    /// Removes the records of an instance's bindings.
    pub(super) fn forget_bindings(&self, instance: &InstanceId) -> Result<(), StoreError> {
        self.delete_under(&keys::bindings(instance))
    }

    /// Deletes key by key what stands under `prefix`, each as it was read.
    fn delete_under(&self, prefix: &Key) -> Result<(), StoreError> {
        for entry in self.store.list(prefix)?.entries {
            self.store.delete(&entry.key, Expect::Unchanged(entry.revision))?;
        }
        Ok(())
    }
}

/// Makes and starts a container. One that is there already as asked for, and set up to the end, stays: it is set up to
/// the end when it runs, since it is started last. So does one that has ended, where `holds_data` says that its volume
/// may hold the instance's only data: it is started again.
pub(super) fn make_container(
    cell: &dyn Cell,
    spec: &ContainerSpec,
    holds_data: bool,
) -> Result<(), CellError> {
    if stands(cell, spec, holds_data)? { Ok(()) } else { create(cell, spec) }
}

/// Whether it stands there; where it does not, its place is free and its image is there afterwards.
fn stands(cell: &dyn Cell, spec: &ContainerSpec, holds_data: bool) -> Result<bool, CellError> {
    let guid = &cell.site().guid;
    if let Some(found) = cell.inspect(&spec.name)? {
        let asked_for = found.labels.get(crate::cells::label::FINGERPRINT) == Some(&spec.fingerprint());
        let runs = matches!(found.state, ContainerState::Running | ContainerState::Restarting);
        if runs && asked_for {
            debug!("{} runs on {guid} already", spec.name);
            return Ok(true);
        }
        if asked_for && holds_data && matches!(found.state, ContainerState::Exited { .. }) {
            info!("{} has ended on {guid} and is started again", spec.name);
            return cell.start(&spec.name).map(|()| true);
        }
        warn!("making {} on {guid} anew: it {}", spec.name, found.state);
        cell.remove(&spec.name)?;
    }
    cell.ensure_image(&spec.image, &mut |line| info!("cell {guid}: {}: {line}", spec.image))?;
    Ok(false)
}

fn create(cell: &dyn Cell, spec: &ContainerSpec) -> Result<(), CellError> {
    let guid = &cell.site().guid;
    let made = cell.create(spec).and_then(|()| cell.start(&spec.name));
    if let Err(CellError::Refused { .. }) = &made {
        // Refused for its name, which a call of a broker that has died may have taken late, or made and refused to
        // start, for a port that something else has: it must not stay.
        if let Err(error) = cell.remove(&spec.name) {
            warn!("{} is left on {guid}: {error}", spec.name);
            return Err(CellError::NoAnswer { cell: guid.clone(), reason: error.to_string() });
        }
    }
    made
}
