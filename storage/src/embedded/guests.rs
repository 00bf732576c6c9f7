//! Guests: each with a row of its own in the file, so that who was let in stays so over restarts. All of them are in
//! memory too, where every request looks for the one that it claims to come from.
//!
//! A guest who is dismissed, or whose rights change, is another one from then on: what was begun as the one before ends
//! where it is looked at next (`http`), and [`Shared::admissions`] says that something changed at all.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Shared;
use super::password::PasswordHash;
use super::permissions::Permissions;
use super::writer::GuestRow;
use crate::{AccessControl, ClientAccess, Embedded, Guest, Key, Rights, StoreError};

/// What the names of guests begin with where they give them as users. No other user may be called so.
pub const GUEST_PREFIX: &str = "patroni-broker-guest-";

/// Somebody with a password: a guest, or a user of the API.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub password: PasswordHash,
    pub permissions: Arc<Permissions>,
}

/// A guest as it stands in the file.
#[derive(Debug)]
pub(super) struct KnownGuest {
    /// The row itself, by which one is told from what it was before.
    pub row: Vec<u8>,
    pub account: Arc<Account>,
}

/// Every guest, by name.
pub(super) type GuestBook = HashMap<String, Arc<KnownGuest>>;

/// A guest's row, as JSON. The rights are in order, so that the same ones make the same row.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// What its password hashes to, in base64.
    password: String,
    read_under: BTreeSet<String>,
    write: BTreeSet<String>,
}

impl KnownGuest {
    fn of(guest: &Guest) -> Self {
        let paths = |keys: &[Key]| keys.iter().map(|key| key.as_str().to_owned()).collect();
        let password = PasswordHash::of(guest.password.as_bytes());
        let row = Row {
            password: STANDARD.encode(password.as_bytes()),
            read_under: paths(&guest.rights.read_under),
            write: paths(&guest.rights.write),
        };
        let row = serde_json::to_vec(&row).expect("strings and lists of them always serialise");
        let permissions = Arc::new(Permissions::from(&guest.rights));
        Self { row, account: Arc::new(Account { password, permissions }) }
    }

    /// What a row says; `None` for what cannot have been written by this code.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let row: Row = serde_json::from_slice(bytes).ok()?;
        let keys = |paths: &BTreeSet<String>| -> Option<Vec<Key>> {
            paths.iter().map(|path| Key::parse(path).ok()).collect()
        };
        let rights = Rights { read_under: keys(&row.read_under)?, write: keys(&row.write)? };
        let password = PasswordHash::from_bytes(&STANDARD.decode(&row.password).ok()?)?;
        let account = Account { password, permissions: Arc::new(Permissions::from(&rights)) };
        Some(Self { row: bytes.to_vec(), account: Arc::new(account) })
    }
}

impl Shared {
    /// Every guest as of now; nobody is let in or dismissed while the answer is held.
    pub(super) fn guests(&self) -> RwLockReadGuard<'_, GuestBook> {
        // Rows are put in and taken out as a whole, so that a panic elsewhere leaves nothing half done here.
        self.guests.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Knows the guests of these rows, which are on the disk, as they are now.
    pub(super) fn note_guests(&self, rows: Vec<GuestRow>) {
        if rows.is_empty() {
            return;
        }
        let mut guests = self.guests.write().unwrap_or_else(PoisonError::into_inner);
        for GuestRow { name, guest } in rows {
            match guest {
                Some(guest) => drop(guests.insert(name, guest)),
                None => drop(guests.remove(&name)),
            }
        }
        // Before they are let go of: whoever looks at them, and then at this, knows both as they were or as they are.
        self.admissions.fetch_add(1, Ordering::SeqCst);
        drop(guests);
        self.history.ring();
    }

    /// Knows the guests of a file that was opened. Who is as before stays the same one, so that what was begun goes on.
    pub(super) fn replace_guests(&self, now: GuestBook) {
        let mut known = self.guests.write().unwrap_or_else(PoisonError::into_inner);
        let same =
            |name: &str, guest: &KnownGuest| known.get(name).filter(|old| old.row == guest.row).cloned();
        let now = now.into_iter().map(|(name, guest)| {
            let guest = same(&name, &guest).unwrap_or(guest);
            (name, guest)
        });
        let now = now.collect();
        *known = now;
        // Before they are let go of: whoever looks at them, and then at this, knows both as they were or as they are.
        self.admissions.fetch_add(1, Ordering::SeqCst);
        drop(known);
        self.history.ring();
    }

