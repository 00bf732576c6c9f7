//! A store that measures another one.

use std::sync::Arc;
use std::time::Instant;

use storage::{Changes, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};

use super::Metrics;

/// What a watch is called among the operations.
pub(super) const WATCH: &str = "watch";

/// Hands every call on as it is, and counts how long it took and how it failed.
pub struct Metered {
    store: Arc<dyn Store>,
    engine: &'static str,
    metrics: Arc<Metrics>,
}

impl Metered {
    /// Measures `store`, which is called `engine` in the labels.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, engine: &'static str, metrics: Arc<Metrics>) -> Self {
        Self { store, engine, metrics }
    }

    fn measure<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let answer = call(&*self.store);
        self.metrics.store_called(self.engine, operation, begun.elapsed(), answer.as_ref().err());
        answer
    }
}

impl Store for Metered {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.measure("get", |store| store.get(key))
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.measure("list", |store| store.list(prefix))
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        self.measure("put", |store| store.put(key, value, ttl, expect))
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.measure("refresh", |store| store.refresh(key, ttl, held))
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.measure("delete", |store| store.delete(key, expect))
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.measure(WATCH, |store| store.watch(prefix, after, deadline))
    }

    fn reads_are_local(&self) -> bool {
        self.store.reads_are_local()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use storage::embedded::{Embedded, Options};
    use storage::{Changed, Deadline, Expect, Key, Revision, Store, StoreError, Ttl};

    use super::{Metered, Metrics};

    fn key(raw: &str) -> Key {
        Key::parse(raw).unwrap()
    }

    fn metered(store: Arc<dyn Store>) -> (Metered, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        (Metered::new(store, "embedded", Arc::clone(&metrics)), metrics)
    }

    #[track_caller]
    fn check(metrics: &Metrics, line: &str) {
        let rendered = metrics.render();
        assert!(rendered.lines().any(|found| found == line), "no {line} in\n{rendered}");
    }

    #[test]
    fn every_call_is_handed_on_and_measured() {
        let inner = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let (store, metrics) = metered(Arc::clone(&inner) as Arc<dyn Store>);
        let a = key("/d/a");
        let first = store.put(&a, b"1", Some(Ttl::seconds(60)), Expect::Absent).unwrap();
        assert_eq!(store.put(&a, b"2", None, Expect::Absent), Err(StoreError::Conflict));
        assert_eq!(inner.get(&a).unwrap(), store.get(&a).unwrap());
        assert_eq!(store.get(&a).unwrap().unwrap().value, b"1");
        let held = store.refresh(&a, Ttl::seconds(60), first).unwrap();
        assert_eq!(store.refresh(&a, Ttl::seconds(60), Revision(held.0 + 9)), Err(StoreError::Conflict));
        assert_eq!(store.list(&key("/d")).unwrap(), inner.list(&key("/d")).unwrap());
        assert_eq!(store.list(&key("/d")).unwrap().entries.len(), 1);
        store.delete(&a, Expect::Unchanged(held)).unwrap();
        assert_eq!(inner.get(&a).unwrap(), None);
        assert_eq!(store.delete(&a, Expect::Unchanged(held)), Err(StoreError::Conflict));
        let changes = store.watch(&key("/d"), first, Deadline::after(Duration::from_secs(5))).unwrap();
        assert_eq!(changes.what, Changed::Keys(vec![a]));

        for (operation, calls) in [("put", 2), ("get", 2), ("refresh", 2), ("list", 2), ("delete", 2)] {
            let labels = format!("{{engine=\"embedded\",operation=\"{operation}\"}}");
            check(&metrics, &format!("patroni_broker_store_request_duration_seconds_count{labels} {calls}"));
        }
        check(&metrics, "patroni_broker_store_watch_duration_seconds_count{engine=\"embedded\"} 1");
        for operation in ["put", "refresh", "delete"] {
            let labels = format!("{{engine=\"embedded\",kind=\"conflict\",operation=\"{operation}\"}}");
            check(&metrics, &format!("patroni_broker_store_errors_total{labels} 1"));
        }
        check(&metrics, "patroni_broker_store_up 1");
    }

    /// Fails as it is told.
    struct Failing(Mutex<StoreError>);

    impl Store for Failing {
        fn get(&self, _: &Key) -> Result<Option<storage::Entry>, StoreError> {
            Err(self.0.lock().unwrap().clone())
        }
        fn list(&self, _: &Key) -> Result<storage::Listing, StoreError> {
            Err(self.0.lock().unwrap().clone())
        }
        fn put(&self, _: &Key, _: &[u8], _: Option<Ttl>, _: Expect) -> Result<Revision, StoreError> {
            Err(self.0.lock().unwrap().clone())
        }
        fn refresh(&self, _: &Key, _: Ttl, _: Revision) -> Result<Revision, StoreError> {
            Err(self.0.lock().unwrap().clone())
        }
        fn delete(&self, _: &Key, _: Expect) -> Result<(), StoreError> {
            Err(self.0.lock().unwrap().clone())
        }
        fn watch(&self, _: &Key, _: Revision, _: Deadline) -> Result<storage::Changes, StoreError> {
            Err(self.0.lock().unwrap().clone())
        }
    }

    #[test]
    fn failures_are_counted_by_kind_and_handed_on() {
        let failing = Arc::new(Failing(Mutex::new(StoreError::Conflict)));
        let (store, metrics) = metered(Arc::clone(&failing) as Arc<dyn Store>);
        let kinds = [
            (StoreError::Unavailable { engine: "x", reason: "away".to_owned() }, "unavailable", 0),
            (StoreError::Conflict, "conflict", 1),
            (StoreError::OutcomeUnknown { key: key("/a") }, "outcome_unknown", 0),
            (StoreError::Corrupt { reason: "odd".to_owned() }, "corrupt", 1),
        ];
        let (a, soon) = (key("/a"), Deadline::after(Duration::ZERO));
        for (error, kind, up) in kinds {
            failing.0.lock().unwrap().clone_from(&error);
            let failures = [
                ("get", store.get(&a).unwrap_err()),
                ("list", store.list(&a).unwrap_err()),
                ("put", store.put(&a, b"", None, Expect::Anything).unwrap_err()),
                ("refresh", store.refresh(&a, Ttl::seconds(1), Revision(0)).unwrap_err()),
                ("delete", store.delete(&a, Expect::Anything).unwrap_err()),
                ("watch", store.watch(&a, Revision(0), soon).unwrap_err()),
            ];
            for (operation, failure) in failures {
                assert_eq!(failure, error, "{operation}");
                let labels = format!("{{engine=\"embedded\",kind=\"{kind}\",operation=\"{operation}\"}}");
                check(&metrics, &format!("patroni_broker_store_errors_total{labels} 1"));
            }
            check(&metrics, &format!("patroni_broker_store_up {up}"));
        }
    }
}
