//! Ways past a role's rights that older versions of etcd leave open. They are tried, for distributions mend versions that
//! keep their number.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::{PREFIX, Users};
use crate::etcd_v3::answer::{Done, PERMISSION_DENIED, Said};
use crate::etcd_v3::gateway::Gateway;
use crate::etcd_v3::range::{Range, encoded};
use crate::etcd_v3::{TXN, unavailable, watch};
use crate::remote::Credentials;
use crate::{AccessControl, Guest, Key, Rights, StoreError};

/// The first word of a stream comes at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a guest gets past its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leak {
    /// Operations in a transaction within a transaction are done unasked: a guest reads, writes and deletes everything.
    /// CVE-2026-33343, mended in etcd 3.4.42, 3.5.28 and 3.6.9.
    NestedTransactions,
    /// Who may read one key may watch everything after it, values included. GHSA-xg4h-6gfc-h4m8, mended in etcd 3.5.33
    /// and 3.6.14.
    OpenWatches,
    /// A guest compacts the history and raises alarms, which stop all writes; so does anybody without a password.
    /// CVE-2026-33413, mended in etcd 3.4.42, 3.5.28 and 3.6.9.
    Operation,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NestedTransactions => {
                "it does what is asked for in nested transactions (CVE-2026-33343; use 3.4.42, 3.5.28, 3.6.9 or later)"
            }
            Self::OpenWatches => {
                "who may read one key may watch all keys after it (GHSA-xg4h-6gfc-h4m8; use 3.5.33, 3.6.14 or later)"
            }
            Self::Operation => {
                "anybody may stop writes by an alarm (CVE-2026-33413; use 3.4.42, 3.5.28, 3.6.9 or later)"
            }
        })
    }
}

impl Users {
    /// The ways past their rights that are open to guests, as a guest made for this finds them. It reads and changes
    /// nothing that is not its own, and is dismissed.
    ///
    /// # Errors
    /// As [`AccessControl::admit`].
    pub fn leaks(&self) -> Result<Vec<Leak>, StoreError> {
        let number = rand::random::<u128>();
        let own = Key::parse(&format!("/{PREFIX}check/{number:x}")).expect("two plain segments are a key");
        let rights = Rights { read_under: Vec::new(), write: vec![own.clone()] };
        let password = format!("{:x}", rand::random::<u128>());
        let guest = Guest { name: format!("check-{number:x}"), password, rights };
        let found = self.admit(&guest).and_then(|()| self.tried(&guest, &own));
        self.dismiss(&guest.name)?;
        found
    }

    fn tried(&self, guest: &Guest, own: &Key) -> Result<Vec<Leak>, StoreError> {
        let credentials =
            Credentials { username: format!("{PREFIX}{}", guest.name), password: guest.password.clone() };
        let gateway =
            Gateway::new(&self.reach, Some(credentials)).map_err(|error| unavailable(error.to_string()))?;
        let mut leaks = Vec::new();
        let other = json!({"key": encoded(format!("{own}-another").as_bytes())});
        let inner = json!({"request_txn": {"success": [{"request_range": other}]}});
        if goes_through(&gateway, TXN, &json!({"success": [inner]}))? {
            leaks.push(Leak::NestedTransactions);
        }
        let range = Range { key: own.as_str().into(), end: vec![0] };
        if watch::begins(&gateway, &range, PATIENCE).map_err(unavailable)? {
            leaks.push(Leak::OpenWatches);
        }
        // There is nothing to forget before the first revision.
        if goes_through(&gateway, "/v3/kv/compaction", &json!({"revision": "-1"}))? {
            leaks.push(Leak::Operation);
        }
        Ok(leaks)
    }
}

/// Whether it was for lack of permission that it was not done.
fn goes_through(gateway: &Gateway, path: &str, body: &Value) -> Result<bool, StoreError> {
    match gateway.read::<Done>(path, body).map_err(unavailable)? {
        Said::Refused(refusal) if refusal.code == PERMISSION_DENIED => Ok(false),
        Said::Done(_) | Said::Refused(_) => Ok(true),
    }
}
