//! What the broker does when things go well and when they do not, over stateful stand-ins.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod binding_operations;
mod bindings;
mod dream;
mod dreams;
mod fake_guests;
mod isolation;
mod journal;
mod lab;
mod leftovers;
mod lost_answers;
mod orders;
mod polls;
mod rotations;
mod routes;
mod schemas;
mod sizes;
mod store_secrets;
mod troubles;
mod updates;
mod views;
