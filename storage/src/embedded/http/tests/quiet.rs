//! What anybody can ask for again and again does not fill the journal, which may lie on the very disk that is full.

use std::cell::Cell;
use std::sync::Arc;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::super::api::Api;
use super::super::auth::{Access, Accounts};
use super::super::error::ApiError;
use crate::embedded::Options;
use crate::{Embedded, Key, StoreError};

struct Counting;

thread_local! {
    static LOUD: Cell<usize> = const { Cell::new(0) };
}

impl Log for Counting {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= Level::Info {
            LOUD.set(LOUD.get() + 1);
        }
    }

    fn flush(&self) {}
}

#[test]
fn refusals_of_a_full_disk_are_not_told_one_by_one() {
    log::set_logger(&Counting).unwrap();
    log::set_max_level(LevelFilter::Debug);
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    store.shared.set_trouble(Some("no space".to_owned()));
    let api = Api::new(store, Accounts::new(&Access::NoAuth, Vec::new()), Vec::new());
    assert_eq!(api.for_everybody("GET", "/health").unwrap().status, 503);
    let check = |error: StoreError, loud| {
        ApiError::store(&error, 1);
        assert_eq!(LOUD.take(), loud, "{error}");
    };
    check(StoreError::Unavailable { engine: "embedded", reason: "no space".to_owned() }, 0);
    check(StoreError::OutcomeUnknown { key: Key::root() }, 0);
    // No retry mends this.
    check(StoreError::Corrupt { reason: "a record".to_owned() }, 1);
}
