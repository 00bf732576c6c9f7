//! Who asks, and what he may ask for. Knows users and addresses; what is answered to those who are refused is
//! `refusal`'s.
//!
//! - `basic`: what a header claims.
//! - `verify`: argon2, at most two at a time.
//! - `door::Failures`: who guesses is slowed.
//!
//! Passwords are compared as keyed hashes (BLAKE2s with a key of this process), all of them, whoever is meant: how long
//! that takes says nothing of where, or in what length, a guess differs. A password of which only an argon2 hash is
//! known is remembered so once it was verified; there is one for each such user, and so never more than users.

mod basic;
mod verify;

pub use door::FailureLimits;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Update};
use door::{Charge, Failures};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use self::basic::Guess;
use self::verify::{Crowded, Verifier};
use super::message::Head;
use crate::model::{Password, Role, User};

/// A keyed hash of `name:password`.
type Mac = [u8; 32];

/// Tells who asks.
pub(super) struct Auth {
    users: RwLock<Arc<Vec<Known>>>,
    key: [u8; 32],
    verifier: Verifier,
    failures: Mutex<Failures>,
}

struct Known {
    name: Arc<str>,
    role: Role,
    /// What his header must hash to; an argon2 user's is known once it was verified.
    mac: OnceLock<Mac>,
    /// An argon2 user's hash.
    hash: Option<String>,
}

/// Who asks.
#[derive(Debug)]
pub(super) enum Who {
    /// One who may ask for something.
    User(Arc<str>, Role),
    /// Nobody that is known. His answer is delayed.
    Nobody(Duration),
    /// One whose address has failed too often: he is heard again after this.
    TooManyFailures(Duration),
    /// One whom only [`Auth::judge`] can tell.
    Unclear,
    /// One of so many who have to be told that it cannot be done now.
    Crowded,
}

impl Auth {
    pub(super) fn new(users: Vec<User>, limits: FailureLimits) -> Self {
        let auth = Self {
            users: RwLock::default(),
            key: rand::random(),
            verifier: Verifier::default(),
            failures: Mutex::new(Failures::new(limits)),
        };
        auth.replace(users);
        auth
    }

    /// Knows these users from now on, and no others. Who had shown the password of a hash that is still his need not
    /// show it again, and who owes for his guesses goes on owing.
    pub(super) fn replace(&self, users: Vec<User>) {
        let before = self.users();
        let known = users.into_iter().map(|User { name, role, password }| {
            let (mac, hash) = match password {
                Password::Plain(password) => {
                    (OnceLock::from(self.mac(format!("{name}:{}", password.expose()).as_bytes())), None)
                }
                Password::Argon2(hash) => {
                    let same = |known: &&Known| *known.name == *name && known.hash.as_ref() == Some(&hash);
                    let verified = before.iter().find(same).and_then(|known| known.mac.get());
                    (verified.map_or_else(OnceLock::new, |mac| OnceLock::from(*mac)), Some(hash))
                }
            };
            Known { name: name.into(), role, mac, hash }
        });
        let known = Arc::new(known.collect());
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn users(&self) -> Arc<Vec<Known>> {
        Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells who asks from memory, without blocking.
    pub(super) fn look(&self, head: &Head) -> Who {
        let Some(guess) = Guess::read(head.header("authorization")) else {
            // Who claims nothing guesses nothing.
            return Who::Nobody(Duration::ZERO);
        };
        let users = self.users();
        if let Some(known) = self.find(&users, &guess) {
            return Who::User(Arc::clone(&known.name), known.role);
        }
        let mut failures = self.failures();
        if unverified(&users).next().is_none() {
            return charged(failures.charge(head.peer.ip(), head.since));
        }
        match failures.refused(head.peer.ip(), head.since) {
            Some(wait) => Who::TooManyFailures(wait),
            None => Who::Unclear,
        }
    }

    /// Tells who asks. It may take long.
    pub(super) fn judge(&self, head: &Head) -> Who {
        let Some(guess) = Guess::read(head.header("authorization")) else {
            return Who::Nobody(Duration::ZERO);
        };
        // Somebody may have verified the same meanwhile.
        let users = self.users();
        if let Some(known) = self.find(&users, &guess) {
            return Who::User(Arc::clone(&known.name), known.role);
        }
        // Before it is verified: a flood of guesses must not be verified before the first of them has failed.
        let who = charged(self.failures().charge(head.peer.ip(), head.since));
        if matches!(who, Who::TooManyFailures(_)) {
            return who;
        }
        let meant = unverified(&users).find(|known| known.name.as_bytes() == guess.name());
        // A name that is nobody's takes as long as a wrong password.
        let Some(hash) = meant.or_else(|| unverified(&users).next()).and_then(|known| known.hash.as_ref())
        else {
            return who;
        };
        match (self.verifier.verify(guess.password(), hash), meant) {
            (Ok(true), Some(known)) => {
                self.failures().refund(head.peer.ip());
                // Somebody else may have been quicker, with the same.
                known.mac.get_or_init(|| self.mac(guess.whole()));
                Who::User(Arc::clone(&known.name), known.role)
            }
            (Ok(_), _) => who,
            (Err(Crowded), _) => {
                self.failures().refund(head.peer.ip());
                Who::Crowded
            }
        }
    }

    /// How many argon2 hashes have been verified.
    pub(super) fn verifications(&self) -> u64 {
        self.verifier.made()
    }

    /// Whom the guess is known to be right for. Every user is compared with.
    fn find<'a>(&self, users: &'a [Known], guess: &Guess) -> Option<&'a Known> {
        let mac = self.mac(guess.whole());
        let mut found = u64::MAX;
        for (index, known) in (0..).zip(users) {
            let (expected, is_known) = known.mac.get().map_or((&[0; 32], 0), |expected| (expected, 1));
            let same: Choice = mac.ct_eq(expected) & Choice::from(is_known);
            found.conditional_assign(&index, same);
        }
        users.get(usize::try_from(found).ok()?)
    }

