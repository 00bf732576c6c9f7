//! Who asks, and by which ids the request is known to others: what the log says and the answer repeats (OSB 2.17,
//! "Request Identity").

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use super::message::{Head, Response};

/// The header by which a platform names a request.
const REQUEST_IDENTITY: &str = "X-Broker-API-Request-Identity";
/// Headers by which requests are traced, the platform's own first.
const TRACES: [&str; 4] = [REQUEST_IDENTITY, "X-Request-ID", "X-Vcap-Request-Id", "X-Correlation-ID"];
/// Longer ids are nobody's.
const LONGEST_ID: usize = 256;

/// Who asks.
#[derive(Clone)]
pub struct Caller {
    /// His name, once he has shown that it is his.
    pub(super) user: Option<Arc<str>>,
    /// What this request is called in the log and in its answer: the sender's first id, or one of ours.
    pub(super) request_id: Arc<str>,
    /// Further ids that it came with.
    pub(super) traces: Vec<String>,
    /// The platform's id, which goes back as it came.
    identity: Option<String>,
}

impl Caller {
    /// What a request says of itself; its user is not known yet. An id that is no line of visible characters, or too
    /// long, is as good as none: it goes into headers and logs.
    #[must_use]
    pub fn of(head: &Head) -> Self {
        let sound = |id: &&str| {
            !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let mut ids: Vec<String> = Vec::new();
        for id in TRACES.iter().filter_map(|name| head.header(name)).filter(sound) {
            if !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        if ids.is_empty() {
            ids.push(mint());
        }
        let identity = head.header(REQUEST_IDENTITY).filter(sound).map(str::to_owned);
        Self { user: None, request_id: ids.remove(0).into(), traces: ids, identity }
    }

    /// The answer with the request's ids.
    #[must_use]
    pub fn mark(&self, response: Response) -> Response {
        let response = response.with("X-Request-ID", &*self.request_id);
        match &self.identity {
            Some(identity) => response.with(REQUEST_IDENTITY, identity.clone()),
            None => response,
        }
    }
}

/// An id that no other request has: this process' own number and a count, which asks the system for nothing.
fn mint() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(rand::random);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}-{:016x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed))
}
