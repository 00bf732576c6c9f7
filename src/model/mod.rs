//! Plain data that every layer speaks: ids, secrets, the catalog, cells, users. No I/O, no store, no HTTP.

mod build;
mod catalog;
mod cell;
mod id;
mod mint;
mod schema;
mod secret;
mod store_user;
mod user;

pub use build::Build;
pub use catalog::{Catalog, DriverKind, MaintenanceInfo, PatroniPlan, Plan, PlanSettings, Schemas, Service};
pub use cell::{CellSite, DockerAddress, InvalidPortRange, PortRange, TlsFiles};
pub use id::{
    BindingId, CellGuid, ContainerName, InstanceId, InvalidId, NodeId, OperationId, PlanId, ServiceId,
};
pub use mint::Mint;
pub use schema::{InvalidSchema, ParameterSchema};
pub use secret::Secret;
pub use store_user::{StoreRole, StoreUser};
pub use user::{Password, Role, User};
