//! Takes an order: checks it, chooses cells and ports, and records all of it before anything is made.

use std::time::Duration;

use log::{info, warn};
use storage::StoreError;

use super::core::{CONFLICTS, Core, millis};
use super::kept;
use super::offerings::Purpose;
use super::{Accepted, BrokerError, ProvisionRequest};
use crate::model::{CellGuid, NodeId, Plan, Service};
use crate::routing::PortError;
use crate::scheduler::{self, CellLoad, Wish};
use crate::services::{Driver, Order, Procedure};
use crate::state::{
    Answering, FORMAT, InstanceRecord, NodeRecord, OperationKind, OperationRecord, OperationState, PortRecord,
};

/// How long a request waits for one that orders the same at the same moment and has claimed ports already.
const SIBLING: Duration = Duration::from_millis(50);

impl Core {
    pub(super) fn provision(&self, request: &ProvisionRequest) -> Result<Accepted, BrokerError> {
        let (service, plan) = self.offering(&request.service, &request.plan)?;
        let guids = [request.organization_guid.as_str(), request.space_guid.as_str()];
        kept::check(&[&request.parameters, &request.context], &guids)?;
        self.offerings.check(plan, Purpose::Create, &request.parameters)?;
        let driver = self.drivers.of(service.driver);
        let order = driver
            .order(plan, &request.parameters)
            .map_err(|error| BrokerError::InvalidParameters { reason: error.reason })?;
        let mut last = BrokerError::Busy;
        for _ in 0..CONFLICTS {
            if let Some(record) = self.instances.load(&request.instance)? {
                return same_order(&record.value, request);
            }
            check_maintenance(plan, request.maintenance_version.as_deref())?;
            let mut record = self.new_record(request, &*driver, service, plan);
            check_polled(driver.provision(&record).answering, request.accepts_incomplete)?;
            let cells = self.place(&order)?;
            if let Err(error) = self.claim_everything(&mut record, plan, &order, &cells) {
                self.release_everything(&record);
                // Who ordered the same at the same moment may hold what is missing, with a record or on the way to
                // one: then it is theirs that counts.
                if self.instances.load(&request.instance)?.is_some() {
                    continue;
                }
                if !self.ports.holds_public(&request.instance)? {
                    return Err(error);
                }
                last = error;
                std::thread::sleep(SIBLING);
                continue;
            }
            match self.record_provision(record, request, plan) {
                Err(BrokerError::Store(StoreError::Conflict)) => {}
                answer => return answer,
            }
        }
        Err(last)
    }

    fn record_provision(
        &self,
        mut record: InstanceRecord,
        request: &ProvisionRequest,
        plan: &Plan,
    ) -> Result<Accepted, BrokerError> {
        let procedure = self.driver_of(&record).provision(&record);
        let limit_s = plan.maximum_polling_duration_s;
        let operation =
            self.new_operation(OperationKind::Provision, procedure, limit_s, request.accepts_incomplete);
        let (id, accepted) = (operation.id.clone(), running(&operation));
        record.made_by = Some(id.clone());
        record.operation = Some(operation);
        if let Err(error) = self.note_pending(&request.instance, &id) {
            self.release_everything(&record);
            return Err(error.into());
        }
        match self.instances.create(record.clone()) {
            Ok(_) => {}
            // It may stand there: what it claims must stay claimed. If it does not, the claims are reaped.
            Err(error @ StoreError::OutcomeUnknown { .. }) => return Err(error.into()),
            Err(error) => {
                self.release_unspoken(&record);
                return Err(error.into());
            }
        }
        info!("instance {}: {id}{}", request.instance, placed(&record));
        self.enqueue(&request.instance);
        Ok(accepted)
    }

    /// An operation that is about to be recorded.
    pub(super) fn new_operation(
        &self,
        kind: OperationKind,
        procedure: Procedure,
        limit_s: u64,
        accepts_incomplete: bool,
    ) -> OperationRecord {
        let Procedure { steps, answering } = procedure;
        let now = self.now_ms();
        let answer_by = now.saturating_add(millis(self.settings.sync_timeout));
        let is_waited_for = !accepts_incomplete || answering == Answering::Soon;
        OperationRecord {
            id: self.mint.operation(kind.as_str()),
            kind,
            state: OperationState::InProgress,
            steps,
            done: 0,
            failure: None,
            description: String::new(),
            started_ms: now,
            deadline_ms: now.saturating_add(limit_s.saturating_mul(1000)),
            answer_by_ms: is_waited_for.then_some(answer_by),
            answering,
            forced: false,
            replaces: None,
            passed_over: Vec::new(),
            update: None,
            instance_usable: None,
            update_repeatable: None,
        }
    }