    fn mac(&self, bytes: &[u8]) -> Mac {
        let mut mac = <Blake2sMac256 as KeyInit>::new(&self.key.into());
        mac.update(bytes);
        mac.finalize_fixed().into()
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Users whose passwords nobody has shown yet. When there are none, no guess can be right that is not known, and no guess
/// costs a verification.
fn unverified(users: &[Known]) -> impl Iterator<Item = &Known> {
    users.iter().filter(|known| known.mac.get().is_none())
}

fn charged(charge: Charge) -> Who {
    match charge {
        Charge::Delay(delay) => Who::Nobody(delay),
        Charge::TooMany(wait) => Who::TooManyFailures(wait),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::{Auth, FailureLimits, Who};
    use crate::api::message::Head;
    use crate::model::{Password, Role, Secret, User};

    fn plain(name: &str, password: &str) -> User {
        User { name: name.to_owned(), role: Role::Platform, password: Password::Plain(Secret::new(password)) }
    }

    #[test]
    fn only_those_with_their_passwords() {
        let users = vec![plain("platform", "pass:word ä"), plain("other", "x"), plain("empty", "")];
        let auth = Auth::new(users, FailureLimits { burst: 1000, ..FailureLimits::default() });
        let check = |header: &str, expected: Option<&str>| {
            let who = auth.look(&Head::new("GET", "/", &[("Authorization", header)]));
            let found = match &who {
                Who::User(name, _) => Some(&**name),
                _ => None,
            };
            assert_eq!(found, expected, "{header}: {who:?}");
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        check(&basic("platform:pass:word ä"), Some("platform"));
        check(&basic("platform:pass:word ä").replace("Basic", "bASIC "), Some("platform"));
        check(&basic("other:x"), Some("other"));
        check(&basic("empty:"), Some("empty"));
        check("", None);
        check("Basic", None);
        check("Basic ", None);
        check("Basic ???", None);
        check(&basic(""), None);
        check(&basic("empty"), None);
        check(&basic("platform:x"), None);
        check(&basic("other:pass:word ä"), None);
        check(&basic("platform:pass:word"), None);
        check(&basic("platform:pass:word äplatform:pass:word ä"), None);
        check(&basic("Platform:pass:word ä"), None);
        check(&basic("platform:pass:word ä").replace("Basic", "Bearer"), None);
    }

    /// A reload for another reason once made everybody be verified again.
    #[test]
    fn whose_hash_stays_the_same_stays_known() {
        use argon2::password_hash::PasswordHasher;
        use argon2::{Argon2, Params};
        let hash = |password: &str| {
            let params = Params::new(8, 1, 1, None).expect("small");
            let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
            argon2.hash_password_with_salt(password.as_bytes(), b"some salt").expect("a hash").to_string()
        };
        let user = |name: &str, hash: &str| User {
            name: name.to_owned(),
            role: Role::Platform,
            password: Password::Argon2(hash.to_owned()),
        };
        let (one, other) = (hash("one"), hash("other"));
        let auth = Auth::new(vec![user("a", &one)], FailureLimits::default());
        let head =
            Head::new("GET", "/", &[("Authorization", &format!("Basic {}", STANDARD.encode("a:one")))]);
        assert!(matches!(auth.judge(&head), Who::User(..)));
        auth.replace(vec![user("a", &one), user("b", &other)]);
        assert!(matches!(auth.look(&head), Who::User(..)), "verified again");
        auth.replace(vec![user("a", &other), user("b", &one)]);
        assert!(matches!(auth.look(&head), Who::Unclear), "another hash, or another's");
        auth.replace(Vec::new());
        assert!(matches!(auth.look(&head), Who::Nobody(_)));
    }
}
