//! Typed records over the store: what is written where, and how a record changes without losing anybody's change.
//! Knows nothing of Docker, HTTP or what a record means.

mod bindings;
mod cordons;
mod instances;
pub mod keys;
mod leases;
mod node_index;
mod operation;
mod orphans;
mod record;
pub mod store_roles;
mod written;

pub use bindings::{BindingKind, BindingOperation, BindingRecord, BindingState, Bindings};
pub use cordons::{CordonRecord, Cordons, DrainRecord};
pub use instances::{Instances, Survey};
pub use leases::{Lease, Leases};
pub use node_index::NodeIndex;
pub use operation::{
    Answering, EndedOperation, OperationKind, OperationRecord, OperationState, PassedOver, UpdateRecord,
};
pub use orphans::{OrphanRecord, Orphans};
pub use record::{Credentials, FORMAT, InstanceRecord, NodeRecord, OwedRemoval, PortRecord, REMEMBERED};
pub use written::Stored;
