//! Follows the events of an engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dockworker::EventFilters;
use dockworker::event::EventResponse;

use super::DockerCell;
use super::fault::Fault;
use super::view::whose;
use crate::cells::runtime::{Next, Pending, Streaming};
use crate::cells::{CellEvent, label};

/// How often `stop` is looked at.
const STOP_GLANCE: Duration = Duration::from_millis(500);

/// An engine answers first and begins to collect events then. So it is asked for the last few seconds as well, in which
/// its clock may differ from ours; to hear of a change twice does no harm.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// What changes a container: an engine also tells of every command that is run in one.
const CHANGES: [&str; 11] =
    ["create", "start", "restart", "stop", "kill", "die", "oom", "destroy", "pause", "unpause", "rename"];

impl DockerCell {
    pub(super) fn follow_events(
        &self,
        stop: &AtomicBool,
        sink: &mut dyn FnMut(CellEvent),
    ) -> Result<(), Fault> {
        let Some(mut events) = self.open_events(stop)? else { return Ok(()) };
        sink(CellEvent::Connected);
        let mut heard = Instant::now();
        let mut question: Option<Pending<bool>> = None;
        while !stop.load(Ordering::Relaxed) {
            match events.next(STOP_GLANCE)? {
                Next::Item(event) => {
                    heard = Instant::now();
                    if let Some(name) = event?.Actor.Attributes.get("name") {
                        sink(CellEvent::Changed(whose(name).0));
                    }
                }
                Next::Ended => return Err(Fault::Silent("the engine ended the stream of events".to_owned())),
                Next::Idle => {}
            }
            // A peer that is gone without a farewell sends nothing, exactly like one where nothing happens.
            if let Some(asked) = &mut question {
                match asked.poll(Duration::ZERO) {
                    Some(Ok(true)) => (heard, question) = (Instant::now(), None),
                    Some(_) => {
                        return Err(Fault::Silent("the engine fell silent and did not answer".to_owned()));
                    }
                    None => {}
                }
            } else if heard.elapsed() >= self.deadlines.watch_silence {
                let docker = self.client()?;
                question = Some(
                    self.runtime.begin(self.deadlines.look, async move { docker.version().await.is_ok() }),
                );
            }
        }
        Ok(())
    }

    /// The stream of events; `None` when `stop` was set first.
    fn open_events(&self, stop: &AtomicBool) -> Result<Option<Events>, Fault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = now.saturating_sub(LOOK_BACK).as_secs();
        let mut filters = EventFilters::new();
        filters.type_("container").label(&format!("{}={}", label::CELL, self.site.guid)).label(&format!(
            "{}={}",
            label::BROKER,
            self.site.broker
        ));
        for change in CHANGES {
            filters.event(change);
        }
        let docker = self.client()?;
        let mut opening = self
            .runtime
            .begin(self.deadlines.look, async move { docker.events(Some(since), None, Some(filters)).await });
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if let Some(opened) = opening.poll(STOP_GLANCE) {
                return Ok(Some(Streaming::new(self.runtime.clone(), opened??)));
            }
        }
    }
}

type Events = Streaming<Result<EventResponse, dockworker::errors::Error>>;
