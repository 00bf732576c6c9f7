//! patroni-broker: highly available PostgreSQL as a service on a handful of Docker hosts.
//!
//! The map, from the top; an arrow may only point down (`tests/tidy.rs` holds the table):
//!
//! - [`cli`]: arguments → [`config`] → wiring → exit code.
//! - [`api`]: HTTP; turns requests into broker calls and results into responses.
//! - [`broker`]: what each request means, the operation worker, the one domain error type.
//! - [`services`]: the driver trait, and one folder or file per driver.
//! - [`router`], [`registrar`]: the two daemons.
//! - [`state`], [`patroni`], [`routing`], [`cells`]: records over the store, members, ports, Docker.
//! - [`scheduler`]: placement, plan, step: pure.
//! - [`metrics`]: what is counted, for whoever counts.
//! - [`model`]: ids, secrets, catalog: plain data.
//! - `storage` (its own crate): the store and its engines.

pub mod api;
pub mod broker;
pub mod cells;
pub mod cli;
pub mod config;
pub mod metrics;
pub mod model;
pub mod patroni;
pub mod registrar;
pub mod router;
pub mod routing;
pub mod scheduler;
pub mod services;
pub mod state;
