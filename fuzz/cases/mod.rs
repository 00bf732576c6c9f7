//! What is done with an input: the same by the fuzzer and by the test that goes through the corpora. Each panics where
//! the product does something that it must never do.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use door::{Decoder, Framing, Trouble};
use patroni_broker::config;
use storage::Embedded;
use storage::embedded::{Options, http};

#[path = "../../tests/model/site.rs"]
mod site;

use site::Site;

/// How many inputs meet the same state, so that what one leaves behind the next may find, and it does not grow for ever.
const INPUTS: usize = 1000;
/// Whoever waits for an operation is told so soon that it goes on.
const SYNC_TIMEOUT: Duration = Duration::from_millis(20);

/// What is kept from one input to the next.
struct Kept<T>(Mutex<Option<(T, usize)>>);

impl<T> Kept<T> {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn with<R>(&self, make: impl Fn() -> T, work: impl FnOnce(&T) -> R) -> R {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|(_, used)| *used >= INPUTS) {
            *kept = None;
        }
        let (value, used) = kept.get_or_insert_with(|| (make(), 0));
        *used += 1;
        work(value)
    }
}

/// A request to the broker: `METHOD target`, headers, an empty line, the body. Its sender is authenticated.
pub fn api(input: &[u8]) {
    static SITE: Kept<Site> = Kept::new();
    let Some((first, headers, body)) = read(input) else { return };
    let Some((method, target)) = first.split_once(' ') else { return };
    let reply = SITE.with(|| Site::start(SYNC_TIMEOUT), |site| site.ask(method, target, &headers, body));
    // 503 is no answer to any request to a broker that runs on a store that answers.
    let fine = matches!(reply.status, 200 | 201 | 202 | 400..=499 | 500 | 504);
    assert!(fine, "{method} {target}: {reply:?}");
    if reply.status >= 500 {
        let known = matches!(reply.text("error"), Some("OperationFailed" | "StillRunning"));
        assert!(known, "{method} {target}: {reply:?}");
    }
    if reply.status >= 400 && reply.status != 410 {
        let told =
            reply.text("error").is_some() && reply.text("description").is_some_and(|text| !text.is_empty());
        assert!(told, "{method} {target}: {reply:?}");
    }
}

/// The most that a head, and a body, may have at [`door`].
const HEAD_LIMIT: usize = 2048;
const BODY_LIMIT: usize = 1024;

/// What comes on a connection: requests, one after the other. It is read the same in pieces of any size.
pub fn door(input: &[u8]) {
    let mut rest = input;
    loop {
        let read = door::parse(rest, HEAD_LIMIT);
        never_changes_its_mind(rest, &read);
        let Ok(Some((request, length))) = read else { return };
        let head = &request.head;
        let path = head.path();
        assert!(!path.is_empty() && head.split_target().0 == path);
        let fits = if head.target.starts_with('/') || head.target.contains("://") {
            path.starts_with('/')
        } else {
            !path.contains('@')
        };
        assert!(fits, "{path:?} is the path of {:?}", head.target);
        assert!(head.headers().all(|(name, _)| !name.is_empty() && head.header(name).is_some()));
        rest = &rest[length..];
        let whole = decode(rest, request.framing, rest.len());
        for size in [1, 2, 7] {
            assert_eq!(decode(rest, request.framing, size), whole, "in pieces of {size}");
        }
        let Ok((body, consumed, true)) = whole else { return };
        assert!(body.len() <= BODY_LIMIT && body.len() <= consumed);
        rest = &rest[consumed..];
    }
}

type Read = Result<Option<(door::Request, usize)>, Trouble>;

/// Once a head is whole or refused, what follows makes no difference.
fn never_changes_its_mind(bytes: &[u8], whole: &Read) {
    let length = |read: &Read| match read {
        Ok(found) => Ok(found.as_ref().map(|(_, length)| *length)),
        Err(trouble) => Err(*trouble),
    };
    let known = length(whole);
    let last = known.ok().flatten().unwrap_or(bytes.len());
    for end in [last / 4, last / 2, last.saturating_sub(1), last] {
        let early = length(&door::parse(&bytes[..end], HEAD_LIMIT));
        // Of two things that are wrong, the one that is seen first is told.
        let agrees = early == Ok(None) || early == known || early.is_err() && known.is_err();
        assert!(agrees, "{early:?} of {end} bytes, then {known:?}");
    }
}

/// A body out of pieces of this size: the body, how much was its, and whether it has ended.
fn decode(bytes: &[u8], framing: Framing, size: usize) -> Result<(Vec<u8>, usize, bool), Trouble> {
    let mut decoder = Decoder::new(framing, BODY_LIMIT)?;
    let (mut body, mut at) = (Vec::new(), 0);
    while at < bytes.len() && !decoder.has_ended() {
        let end = bytes.len().min(at + size);
        let decoded = decoder.decode(&bytes[at..end], &mut body)?;
        at += decoded.consumed;
        assert!(decoded.ended || at == end, "a body that goes on takes all there is");
    }
    Ok((body, at, decoder.has_ended()))
}

/// A request to the embedded store: `METHOD target`, an empty line, the form.
pub fn store(input: &[u8]) {
    static STORE: Kept<Arc<Embedded>> = Kept::new();
    let Some((first, _, form)) = read(input) else { return };
    let Some((method, target)) = first.split_once(' ') else { return };
    let make = || Arc::new(Embedded::in_memory(Options::default()).expect("memory does not fail"));
    let Some((status, body)) = STORE.with(make, |store| http::answer(store, method, target, form)) else {
        return;
    };
    assert!(matches!(status, 200 | 201 | 301 | 400..=499), "{method} {target}: {status} {body}");
    let is_json = !matches!(status, 301 | 405) && method != "OPTIONS";
    if target.starts_with("/v2/keys/") && is_json {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&body);
        assert!(parsed.is_ok(), "{method} {target}: {status} {body}");
    }
}

/// A configuration. Whatever it says, its reader says what is wrong, and names the file.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // The files that it names are read: a device would never end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    if let Err(error) = config::parse(text, Path::new("/nowhere/broker.toml"), &|_| None) {
        let said = error.to_string();
        assert!(said.contains("broker.toml"), "{said}");
    }
}

type Headers = Vec<(String, String)>;

/// The first line, the headers that follow it, and what comes after an empty line.
fn read(input: &[u8]) -> Option<(&str, Headers, &[u8])> {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((input, &b""[..]), |at| (&input[..at], &input[at + 2..]));
    let mut lines = std::str::from_utf8(head).ok()?.split('\n');
    let first = lines.next()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    Some((first, headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), body))
}
