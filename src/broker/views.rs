//! What operators see: read from the store, from what members say of themselves, and from the cells. No type here holds
//! a secret.

use std::sync::Arc;
use std::thread;

use log::warn;

use super::core::Core;
use super::{BrokerError, CellStanding, CellView, InstanceView, NodeView, OperationView};
use crate::cells::{Cell, CellError};
use crate::model::{CellGuid, InstanceId};
use crate::patroni::{Member, Role};
use crate::state::{InstanceRecord, NodeRecord, OperationRecord};

/// How many cells are asked at once.
const ASKED_AT_ONCE: usize = 64;

impl Core {
    pub(super) fn view_instances(&self) -> Result<Vec<InstanceView>, BrokerError> {
        let survey = self.instances.survey()?;
        if survey.unreadable > 0 {
            warn!("{} instances are left out of a listing: their records cannot be read", survey.unreadable);
        }
        Ok(survey.records.iter().map(|record| self.view(record)).collect())
    }

    pub(super) fn view_instance(&self, instance: &InstanceId) -> Result<InstanceView, BrokerError> {
        let record = self.instances.load(instance)?.ok_or(BrokerError::InstanceUnknown)?.value;
        let members = self.driver_of(&record).members(&record)?;
        let mut view = self.view(&record);
        for node in &mut view.nodes {
            let member = members.iter().find(|member| member.node.as_str() == node.node_id);
            (node.role, node.state) = standing(member);
        }
        view.bindings = Some(self.bindings.list(instance)?);
        Ok(view)
    }

    fn view(&self, record: &InstanceRecord) -> InstanceView {
        let service = self.offerings.catalog().service(&record.service_id);
        let plan = service.and_then(|service| service.plan(&record.plan_id));
        let name = record.context.get("instance_name").and_then(|name| name.as_str());
        InstanceView {
            instance_id: record.instance_id.clone(),
            service_id: record.service_id.clone(),
            service_name: service.map(|service| service.name.clone()),
            plan_id: record.plan_id.clone(),
            plan_name: plan.map(|plan| plan.name.clone()),
            name: name.map(str::to_owned),
            organization_guid: record.organization_guid.clone(),
            space_guid: record.space_guid.clone(),
            public_port: record.allocated_port,
            nodes: record.nodes.iter().map(view_node).collect(),
            operation: record.operation.as_ref().map(view_operation),
            maintenance_version: record.maintenance_version.clone(),
            bindings: None,
        }
    }

    /// All cells at once: a silent one takes as long as its own deadline, and keeps nobody from being asked.
    pub(super) fn view_cells(&self) -> Result<Vec<CellView>, BrokerError> {
        self.view_these(self.cells.all())
    }

    /// One of them.
    pub(super) fn view_one_cell(&self, cell: &CellGuid) -> Result<CellView, BrokerError> {
        let cell = self.cells.get(cell).ok_or_else(|| BrokerError::UnknownCell(cell.clone()))?;
        let mut views = self.view_these(vec![cell])?;
        views.pop().ok_or(BrokerError::Busy)
    }

    fn view_these(&self, cells: Vec<Arc<dyn Cell>>) -> Result<Vec<CellView>, BrokerError> {
        let cordons = self.cordons.list()?;
        let is_cordoned = |cell: &Arc<dyn Cell>| cordons.contains_key(&cell.site().guid);
        let pending = cells.iter().any(is_cordoned).then(|| self.pending()).transpose()?;
        let mut views = Vec::with_capacity(cells.len());
        for cells in cells.chunks(ASKED_AT_ONCE) {
            views.extend(thread::scope(|scope| {
                let asked: Vec<_> = cells
                    .iter()
                    .map(|cell| {
                        let thread = thread::Builder::new().name("cell-view".to_owned());
                        (cell, thread.spawn_scoped(scope, || cell.ping().map(|_| ())))
                    })
                    .collect();
                let answers = asked.into_iter().map(|(cell, thread)| {
                    let answer = thread.map(|thread| thread.join());
                    let reason = match answer {
                        Ok(Ok(answer)) => answer.err().as_ref().map(CellError::to_string),
                        Ok(Err(_)) => Some("asking it panicked; see the broker's log".to_owned()),
                        Err(error) => Some(format!("it was not asked: {error}")),
                    };
                    let cordon = cordons.get(&cell.site().guid).zip(pending.as_ref());
                    view_cell(&**cell, reason, self.standing_of(&cell.site().guid, cordon))
                });
                answers.collect::<Vec<_>>()
            }));
        }
        Ok(views)
    }
}

fn view_cell(cell: &dyn Cell, reason: Option<String>, standing: CellStanding) -> CellView {
    let site = cell.site();
    CellView {
        guid: site.guid.to_string(),
        availability_zone: site.availability_zone.clone(),
        host: site.host.clone(),
        up: reason.is_none(),
        reason,
        standing,
    }
}

fn view_node(node: &NodeRecord) -> NodeView {
    NodeView {
        node_id: node.node_id.to_string(),
        cell: node.backend_id.to_string(),
        ports: node.ports.iter().map(|port| format!("{}:{}", node.host, port.host)).collect(),
        role: None,
        state: None,
    }
}

fn view_operation(operation: &OperationRecord) -> OperationView {
    OperationView {
        id: operation.id.clone(),
        kind: operation.kind.as_str(),
        state: operation.state.as_str(),
        description: operation.description.clone(),
        steps_done: operation.done,
        steps: operation.steps.len(),
        started_ms: operation.started_ms,
    }
}

/// A member's role and state, in the ancestors' words; one that has not been seen has no role.
fn standing(member: Option<&Member>) -> (Option<String>, Option<String>) {
    let Some(member) = member else { return (None, Some("stopped".to_owned())) };
    let role = match member.role {
        Role::Leader => "master",
        Role::Replica => "replica",
    };
    (Some(role.to_owned()), Some(member.state.clone()))
}
