//! What is said over HTTP, over real sockets, to a stand-in for the broker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod bench;
mod catalog;
mod cells;
mod client;
mod desk;
mod door;
mod headers;
mod journal;
mod operators;
mod orders;
mod session;
mod users;
