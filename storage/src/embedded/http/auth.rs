//! Who may come in, and as whom.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::Shared;
use super::super::guests::{Account, GUEST_PREFIX, GuestBook, KnownGuest};
use super::super::password::PasswordHash;
use super::super::permissions::Permissions;
use crate::Key;

/// Who may use the API.
#[derive(Clone)]
pub enum Access {
    /// Who gives this user and password, by HTTP basic authentication, and may do everything; guests, and other users.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// Everybody who reaches it. Must be said aloud: whoever writes here rules every cluster.
    NoAuth,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => {
                f.debug_struct("Basic").field("username", username).field("password", &"<redacted>").finish()
            }
            Self::NoAuth => f.write_str("NoAuth"),
        }
    }
}

/// Somebody else who may use the API, within bounds. `Debug` leaves the password out.
#[derive(Clone)]
pub struct User {
    /// As it is given; without a colon, and not beginning as guests' names do.
    pub name: String,
    /// The password.
    pub password: String,
    /// What may be seen and changed.
    pub permissions: Permissions,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("password", &"<redacted>")
            .field("permissions", &self.permissions)
            .finish()
    }
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// What they may see and change.
    pub permissions: Arc<Permissions>,
    identity: Identity,
    /// As of which change of who may do what.
    admissions: u64,
}

#[derive(Clone, Debug)]
enum Identity {
    /// Nobody was asked who they are.
    Anybody,
    User(String, Arc<Account>),
    Guest(String, Arc<KnownGuest>),
}

impl Caller {
    /// Whom nothing is kept from.
    pub(super) fn owner() -> Self {
        Self::anybody(Permissions::all())
    }

    /// Who was not asked who they are.
    pub(super) fn anybody(permissions: Permissions) -> Self {
        Self { permissions: Arc::new(permissions), identity: Identity::Anybody, admissions: 0 }
    }

    /// What tells one from another while both are kept.
    pub(super) fn id(&self) -> usize {
        match &self.identity {
            Identity::Anybody => 0,
            Identity::User(_, account) => Arc::as_ptr(account).addr(),
            Identity::Guest(_, guest) => Arc::as_ptr(guest).addr(),
        }
    }

    /// Whether nothing is kept from them.
    pub(super) fn is_owner(&self) -> bool {
        self.permissions.may_write_tree(&Key::root())
    }
}

/// What an `Authorization` header claims.
struct Claim {
    name: String,
    password: PasswordHash,
}

impl Claim {
    fn read(header: Option<&str>) -> Option<Self> {
        let (scheme, encoded) = header?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let given = STANDARD.decode(encoded.trim()).ok()?;
        let colon = given.iter().position(|byte| *byte == b':')?;
        let name = std::str::from_utf8(&given[..colon]).ok()?.to_owned();
        Some(Self { name, password: PasswordHash::of(&given[colon + 1..]) })
    }
}

/// Users by name.
type Users = HashMap<String, Arc<Account>>;

/// Everybody who may come in; of guests, the store itself knows.
pub(super) struct Accounts {
    /// Whether nobody is asked who they are.
    open: bool,
    /// The owner among them.
    users: RwLock<Users>,
    nobody: Account,
}

impl Accounts {
    pub(super) fn new(access: &Access, users: Vec<User>) -> Self {
        let nobody = Account { password: PasswordHash::of_nobody(), permissions: Arc::default() };
        let open = matches!(access, Access::NoAuth);
        let accounts = Self { open, users: RwLock::default(), nobody };
        accounts.replace(access, users);
        accounts
    }

    /// Knows the owner and these users from now on, and no others. Who is the same as before stays so. Whether anybody
    /// is asked at all does not change.
    pub(super) fn replace(&self, access: &Access, mut users: Vec<User>) {
        let mut there = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if let Access::Basic { username, password } = access {
            let (name, password) = (username.clone(), password.clone());
            // The last of a name counts.
            users.push(User { name, password, permissions: Permissions::all() });
        }
        let known = users.into_iter().map(|User { name, password, permissions }| {
            let account = Arc::new(account(&password, permissions));
            let before = there.get(&name).filter(|before| ***before == *account).cloned();
            (name, before.unwrap_or(account))
        });
        let known: Users = known.collect();
        *there = known;
    }

    /// Who the sender of this header is, if he is somebody.
    pub(super) fn admit(&self, shared: &Shared, authorization: Option<&str>) -> Option<Caller> {
        if self.open {
            return Some(Caller::owner());
        }
        // Before anything is looked up: what changes from here on is looked at again.
        let admissions = shared.admissions.load(Ordering::SeqCst);
        let claim = Claim::read(authorization)?;
        let identity = self.find(shared, &claim.name);
        let account = match &identity {
            Some(Identity::User(_, account)) => account,
            Some(Identity::Guest(_, guest)) => &guest.account,
            // It takes as long to find out that there is nobody of that name.
            Some(Identity::Anybody) | None => &self.nobody,
        };
        let permissions = Arc::clone(&account.permissions);
        let right = account.password.is(&claim.password);
        identity.filter(|_| right).map(|identity| Caller { permissions, identity, admissions })
    }

    fn find(&self, shared: &Shared, name: &str) -> Option<Identity> {
        if let Some(account) = self.user(name) {
            return Some(Identity::User(name.to_owned(), account));
        }
        let name = name.strip_prefix(GUEST_PREFIX)?;
        let guest = shared.guests().get(name).cloned()?;
        Some(Identity::Guest(name.to_owned(), guest))
    }