    /// The same for whatever else says who may do what: nobody's change is handed on while `change` runs, nor after it
    /// because of what was so before.
    pub(super) fn change_admissions(&self, change: impl FnOnce()) {
        let guests = self.guests.write().unwrap_or_else(PoisonError::into_inner);
        change();
        self.admissions.fetch_add(1, Ordering::SeqCst);
        drop(guests);
        self.history.ring();
    }
}

/// Who lets guests in: the process that serves the store, which needs nobody's leave.
pub struct Guests {
    store: Arc<Embedded>,
    endpoints: Vec<String>,
}

impl Guests {
    /// Guests of `store` reach its API at these base URLs.
    #[must_use]
    pub fn new(store: Arc<Embedded>, endpoints: Vec<String>) -> Self {
        Self { store, endpoints }
    }

    /// Writes the row, where it is not there already, and waits for the changes that the guest as it was before had been
    /// let begin: whoever is told that it may do something no more need not look whether it just did.
    fn become_exactly(&self, name: &str, guest: Option<KnownGuest>) -> Result<(), StoreError> {
        let row = |guest: Option<&KnownGuest>| guest.map(|guest| guest.row.clone());
        let there = row(self.store.shared.guests().get(name).map(Arc::as_ref));
        if there != row(guest.as_ref()) {
            self.store.write_guest(name, guest.map(Arc::new))?;
        }
        self.store.catch_up()
    }
}

impl AccessControl for Guests {
    /// # Errors
    /// [`StoreError::Corrupt`] where the password is no random UUID, or the name none that a guest may have.
    fn admit(&self, guest: &Guest) -> Result<(), StoreError> {
        let corrupt = |reason: &str| Err(StoreError::Corrupt { reason: reason.to_owned() });
        if Uuid::try_parse(&guest.password).is_err() {
            return corrupt("a guest's password must be a random UUID");
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
        if guest.name.is_empty() || guest.name.len() > 100 || !guest.name.chars().all(fine) {
            return corrupt("a guest's name must be 1 to 100 characters of [A-Za-z0-9._~-]");
        }
        self.become_exactly(&guest.name, Some(KnownGuest::of(guest)))
    }

    fn dismiss(&self, name: &str) -> Result<(), StoreError> {
        self.become_exactly(name, None)
    }

    fn guests(&self) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = self.store.shared.guests().keys().cloned().collect();
        names.sort();
        Ok(names)
    }

