//! A store at whose writes workers are held up, or fail: any moment of an operation can be stopped at.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use storage::embedded::{Embedded, Options};
use storage::{Changes, Deadline, Entry, Expect, Key, Listing, Revision, Store, StoreError, Ttl};

use crate::cluster::CELLS;
use crate::lab::Lab;

/// A store at one of whose writes somebody is held up.
pub struct Gate {
    store: Embedded,
    state: Mutex<Held>,
    changed: Condvar,
    pub before: AtomicI64,
    /// Whether that write and all that follow fail instead.
    fails: AtomicBool,
}

#[derive(Default)]
struct Held {
    /// The threads that are held up are called so.
    thread: String,
    /// At a write of this key, or of any.
    key: Option<Key>,
    /// Where somebody is.
    at: Option<String>,
    open: bool,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            store: Embedded::in_memory(Options::default()).unwrap(),
            state: Mutex::default(),
            changed: Condvar::new(),
            before: AtomicI64::new(i64::MAX),
            fails: AtomicBool::new(false),
        })
    }

    /// Holds up the first of these threads at its write after this many.
    pub fn close(&self, thread: &str, key: Option<Key>, before: i64) {
        *self.state.lock().unwrap() = Held { thread: thread.to_owned(), key, at: None, open: false };
        self.before.store(before, Ordering::SeqCst);
    }

    /// Lets each of these threads' writes fail, from the one after this many on.
    pub fn fail_from(&self, thread: &str, before: i64) {
        self.close(thread, None, before);
        self.fails.store(true, Ordering::SeqCst);
    }

    /// Where somebody is held up, or failed.
    pub fn at(&self) -> Option<String> {
        self.state.lock().unwrap().at.clone()
    }

    pub fn open(&self) {
        self.before.store(i64::MAX, Ordering::SeqCst);
        self.fails.store(false, Ordering::SeqCst);
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    fn pass(&self, key: &Key) -> Result<(), StoreError> {
        let thread = thread::current();
        let mut state = self.state.lock().unwrap();
        let is_it = thread.name().is_some_and(|name| name.starts_with(&state.thread))
            && state.key.as_ref().is_none_or(|at| at == key)
            && !key.as_str().contains("/leases/");
        if !is_it {
            return Ok(());
        }
        let left = self.before.fetch_sub(1, Ordering::SeqCst);
        let fails = self.fails.load(Ordering::SeqCst);
        if left > 0 || left < 0 && !fails {
            return Ok(());
        }
        state.at = Some(key.to_string());
        if fails {
            return Err(StoreError::Unavailable { engine: "gate", reason: "it is closed".to_owned() });
        }
        while !state.open {
            state = self.changed.wait(state).unwrap();
        }
        Ok(())
    }
}

impl Store for Gate {
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        // Who is parked is to be told, and not to find it out.
        if thread::current().name() == Some("parking") {
            return Err(StoreError::Unavailable { engine: "gate", reason: "nobody looks".to_owned() });
        }
        self.store.get(key)
    }

    fn list(&self, prefix: &Key) -> Result<Listing, StoreError> {
        self.store.list(prefix)
    }

    fn put(&self, key: &Key, value: &[u8], ttl: Option<Ttl>, expect: Expect) -> Result<Revision, StoreError> {
        self.pass(key)?;
        self.store.put(key, value, ttl, expect)
    }

    fn refresh(&self, key: &Key, ttl: Ttl, held: Revision) -> Result<Revision, StoreError> {
        self.store.refresh(key, ttl, held)
    }

    fn delete(&self, key: &Key, expect: Expect) -> Result<(), StoreError> {
        self.pass(key)?;
        self.store.delete(key, expect)
    }

    fn watch(&self, prefix: &Key, after: Revision, deadline: Deadline) -> Result<Changes, StoreError> {
        self.store.watch(prefix, after, deadline)
    }
}

/// A lab that sweeps often, so that a second look takes no time.
pub fn swift(store: Arc<dyn Store>) -> Lab {
    let mut lab = Lab::on(store, CELLS);
    (lab.pace.sweep_every, lab.pace.scan_every) = (Duration::from_millis(40), Duration::from_millis(20));
    lab.start();
    lab
}