    fn new_record(
        &self,
        request: &ProvisionRequest,
        driver: &dyn Driver,
        service: &Service,
        plan: &Plan,
    ) -> InstanceRecord {
        let credentials = driver.mint_credentials(&request.instance, &*self.mint);
        InstanceRecord {
            format: FORMAT,
            write_id: String::new(),
            instance_id: request.instance.clone(),
            service_id: service.id.clone(),
            plan_id: plan.id.clone(),
            driver: service.driver,
            organization_guid: request.organization_guid.clone(),
            space_guid: request.space_guid.clone(),
            admin_credentials: credentials.admin,
            superuser_credentials: credentials.superuser,
            app_credentials: credentials.app,
            replication_credentials: credentials.replication,
            rest_credentials: credentials.rest,
            store_credentials: credentials.store,
            allocated_port: None,
            nodes: Vec::new(),
            parameters: request.parameters.clone(),
            context: request.context.clone(),
            maintenance_version: plan.maintenance.as_ref().map(|offered| offered.version.clone()),
            made_by: None,
            operation: None,
            ended: Vec::new(),
            owed: Vec::new(),
            unfinished: Vec::new(),
        }
    }

    fn place(&self, order: &Order) -> Result<Vec<CellGuid>, BrokerError> {
        let place = |loads: &[CellLoad], excluded: &[CellGuid]| {
            let among = order.cells.as_deref();
            scheduler::place(loads, &Wish { new_nodes: order.nodes, occupied: &[], among, excluded })
        };
        self.choose_cells(Vec::new(), place, |chosen: &Vec<CellGuid>| chosen)
    }

    /// Claims a public port and the nodes' ports, writing into the record what was claimed, also when it fails.
    fn claim_everything(
        &self,
        record: &mut InstanceRecord,
        plan: &Plan,
        order: &Order,
        cells: &[CellGuid],
    ) -> Result<(), BrokerError> {
        if order.public_port {
            record.allocated_port = Some(self.ports.claim_public(&record.instance_id).map_err(no_port)?);
        }
        let containers = self.drivers.containers(record.driver);
        let container_ports = containers.as_ref().map_or(&[][..], |containers| containers.container_ports());
        for guid in cells {
            let mut node = self.claim_node(record, self.mint.node(), guid, container_ports)?;
            node.build = containers.as_ref().map(|containers| containers.build(plan, &node));
            record.nodes.push(node);
        }
        Ok(())
    }

    /// A node on a cell, with its ports claimed.
    pub(super) fn claim_node(
        &self,
        record: &InstanceRecord,
        node: NodeId,
        guid: &CellGuid,
        container_ports: &[u16],
    ) -> Result<NodeRecord, BrokerError> {
        let Some(cell) = self.cells.get(guid) else {
            return Err(BrokerError::NoCapacity { reason: format!("there is no cell {guid}") });
        };
        let site = cell.site();
        let hosts = self
            .ports
            .claim_on_cell(guid, site.ports, &record.instance_id, container_ports.len())
            .map_err(no_port)?;
        // Claimed first and looked at then: who empties a cell cordons it first and looks at its claims then.
        let is_cordoned = self.cordons.load(guid).map(|cordon| cordon.is_some());
        if !matches!(is_cordoned, Ok(false)) || !self.stays(&*cell) {
            for port in hosts {
                self.ports.release_on_cell(guid, &record.instance_id, port)?;
            }
            let reason = if is_cordoned? { "has been cordoned" } else { "is leaving" };
            return Err(BrokerError::NoCapacity { reason: format!("cell {guid} {reason}") });
        }
        let pairs = container_ports.iter().zip(hosts);
        Ok(NodeRecord {
            node_id: node,
            backend_id: guid.clone(),
            plan_id: record.plan_id.clone(),
            service_id: record.service_id.clone(),
            host: site.host.clone(),
            ports: pairs.map(|(container, host)| PortRecord { container: *container, host }).collect(),
            build: None,
        })
    }

