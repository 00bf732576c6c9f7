//! Plans how a cluster that lives becomes another one: chooses cells, claims ports, and says the steps. Nothing is
//! recorded here.

use std::collections::BTreeSet;

use log::warn;
use storage::StoreError;

use super::BrokerError;
use super::core::Core;
use super::step_error::StepError;
use crate::model::{CellGuid, NodeId, Plan};
use crate::scheduler::{self, Reshape, Standing, Step};
use crate::services::{Containers, Procedure};
use crate::state::{Answering, InstanceRecord, NodeRecord, UpdateRecord};

/// What an update does, and within which time.
pub(super) struct Work {
    /// The steps; none where it is so at once.
    pub(super) procedure: Procedure,
    /// New nodes, with their ports claimed.
    pub(super) come: Vec<NodeRecord>,
    /// How many seconds it may take.
    pub(super) limit_s: u64,
}

/// What a cluster is to be, and away from where.
pub(super) struct Target<'a> {
    pub(super) plan: &'a Plan,
    pub(super) update: &'a UpdateRecord,
    pub(super) wish: &'a Reshape,
    pub(super) left: &'a BTreeSet<CellGuid>,
}

impl Core {
    /// With `rehearse`, new nodes are called `new-1`, `new-2` and have no ports.
    ///
    /// # Errors
    /// Every refusal leaves nothing claimed.
    pub(super) fn plan_reshape(
        &self,
        record: &InstanceRecord,
        target: &Target<'_>,
        rehearse: bool,
    ) -> Result<Work, BrokerError> {
        if record.format == 0 {
            let reason = "an ancestor made this cluster's containers, and called them otherwise: it can be bound and \
                          taken away, and not changed";
            return Err(BrokerError::UpdateNotSupported { reason: reason.to_owned() });
        }
        let containers = self.containers_of(record).map_err(refused)?;
        let nodes = self.standings(record, Some(target.plan)).map_err(refused)?;
        // What is removed there yet has ports that are given back when it is.
        let unfit = record.owed.iter().map(|owed| {
            let (node, cell) = (&owed.node.node_id, &owed.node.backend_id);
            (cell.clone(), format!("the node {node} is still to be removed from cell {cell}"))
        });
        let choice = self.choose_cells(
            unfit.collect(),
            |loads, excluded| scheduler::choose(&nodes, loads, target.wish, target.left, excluded),
            |choice| &choice.come,
        )?;
        let names = (1..).map(|number| NodeId::parse(&format!("new-{number}")).expect("it is an id"));
        let named: Vec<(NodeId, CellGuid)> = names.zip(choice.come.iter().cloned()).collect();
        let steps_with = |come: &[(NodeId, CellGuid)]| {
            let mut steps = scheduler::reshape(&choice, come, target.wish);
            if !steps.is_empty() {
                steps.splice(0..0, revivals(record, &choice.stay));
            }
            steps
        };
        let steps = steps_with(&named);
        self.foresee_image(record, &*containers, &nodes, &steps)?;
        let limit_s = target.plan.maximum_polling_duration_s;
        let work = |steps, come| Work {
            procedure: Procedure { steps, answering: Answering::AsAsked },
            come,
            limit_s,
        };
        if rehearse || steps.is_empty() {
            return Ok(work(steps, Vec::new()));
        }
        let come = self.claim_nodes(record, target, &choice.come, containers.container_ports())?;
        let named: Vec<(NodeId, CellGuid)> =
            come.iter().map(|node| (node.node_id.clone(), node.backend_id.clone())).collect();
        Ok(work(steps_with(&named), come))
    }

