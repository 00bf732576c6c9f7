//! Ports: which public port leads to an instance, which cell ports its containers publish. Owns the claims that make
//! ports unique, and the allocations that routers read. Knows nothing of HAProxy.

mod allocation;
mod claims;
mod report;

pub use allocation::{Allocations, Route, RoutersBehind};
pub use claims::{Claim, PortError, PortPool};
pub use report::RouterReport;
