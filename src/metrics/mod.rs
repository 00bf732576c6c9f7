//! What the broker counts of itself, rendered for Prometheus (text format 0.0.4). Owns every name and every set of
//! labels; knows nothing of who counts, nor why.
//!
//! - `mod`: the hooks, one line each for those who call them.
//! - `look`: what is true rather than what has happened: instances, cells, ports, as somebody last saw them.
//! - `process`: what the kernel says of this process.
//! - `store`: a store that measures another one.
//!
//! Nothing here blocks: rendering reads what was counted, and never asks a store or a cell.

mod look;
mod process;
mod store;

pub use look::{CellLook, InstanceLook, StoreLook};
pub use store::Metered;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use storage::StoreError;

use look::Looks;
use process::Process;

/// Bounds in seconds of what a person or a platform waits for.
const REQUESTS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0];
/// Bounds in seconds of operations: a dream is made at once, an image may be pulled for minutes.
const OPERATIONS: &[f64] = &[0.1, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0];
/// Bounds in seconds of one call to the store.
const STORE: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds in seconds of watches, which wait for something to happen.
const WATCHES: &[f64] = &[0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// The methods that are named.
const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"];

/// The route of a request that has none: an unknown path must not become a label of its own.
pub const NO_ROUTE: &str = "other";

/// The method, or `other` for whatever a sender has made up: it may even be the rest of a body whose length was wrong,
/// with a password in it.
#[must_use]
pub fn known_method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

/// Says at each scrape what only others know; it must not block. It would keep alive what it owns, and the other way
/// round, so that it holds a [`std::sync::Weak`] of whoever holds the metrics.
pub type Collect = Box<dyn Fn(&Metrics) + Send + Sync>;

/// Everything that is counted. Every method may be called from any thread.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    connections: IntGauge,
    queue: IntGauge,
    operations: IntCounterVec,
    operation_seconds: HistogramVec,
    store_seconds: HistogramVec,
    watch_seconds: HistogramVec,
    store_errors: IntCounterVec,
    store_up: IntGauge,
    looks: Looks,
    process: Process,
    collect: Mutex<Vec<Collect>>,
    scraped: Mutex<Option<Instant>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet. The process counts as started now.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let added = Added(&registry);
        let built = added.gauges("build_info", "Always 1; the version is its label.", &["version"]);
        built.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            requests: added.counters(
                "http_requests_total",
                "Requests that were answered.",
                &["route", "method", "status"],
            ),
            request_seconds: added.histograms(
                "http_request_duration_seconds",
                "From a request's head to the end of its answer; one that waits for its operation waits long.",
                &["route"],
                REQUESTS,
            ),
            connections: added.gauge("http_connections", "Connections that are open."),
            queue: added.gauge("http_queue", "Requests that were read and wait for a thread."),
            operations: added.counters(
                "operations_total",
                "Operations that ended here, by how they ended.",
                &["kind", "result"],
            ),
            operation_seconds: added.histograms(
                "operation_duration_seconds",
                "From an operation's acceptance to its end.",
                &["kind"],
                OPERATIONS,
            ),
            store_seconds: added.histograms(
                "store_request_duration_seconds",
                "Calls to the store, failed ones too; watches are apart.",
                &["engine", "operation"],
                STORE,
            ),
            watch_seconds: added.histograms(
                "store_watch_duration_seconds",
                "Watches of the store, which wait until something happens.",
                &["engine"],
                WATCHES,
            ),
            store_errors: added.counters(
                "store_errors_total",
                "Calls to the store that failed. A conflict is part of the day's work.",
                &["engine", "operation", "kind"],
            ),
            store_up: added.gauge("store_up", "Whether the last call to the store was answered."),
            looks: Looks::new(&added),
            process: Process::new(&added),
            collect: Mutex::default(),
            scraped: Mutex::default(),
            registry,
        }
    }

    /// A request was answered. `route` is a pattern of the table of routes, or [`NO_ROUTE`].
    pub fn request(&self, route: &'static str, method: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[route, known_method(method), &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// How the door stands: open connections, and requests that wait for a thread.
    pub fn door(&self, connections: usize, queue: usize) {
        self.connections.set(whole(connections));
        self.queue.set(whole(queue));
    }

    /// An operation ended, `succeeded` or `failed`.
    pub fn operation_ended(&self, kind: &str, result: &str, took: Duration) {
        self.operations.with_label_values(&[kind, result]).inc();
        self.operation_seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// The store was called.
    pub(crate) fn store_called(
        &self,
        engine: &str,
        operation: &str,
        took: Duration,
        error: Option<&StoreError>,
    ) {
        let took = took.as_secs_f64();
        if operation == store::WATCH {
            self.watch_seconds.with_label_values(&[engine]).observe(took);
        } else {
            self.store_seconds.with_label_values(&[engine, operation]).observe(took);
        }
        let kind = match error {
            None => None,
            Some(StoreError::Conflict) => Some("conflict"),
            Some(StoreError::Unavailable { .. }) => Some("unavailable"),
            Some(StoreError::OutcomeUnknown { .. }) => Some("outcome_unknown"),
            Some(StoreError::Corrupt { .. }) => Some("corrupt"),
        };
        if let Some(kind) = kind {
            self.store_errors.with_label_values(&[engine, operation, kind]).inc();
        }
        let answered = !matches!(kind, Some("unavailable" | "outcome_unknown"));
        self.store_up.set(i64::from(answered));
    }

    /// What a look at the store has found.
    pub fn store_seen(&self, look: &StoreLook) {
        self.looks.store_seen(look);
    }

    /// What a look at the cells has found.
    pub fn cells_seen(&self, look: &[CellLook]) {
        self.looks.cells_seen(look);
    }

    /// From now on `collect` is called at each scrape, before anything is rendered.
    pub fn on_scrape(&self, collect: Collect) {
        self.collect.lock().unwrap_or_else(PoisonError::into_inner).push(collect);
    }

    /// Whether somebody scraped within this time: for nobody else needs anything be looked at.
    #[must_use]
    pub fn scraped_within(&self, time: Duration) -> bool {
        let scraped = *self.scraped.lock().unwrap_or_else(PoisonError::into_inner);
        scraped.is_some_and(|scraped| scraped.elapsed() < time)
    }

    /// Everything, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        *self.scraped.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        for collect in self.collect.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            collect(self);
        }
        self.process.read();
        // Not while a look is half written down.
        let families = self.looks.still(|| self.registry.gather());
        TextEncoder::new().encode_to_string(&families).expect("what was gathered has names and types")
    }
}

/// Makes metrics that are registered at once. Names and labels are fixed words, so that nothing of it can fail.
struct Added<'a>(&'a Registry);

impl Added<'_> {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(ours(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(ours(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(ours(name, help)))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> HistogramVec {
        let options = HistogramOpts { common_opts: ours(name, help), buckets: bounds.to_vec() };
        self.add(HistogramVec::new(options, labels))
    }

    /// A gauge of fractions, by its whole name.
    fn fraction(&self, name: &str, help: &str) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), &[]))
    }

    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect("names and labels are fixed words");
        self.0.register(Box::new(made.clone())).expect("each name is given once");
        made
    }
}

fn ours(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("patroni_broker")
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Seconds since 1970.
fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
