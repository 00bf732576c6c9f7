//! `[broker.http]` and `[storage.http]`: what an HTTP door bears of its callers.

use std::time::Duration;

use super::reader::Section;

/// The bounds of one HTTP door: how much of it its callers may use, and for how long they may make it wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Connections open at the same time. Defaults to 4096, and to 8192 for the store's API, where every member and
    /// router waits for changes.
    pub max_connections: usize,
    /// Threads that work on requests. Defaults to 16, and to 8 for the store's API.
    pub workers: usize,
    /// Requests that may wait for a worker. Defaults to 1024.
    pub queue: usize,
    /// The longest head of a request. Defaults to 16 KiB.
    pub max_head_bytes: usize,
    /// The longest body of a request. Defaults to 1 MiB.
    pub max_body_bytes: usize,
    /// The memory of all bodies together that are arriving or wait for a worker. Defaults to 64 MiB.
    pub max_body_memory: usize,
    /// For a whole head to arrive. Defaults to 10 s.
    pub head_timeout: Duration,
    /// For a whole body to arrive. Defaults to 30 s.
    pub body_timeout: Duration,
    /// For the next request on a connection to begin. Defaults to 75 s.
    pub idle_timeout: Duration,
    /// For a reader to take anything of what there is for it. Defaults to 30 s.
    pub write_timeout: Duration,
    /// For the whole handshake of TLS. Defaults to 10 s.
    pub handshake_timeout: Duration,
}

/// What the two doors do not have in common.
#[derive(Clone, Copy)]
pub(super) enum Door {
    /// The Open Service Broker API.
    Broker,
    /// The embedded store's API.
    Store,
}

pub(super) fn read(section: &Section<'_>, door: Door) -> HttpConfig {
    const KIB: usize = 1024;
    let (connections, workers) = match door {
        // They wait for the store more than they compute.
        Door::Broker => (4096, 16),
        Door::Store => (8192, 8),
    };
    let size =
        |name, default, range| usize::try_from(section.number_or(name, default, range)).unwrap_or(usize::MAX);
    let seconds = |name, default| Duration::from_secs(u64::from(section.number_or(name, default, 1..=3600)));
    let config = HttpConfig {
        max_connections: size("max_connections", connections, 1..=1_000_000),
        workers: size("workers", workers, 1..=256),
        queue: size("queue", 1024, 1..=1_000_000),
        max_head_bytes: size("max_head_kib", 16, 1..=1024) * KIB,
        max_body_bytes: size("max_body_kib", 1024, 1..=65_536) * KIB,
        max_body_memory: size("body_memory_mib", 64, 1..=65_536) * KIB * KIB,
        head_timeout: seconds("head_timeout_s", 10),
        body_timeout: seconds("body_timeout_s", 30),
        idle_timeout: seconds("idle_timeout_s", 75),
        write_timeout: seconds("write_timeout_s", 30),
        handshake_timeout: seconds("handshake_timeout_s", 10),
    };
    if config.max_body_memory < config.max_body_bytes {
        let message = format!(
            "must hold at least one body, which may have max_body_kib = {}",
            config.max_body_bytes / KIB
        );
        section.problem("body_memory_mib", message);
    }
    section.end();
    config
}