    /// How an instance's nodes stand: as what each is made is what its record says, or else its plan, or else `plan`.
    pub(super) fn standings(
        &self,
        record: &InstanceRecord,
        plan: Option<&Plan>,
    ) -> Result<Vec<Standing>, StepError> {
        let containers = self.containers_of(record)?;
        let plan = self.plan_of(record).ok().or(plan);
        let leader = containers.progress(record)?.leader;
        let standing = |node: &NodeRecord| {
            let build = match (&node.build, plan) {
                (Some(build), _) => build.clone(),
                (None, Some(plan)) => containers.build(plan, node),
                (None, None) => {
                    let reason = format!("nothing says any more as what node {} was made", node.node_id);
                    return Err(StepError::Failed(reason));
                }
            };
            let leads = leader.as_ref() == Some(&node.node_id);
            Ok(Standing { node: node.node_id.clone(), cell: node.backend_id.clone(), build, leads })
        };
        record.nodes.iter().map(standing).collect()
    }

    fn claim_nodes(
        &self,
        record: &InstanceRecord,
        target: &Target<'_>,
        cells: &[CellGuid],
        container_ports: &[u16],
    ) -> Result<Vec<NodeRecord>, BrokerError> {
        let mut come = Vec::with_capacity(cells.len());
        for guid in cells {
            match self.claim_node(record, self.mint.node(), guid, container_ports) {
                Ok(node) => come.push(NodeRecord {
                    plan_id: target.update.plan_id.clone(),
                    build: Some(target.wish.build.clone()),
                    ..node
                }),
                Err(error) => {
                    self.release_nodes(record, come);
                    return Err(self.unless_changed(record, error));
                }
            }
        }
        Ok(come)
    }

    /// Who asked for the same at the same moment may hold what is missing: then it is what they recorded that counts.
    fn unless_changed(&self, record: &InstanceRecord, error: BrokerError) -> BrokerError {
        match self.instances.load(&record.instance_id) {
            Ok(Some(now)) if now.value.write_id == record.write_id => error,
            Ok(_) => StoreError::Conflict.into(),
            Err(error) => error.into(),
        }
    }

    /// Gives back what nodes have claimed that were not recorded, as it seems.
    pub(super) fn release_nodes(&self, record: &InstanceRecord, nodes: Vec<NodeRecord>) {
        self.release_unspoken(&InstanceRecord { nodes, allocated_port: None, ..record.clone() });
    }

    /// Refuses an image whose PostgreSQL cannot use the cluster's data, where a cell has both images already. Where none
    /// has, the step finds it out.
    fn foresee_image(
        &self,
        record: &InstanceRecord,
        containers: &dyn Containers,
        nodes: &[Standing],
        steps: &[Step],
    ) -> Result<(), BrokerError> {
        let checked = steps.iter().find_map(|step| match step {
            Step::CheckImage { image, cells } => Some((image, cells)),
            _ => None,
        });
        let Some((image, cells)) = checked else { return Ok(()) };
        let Some(now) = nodes.iter().map(|node| &node.build.image).find(|now| *now != image) else {
            return Ok(());
        };
        for guid in cells {
            let both = self
                .cell(guid)
                .and_then(|cell| Ok((cell.image_environment(now)?, cell.image_environment(image)?)));
            match both {
                Ok((Some(from), Some(to))) => {
                    return containers
                        .check_image(&from, &to)
                        .map_err(|error| BrokerError::UpdateNotSupported { reason: error.reason });
                }
                Ok(_) => {}
                Err(error) => {
                    // Its sender does not wait for one silence after the other.
                    warn!("instance {}: the image {image} is not compared yet: {error}", record.instance_id);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// First of all, what an earlier update may have left down runs again: what comes after asks each node's Patroni.
fn revivals(record: &InstanceRecord, stay: &[Standing]) -> Vec<Step> {
    let left = stay.iter().filter(|node| record.unfinished.contains(&node.node));
    left.map(|node| Step::ReviveNode { node: node.node.clone(), cell: node.cell.clone() }).collect()
}

/// What planning cannot do.
fn refused(error: StepError) -> BrokerError {
    match error {
        StepError::Store(error) => error.into(),
        error => BrokerError::UpdateNotSupported { reason: error.to_string() },
    }
}
