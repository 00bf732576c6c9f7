//! Making a container anew, where that was cut off.

use super::{FakeEngine, Held, State};
use crate::cells::ContainerState;
use crate::model::ContainerName;

impl FakeEngine {
    /// Sets a container aside as a remake does that is cut off: it has ended, and in its place there is one on its volume
    /// that was never started.
    pub fn set_aside(&self, name: &ContainerName) {
        let mut state = self.state();
        let Some(mut old) = state.containers.remove(name) else { return };
        old.end(0);
        let mut view = old.view.clone();
        view.state = ContainerState::Created;
        let (cell, spec) = (old.cell.clone(), old.spec.clone());
        let new = Held { cell, spec, view, log: Vec::new(), volume: old.volume };
        state.containers.insert(name.clone(), new);
        state.aside.insert(name.clone(), old);
        state.change(name);
        self.changed.notify_all();
    }

    /// What is set aside.
    #[must_use]
    pub fn aside(&self) -> Vec<ContainerName> {
        self.state().aside.keys().cloned().collect()
    }
}

impl State {
    /// What is set aside comes back in place of what was never started, and goes where something was.
    pub(super) fn take_back(&mut self, name: &ContainerName) {
        let Some(old) = self.aside.remove(name) else { return };
        let current = self.containers.get(name);
        if current.is_none_or(|current| current.view.state == ContainerState::Created) {
            self.containers.insert(name.clone(), old);
        }
    }
}
