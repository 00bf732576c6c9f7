//! How much is kept of what platforms send.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::BrokerError;

/// The most that one instance's, or one binding's, parameters, context and the like may take together. While an update
/// is under way a record holds them twice, beside its journal, and every store takes it all the same
/// ([`storage::MAX_VALUE_BYTES`]): what was accepted once must also be able to go.
const MOST_BYTES: usize = 64 << 10;

/// Refuses what is too much to keep.
///
/// # Errors
/// [`BrokerError::InvalidParameters`].
pub(super) fn check(objects: &[&Map<String, Value>], texts: &[&str]) -> Result<(), BrokerError> {
    let mut counted = Counted(texts.iter().map(|text| text.len()).sum());
    let fits = objects.iter().all(|object| serde_json::to_writer(&mut counted, object).is_ok());
    if fits && counted.0 <= MOST_BYTES {
        return Ok(());
    }
    let most = MOST_BYTES >> 10;
    let reason = format!("parameters, context and bind_resource may have {most} KiB together, as JSON");
    Err(BrokerError::InvalidParameters { reason })
}

/// Counts what is written, up to the most.
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > MOST_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::{MOST_BYTES, check};

    #[test]
    fn everything_counts_as_it_is_written() {
        let object = |bytes: usize| -> Map<String, Value> {
            // {"a":"…"} has eight more.
            Map::from_iter([("a".to_owned(), Value::from("x".repeat(bytes - 8)))])
        };
        let fits = |objects: &[&Map<String, Value>], texts: &[&str]| check(objects, texts).is_ok();
        assert!(fits(&[], &[]));
        assert!(fits(&[&object(MOST_BYTES)], &[]));
        assert!(!fits(&[&object(MOST_BYTES + 1)], &[]));
        assert!(!fits(&[&object(MOST_BYTES)], &["x"]));
        assert!(fits(&[&object(MOST_BYTES / 2), &object(MOST_BYTES / 2)], &[]));
        assert!(!fits(&[&object(MOST_BYTES / 2), &object(MOST_BYTES / 2 + 1)], &[]));
        assert!(!fits(
            &[&Map::from_iter([("a".to_owned(), Value::from("\u{1}".repeat(MOST_BYTES / 2)))])],
            &[]
        ));
    }
}
