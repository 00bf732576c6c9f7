//! Calls that wait, with neither answer nor effect, until they are let go.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Call;

/// The kinds of calls that wait, with how many do.
#[derive(Default)]
pub struct Holds {
    held: Mutex<BTreeMap<Call, usize>>,
    let_go: Condvar,
}

impl Holds {
    /// Lets calls of that kind wait.
    pub fn hold(&self, call: Call) {
        self.held().insert(call, 0);
    }

    /// How many calls of that kind wait.
    #[must_use]
    pub fn waiting(&self, call: Call) -> usize {
        self.held().get(&call).copied().unwrap_or_default()
    }

    /// Lets calls of that kind go on.
    pub fn let_go(&self, call: Call) {
        self.held().remove(&call);
        self.let_go.notify_all();
    }

    pub(super) fn wait(&self, call: Call) {
        let mut held = self.held();
        held.entry(call).and_modify(|waiting| *waiting += 1);
        drop(self.let_go.wait_while(held, |held| held.contains_key(&call)));
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Call, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
