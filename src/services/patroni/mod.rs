//! The `patroni` driver: highly available PostgreSQL clusters. What the image expects is described in
//! `images/patroni/README.md`; this is the other half of that contract.

mod container;
mod credentials;
mod guest;
mod parameters;
mod steering;
#[cfg(test)]
mod tests;
mod update;

use std::collections::BTreeMap;
use std::sync::Arc;

use log::warn;
use serde_json::{Map, Value};
use storage::{Entry, Expect, Store, StoreError};

use self::steering::{Patience, Steering};
use super::{
    Change, Containers, Driver, FirstStart, InvalidParameters, MemberError, NewCredentials, Order, Procedure,
    StoreAccess, UpdateError, UpdateNotSupported,
};
use crate::cells::ContainerSpec;
use crate::model::{Build, InstanceId, Mint, NodeId, PatroniPlan, Plan, PlanSettings, Schemas, Secret};
use crate::patroni::{Member, Progress, RestApi, progress, read_members};
use crate::scheduler::{self, Step};
use crate::state::{Answering, InstanceRecord, NodeRecord, UpdateRecord, keys};

/// PostgreSQL's port inside the container.
const POSTGRESQL: u16 = 5432;
/// Patroni's REST API's port inside the container.
const REST_API: u16 = 8008;

pub(super) struct PatroniDriver {
    store: Arc<dyn Store>,
    access: StoreAccess,
    members: Arc<dyn RestApi>,
}

impl PatroniDriver {
    pub(super) fn new(store: Arc<dyn Store>, access: StoreAccess, members: Arc<dyn RestApi>) -> Self {
        Self { store, access, members }
    }

    fn steering<'a>(&'a self, record: &'a InstanceRecord) -> Steering<'a> {
        Steering { store: &*self.store, api: &*self.members, record, patience: Patience::default() }
    }

    /// Patroni's keys of one scope: everything beside the record.
    fn keys(&self, instance: &InstanceId) -> Result<Vec<Entry>, StoreError> {
        let record = keys::record(instance);
        let entries = self.store.list(&keys::scope(instance))?.entries;
        Ok(entries.into_iter().filter(|entry| entry.key != record).collect())
    }
}

/// Unwraps the driver's part of a plan; the configuration has paired services with their drivers.
fn settings(plan: &Plan) -> &PatroniPlan {
    match &plan.settings {
        PlanSettings::Patroni(settings) => settings,
        PlanSettings::Dream => unreachable!("the configuration pairs plans with their drivers"),
    }
}

impl Driver for PatroniDriver {
    fn schemas(&self, _: &Plan) -> Schemas {
        parameters::schemas()
    }

    fn order(&self, plan: &Plan, parameters: &Map<String, Value>) -> Result<Order, InvalidParameters> {
        parameters::read(settings(plan), parameters)
    }

    fn mint_credentials(&self, instance: &InstanceId, mint: &dyn Mint) -> NewCredentials {
        credentials::mint(instance, self.access.guests.is_some(), mint)
    }

    fn provision(&self, record: &InstanceRecord) -> Procedure {
        as_asked(scheduler::provision(&record.containers()))
    }

    fn update(
        &self,
        plan: &Plan,
        before: Option<&Plan>,
        record: &InstanceRecord,
        update: &UpdateRecord,
    ) -> Result<Change, UpdateError> {
        let configuration = self.store.get(&keys::config(&record.instance_id))?;
        let now = configuration.map(|entry| update::configured(&entry.value)).unwrap_or_default();
        Ok(Change::Reshape(update::plan(settings(plan), before.map(settings), &now, record, update)?))
    }

    fn deprovision(&self, record: &InstanceRecord) -> Procedure {
        as_asked(scheduler::deprovision(&record.containers()))
    }

    fn roll_back(&self, record: &InstanceRecord) -> Vec<Step> {
        scheduler::roll_back(&record.containers())
    }

    fn describe(&self, record: &InstanceRecord) -> Result<String, StoreError> {
        Ok(self.progress(record)?.description)
    }

    fn members(&self, record: &InstanceRecord) -> Result<Vec<Member>, StoreError> {
        Ok(read_members(&self.store.list(&keys::members(&record.instance_id))?.entries))
    }

    fn credentials(&self, plan: &Plan, record: &InstanceRecord, host: &str) -> Map<String, Value> {
        credentials::of_binding(settings(plan), record, host)
    }
}

