//! Who we are to etcd: a token that it gives for a user and password, kept until it is no longer taken.
//!
//! etcd forgets its tokens when it restarts, and each member those that it has not seen for five minutes; a password
//! that is changed ends them at once. A token also says how far the store was when it was given, and who has not come as
//! far lets it wait instead of refusing it: an etcd that was given back from a backup may do so for ever.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use serde::Deserialize;
use serde_json::json;

use super::answer::{FAILED_PRECONDITION, Header, INVALID_ARGUMENT, Said, judge};
use crate::remote::Credentials;
use crate::remote::wire::{Method, Request, Wire};

pub(super) const AUTHENTICATE: &str = "/v3/auth/authenticate";

/// What etcd gives for a user and password.
#[derive(Deserialize)]
pub(super) struct Authenticated {
    #[serde(rename = "header")]
    _header: Header,
    #[serde(default)]
    pub token: String,
}

/// What came of showing a user and password.
#[derive(Clone)]
pub(super) enum Entrance {
    /// This token proves who we are.
    Token(Arc<str>),
    /// etcd asks nobody who he is.
    Open,
    /// It does not take them.
    Denied,
    /// It could not be asked, or did not answer as it should.
    Trouble(String),
}

/// A user and password, with the newest token that they brought.
pub(super) struct Session {
    credentials: Option<Credentials>,
    /// How often they were shown; read without waiting for whoever is just showing them.
    shown: AtomicU64,
    newest: Mutex<Newest>,
}

struct Newest {
    shown: u64,
    entrance: Entrance,
}

/// What a request carries.
#[derive(Clone)]
pub(super) struct Pass {
    shown: u64,
    token: Option<Arc<str>>,
}

impl Pass {
    /// For whoever is not asked who he is.
    pub(super) fn none() -> Self {
        Self { shown: 0, token: None }
    }

    /// With a token from elsewhere.
    pub(super) fn of(token: Arc<str>) -> Self {
        Self { shown: 0, token: Some(token) }
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl Session {
    pub(super) fn new(credentials: Option<Credentials>) -> Self {
        let newest = Newest { shown: 0, entrance: Entrance::Trouble(String::new()) };
        Self { credentials, shown: AtomicU64::new(0), newest: Mutex::new(newest) }
    }

    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// What to send a request with; `stale` is what etcd no longer takes. One thread shows the password, and those that
    /// come meanwhile share what it gets, be it a failure.
    ///
    /// # Errors
    /// Says why there is none, for people.
    pub(super) fn pass(&self, wire: &Wire, stale: Option<&Pass>) -> Result<Pass, String> {
        let Some(credentials) = &self.credentials else {
            return Ok(Pass::none());
        };
        let known = stale.map_or_else(|| self.shown.load(Ordering::Acquire), |pass| pass.shown);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let good = matches!(newest.entrance, Entrance::Token(_) | Entrance::Open);
        if newest.shown == known && !(good && stale.is_none()) {
            newest.entrance = authenticate(wire, credentials);
            newest.shown += 1;
            self.shown.store(newest.shown, Ordering::Release);
        }
        match &newest.entrance {
            Entrance::Token(token) => Ok(Pass { shown: newest.shown, token: Some(Arc::clone(token)) }),
            Entrance::Open => Ok(Pass { shown: newest.shown, token: None }),
            Entrance::Denied => Err("etcd does not take the user or password".to_owned()),
            Entrance::Trouble(reason) => Err(reason.clone()),
        }
    }

    /// A call with this pass got no answer, and its token may be why: the password is shown again before the next one.
    pub(super) fn doubt(&self, pass: &Pass) {
        // Whoever holds it is just showing the password.
        let mut newest = match self.newest.try_lock() {
            Ok(newest) => newest,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if pass.token.is_some() && newest.shown == pass.shown {
            newest.entrance = Entrance::Trouble("the password is to be shown again".to_owned());
        }
    }
}

/// Shows a user and password. May be done twice.
pub(super) fn authenticate(wire: &Wire, credentials: &Credentials) -> Entrance {
    let body = shown(credentials);
    let request = Request { method: Method::Post, target: AUTHENTICATE, headers: &[], body: body.as_bytes() };
    match wire.read(request, judge::<Authenticated>) {
        Ok(said) => entrance(said),
        Err(reason) => Entrance::Trouble(reason),
    }
}

/// The question for a token.
pub(super) fn shown(credentials: &Credentials) -> String {
    json!({"name": credentials.username, "password": credentials.password}).to_string()
}

/// What the answer to it means. Its words are left out: they answer to what held a password.
pub(super) fn entrance(said: Said<Authenticated>) -> Entrance {
    match said {
        Said::Done(Authenticated { token, .. }) if !token.is_empty() && is_plain(&token) => {
            Entrance::Token(token.into())
        }
        Said::Done(_) => Entrance::Trouble("etcd gave no token for the password".to_owned()),
        Said::Refused(refusal) if refusal.code == FAILED_PRECONDITION => Entrance::Open,
        Said::Refused(refusal) if refusal.code == INVALID_ARGUMENT => Entrance::Denied,
        Said::Refused(refusal) => {
            Entrance::Trouble(format!("etcd answers with code {} to the password", refusal.code))
        }
    }
}

/// Whether it can stand in a header.
fn is_plain(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}
