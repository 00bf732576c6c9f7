//! `kv watch`: what changes, as it changes. It promises what the store does: the last state of every key is told, not
//! every state on the way.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use argh::FromArgs;
use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use log::{info, warn};
use serde_json::json;
use storage::{Changed, Deadline, Key, Listing, Revision, Store, StoreError};

use super::changes::{Change, Seen};
use super::{connected, failed, prefix};
use crate::cli::Failure;
use crate::cli::output::{Output, print_bytes};
use crate::cli::signals::StopSignals;

/// How long one wait for changes lasts.
const WAIT: Duration = Duration::from_secs(10);
/// The pause after which a store that did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });
/// Changes that were seen and not yet printed.
const QUEUE: usize = 64;

/// Print each key under a prefix that is put or goes, until SIGTERM or SIGINT. An outage of the store is said and
/// waited for; what changed meanwhile is told after it.
#[derive(FromArgs)]
#[argh(subcommand, name = "watch")]
pub(super) struct Arguments {
    /// what the keys stand under
    #[argh(positional)]
    prefix: String,
    /// end after so many seconds
    #[argh(option, long = "for", arg_name = "seconds")]
    duration: Option<u32>,
    /// table or json, which is one object a line; defaults to table
    #[argh(option, default = "Output::Table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let prefix = prefix(&arguments.prefix)?;
    let end = match arguments.duration {
        Some(seconds) => after(Duration::from_secs(u64::from(seconds))),
        None => never(),
    };
    let signals = StopSignals::register()?;
    let (store, _) = connected(config)?;
    let begin = store.list(&prefix).map_err(|error| failed(&error))?;
    info!("watching {prefix} from revision {}", begin.revision.0);
    // Neither thread is joined: both may be in a wait that nothing ends, they hold nothing, and the process is over.
    let stopped = signal(signals)?;
    let (told, changes) = bounded(QUEUE);
    thread::Builder::new().name("watch".to_owned()).spawn(move || follow(&store, &prefix, begin, &told))?;
    print_until(&changes, &stopped, &end, arguments.output)
}

fn print_until<T>(
    changes: &Receiver<Result<Change, StoreError>>,
    stopped: &Receiver<()>,
    end: &Receiver<T>,
    output: Output,
) -> Result<(), Failure> {
    loop {
        select! {
            recv(changes) -> change => match change {
                Ok(Ok(change)) => {
                    if !print_bytes(line(&change, output).as_bytes())? {
                        return Ok(());
                    }
                }
                Ok(Err(error)) => return Err(failed(&error)),
                Err(_) => return Err(Failure::Failed("the watch ended by itself".to_owned())),
            },
            recv(stopped) -> _ => return Ok(()),
            recv(end) -> _ => return Ok(()),
        }
    }
}

fn line(change: &Change, output: Output) -> String {
    let state = if change.put.is_some() { "put" } else { "gone" };
    match output {
        Output::Table => format!("{state:<4}  {}\n", change.key),
        Output::Json => {
            let revision = change.put.map(|revision| revision.0);
            format!("{}\n", json!({"key": change.key.as_str(), "state": state, "revision": revision}))
        }
    }
}

fn signal(mut signals: StopSignals) -> std::io::Result<Receiver<()>> {
    let (stop, stopped) = bounded(1);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        signals.wait();
        // Nobody listens any more when the process ends anyway.
        let _ = stop.send(());
    })?;
    Ok(stopped)
}

/// Whoever was to be told has gone.
struct NobodyListens;

