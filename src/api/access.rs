//! One line of the access log. It names allow-listed things only: no query, no header but those named here, no body.

use std::time::Duration;

use log::{Level, info, log_enabled};

use super::caller::Caller;
use super::message::Head;
use super::originating::Originating;
use super::routes;
use crate::metrics::{Metrics, NO_ROUTE, known_method};

/// How much of what a sender chose freely goes into the log.
const LONGEST_PATH: usize = 512;
const TARGET: &str = "access";

/// What is said of a request that was answered. A formatter for machines finds the same as keys and values under the
/// target `access`.
pub struct Access<'a> {
    head: &'a Head,
    caller: &'a Caller,
    method: &'static str,
    /// The pattern that the path fits, so that requests can be counted by what they are.
    route: Option<&'static str>,
    status: u16,
    elapsed: Duration,
}

impl<'a> Access<'a> {
    /// What there is to say.
    #[must_use]
    pub fn new(head: &'a Head, caller: &'a Caller, status: u16, elapsed: Duration) -> Self {
        // After a body of another length than was said, the rest of it stands where a method should.
        let method = known_method(&head.method);
        Self { head, caller, method, route: routes::pattern(head.path()), status, elapsed }
    }

    /// Says it. `outcome` is empty where the answer was sent.
    pub fn log(&self, outcome: &str) {
        // Nothing is put together that nobody reads.
        if !log_enabled!(target: TARGET, Level::Info) {
            return;
        }
        let Self { head, caller, method, route, status, elapsed } = self;
        let path: String = head.path().chars().take(LONGEST_PATH).flat_map(char::escape_debug).collect();
        let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let user = caller.user.as_deref().unwrap_or("-");
        let route = route.unwrap_or_default();
        let request_id = &*caller.request_id;
        let traces = caller.traces.join(",");
        let address = head.peer.ip().to_canonical();
        let originating = head.header("x-broker-api-originating-identity");
        let originating =
            originating.map_or_else(|| "-".to_owned(), |raw| Originating::read(raw).to_string());
        info!(
            target: TARGET,
            request_id, traces, method, path, route, status, duration_ms, user, originating,
            address:% = address;
            "{method} {path} {status} {duration_ms} ms{outcome}"
        );
    }

    /// Counts it.
    pub fn count(&self, metrics: &Metrics) {
        metrics.request(self.route.unwrap_or(NO_ROUTE), self.method, self.status, self.elapsed);
    }
}
