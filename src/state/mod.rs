//! Typed records over the store: what is written where, and how a record changes without losing anybody's change.
//! Knows nothing of Docker, HTTP or what a record means.

mod bindings;
mod instances;
pub mod keys;
mod leases;
mod node_index;
mod record;
mod written;

pub use bindings::{BindingRecord, Bindings};
pub use instances::Instances;
pub use leases::{Lease, Leases};
pub use node_index::NodeIndex;
pub use record::{
    Credentials, FORMAT, InstanceRecord, NodeRecord, OperationKind, OperationRecord, OperationState,
    OwedRemoval, PassedOver, PortRecord,
};
pub use written::Stored;