/// Follows the store through its outages, until nobody listens or it says that it never will answer.
fn follow(store: &Arc<dyn Store>, prefix: &Key, begin: Listing, told: &Sender<Result<Change, StoreError>>) {
    let mut seen = Seen::of(begin.entries);
    let mut revision = begin.revision;
    let mut outage = false;
    loop {
        match look(store.as_ref(), prefix, revision, &mut seen, told) {
            Err(NobodyListens) => return,
            Ok(Ok(next)) => {
                if outage {
                    info!("the store answers again");
                }
                (revision, outage) = (next, false);
            }
            Ok(Err(error @ StoreError::Corrupt { .. })) => {
                let _ = told.send(Err(error));
                return;
            }
            Ok(Err(error)) => {
                if !outage {
                    warn!("{error}; waiting for it");
                }
                outage = true;
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Waits once, and tells what changed. Failing in the middle is no loss: the next wait begins where this one did, and
/// what was told is not told again.
fn look(
    store: &dyn Store,
    prefix: &Key,
    from: Revision,
    seen: &mut Seen,
    told: &Sender<Result<Change, StoreError>>,
) -> Result<Result<Revision, StoreError>, NobodyListens> {
    let tell = |changes: Vec<Change>| {
        changes.into_iter().try_for_each(|change| told.send(Ok(change)).map_err(|_| NobodyListens))
    };
    let changes = match store.watch(prefix, from, Deadline::after(WAIT)) {
        Ok(changes) => changes,
        Err(error) => return Ok(Err(error)),
    };
    let Changed::Keys(keys) = changes.what else {
        info!("the store no longer knows what changed; reading everything");
        return Ok(match store.list(prefix) {
            Ok(listing) => {
                tell(seen.look(prefix, listing.entries))?;
                Ok(listing.revision)
            }
            Err(error) => Err(error),
        });
    };
    for key in keys {
        // A tree that was removed as a whole shows as its own key.
        if seen.any_under(&key) || !key.is_under(prefix) {
            let top = if key.is_under(prefix) { &key } else { prefix };
            match store.list(top) {
                Ok(listing) => tell(seen.look(top, listing.entries))?,
                Err(error) => return Ok(Err(error)),
            }
        }
        if key.is_under(prefix) {
            match store.get(&key) {
                Ok(entry) => tell(seen.look_at(&key, entry).into_iter().collect())?,
                Err(error) => return Ok(Err(error)),
            }
        }
    }
    Ok(Ok(changes.revision))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::bounded;
    use storage::{Expect, Key, Store};

    use super::follow;
    use crate::cli::kv::shaky::{Shaky, Trouble};

    /// What the store has forgotten, and what its outage hid, is told all the same, once.
    #[test]
    fn nothing_is_missed() {
        let check = |troubles: &[Trouble]| {
            let shaky = Arc::new(Shaky::holding("/w/gone=1 /w/kept=1 /w/new=1", &[]));
            let store = Arc::clone(&shaky) as Arc<dyn Store>;
            let key = |raw: &str| Key::parse(raw).unwrap();
            let begin = store.list(&key("/w")).unwrap();
            store.delete(&key("/w/gone"), Expect::Anything).unwrap();
            store.put(&key("/w/new"), b"2", None, Expect::Anything).unwrap();
            shaky.then(troubles);
            let (told, changes) = bounded(9);
            let watch = thread::spawn(move || follow(&store, &key("/w"), begin, &told));
            let mut seen: Vec<String> = Vec::new();
            while seen.len() < 2 {
                let change = changes.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
                seen.push(format!("{} {}", change.key, change.put.is_some()));
            }
            seen.sort();
            assert_eq!(seen, ["/w/gone false", "/w/new true"], "{troubles:?}");
            assert!(changes.recv_timeout(Duration::from_millis(300)).is_err(), "{troubles:?}");
            // Nobody listens any more: the next change ends it.
            drop(changes);
            shaky.put(&key("/w/end"), b"", None, Expect::Anything).unwrap();
            watch.join().unwrap();
        };
        check(&[]);
        check(&[Trouble::Outage]);
        check(&[Trouble::Forgotten]);
        check(&[Trouble::Forgotten, Trouble::Outage, Trouble::Forgotten]);
        check(&[Trouble::None, Trouble::Outage]);
        check(&[Trouble::None, Trouble::None, Trouble::Outage]);
    }
}