    fn user(&self, name: &str) -> Option<Arc<Account>> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Whether the caller is still who it was when it was let in, with the same rights, given the guests as they are.
    pub(super) fn knows(&self, shared: &Shared, guests: &GuestBook, caller: &Caller) -> bool {
        if caller.admissions == shared.admissions.load(Ordering::SeqCst) {
            return true;
        }
        match &caller.identity {
            Identity::Anybody => true,
            Identity::User(name, account) => self.user(name).is_some_and(|now| Arc::ptr_eq(&now, account)),
            Identity::Guest(name, guest) => guests.get(name).is_some_and(|now| Arc::ptr_eq(now, guest)),
        }
    }
}

fn account(password: &str, permissions: Permissions) -> Account {
    Account { password: PasswordHash::of(password.as_bytes()), permissions: Arc::new(permissions) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::{Access, Accounts, User};
    use crate::embedded::Options;
    use crate::embedded::guests::{GUEST_PREFIX, Guests};
    use crate::embedded::permissions::{Pattern, Permissions};
    use crate::{AccessControl, Embedded, Guest, Rights};

    const PASSWORD: &str = "e4eaaaf2-d142-11e1-b3e4-080027620cdd";

    fn owner() -> Access {
        Access::Basic { username: "u".to_owned(), password: "p:w".to_owned() }
    }

    fn user(name: &str, password: &str, writes: &str) -> User {
        let permissions = Permissions::new(vec![], vec![Pattern::parse(writes).unwrap()], vec![]);
        User { name: name.to_owned(), password: password.to_owned(), permissions }
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn only_the_right_user_and_password_come_in() {
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let guests = Guests::new(Arc::clone(&store), vec![]);
        let guest = |name: &str| Guest {
            name: name.to_owned(),
            password: PASSWORD.to_owned(),
            rights: Rights::default(),
        };
        guests.admit(&guest("b1")).unwrap();
        let users = vec![user("r", "q", "/r"), user("empty", "", "/e"), user("u", "q", "/u")];
        let accounts = Accounts::new(&owner(), users);
        let check = |header: Option<&str>, expected: Option<&str>| {
            let found = accounts.admit(&store.shared, header);
            let found = found.map(|caller| format!("{:?}", caller.permissions));
            let told = |permissions: Permissions| format!("{permissions:?}");
            let expected = expected.map(|expected| match expected {
                "all" => told(Permissions::all()),
                "guest" => told(Permissions::default()),
                writes => told(user("", "", writes).permissions),
            });
            assert_eq!(found, expected, "{header:?}");
        };
        check(Some("Basic dTpwOnc="), Some("all"));
        check(Some("basic dTpwOnc="), Some("all"));
        check(Some("Basic dTpwOg=="), None);
        check(Some("Basic dTo="), None);
        check(Some("Basic Og=="), None);
        check(Some("Basic ???"), None);
        check(Some("Bearer dTpwOnc="), None);
        check(Some("dTpwOnc="), None);
        check(None, None);
        check(Some(&basic("r:q")), Some("/r"));
        check(Some(&basic("empty:")), Some("/e"));
        for wrong in ["u:q", "r", "r:", "r:p:w", "R:q", "r:qq", "r:q\0", "empty:x", "nobody:", "nobody:q", ""]
        {
            check(Some(&basic(wrong)), None);
        }
        let as_guest = |name: &str, password: &str| basic(&format!("{GUEST_PREFIX}{name}:{password}"));
        check(Some(&as_guest("b1", PASSWORD)), Some("guest"));
        check(Some(&as_guest("b1", "")), None);
        check(Some(&as_guest("b1", &PASSWORD.to_uppercase())), None);
        check(Some(&as_guest("b", PASSWORD)), None);
        check(Some(&as_guest("", PASSWORD)), None);
        check(Some(&basic(&format!("b1:{PASSWORD}"))), None);
        let anybody = Accounts::new(&Access::NoAuth, vec![]);
        assert!(anybody.admit(&store.shared, None).is_some());
        assert!(!format!("{:?} {:?}", owner(), user("r", "hush", "/r")).contains("p:w"));
        assert!(!format!("{:?}", user("r", "hush", "/r")).contains("hush"));
    }

    #[test]
    fn who_changes_is_somebody_else() {
        let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let accounts = Accounts::new(&owner(), vec![user("a", "x", "/a"), user("b", "x", "/b")]);
        let caller = |text: &str| accounts.admit(&store.shared, Some(&basic(text))).unwrap();
        let (a, b, all) = (caller("a:x"), caller("b:x"), caller("u:p:w"));
        let known =
            || [&a, &b, &all].map(|caller| accounts.knows(&store.shared, &store.shared.guests(), caller));
        assert_eq!(known(), [true, true, true]);
        let replace = |users: Vec<User>| store.shared.change_admissions(|| accounts.replace(&owner(), users));
        replace(vec![user("b", "x", "/b"), user("a", "x", "/a")]);
        assert_eq!(known(), [true, true, true], "nobody has changed");
        replace(vec![user("a", "y", "/a"), user("b", "x", "/b")]);
        assert_eq!(known(), [false, true, true], "another password");
        replace(vec![user("a", "y", "/a"), user("b", "x", "/c")]);
        assert_eq!(known(), [false, false, true], "other rights");
        replace(vec![]);
        assert_eq!(known(), [false, false, true]);
    }
}
