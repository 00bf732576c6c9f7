//! What is true rather than what has happened, as somebody last saw it. What was not seen this time is gone, so that
//! nothing is shown for ever of an instance or a cell that there is no more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus::{GaugeVec, IntGauge, IntGaugeVec};

use super::{Added, unix_seconds, whole};

/// Whose state is what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceLook {
    /// The service's name, or its id where it has left the catalog.
    pub service: String,
    /// The plan's name, or its id where it has left the catalog.
    pub plan: String,
    /// How its last operation stands.
    pub state: &'static str,
}

/// What the store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreLook {
    /// How many instances there are of each.
    pub instances: BTreeMap<InstanceLook, usize>,
    /// How many operations are under way, whichever broker performs them, by their kind.
    pub operations: BTreeMap<&'static str, usize>,
    /// How many public ports nobody has claimed.
    pub public_ports_free: usize,
    /// How many there are.
    pub public_ports_total: usize,
}

/// A cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellLook {
    /// Its guid.
    pub cell: String,
    /// Whether its engine answered.
    pub up: bool,
    /// How many nodes are placed on it.
    pub nodes: usize,
}

pub(super) struct Looks {
    instances: IntGaugeVec,
    operations: IntGaugeVec,
    ports_free: IntGauge,
    ports_total: IntGauge,
    store_looked: GaugeVec,
    cells: IntGauge,
    cells_up: IntGaugeVec,
    nodes: IntGaugeVec,
    cells_looked: GaugeVec,
    /// Held while a look is written down, and while all of them are read.
    writing: Mutex<()>,
}

impl Looks {
    pub(super) fn new(added: &Added<'_>) -> Self {
        Self {
            instances: added.gauges(
                "instances",
                "Instances, by how their last operation stands.",
                &["service", "plan", "state"],
            ),
            operations: added.gauges(
                "operations_in_progress",
                "Operations that are recorded and have not ended, whichever broker performs them.",
                &["kind"],
            ),
            ports_free: added.gauge("public_ports_free", "Public ports that can be given out."),
            ports_total: added.gauge("public_ports_total", "Public ports that there are."),
            store_looked: added.fraction(
                "patroni_broker_store_looked_timestamp_seconds",
                "When instances, operations and ports were last counted.",
            ),
            cells: added.gauge("cells", "Cells in the configuration."),
            cells_up: added.gauges(
                "cells_up",
                "Whether the cell's engine answered when last asked.",
                &["cell"],
            ),
            nodes: added.gauges("nodes", "Nodes that are placed on the cell.", &["cell"]),
            cells_looked: added
                .fraction("patroni_broker_cells_looked_timestamp_seconds", "When the cells were last asked."),
            writing: Mutex::default(),
        }
    }

    pub(super) fn store_seen(&self, look: &StoreLook) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.instances.reset();
        for (of, count) in &look.instances {
            self.instances.with_label_values(&[&of.service, &of.plan, of.state]).set(whole(*count));
        }
        self.operations.reset();
        for (kind, count) in &look.operations {
            self.operations.with_label_values(&[*kind]).set(whole(*count));
        }
        self.ports_free.set(whole(look.public_ports_free));
        self.ports_total.set(whole(look.public_ports_total));
        self.store_looked.with_label_values::<&str>(&[]).set(unix_seconds());
    }

    pub(super) fn cells_seen(&self, look: &[CellLook]) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.cells.set(whole(look.len()));
        self.cells_up.reset();
        self.nodes.reset();
        for cell in look {
            self.cells_up.with_label_values(&[&cell.cell]).set(i64::from(cell.up));
            self.nodes.with_label_values(&[&cell.cell]).set(whole(cell.nodes));
        }
        self.cells_looked.with_label_values::<&str>(&[]).set(unix_seconds());
    }

    /// What `read` gives while nothing is being written down.
    pub(super) fn still<T>(&self, read: impl FnOnce() -> T) -> T {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        read()
    }
}
