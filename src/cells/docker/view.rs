//! What a listing says of a container.
//!
//! A listing is all that is read, also of one container: it tells what is absent from what failed, and its shape has
//! stayed the same over engines' versions, while dockworker cannot read the newest engines' inspection.

use std::collections::BTreeMap;

use dockworker::container::{Container, PortType};

use crate::cells::{ContainerState, ContainerView, PublishedPort, label};
use crate::model::{CellSite, ContainerName};

/// What a container is called on top of its name while another one is made in its place. No node's id ends so.
pub(super) const SET_ASIDE: &str = ".old";

/// A container of this cell on its engine.
pub(super) struct Found {
    /// The engine's own id: a name may pass to another container between two calls.
    pub(super) id: String,
    /// With the name that it was made with, also while it is set aside.
    pub(super) view: ContainerView,
    /// Whether it is set aside, for the one that is to come in its place.
    pub(super) is_set_aside: bool,
}

impl Found {
    /// `None` for a container of another cell, or of nobody that we know.
    pub(super) fn read(container: Container, site: &CellSite) -> Option<Self> {
        let labels: BTreeMap<_, _> = container.Labels.unwrap_or_default().into_iter().collect();
        let ours = [(label::CELL, site.guid.as_str()), (label::BROKER, &site.broker)];
        if ours.iter().any(|(name, value)| labels.get(*name).is_none_or(|found| found != value)) {
            return None;
        }
        // Links give a container further names, all with another container's name in front.
        let name = container.Names.iter().find(|name| !name.trim_start_matches('/').contains('/'))?;
        let (name, is_set_aside) = whose(name);
        let port = |number: u64| u16::try_from(number).ok();
        let mut ports: Vec<_> = container
            .Ports
            .iter()
            .filter(|found| found.Type == PortType::Tcp)
            .filter_map(|found| {
                Some(PublishedPort { container: port(found.PrivatePort)?, host: port(found.PublicPort?)? })
            })
            .collect();
        // IPv4 and IPv6 are listed apart.
        ports.sort_unstable_by_key(|port| (port.container, port.host));
        ports.dedup();
        let view = ContainerView {
            name,
            image: labels.get(label::IMAGE).cloned().unwrap_or(container.Image),
            state: state(&container.State, &container.Status),
            labels,
            ports,
        };
        Some(Self { id: container.Id, view, is_set_aside })
    }

    /// Whether it was started ever: then all that belongs to it is in it.
    pub(super) fn was_started(&self) -> bool {
        self.view.state != ContainerState::Created && !self.is_going()
    }

    /// Whether it runs, or will again without anyone's help.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.view.state, ContainerState::Running | ContainerState::Restarting)
    }

    /// Whether nothing of it runs. A paused container is neither up nor down.
    pub(super) fn is_down(&self) -> bool {
        match &self.view.state {
            ContainerState::Created | ContainerState::Exited { .. } => true,
            ContainerState::Running | ContainerState::Restarting => false,
            ContainerState::Other(word) => matches!(word.as_str(), "dead" | "removing"),
        }
    }

    /// Whether its removal has begun.
    pub(super) fn is_going(&self) -> bool {
        self.view.state == ContainerState::Other("removing".to_owned())
    }
}

/// Which container an engine speaks of, and whether as one that is set aside.
pub(super) fn whose(raw: &str) -> (ContainerName, bool) {
    match raw.strip_suffix(SET_ASIDE) {
        Some(name) => (ContainerName::found(name), true),
        None => (ContainerName::found(raw), false),
    }
}

/// `state` is the engine's word, `status` its sentence, such as `Exited (137) 5 seconds ago`.
fn state(state: &str, status: &str) -> ContainerState {
    match state {
        "created" => ContainerState::Created,
        "running" => ContainerState::Running,
        "restarting" => ContainerState::Restarting,
        "exited" => ContainerState::Exited {
            code: status
                .strip_prefix("Exited (")
                .and_then(|rest| rest.split_once(')'))
                .and_then(|(code, _)| code.parse().ok()),
        },
        other => ContainerState::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::state;
    use crate::cells::ContainerState as State;

    #[test]
    fn an_exit_code_is_read_off_the_status() {
        let check = |word: &str, status: &str, expected: State| assert_eq!(state(word, status), expected);
        check("exited", "Exited (137) 5 seconds ago", State::Exited { code: Some(137) });
        check("exited", "Exited (0) Less than a second ago", State::Exited { code: Some(0) });
        check("exited", "gone", State::Exited { code: None });
        check("running", "Up 5 seconds", State::Running);
        check("created", "Created", State::Created);
        check("restarting", "Restarting (1) 5 seconds ago", State::Restarting);
        check("paused", "Up 5 seconds (Paused)", State::Other("paused".to_owned()));
    }
}
