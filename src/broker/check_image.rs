//! Has an image on the cells that will use it, and makes sure that it is of the PostgreSQL that the cluster's data are of.

use std::collections::BTreeMap;

use log::{info, warn};

use super::perform::Task;
use super::step_error::StepError;
use crate::cells::CellError;
use crate::model::{CellGuid, NodeId};
use crate::scheduler::Step;

/// What an image puts into the environment.
type Environment = BTreeMap<String, String>;

impl Task<'_> {
    pub(super) fn check_image(&self, image: &str, cells: &[CellGuid]) -> Result<(), StepError> {
        let mut new = None;
        for guid in cells {
            self.check_going_on()?;
            let had = self.core.cell(guid).and_then(|cell| {
                cell.ensure_image(image, &mut |line| info!("cell {guid}: {image}: {line}"))?;
                cell.image_environment(image)
            });
            match had {
                Ok(environment) => new = new.or(environment),
                // Whoever makes the node there finds another cell.
                Err(error) if self.is_only_for_new_nodes(guid) => warn!("{error}"),
                Err(error @ CellError::NoAnswer { .. }) => return Err(StepError::Later(error.to_string())),
                Err(error) => return Err(StepError::Failed(error.to_string())),
            }
        }
        let Some((name, now)) = self.image_in_use(image)? else { return Ok(()) };
        let (Some(now), Some(new)) = (now, new) else {
            let reason = format!("nothing says whether {image} can use the data that {name} made");
            return if name == image { Ok(()) } else { Err(StepError::Failed(reason)) };
        };
        let containers = self.core.containers_of(self.record)?;
        containers.check_image(&now, &new).map_err(|error| StepError::Refused(error.reason))
    }

    fn is_only_for_new_nodes(&self, guid: &CellGuid) -> bool {
        let steps = self.record.operation.iter().flat_map(|operation| &operation.steps);
        let mut made_anew = steps.filter_map(|step| match step {
            Step::RemakeNode { cell, .. } => Some(cell),
            _ => None,
        });
        made_anew.all(|cell| cell != guid)
    }

    fn is_new(&self, node: &NodeId) -> bool {
        let mut steps = self.record.operation.iter().flat_map(|operation| &operation.steps);
        steps.any(|step| matches!(step, Step::AddNode { node: added, .. } if added == node))
    }

    /// The image that the cluster's containers are made from, another one than `image` first, and what a cell says of it.
    fn image_in_use(&self, image: &str) -> Result<Option<(String, Option<Environment>)>, StepError> {
        let mut nodes = self.core.standings(self.record, self.plan().ok())?;
        nodes.retain(|node| !self.is_new(&node.node));
        nodes.sort_by_key(|node| node.build.image == image);
        let mut silence = None;
        for node in &nodes {
            let name = &node.build.image;
            match self.core.cell(&node.cell).and_then(|cell| cell.image_environment(name)) {
                Ok(Some(found)) => return Ok(Some((name.clone(), Some(found)))),
                Ok(None) => {}
                Err(error @ CellError::NoAnswer { .. }) => silence = Some(error),
                Err(error) => return Err(StepError::Failed(error.to_string())),
            }
        }
        match (nodes.into_iter().next(), silence) {
            (None, _) => Ok(None),
            (Some(node), None) => Ok(Some((node.build.image, None))),
            (Some(node), Some(_)) if node.build.image == image => Ok(Some((node.build.image, None))),
            (Some(_), Some(silence)) => Err(StepError::Later(silence.to_string())),
        }
    }
}
