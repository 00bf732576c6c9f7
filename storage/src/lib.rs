//! The key-value store that the broker shares with Patroni, the registrar and the router: one trait, several
//! engines. It knows no domain type: keys are paths, values are bytes.
//!
//! - [`Key`], [`Entry`], [`Listing`], [`Changes`]: what goes in and comes out.
//! - [`Store`]: the contract every engine keeps, proven by one suite in `tests/contract/`.
//! - [`Embedded`], with [`embedded::http`] as its door for other processes, [`EtcdV2`], [`EtcdV3`] and [`Consul`]: the
//!   engines.
//! - [`remote`]: what the engines over a network share: endpoints, TLS, deadlines, failover.
//! - [`ClientAccess`]: what another program needs in order to use the same store; [`AccessControl`] gives it
//!   credentials of its own.
//! - [`Clock`]: where time comes from, so that tests may bring their own.

mod access;
mod access_control;
mod clock;
pub mod consul;
pub mod embedded;
pub mod etcd_v2;
pub mod etcd_v3;
mod key;
pub mod remote;
mod store;

pub use access::ClientAccess;
pub use access_control::{AccessControl, Guest, Rights};
pub use clock::{Clock, Deadline, SystemClock};
pub use consul::Consul;
pub use embedded::Embedded;
pub use etcd_v2::EtcdV2;
pub use etcd_v3::EtcdV3;
pub use key::{InvalidKey, Key};
pub use store::{
    Changed, Changes, Entry, Expect, Listing, MAX_VALUE_BYTES, Revision, Store, StoreError, Ttl,
};
