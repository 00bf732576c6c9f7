//! The real program with the dream service on the embedded store: what only a whole process can show. Certificates and
//! users that change under it, the commands that ask it, deaths and farewells, crowds, and what it shows of itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod cells;
mod client;
mod commands;
mod crash;
mod crowds;
mod https;
mod script;
mod site;
mod stopping;
mod users;
mod watching;
