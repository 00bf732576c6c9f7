//! The bounds of a door.

use std::thread;
use std::time::Duration;

/// How much of everything is allowed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Threads that serve sockets. Defaults to the number of cores, at most 2.
    pub event_threads: usize,
    /// Threads that work on requests. Defaults to 8.
    pub workers: usize,
    /// Requests that may wait for a worker; one more is answered with `503`. Those that are to be judged have half of
    /// it. Defaults to 1024.
    pub queue: usize,
    /// Connections open at the same time. Where there is one more, the one that has kept the door waiting longest is
    /// closed; where the door keeps them all waiting, nobody is let in. Defaults to 4096.
    pub max_connections: usize,
    /// The longest head of a request. Defaults to 16 KiB.
    pub max_head_bytes: usize,
    /// The memory of all requests together that are arriving or wait for a worker. Beyond it, the one that has been
    /// arriving for longest is given up with `503`. Defaults to 64 MiB.
    pub max_request_memory: usize,
    /// What a stream may hold back for a reader that is slow; one push is taken whatever its size where nothing is held
    /// back. Defaults to 1 MiB.
    pub max_stream_bytes: usize,
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
    /// How long the rest of a refused request is read and thrown away, so that its sender sees the answer and not a
    /// reset. Defaults to 5 s.
    pub linger_timeout: Duration,
    /// How much of it is. Defaults to 8 MiB.
    pub linger_bytes: usize,
    /// How long accepting rests after the system has refused a descriptor. Defaults to 100 ms.
    pub accept_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_threads: thread::available_parallelism().map_or(1, |cores| cores.get().min(2)),
            workers: 8,
            queue: 1024,
            max_connections: 4096,
            max_head_bytes: 16 << 10,
            max_request_memory: 64 << 20,
            max_stream_bytes: 1 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            linger_timeout: Duration::from_secs(5),
            linger_bytes: 8 << 20,
            accept_pause: Duration::from_millis(100),
        }
    }
}
