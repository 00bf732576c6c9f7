//! Plain data that every layer speaks: ids, secrets, the catalog, cells. No I/O, no store, no HTTP.

mod catalog;
mod cell;
mod id;
mod mint;
mod secret;

pub use catalog::{Catalog, DriverKind, PatroniPlan, Plan, PlanSettings, Service};
pub use cell::{CellSite, DockerAddress, InvalidPortRange, PortRange, TlsFiles};
pub use id::{
    BindingId, CellGuid, ContainerName, InstanceId, InvalidId, NodeId, OperationId, PlanId, ServiceId,
};
pub use mint::Mint;
pub use secret::Secret;
