//! What the broker logs, for tests that look for what must, or must not, be there.

use std::sync::{Mutex, Once};
use std::thread;
use std::time::Duration;

use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static BEGIN: Once = Once::new();

struct Journal;

struct Fields(String);

impl<'a> VisitSource<'a> for Fields {
    fn visit_pair(&mut self, key: Key<'a>, value: Value<'a>) -> Result<(), Error> {
        self.0.push_str(&format!(" {key}={value};"));
        Ok(())
    }
}

impl Log for Journal {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut fields = Fields(String::new());
        record.key_values().visit(&mut fields).unwrap();
        LINES.lock().unwrap().push(format!("{}: {} |{}", record.target(), record.args(), fields.0));
    }

    fn flush(&self) {}
}

/// Writes everything down from now on.
pub fn begin() {
    BEGIN.call_once(|| {
        log::set_logger(&Journal).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

/// Every line so far, of all tests.
pub fn everything() -> Vec<String> {
    LINES.lock().unwrap().clone()
}

/// The one line that has this in it. It is written after the answer: it is waited for.
pub fn line(with: &str) -> String {
    for _ in 0..500 {
        let lines = LINES.lock().unwrap();
        if let Some(found) = lines.iter().find(|line| line.contains(with)) {
            return found.clone();
        }
        drop(lines);
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing with {with} was logged");
}
