//! A door over real sockets, and senders who behave badly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod bounds;
mod crowds;
mod framing;
mod replies;
mod stage;
mod stopping;
mod streams;
mod tls;
