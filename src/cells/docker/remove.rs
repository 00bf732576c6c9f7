//! Takes a container off its engine, with its volumes and the one that is set aside for it.

use std::time::{Duration, Instant};

use super::DockerCell;
use super::fault::Fault;
use super::pattern;
use crate::model::ContainerName;

/// How often a removal under way is looked at.
const REMOVAL_GLANCE: Duration = Duration::from_millis(100);

impl DockerCell {
    /// The one that is set aside goes first: cut off here, what is left can be seen. Their common volumes go with the
    /// second one, since an engine keeps what another container uses.
    pub(super) fn try_remove(&self, name: &ContainerName) -> Result<(), Fault> {
        let mut there = self.everything(&pattern(name))?;
        there.retain(|found| found.view.name == *name);
        there.sort_by_key(|found| !found.is_set_aside);
        there.iter().try_for_each(|found| self.remove_one(&found.id, name))
    }

    /// Removes the container with that id, which has that name or is set aside for it.
    pub(super) fn remove_one(&self, id: &str, name: &ContainerName) -> Result<(), Fault> {
        let until = Instant::now() + self.deadlines.remove;
        let removed = self.call(self.deadlines.remove, {
            let id = id.to_owned();
            move |docker| async move { docker.remove_container(&id, Some(true), Some(true), None).await }
        });
        if let Err(Fault::Silent(reason)) = removed {
            return Err(Fault::Silent(reason));
        }
        // The engine takes a container off its list last. It also refuses what another caller has begun, and that cannot
        // be told from any other refusal until the container is seen to go, or not to.
        let refusal_counts = Instant::now() + self.deadlines.look;
        loop {
            let all = self.everything(&pattern(name))?;
            let Some(left) = all.into_iter().find(|found| found.id == id) else { return Ok(()) };
            let now = Instant::now();
            match &removed {
                Err(Fault::Said(reason)) if !left.is_going() && now >= refusal_counts => {
                    return Err(Fault::Said(reason.clone()));
                }
                _ if now >= until => {
                    return Err(Fault::Silent(format!("container {name} is still being removed")));
                }
                _ => std::thread::sleep(REMOVAL_GLANCE),
            }
        }
    }
}
