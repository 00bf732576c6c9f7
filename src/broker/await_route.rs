//! Waits until every live router leads the public port to the leader: success is said only then.

use std::time::Duration;

use log::warn;
use storage::Deadline;

use super::perform::Task;
use super::step_error::StepError;
use crate::state::keys;

/// How long one watch waits: also how soon a stop is noticed.
const WATCH: Duration = Duration::from_secs(1);
/// How long the routers may take before the wait is told to the user as a failure to route.
const PATIENCE: Duration = Duration::from_secs(60);

impl Task<'_> {
    pub(super) fn await_route(&self) -> Result<(), StepError> {
        let instance = &self.record.instance_id;
        let mut route = self.core.allocations.route(instance)?;
        let patience = Deadline::after(PATIENCE);
        let refused = Deadline::after(self.core.settings.pace.route_refused_after);
        loop {
            self.check_going_on()?;
            let routers = self.core.allocations.routers_behind(instance, route.newest)?;
            if routers.registered == 0 {
                warn!("instance {instance}: no router is registered; its port leads nowhere");
                return Ok(());
            }
            if route.is_led && routers.behind.is_empty() && routers.without_it.is_empty() {
                return Ok(());
            }
            if !routers.without_it.is_empty() && refused.has_passed() {
                let (port, without) =
                    (self.record.allocated_port.unwrap_or_default(), routers.without_it.join(", "));
                return Err(StepError::Failed(format!(
                    "the public port {port} cannot be had on the router {without}; its log says why"
                )));
            }
            if !route.is_led {
                if patience.has_passed() {
                    return Err(StepError::Failed("nobody leads the cluster".to_owned()));
                }
                let deadline = Deadline::after(WATCH).min(patience);
                self.core.store.watch(&keys::scope(instance), route.revision, deadline)?;
                route = self.core.allocations.route(instance)?;
                continue;
            }
            if patience.has_passed() {
                let behind = routers.behind.join(", ");
                return Err(StepError::Failed(format!("the router {behind} does not lead to the cluster")));
            }
            let deadline = Deadline::after(WATCH).min(patience);
            self.core.store.watch(&keys::routers(), routers.revision, deadline)?;
        }
    }
}
