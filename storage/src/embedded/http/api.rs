//! What each request means: from plain request to answer, or to the decision to let it wait. Knows no socket.
//!
//! The table of routes; what is under `/v2/keys` is in `keys`, numbers are in `stats`.

use std::sync::{Arc, RwLockReadGuard};

use serde::Serialize;

use super::super::change::Change;
use super::super::guests::GuestBook;
use super::auth::{Accounts, Caller};
use super::error::ApiError;
use super::keys::{Pending, Read, Wait};
use super::reply::Reply;
use super::request::{ApiRequest, Method};
use super::route::Route;
use super::stats::Stats;
use crate::Embedded;

/// What becomes of a request.
pub enum Outcome {
    /// It is answered.
    Answer(Reply),
    /// Its answer may be large: see [`Api::read`].
    Read(Read),
    /// It waits for changes; the head of its answer can go out at once.
    Watch(Wait),
    /// It is answered once the writer has dealt with it: see [`Pending::reply`].
    Change(Change, Pending),
}

/// The API over one store.
pub(super) struct Api {
    pub(super) store: Arc<Embedded>,
    pub(super) accounts: Accounts,
    pub(super) advertise: Vec<String>,
    pub(super) stats: Arc<Stats>,
}

#[derive(Serialize)]
struct Members<'a> {
    members: [Member<'a>; 1],
}

#[derive(Serialize)]
struct Member<'a> {
    id: String,
    name: &'static str,
    #[serde(rename = "peerURLs")]
    peer_urls: [&'a str; 0],
    #[serde(rename = "clientURLs")]
    client_urls: &'a [String],
}

/// What stands where etcd tells a member's name.
pub(super) const NAME: &str = "embedded";

impl Api {
    pub(super) fn new(store: Arc<Embedded>, accounts: Accounts, advertise: Vec<String>) -> Self {
        let stats = Arc::new(Stats::new(store.shared.expired()));
        Self { store, accounts, advertise, stats }
    }

    /// Who the sender of this `Authorization` header is; otherwise, what it is told.
    pub(super) fn admit(&self, authorization: Option<&str>) -> Result<Caller, Reply> {
        if let Some(caller) = self.accounts.admit(&self.store.shared, authorization) {
            return Ok(caller);
        }
        Err(Self::not_let_in())
    }

    pub(super) fn not_let_in() -> Reply {
        let reply = ApiError::unauthorized().into_reply();
        reply.with("WWW-Authenticate", "Basic realm=\"store\"".to_owned())
    }

    /// Whether the caller's credentials, and what they allow, are what they were when it was let in.
    pub(super) fn is_still_admitted(&self, caller: &Caller) -> bool {
        self.permit(caller).is_some()
    }

