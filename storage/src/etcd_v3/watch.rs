//! Waiting for changes: a stream of them, and a proof that there were none.
//!
//! A stream tells of every change after a revision, in order. While nothing happens under the prefix it says nothing, so
//! that neither how far the store has gone nor whether the stream is alive is known. Therefore, before a wait ends with
//! nothing, one linearizable transaction looks whether that is right: see [`look`].

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use ureq::BodyReader;

use super::answer::{self, Header, Int, KeyValue, OUT_OF_RANGE, Said, Streamed, Txn};
use super::gateway::{Gateway, Unopened};
use super::range::Range;
use super::session::Pass;
use super::{RANGE, TXN, unavailable};
use crate::remote::LONGEST_WAIT;
use crate::{Changed, Changes, Deadline, Key, Revision, StoreError};

const WATCH: &str = "/v3/watch";
/// A stream has this long to tell of a change that is known to have happened; etcd looks ten times a second for who has
/// to catch up with its history.
const GRACE: Duration = Duration::from_millis(700);
/// The least time between two waits that brought nothing.
const PAUSE: Duration = Duration::from_millis(20);
/// No word of a stream is longer: etcd is asked to keep them below its limit for a request, 1.5 MiB by default.
const LONGEST_LINE: u64 = 64 << 20;

/// One word of a stream.
#[derive(Deserialize)]
struct Word {
    header: Header,
    #[serde(default)]
    created: bool,
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    compact_revision: Int,
    /// Whether what happened at this revision goes on in the next word.
    #[serde(default)]
    fragment: bool,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    kv: KeyValue,
}

/// What a stream told.
enum Told {
    /// Everything up to this revision: these keys changed, none if only others' names did.
    Changes(BTreeSet<Key>, Revision),
    /// Nothing.
    Nothing,
    /// What changed is forgotten, or the store is younger than it was.
    Lost,
    /// Nothing, since the pass is not taken.
    Stale(Pass, String),
}

/// What a look found under the prefix, compared with an earlier revision.
enum Looked {
    /// The same entries, up to this revision.
    Same(Revision),
    /// Something else.
    Changed,
    /// That revision is no longer, or not yet, known.
    Lost,
}

pub(super) fn watch(
    gateway: &Gateway,
    prefix: &Key,
    after: Revision,
    deadline: Deadline,
) -> Result<Changes, StoreError> {
    let mut after = after;
    let (mut known_to_have_changed, mut stale) = (false, None);
    loop {
        let begun = Instant::now();
        let left = if known_to_have_changed { GRACE } else { deadline.remaining().min(LONGEST_WAIT) };
        let told = if left.is_zero() {
            Told::Nothing
        } else {
            listen(gateway, prefix, after, left, stale.as_ref()).map_err(unavailable)?
        };
        match told {
            Told::Changes(keys, revision) if !keys.is_empty() || deadline.has_passed() => {
                return Ok(Changes { revision, what: Changed::Keys(keys.into_iter().collect()) });
            }
            Told::Changes(_, revision) => {
                (after, known_to_have_changed, stale) = (revision, false, None);
                continue;
            }
            Told::Lost => return resync(gateway),
            // Once more with a fresh one, and then it is not for the token.
            Told::Stale(pass, _) if stale.is_none() && gateway.session.credentials().is_some() => {
                stale = Some(pass);
                continue;
            }
            Told::Stale(_, reason) => return Err(unavailable(reason)),
            Told::Nothing => stale = None,
        }
        match look(gateway, prefix, after).map_err(unavailable)? {
            Looked::Same(now) => (after, known_to_have_changed) = (now, false),
            Looked::Changed if !known_to_have_changed => known_to_have_changed = true,
            Looked::Changed | Looked::Lost => return resync(gateway),
        }
        if deadline.has_passed() && !known_to_have_changed {
            return Ok(Changes { revision: after, what: Changed::Keys(Vec::new()) });
        }
        if begun.elapsed() < PAUSE {
            // A server that ends waits at once is not to be asked in a tight loop.
            std::thread::sleep(PAUSE);
        }
    }
}

/// Everything is to be read again; what is read then is not older than this revision.
fn resync(gateway: &Gateway) -> Result<Changes, StoreError> {
    let revision = now(gateway).map_err(unavailable)?;
    Ok(Changes { revision, what: Changed::Resync })
}

