//! `kv put`: one write.

use std::io::Read;
use std::path::PathBuf;
use std::thread;

use argh::FromArgs;
use storage::{Expect, Key, MAX_VALUE_BYTES, Revision, Store, StoreError, Ttl};

use super::{PAUSE, STDIN, TRIES, connected, entry_key, failed};
use crate::cli::Failure;
use crate::cli::output::print;

/// The longest TTL that every engine keeps: Consul's sessions live a day at most.
const LONGEST_TTL: u64 = 86_400;

/// Write a value and print its revision.
#[derive(FromArgs)]
#[argh(subcommand, name = "put")]
pub(super) struct Arguments {
    /// the key, such as /routing/nextport
    #[argh(positional)]
    key: String,
    /// the value, after -- where it begins with -; or - alone for what comes from stdin, since others on the machine can
    /// see what stands here
    #[argh(positional)]
    value: String,
    /// how many seconds it lives; for ever without
    #[argh(option, arg_name = "seconds")]
    ttl: Option<u64>,
    /// only where nothing is there
    #[argh(switch)]
    if_absent: bool,
    /// only where what is there is of this revision
    #[argh(option, arg_name = "revision")]
    if_revision: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let key = entry_key(&arguments.key)?;
    let ttl = arguments.ttl.map(ttl).transpose()?;
    let expect = match (arguments.if_absent, arguments.if_revision) {
        (false, None) => Expect::Anything,
        (true, None) => Expect::Absent,
        (false, Some(revision)) => Expect::Unchanged(Revision(revision)),
        (true, Some(_)) => {
            return Err(Failure::Usage("--if-absent and --if-revision exclude each other.".to_owned()));
        }
    };
    let value = value(&arguments.value)?;
    let (store, _) = connected(config)?;
    let revision = write(store.as_ref(), &key, &value, ttl, expect)?;
    print(&format!("{}\n", revision.0))
}

fn write(
    store: &dyn Store,
    key: &Key,
    value: &[u8],
    ttl: Option<Ttl>,
    expect: Expect,
) -> Result<Revision, Failure> {
    match store.put(key, value, ttl, expect) {
        Ok(revision) => Ok(revision),
        Err(StoreError::Conflict) => Err(conflict(store, key, expect)),
        Err(StoreError::OutcomeUnknown { .. }) => read_back(store, key, value),
        Err(error) => Err(failed(&error)),
    }
}

fn ttl(seconds: u64) -> Result<Ttl, Failure> {
    if seconds == 0 || seconds > LONGEST_TTL {
        return Err(Failure::Usage(format!("--ttl is from 1 to {LONGEST_TTL} seconds, not {seconds}.")));
    }
    Ok(Ttl::seconds(seconds))
}

fn value(given: &str) -> Result<Vec<u8>, Failure> {
    let mut value = given.as_bytes().to_vec();
    if given == STDIN {
        value.clear();
        // One byte more than there may be is enough to know.
        let limit = u64::try_from(MAX_VALUE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        std::io::stdin().lock().take(limit).read_to_end(&mut value)?;
    }
    if value.len() > MAX_VALUE_BYTES {
        let reason = format!("The value has more than the {MAX_VALUE_BYTES} bytes that every engine holds.");
        return Err(Failure::Usage(reason));
    }
    Ok(value)
}

fn conflict(store: &dyn Store, key: &Key, expect: Expect) -> Failure {
    let found = match store.get(key) {
        Ok(Some(entry)) => format!("it is there, of revision {}", entry.revision.0),
        Ok(None) => "there is none".to_owned(),
        Err(error) => error.to_string(),
    };
    let wanted = match expect {
        Expect::Absent => "to be absent".to_owned(),
        Expect::Unchanged(revision) => format!("to be of revision {}", revision.0),
        // Where entries stand below it, a tree has no place for it.
        Expect::Anything => "to be an entry".to_owned(),
    };
    Failure::Failed(format!("{key} was expected {wanted}: {found}"))
}

/// The answer was lost: what is there now tells whether the write landed.
fn read_back(store: &dyn Store, key: &Key, value: &[u8]) -> Result<Revision, Failure> {
    let mut found = store.get(key);
    for _ in 1..TRIES {
        if found.is_ok() {
            break;
        }
        thread::sleep(PAUSE);
        found = store.get(key);
    }
    let other = match found {
        Ok(Some(entry)) if entry.value == value => {
            log::warn!("no answer came for the write of {key}; read back, it holds this value");
            return Ok(entry.revision);
        }
        Ok(Some(entry)) => format!("read back, it holds another value, of revision {}", entry.revision.0),
        Ok(None) => "read back, it is absent".to_owned(),
        Err(error) => format!("nor could it be read back ({error}): it may have landed"),
    };
    Err(Failure::Failed(format!("no answer came for the write of {key}; {other}")))
}

#[cfg(test)]
mod tests {
    use storage::{Expect, Key, Revision};

    use super::write;
    use crate::cli::Failure;
    use crate::cli::kv::shaky::{Shaky, Trouble};

    #[test]
    fn a_lost_answer_is_read_back() {
        let check = |there: &str, troubles: &[Trouble], expected: Result<(), &str>| {
            let store = Shaky::holding(there, troubles);
            let written = write(&store, &Key::parse("/a").unwrap(), b"new", None, Expect::Anything);
            match (written, expected) {
                (Ok(Revision(_)), Ok(())) => assert_eq!(store.shown(), "/a=new"),
                (Err(Failure::Failed(said)), Err(piece)) => assert!(said.contains(piece), "{said}"),
                _ => panic!("{there} {troubles:?}"),
            }
        };
        check("", &[], Ok(()));
        check("", &[Trouble::AnswerLost], Ok(()));
        check("", &[Trouble::AnswerLost, Trouble::Outage], Ok(()));
        check(
            "",
            &[Trouble::RequestLost],
            Err("no answer came for the write of /a; read back, it is absent"),
        );
        check("/a=old", &[Trouble::RequestLost], Err("read back, it holds another value, of revision "));
        check("", &[Trouble::Outage], Err("the store (shaky) is unavailable"));
        let gone = [vec![Trouble::AnswerLost], vec![Trouble::Outage; 9]].concat();
        check("", &gone, Err("nor could it be read back"));
    }
}