    /// What a caller's change is handed to the writer under; nothing if it was dismissed since it was let in. While it
    /// is held nobody is dismissed, and whoever dismisses somebody waits for what was handed on before. Of what comes after it in the order
    /// of [`super::super::Shared`] the users and the queue are locked meanwhile, and nothing else is to be.
    pub(super) fn permit(&self, caller: &Caller) -> Option<RwLockReadGuard<'_, GuestBook>> {
        let guests = self.store.shared.guests();
        self.accounts.knows(&self.store.shared, &guests, caller).then_some(guests)
    }

    /// What everybody may ask, without user and password: whether the store works, and nothing of what is in it.
    /// `etcdctl cluster-health` asks so.
    pub(super) fn for_everybody(&self, method: &str, path: &str) -> Option<Reply> {
        (path == "/health").then(|| self.health(Method::named(method)))
    }

    /// Answers `request`, lets it wait, or says what has to be done for it. Never blocks.
    pub(super) fn handle(&self, request: &ApiRequest, caller: &Caller) -> Outcome {
        // Its body may have taken long to come.
        if !self.is_still_admitted(caller) {
            return Outcome::Answer(Self::not_let_in());
        }
        let path = match Route::of(&request.path) {
            Route::Path(_) | Route::Moved(_) if request.method == Method::Options => {
                return Outcome::Answer(Reply { status: 200, headers: Vec::new(), body: String::new() });
            }
            Route::Path(path) => path,
            Route::Moved(location) => return Outcome::Answer(moved(request, location)),
            Route::Malformed => return Outcome::Answer(Reply::text(400, "400 Bad Request")),
        };
        if let Some(raw) = path.strip_prefix(b"/v2/keys")
            && (raw.is_empty() || raw.starts_with(b"/"))
        {
            return self.keys(request, raw, caller);
        }
        let method = request.method;
        let may_count = caller.permissions.may_see_statistics();
        Outcome::Answer(match path.as_slice() {
            b"/v2/machines" if matches!(method, Method::Get | Method::Head) => {
                Reply::text(200, self.advertise.join(", "))
            }
            b"/v2/machines" => Reply::only("GET,HEAD"),
            b"/v2/members" => self.members(method, b""),
            [b'/', b'v', b'2', b'/', b'm', b'e', b'm', b'b', b'e', b'r', b's', b'/', rest @ ..] => {
                self.members(method, rest)
            }
            b"/v2/stats/store" | b"/v2/stats/self" | b"/v2/stats/leader" if method != Method::Get => {
                Reply::only("GET")
            }
            // How much is done to the store is no business of those who may see a part of it.
            b"/v2/stats/store" if !may_count => ApiError::unauthorized().into_reply(),
            b"/v2/stats/store" => self.stats.of_store(self.store.shared.expired()),
            b"/v2/stats/self" => self.stats.of_self(&self.id()),
            b"/v2/stats/leader" => Stats::of_leader(&self.id()),
            b"/version" if method != Method::Get => Reply::only("GET"),
            // Clients look for a version that has the v2 API.
            b"/version" => {
                let version = serde_json::json!({"etcdserver": "3.4.0", "etcdcluster": "3.4.0"});
                Reply::json_without_newline(200, &version)
            }
            b"/health" => self.health(method),
            _ => Reply::refusal(404, "404 page not found"),
        })
    }

    fn id(&self) -> String {
        format!("{:x}", self.store.shared.cluster)
    }

    fn members(&self, method: Method, which: &[u8]) -> Reply {
        let reply = match (method, which) {
            (Method::Get, b"" | b"leader") => {
                let client_urls = self.advertise.as_slice();
                let member = Member { id: self.id(), name: NAME, peer_urls: [], client_urls };
                if which.is_empty() {
                    Reply::json(200, &Members { members: [member] })
                } else {
                    Reply::json(200, &member)
                }
            }
            (Method::Get, _) => said(404, "Not found"),
            (Method::Put | Method::Post | Method::Delete, _) => {
                said(403, "this store has one member, for ever")
            }
            _ => return Reply::only("GET,POST,DELETE,PUT"),
        };
        reply.with("X-Etcd-Cluster-Id", self.id())
    }

    fn health(&self, method: Method) -> Reply {
        if method != Method::Get {
            return Reply::only("GET");
        }
        match self.store.shared.trouble() {
            None => Reply::text(200, r#"{"health":"true"}"#),
            Some(reason) => {
                // Everybody may ask as often as they like, and the writer has told it once.
                log::debug!("the embedded store is not healthy: {reason}");
                Reply::refusal(503, r#"{"health":"false"}"#)
            }
        }
    }
}

/// An answer as etcd gives it where it is not about keys.
fn said(status: u16, message: &str) -> Reply {
    Reply::json_without_newline(status, &serde_json::json!({ "message": message }))
}

/// As Go's `http.Redirect`.
fn moved(request: &ApiRequest, mut location: String) -> Reply {
    if !request.query.is_empty() {
        location = format!("{location}?{}", request.query);
    }
    let mut reply = Reply { status: 301, headers: Vec::new(), body: String::new() };
    if matches!(request.method, Method::Get | Method::Head) {
        let safe = location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let safe = safe.replace('"', "&#34;").replace('\'', "&#39;");
        reply.body = format!("<a href=\"{safe}\">Moved Permanently</a>.\n\n");
        reply = reply.with("Content-Type", "text/html; charset=utf-8".to_owned());
    }
    reply.with("Location", location)
}