/// The store's revision, asked of a majority.
fn now(gateway: &Gateway) -> Result<Revision, String> {
    let body = Range::one(&Key::root()).with(json!({"keys_only": true}));
    match gateway.read::<answer::Range>(RANGE, &body)? {
        Said::Done(range) => Ok(range.header.revision.revision()),
        Said::Refused(refusal) => Err(refusal.reason()),
    }
}

/// Compares what is under the prefix now with what was there `after` some revision. If as many entries are there, and
/// none of them was put since, they are the same ones: what was deleted since would be missing, for another could only
/// have taken its place by being put. One transaction sees all of it at the same revision.
fn look(gateway: &Gateway, prefix: &Key, after: Revision) -> Result<Looked, String> {
    let Ok(then) = i64::try_from(after.0) else { return Ok(Looked::Lost) };
    let range = Range::under(prefix);
    // To a range, revision 0 is now; as nothing is there at revision 0, whatever is there now was put since.
    let before = range.with(json!({"count_only": true, "revision": then.to_string()}));
    let count = range.with(json!({"count_only": true}));
    // A count takes no notice of the least revision.
    let since = (then.saturating_add(1)).to_string();
    let put_since = range.with(json!({"keys_only": true, "limit": "1", "min_mod_revision": since}));
    let parts = [before, count, put_since].map(|range| json!({"request_range": range}));
    let txn = match gateway.read::<Txn>(TXN, &json!({"success": parts}))? {
        Said::Done(txn) => txn,
        Said::Refused(refusal) if refusal.code == OUT_OF_RANGE => return Ok(Looked::Lost),
        Said::Refused(refusal) => return Err(refusal.reason()),
    };
    let [before, count, put_since] = txn.responses.as_slice() else {
        return Err("etcd answers another question".to_owned());
    };
    let same =
        before.response_range.count == count.response_range.count && put_since.response_range.kvs.is_empty();
    Ok(if same { Looked::Same(txn.header.revision.revision()) } else { Looked::Changed })
}

fn listen(
    gateway: &Gateway,
    prefix: &Key,
    after: Revision,
    within: Duration,
    stale: Option<&Pass>,
) -> Result<Told, String> {
    let Some(from) = i64::try_from(after.0).ok().and_then(|after| after.checked_add(1)) else {
        return Ok(Told::Lost);
    };
    let create = Range::under(prefix).with(json!({"start_revision": from.to_string(), "fragment": true}));
    let (stream, pass) = match gateway.stream(WATCH, &json!({"create_request": create}), within, stale) {
        Ok(opened) => opened,
        Err(Unopened::Stale(pass, reason)) => return Ok(Told::Stale(pass, reason)),
        Err(Unopened::Failed(reason)) => return Err(reason),
    };
    let (mut stream, mut keys) = (BufReader::new(stream), BTreeSet::new());
    while let Some(word) = next_word(&mut stream) {
        if word.compact_revision.0 != 0 {
            return Ok(Told::Lost);
        }
        if word.canceled {
            return Ok(Told::Stale(pass, "etcd has ended the watch".to_owned()));
        }
        // This member may be behind the others, and will catch up; or the store was set back.
        if word.created && word.header.revision.revision() < after && now(gateway)? < after {
            return Ok(Told::Lost);
        }
        keys.extend(word.events.iter().filter_map(|event| event.kv.key.key()));
        // Not the header's revision: a stream that catches up says there how far the store is, not itself.
        if let Some(last) = word.events.last()
            && !word.fragment
        {
            keys.retain(|key| key.is_under(prefix));
            return Ok(Told::Changes(keys, last.kv.mod_revision.revision()));
        }
    }
    Ok(Told::Nothing)
}

/// Whether etcd lets us watch this range.
pub(super) fn begins(gateway: &Gateway, range: &Range, within: Duration) -> Result<bool, String> {
    let create = json!({"create_request": range.with(json!({}))});
    match gateway.stream(WATCH, &create, within, None) {
        Ok((stream, _)) => match next_word(&mut BufReader::new(stream)) {
            Some(word) => Ok(word.created && !word.canceled),
            None => Err("etcd does not say whether it lets us watch".to_owned()),
        },
        Err(Unopened::Stale(..)) => Ok(false),
        Err(Unopened::Failed(reason)) => Err(reason),
    }
}

/// The next word; none when the time is over or the stream broke off, and then a look tells what was missed.
fn next_word(stream: &mut BufReader<BodyReader<'static>>) -> Option<Word> {
    let mut line = Vec::new();
    stream.take(LONGEST_LINE).read_until(b'\n', &mut line).ok()?;
    let word = serde_json::from_slice::<Streamed<Word>>(&line).ok()?;
    Some(word.result)
}
