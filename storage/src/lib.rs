//! The key-value store that the broker shares with Patroni, the registrar and the router: one trait, several
//! engines. It knows no domain type: keys are paths, values are bytes.
//!
//! - [`Key`], [`Entry`], [`Listing`], [`Changes`]: what goes in and comes out.
//! - [`Store`]: the contract every engine keeps, proven by one suite in `tests/contract.rs`.
//! - [`Clock`]: where time comes from, so that tests may bring their own.

mod clock;
mod key;
mod store;

pub use clock::{Clock, Deadline, SystemClock};
pub use key::{InvalidKey, Key};
pub use store::{Changed, Changes, Entry, Expect, Listing, Revision, Store, StoreError, Ttl};
