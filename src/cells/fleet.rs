//! Every cell that there is now: cells come and go while the broker runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Cell;
use crate::model::CellGuid;

/// Every cell, by its guid. Clones share what they hold.
#[derive(Clone, Default)]
pub struct Cells {
    current: Arc<RwLock<Known>>,
}

type Known = BTreeMap<CellGuid, Arc<dyn Cell>>;

impl Cells {
    /// The cell with this guid.
    #[must_use]
    pub fn get(&self, guid: &CellGuid) -> Option<Arc<dyn Cell>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).get(guid).cloned()
    }

    /// All of them, in the order of their guids.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<dyn Cell>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.current.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets these be the cells from now on.
    pub fn replace(&self, cells: Known) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = cells;
    }
}

impl FromIterator<(CellGuid, Arc<dyn Cell>)> for Cells {
    fn from_iter<I: IntoIterator<Item = (CellGuid, Arc<dyn Cell>)>>(cells: I) -> Self {
        Self { current: Arc::new(RwLock::new(cells.into_iter().collect())) }
    }
}
