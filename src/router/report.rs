//! Says in the store which revision this router has applied. A thread of its own, so that a store that does not
//! answer holds up nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{info, warn};
use storage::{Expect, Key, Store, Ttl};

use crate::routing::RouterReport;

/// How long a report lasts: a router that is silent for so long is not waited for any more.
const TTL: Ttl = Ttl::seconds(15);
/// How often a report is written anew though nothing changed.
const RENEW: Duration = Duration::from_secs(5);
/// How far apart reports are that bring only a newer revision: a provision that has all its members waits for one.
const PACE: Duration = Duration::from_millis(100);
/// How far apart attempts are after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// A revision that is applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Which, and whose ports lead nowhere all the same.
    pub report: RouterReport,
    /// Whether somebody may be waiting for it: routes changed with it.
    pub urgent: bool,
}

/// Writes reports at `key` until the sender of `applied` is gone. The last report stays until its TTL ends: HAProxy
/// runs on, and a router that starts again soon is waited for.
pub fn report(store: &Arc<dyn Store>, key: &Key, applied: &Receiver<Applied>) {
    let mut latest: Option<RouterReport> = None;
    let mut written: Option<(RouterReport, Instant)> = None;
    let mut not_before = Instant::now();
    let mut troubled = false;
    loop {
        let due = due(latest.as_ref(), written.as_ref(), not_before);
        match applied.recv_deadline(due) {
            Ok(news) => {
                // They come in order, and a store that was restored counts from less.
                latest = Some(news.report);
                if news.urgent && !troubled {
                    not_before = Instant::now();
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(report) = latest.clone() else { continue };
        let now = Instant::now();
        not_before = now + PACE;
        // Only this router writes its report, so that whatever is there is an older one.
        match store.put(key, report.to_string().as_bytes(), Some(TTL), Expect::Anything) {
            Ok(_) => {
                if troubled {
                    info!("the router reports to the store again");
                }
                troubled = false;
                written = Some((report, now));
            }
            Err(error) => {
                if !troubled {
                    warn!("the router cannot report which routes it has: {error}");
                }
                troubled = true;
                written = None;
                not_before = now + AGAIN;
            }
        }
    }
}

fn due(
    latest: Option<&RouterReport>,
    written: Option<&(RouterReport, Instant)>,
    not_before: Instant,
) -> Instant {
    match (latest, written) {
        (None, _) => Instant::now() + RENEW,
        (Some(latest), Some((written, at))) if latest == written => *at + RENEW,
        _ => not_before,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    use crossbeam_channel::bounded;
    use storage::embedded::{Embedded, Options};
    use storage::{Key, Revision, Store};

    use super::{Applied, report};
    use crate::model::InstanceId;
    use crate::routing::RouterReport;

    /// A store that was restored from a backup counts from less. The router went on reporting the revision that it had
    /// seen before, with the instances that it had left out then, and orders were told of routes that were not there.
    #[test]
    fn a_store_that_counts_from_less_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(directory.path(), Options::default()).unwrap());
        let key = Key::parse("/broker/routers/h").unwrap();
        let (sender, applied) = bounded(8);
        thread::scope(|scope| {
            scope.spawn(|| report(&store, &key, &applied));
            let sender = sender;
            for (revision, unrouted, expected) in [(900, "", "900"), (3, "b1", "3 b1"), (4, "", "4")] {
                let unrouted = unrouted.split_whitespace().map(|id| InstanceId::parse(id).unwrap()).collect();
                let report = RouterReport { revision: Revision(revision), unrouted };
                sender.send(Applied { report, urgent: true }).unwrap();
                let latest = Instant::now() + Duration::from_secs(5);
                while store.get(&key).unwrap().is_none_or(|entry| entry.value != expected.as_bytes()) {
                    assert!(Instant::now() < latest, "{expected} is not reported");
                    thread::sleep(Duration::from_millis(10));
                }
            }
        });
    }
}
