//! The front door: HTTP/1.1 for many senders, some of them slow, broken or hostile, on a handful of threads. It owns
//! sockets, TLS, framing, deadlines and bounds, and knows nothing of what goes through it: a [`Handler`] says what a
//! request means.
//!
//! A few event threads serve all connections; what takes time runs on a few workers; what waits for something else
//! keeps its [`Reply`] and holds no thread at all.
//!
//! From bytes to answer, in files:
//!
//! - `head`, `scan`, `framing`: bytes to request. Pure; [`parse`] and [`Decoder`] are open to a fuzzer.
//! - `response`, `render`: answer to bytes. Pure.
//! - `handler`: what the owner of the door implements, and what the door refuses by itself.
//! - `transport`, `output`: one socket, with or without TLS, and what has not gone out on it yet.
//! - `connection`: the states of one connection; `turn`, `exchange` and `ending` move it from one to the next.
//! - `event_loop`: readiness, deadlines (`timers`), whom to give up; `accept`: who comes in.
//! - `mailbox`, `reply`, `workers`: what crosses threads.
//! - `limits`, `gauges`, `server`: the bounds, the counts, and starting and stopping it all.

mod accept;
mod budget;
mod connection;
mod ending;
mod event_loop;
mod exchange;
mod failures;
mod framing;
mod gauges;
mod handler;
mod head;
mod input;
mod limits;
mod mailbox;
mod output;
mod render;
mod reply;
mod response;
mod scan;
mod server;
mod timers;
mod transport;
mod turn;
mod workers;

pub use failures::{Charge, FailureLimits, Failures};
pub use framing::{Decoded, Decoder, Framing};
pub use gauges::Gauges;
pub use handler::{Call, Handler, Trouble, Verdict};
pub use head::{Head, Request, parse};
pub use limits::Limits;
pub use reply::{Reply, Stream};
pub use response::Response;
pub use rustls::ServerConfig as TlsConfig;
pub use server::Server;