/// Nothing here is known to end soon, and nothing needs a caller who polls.
fn as_asked(steps: Vec<Step>) -> Procedure {
    Procedure { steps, answering: Answering::AsAsked }
}

impl Containers for PatroniDriver {
    fn container_ports(&self) -> &'static [u16] {
        &[POSTGRESQL, REST_API]
    }

    fn container(&self, plan: &Plan, record: &InstanceRecord, node: &NodeRecord) -> ContainerSpec {
        container::spec(&guest::reach(&self.access, record), plan, record, node)
    }

    fn admit(&self, plan: &Plan, record: &InstanceRecord) -> Result<(), StoreError> {
        let Some(guests) = &self.access.guests else {
            if record.store_credentials.is_some() {
                warn!(
                    "instance {} has credentials of its own for the store, and no administrator is configured: \
                     its new containers share the broker's",
                    record.instance_id
                );
            }
            return Ok(());
        };
        let rights = guest::rights(&guest::images(plan, record), record);
        guest::guest(record, rights).map_or(Ok(()), |guest| guests.admit(&guest))
    }

    fn dismiss(&self, instance: &InstanceId) -> Result<(), StoreError> {
        self.access.guests.as_ref().map_or(Ok(()), |guests| guests.dismiss(guest::name(instance)))
    }

    fn progress(&self, record: &InstanceRecord) -> Result<Progress, StoreError> {
        let members = self.members(record)?;
        let nodes: Vec<NodeId> = record.nodes.iter().map(|node| node.node_id.clone()).collect();
        Ok(progress(&nodes, &members))
    }

    /// Patroni writes the system's identifier there when the first member has bootstrapped, and leaves it empty until
    /// then.
    fn holds_data(&self, record: &InstanceRecord) -> Result<bool, StoreError> {
        let initialize = self.store.get(&keys::initialize(&record.instance_id))?;
        Ok(initialize.is_some_and(|entry| !entry.value.is_empty()))
    }

    fn first_start(&self, record: &InstanceRecord) -> Result<Option<FirstStart>, StoreError> {
        let initialize = self.store.get(&keys::initialize(&record.instance_id))?;
        let Some(initialize) = initialize.filter(|entry| entry.value.is_empty()) else { return Ok(None) };
        let mut members = self.members(record)?.into_iter();
        let at_it = members.find(|member| credentials::is_bootstrapping(&member.state));
        Ok(Some(FirstStart { mark: initialize.revision, by: at_it.map(|member| member.node) }))
    }

    fn clear_failed_start(&self, record: &InstanceRecord) -> Result<bool, StoreError> {
        let initialize = self.store.get(&keys::initialize(&record.instance_id))?;
        let Some(initialize) = initialize.filter(|entry| entry.value.is_empty()) else { return Ok(false) };
        match self.store.delete(&initialize.key, Expect::Unchanged(initialize.revision)) {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict | StoreError::OutcomeUnknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn forget(&self, instance: &InstanceId) -> Result<(), StoreError> {
        for entry in self.keys(instance)? {
            self.store.delete(&entry.key, Expect::Unchanged(entry.revision))?;
        }
        Ok(())
    }

    fn build(&self, plan: &Plan, node: &NodeRecord) -> Build {
        container::build(plan, node)
    }

    fn hand_over(&self, record: &InstanceRecord, to: &[NodeId]) -> Result<(), MemberError> {
        self.steering(record).hand_over(to)
    }

    fn configure(
        &self,
        record: &InstanceRecord,
        from: &Map<String, Value>,
        to: &Map<String, Value>,
    ) -> Result<(), MemberError> {
        self.steering(record).configure(from, to)
    }

    fn restart_if_pending(&self, record: &InstanceRecord, node: &NodeId) -> Result<(), MemberError> {
        self.steering(record).restart_if_pending(node)
    }

    fn check_image(
        &self,
        from: &BTreeMap<String, String>,
        to: &BTreeMap<String, String>,
    ) -> Result<(), UpdateNotSupported> {
        update::check_image(from, to)
    }

    fn forget_member(&self, record: &InstanceRecord, node: &NodeId) -> Result<(), StoreError> {
        self.store.delete(&keys::member(&record.instance_id, node), Expect::Anything)
    }

    fn secrets(&self, record: &InstanceRecord) -> Vec<Secret> {
        let own = guest::secrets(&guest::reach(&self.access, record));
        let shared = guest::secrets(&self.access.shared);
        record.secrets().into_iter().cloned().chain(own).chain(shared).collect()
    }
}