    fn client_access(&self, guest: &Guest) -> ClientAccess {
        ClientAccess {
            engine: "etcd",
            endpoints: self.endpoints.clone(),
            username: Some(format!("{GUEST_PREFIX}{}", guest.name)),
            password: Some(guest.password.clone()),
            tls: None,
            session_node: None,
        }
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::content::Content;
    use super::super::numbers::Numbers;
    use super::{Guests, KnownGuest};
    use crate::embedded::{OpenError, Options};
    use crate::{AccessControl, Embedded, Guest, Key, Rights};

    fn guest() -> Guest {
        let keys = |paths: &[&str]| paths.iter().map(|path| Key::parse(path).unwrap()).collect();
        let rights = Rights { read_under: keys(&["/b", "/a/ä\"*"]), write: keys(&["/b/x", "/b/*"]) };
        let password = "e4eaaaf2-d142-11e1-b3e4-080027620cdd".to_owned();
        Guest { name: "b1".to_owned(), password, rights }
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let written = KnownGuest::of(&guest());
        let read = KnownGuest::parse(&written.row).unwrap();
        assert_eq!(read.row, written.row);
        assert_eq!(read.account.password, written.account.password);
        assert_eq!(read.account.permissions, KnownGuest::parse(&read.row).unwrap().account.permissions);
        let mut other = guest();
        other.rights.write.reverse();
        assert_eq!(KnownGuest::of(&other).row, written.row, "rights have no order");
        let text = String::from_utf8(written.row).unwrap();
        assert!(!text.contains(&guest().password), "{text}");
        for (part, by) in
            [("\"/b\"", "\"b\""), ("read_under", "reads"), ("\"password\":\"", "\"password\":\"xx")]
        {
            assert!(KnownGuest::parse(text.replacen(part, by, 1).as_bytes()).is_none(), "{part}");
        }
        assert!(KnownGuest::parse(b"").is_none());
    }

    /// Who is let in is not guessed at: a guest that nobody can read is not left out.
    #[test]
    fn a_row_that_makes_no_sense_is_told_at_open() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Embedded::open(directory.path(), Options::default());
        let store = Arc::new(open().unwrap());
        Guests::new(Arc::clone(&store), vec![]).admit(&guest()).unwrap();
        drop(store);
        let store = open().unwrap();
        assert_eq!(store.shared.guests().keys().collect::<Vec<_>>(), ["b1"], "it is there after a restart");
        let account = Arc::clone(&store.shared.guests()["b1"].account);
        store.write_guest("b2", Some(Arc::new(KnownGuest { row: b"{}".to_vec(), account }))).unwrap();
        drop(store);
        let told = open().err().unwrap();
        assert!(matches!(&told, OpenError::Corrupt { reason, .. } if reason.contains("\"b2\"")), "{told}");
    }

    /// The file was opened again after the disk had failed: every guest was another one, and its watches ended.
    #[test]
    fn who_is_in_a_file_that_is_opened_again_as_before_stays_the_same_one() {
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let guests = Guests::new(Arc::clone(&store), vec![]);
        for name in ["stays", "changes", "goes"] {
            guests.admit(&Guest { name: name.to_owned(), ..guest() }).unwrap();
        }
        let known = |name: &str| store.shared.guests().get(name).cloned();
        let (stays, changes) = (known("stays").unwrap(), known("changes").unwrap());
        let other = KnownGuest::of(&Guest { rights: Rights::default(), ..guest() });
        let again = KnownGuest::parse(&stays.row).unwrap();
        let found = [("stays", again), ("changes", other)];
        let found = found.into_iter().map(|(name, guest)| (name.to_owned(), Arc::new(guest))).collect();
        let numbers = Numbers { index: store.shared.view().index, ..Numbers::new(1) };
        store.shared.take_over(Content {
            numbers,
            nodes: Default::default(),
            ttls: Vec::new(),
            guests: found,
        });
        assert!(Arc::ptr_eq(&stays, &known("stays").unwrap()), "it is another one");
        assert!(!Arc::ptr_eq(&changes, &known("changes").unwrap()), "its rights are those of before");
        assert!(known("goes").is_none());
    }

    /// Half the work of an admission is a commit, and what is right already costs none.
    #[test]
    fn admitting_twice_is_admitting_once() {
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let guests = Guests::new(Arc::clone(&store), vec!["http://h:1".to_owned()]);
        guests.admit(&guest()).unwrap();
        let (there, commits) = (Arc::clone(&store.shared.guests()["b1"]), store.commits());
        guests.admit(&guest()).unwrap();
        assert!(Arc::ptr_eq(&there, &store.shared.guests()["b1"]), "it is another one");
        assert_eq!(store.commits(), commits);
        guests.dismiss("b1").unwrap();
        guests.dismiss("b1").unwrap();
        guests.dismiss("never-heard-of").unwrap();
        assert_eq!((store.commits(), guests.guests()), (commits + 1, Ok(vec![])));
        for (name, password) in [("b1", "hush"), ("", &*guest().password), ("b:1", &*guest().password)] {
            let wrong = Guest { name: name.to_owned(), password: password.to_owned(), ..guest() };
            let refused = guests.admit(&wrong).unwrap_err().to_string();
            assert!(!refused.contains("hush"), "{refused}");
        }
        let access = guests.client_access(&guest());
        assert_eq!(access.username.as_deref(), Some("patroni-broker-guest-b1"));
        assert!(!format!("{guests:?}{access:?}").contains(&guest().password));
    }
}
