//! An access control that is only state: it knows its guests and what they may do, and has troubles on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use storage::remote::{ClientCertificate, Tls};
use storage::{AccessControl, ClientAccess, Guest, Key, Rights, StoreError};

/// A line of the key that every guest is given.
pub const KEY_LINE: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";

/// What a call does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer comes, and nothing happened.
    Away,
    /// The answer is lost, and nothing happened.
    LostWithoutEffect,
    /// The answer is lost, and it happened all the same.
    LostWithEffect,
    /// It never will.
    Refuses,
}

#[derive(Default)]
pub struct FakeGuests {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    guests: BTreeMap<String, Guest>,
    /// Of the next calls, one after the other.
    troubles: VecDeque<Trouble>,
    /// Of every call.
    trouble: Option<Trouble>,
    admitted: usize,
    /// What somebody was refused.
    breaches: Vec<String>,
}

impl FakeGuests {
    /// Lets the next call have a trouble; several are had one after the other.
    pub fn trouble(&self, trouble: Trouble) {
        self.state.lock().unwrap().troubles.push_back(trouble);
    }

    /// Lets every call have a trouble from now on, or none any more.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        self.state.lock().unwrap().trouble = trouble;
    }

    pub fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().guests.keys().cloned().collect()
    }

    pub fn guest(&self, name: &str) -> Option<Guest> {
        self.state.lock().unwrap().guests.get(name).cloned()
    }

    /// How often somebody was admitted.
    pub fn admitted(&self) -> usize {
        self.state.lock().unwrap().admitted
    }

    /// Removes a guest behind everyone's back.
    pub fn lose(&self, name: &str) {
        self.state.lock().unwrap().guests.remove(name);
    }

    /// Whether who says to be `username` may write there.
    pub fn lets_write(&self, username: &str, password: &str, key: &Key) -> bool {
        let state = self.state.lock().unwrap();
        let guest = username.strip_prefix("guest-").and_then(|name| state.guests.get(name));
        guest.is_some_and(|guest| guest.password == password && guest.rights.write.contains(key))
    }

    /// Remembers that somebody was refused.
    pub fn breach(&self, username: &str, key: &Key) {
        self.state.lock().unwrap().breaches.push(format!("{username}: {key}"));
    }

    /// What members were refused so far.
    pub fn breaches(&self) -> Vec<String> {
        self.state.lock().unwrap().breaches.clone()
    }

    fn perform(&self, effect: impl FnOnce(&mut State)) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap();
        let trouble = state.troubles.pop_front().or(state.trouble);
        if matches!(trouble, None | Some(Trouble::LostWithEffect)) {
            effect(&mut state);
        }
        match trouble {
            None => Ok(()),
            Some(Trouble::Away) => Err(away()),
            Some(Trouble::Refuses) => Err(StoreError::Corrupt { reason: "the fake says no".to_owned() }),
            Some(Trouble::LostWithEffect | Trouble::LostWithoutEffect) => {
                Err(StoreError::OutcomeUnknown { key: Key::parse("/users").unwrap() })
            }
        }
    }
}

fn away() -> StoreError {
    StoreError::Unavailable { engine: "fake", reason: "the fake is away".to_owned() }
}

impl AccessControl for FakeGuests {
    fn admit(&self, guest: &Guest) -> Result<(), StoreError> {
        self.perform(|state| {
            state.admitted += 1;
            state.guests.insert(guest.name.clone(), guest.clone());
        })
    }

    fn dismiss(&self, name: &str) -> Result<(), StoreError> {
        self.perform(|state| drop(state.guests.remove(name)))
    }

    fn guests(&self) -> Result<Vec<String>, StoreError> {
        let state = self.state.lock().unwrap();
        if state.trouble.is_some() { Err(away()) } else { Ok(state.guests.keys().cloned().collect()) }
    }

    /// With everything that an access may have.
    fn client_access(&self, guest: &Guest) -> ClientAccess {
        let key = format!("-----BEGIN PRIVATE KEY-----\n{KEY_LINE}\n-----END PRIVATE KEY-----\n");
        let client = ClientCertificate { chain: "the chain".to_owned(), key };
        ClientAccess {
            engine: "etcd",
            endpoints: vec!["https://10.0.0.5:2379".to_owned()],
            username: Some(format!("guest-{}", guest.name)),
            password: Some(guest.password.clone()),
            tls: Some(Tls { ca: Some("the authority".to_owned()), client: Some(client) }),
            session_node: Some("agent-5".to_owned()),
        }
    }
}

/// What is said of every access control holds of this one.
#[test]
fn the_fake_keeps_the_contract() {
    let fake = FakeGuests::default();
    let key = |raw: &str| Key::parse(raw).unwrap();
    let guest = |name: &str, write: &str| Guest {
        name: name.to_owned(),
        password: format!("{name}'s"),
        rights: Rights { read_under: Vec::new(), write: write.split(' ').map(key).collect() },
    };
    fake.admit(&guest("b1", "/service/b1/leader /service/b1/members/n1")).unwrap();
    fake.admit(&guest("b10", "/service/b10/leader")).unwrap();
    let b1 = |raw: &str| fake.lets_write("guest-b1", "b1's", &key(raw));
    assert!(b1("/service/b1/leader") && b1("/service/b1/members/n1"));
    assert!(!b1("/service/b1/leader/x") && !b1("/service/b10/leader") && !b1("/service/b1"));
    assert!(!fake.lets_write("guest-b1", "another's", &key("/service/b1/leader")));
    for _ in 0..2 {
        fake.admit(&guest("b1", "/service/b1/leader")).unwrap();
        assert!(b1("/service/b1/leader") && !b1("/service/b1/members/n1"), "rights were kept");
    }
    assert_eq!(fake.guests().unwrap(), ["b1", "b10"]);
    for _ in 0..2 {
        fake.dismiss("b1").unwrap();
        assert!(!b1("/service/b1/leader"));
    }
    assert_eq!(fake.guests().unwrap(), ["b10"]);
    fake.set_trouble(Some(Trouble::Away));
    assert_eq!(fake.guests(), Err(away()));
    assert_eq!(fake.dismiss("b10"), Err(away()));
    fake.trouble(Trouble::LostWithEffect);
    assert!(matches!(fake.dismiss("b10"), Err(StoreError::OutcomeUnknown { .. })));
    fake.set_trouble(None);
    assert_eq!(fake.guests(), Ok(Vec::new()));
}

/// A store's own access control with the fake at its side, which the fake of Patroni asks.
pub struct Beside {
    pub real: Arc<dyn AccessControl>,
    pub fake: Arc<FakeGuests>,
}

impl AccessControl for Beside {
    fn admit(&self, guest: &Guest) -> Result<(), StoreError> {
        self.real.admit(guest)?;
        self.fake.admit(guest)
    }

    fn dismiss(&self, name: &str) -> Result<(), StoreError> {
        self.real.dismiss(name)?;
        self.fake.dismiss(name)
    }

    fn guests(&self) -> Result<Vec<String>, StoreError> {
        self.real.guests()
    }

    fn client_access(&self, guest: &Guest) -> ClientAccess {
        self.fake.client_access(guest)
    }
}