    /// Gives back what a record that seems not to be written has claimed, except what the record that stands there
    /// speaks for: after a lost answer a worker may have gone on with it already, which looks like a conflict.
    pub(super) fn release_unspoken(&self, record: &InstanceRecord) {
        let standing = match self.instances.load(&record.instance_id) {
            Ok(standing) => standing,
            Err(error) => {
                return warn!("claims of instance {} are left to be reaped: {error}", record.instance_id);
            }
        };
        let mut ours = record.clone();
        if let Some(standing) = standing {
            ours.nodes.retain(|node| standing.value.node(&node.node_id).is_none());
            ours.allocated_port =
                ours.allocated_port.filter(|port| standing.value.allocated_port != Some(*port));
        }
        self.release_everything(&ours);
    }

    /// Gives back what a record that was not written has claimed; what cannot be given back now is reaped later.
    fn release_everything(&self, record: &InstanceRecord) {
        let instance = &record.instance_id;
        let public = record.allocated_port.map(|port| self.ports.release_public(instance, port));
        let ports = record.nodes.iter().flat_map(|node| {
            node.ports.iter().map(|port| self.ports.release_on_cell(&node.backend_id, instance, port.host))
        });
        for error in public.into_iter().chain(ports).filter_map(Result::err) {
            warn!("a claim of instance {instance} is left to be reaped: {error}");
        }
    }
}

pub(super) fn no_port(error: PortError) -> BrokerError {
    match error {
        PortError::Store(error) => BrokerError::Store(error),
        error @ PortError::Exhausted { .. } => BrokerError::NoCapacity { reason: error.to_string() },
    }
}

/// The version that the sender has seen in the catalog must be the one that is there (OSB 2.17, "Maintenance Info
/// Object").
pub(super) fn check_maintenance(plan: &Plan, seen: Option<&str>) -> Result<(), BrokerError> {
    let offered = plan.maintenance.as_ref().map(|offered| offered.version.as_str());
    if seen.is_none() || seen == offered {
        return Ok(());
    }
    let reason = match offered {
        Some(offered) => format!("the catalog offers version {offered} of the plan {}", plan.id),
        None => format!("the catalog names no version of the plan {}", plan.id),
    };
    Err(BrokerError::MaintenanceInfoConflict { reason })
}

/// Who does not poll cannot be served where only who polls is.
pub(super) fn check_polled(answering: Answering, accepts_incomplete: bool) -> Result<(), BrokerError> {
    if answering == Answering::Polled && !accepts_incomplete {
        return Err(BrokerError::AsyncRequired);
    }
    Ok(())
}

/// How who asked for this operation is answered.
pub(super) fn running(operation: &OperationRecord) -> Accepted {
    Accepted::Running { operation: operation.id.clone(), soon: operation.answering == Answering::Soon }
}

/// Where an instance's nodes are and how it is reached, for the log.
fn placed(record: &InstanceRecord) -> String {
    let cells: Vec<&str> = record.nodes.iter().map(|node| node.backend_id.as_str()).collect();
    let port = record.allocated_port.map(|port| format!(", public port {port}")).unwrap_or_default();
    if cells.is_empty() { port } else { format!(" on cells {}{port}", cells.join(", ")) }
}

/// What to say when the id is taken (OSB 2.17, "Provisioning": the same attributes again are no conflict).
fn same_order(record: &InstanceRecord, request: &ProvisionRequest) -> Result<Accepted, BrokerError> {
    let same = record.service_id == request.service
        && record.plan_id == request.plan
        && record.parameters == request.parameters;
    let under_way = record.under_way();
    if under_way.is_some_and(|operation| operation.kind != OperationKind::Provision) {
        return Err(BrokerError::Concurrency);
    }
    if !same {
        return Err(BrokerError::InstanceExists);
    }
    if let Some(operation) = under_way {
        check_polled(operation.answering, request.accepts_incomplete)?;
        return Ok(running(operation));
    }
    match record.unusable() {
        Some(reason) => Err(BrokerError::InstanceFailed { reason: reason.to_owned() }),
        None => Ok(Accepted::Already),
    }
}
