//! Guests as etcd's users: each with one role of the same name, which holds its rights.
//!
//! What etcd keeps from a guest: keys outside its rights, but for [`Leak`]s; to end leases that hold such keys; everything
//! about users and roles but its own user and role; to change the members, to defragment and to take snapshots.
//!
//! No version of etcd keeps from a guest to make leases without end. Up to 3.4.41, 3.5.27 and 3.6.8 anybody who reaches it,
//! even without a password, may list the leases and keep one alive, so that a dead program's entries stay, and up to
//! 3.4.43, 3.5.29 and 3.6.10 a guest may hang a key of its own on another's lease.
//!
//! A watch that a guest has open when its rights change goes on until its connection ends: etcd looks at permissions when
//! a watch begins. With client certificates (`--client-cert-auth`), a guest comes with the broker's own; by gRPC, and
//! without a password, etcd takes its common name for a user: there must be no user of that name.

mod leak;
mod role;

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::leak::Leak;
use self::role::Role;
use super::answer::{Done, FAILED_PRECONDITION, Header, Said};
use super::check::Endpoint;
use super::gateway::Gateway;
use super::session::{Entrance, authenticate};
use super::unavailable;
use crate::remote::survey::survey;
use crate::remote::{Credentials, InvalidReach, Reach, Unusable};
use crate::{AccessControl, ClientAccess, Guest, StoreError};

/// What the names of our users and roles begin with. Whatever is called so may be dismissed: nobody is to call a user so
/// who does not mean that, such as a site the broker's own.
const PREFIX: &str = "patroni-broker-guest-";
/// How often it is begun anew where somebody else changes the same guest.
const ROUNDS: usize = 4;

/// The users and roles of an etcd, changed by its administrator: who has the role `root`.
///
/// All that is done may be done twice, and what is right already is left alone: whenever users or roles change, calls that
/// are just running must be repeated by those who make them.
pub struct Users {
    gateway: Gateway,
    reach: Reach,
    administrator: String,
}

#[derive(Deserialize)]
struct Roles {
    #[serde(rename = "header")]
    _header: Header,
    #[serde(default)]
    roles: Vec<String>,
}

/// What came of one step.
enum Step<T> {
    Done(T),
    /// What is to be changed is not there, or is there already.
    Otherwise,
}

impl Users {
    /// Nothing is sent yet: see [`Users::check`].
    ///
    /// # Errors
    /// [`InvalidReach`].
    pub fn connect(reach: &Reach, administrator: Credentials) -> Result<Self, InvalidReach> {
        let name = administrator.username.clone();
        let gateway = Gateway::new(reach, Some(administrator))?;
        Ok(Self { gateway, reach: reach.clone(), administrator: name })
    }

    /// Makes sure that etcd asks everybody for a password, and that we may change its users. Warns of its [`Leak`]s, for
    /// which a guest is made and dismissed. Leaves nothing behind.
    ///
    /// # Errors
    /// [`Unusable`] says what is not so.
    pub fn check(&self) -> Result<(), Unusable> {
        let wire = &self.gateway.wire;
        let usable = survey(wire.endpoints(), |at| self.probe(&Endpoint { gateway: &self.gateway, at }))?;
        wire.prefer(usable);
        match self.leaks() {
            Ok(leaks) => {
                leaks.iter().for_each(|leak| log::warn!("etcd does not hold guests to their rights: {leak}"))
            }
            Err(error) => log::warn!("whether etcd holds guests to their rights is not known: {error}"),
        }
        Ok(())
    }

    fn probe(&self, endpoint: &Endpoint<'_>) -> Result<(), Unusable> {
        endpoint.status()?;
        let Some(credentials) = self.gateway.session.credentials() else { return Ok(()) };
        let Some(pass) = endpoint.enter(credentials)? else {
            return Err(Unusable::NotServed {
                what: "users and roles while its authentication is off: make the user root, and turn it on",
                reasons: "it asks nobody for a password".to_owned(),
            });
        };
        endpoint.ask::<Done>(&pass, "/v3/auth/user/list", &json!({}), "to administer users").map(drop)
    }

    fn ask<T: DeserializeOwned>(&self, what: &str, body: &Value) -> Result<Step<T>, StoreError> {
        match self.gateway.read(&format!("/v3/auth/{what}"), body).map_err(unavailable)? {
            Said::Done(done) => Ok(Step::Done(done)),
            Said::Refused(refusal) if refusal.code == FAILED_PRECONDITION => Ok(Step::Otherwise),
            Said::Refused(refusal) => Err(unavailable(refusal.reason())),
        }
    }

    /// One change. Says whether it found things as they were looked at before.
    fn change(&self, what: &str, body: &Value) -> Result<bool, StoreError> {
        Ok(matches!(self.ask::<Done>(what, body)?, Step::Done(_)))
    }

    /// Says whether all is right now; otherwise somebody else is at the same guest.
    fn converge(&self, user: &str, guest: &Guest) -> Result<bool, StoreError> {
        let there = match self.ask::<Role>("role/get", &json!({"role": user}))? {
            Step::Done(role) => role,
            Step::Otherwise if self.change("role/add", &json!({"name": user}))? => Role::default(),
            Step::Otherwise => return Ok(false),
        };
        let changes = there.changes_for(&guest.rights);
        for (what, body) in changes.iter().map(|change| change.request(user)) {
            if !self.change(what, &body)? {
                return Ok(false);
            }
        }
        let roles = match self.ask::<Roles>("user/get", &json!({"name": user}))? {
            Step::Done(Roles { roles, .. }) => {
                self.set_password(user, &guest.password)?;
                roles
            }
            Step::Otherwise => {
                if !self.change("user/add", &json!({"name": user, "password": guest.password}))? {
                    return Ok(false);
                }
                Vec::new()
            }
        };
        for role in roles.iter().filter(|role| *role != user) {
            if !self.change("user/revoke", &json!({"name": user, "role": role}))? {
                return Ok(false);
            }
        }
        Ok(roles.iter().any(|role| role == user)
            || self.change("user/grant", &json!({"user": user, "role": user}))?)
    }

    /// Changing a password ends every token: it is left alone if it is the right one.
    fn set_password(&self, user: &str, password: &str) -> Result<(), StoreError> {
        let credentials = Credentials { username: user.to_owned(), password: password.to_owned() };
        match authenticate(&self.gateway.wire, &credentials) {
            Entrance::Token(_) => Ok(()),
            Entrance::Denied => {
                // Where the user is gone meanwhile, the next round makes it.
                self.change("user/changepw", &json!({"name": user, "password": password})).map(drop)
            }
            Entrance::Open => Err(unavailable("etcd asks nobody for a password".to_owned())),
            Entrance::Trouble(reason) => Err(unavailable(reason)),
        }
    }

    fn roles(&self) -> Result<Vec<String>, StoreError> {
        match self.ask::<Roles>("role/list", &json!({}))? {
            Step::Done(Roles { roles, .. }) => Ok(roles),
            Step::Otherwise => Err(unavailable("etcd does not list its roles".to_owned())),
        }
    }
}

impl AccessControl for Users {
    fn admit(&self, guest: &Guest) -> Result<(), StoreError> {
        let user = self.user(&guest.name)?;
        for _ in 0..ROUNDS {
            if self.converge(&user, guest)? {
                return Ok(());
            }
        }
        Err(unavailable(format!("somebody else changes the user {user} at the same time")))
    }

    /// The user goes first, the role last: as long as there is something to do, the guest is listed.
    fn dismiss(&self, name: &str) -> Result<(), StoreError> {
        let user = self.user(name)?;
        if !self.roles()?.contains(&user) {
            return Ok(());
        }
        // Whether it was there makes no difference.
        self.change("user/delete", &json!({"name": user}))?;
        self.change("role/delete", &json!({"role": user})).map(drop)
    }

    fn guests(&self) -> Result<Vec<String>, StoreError> {
        let roles = self.roles()?;
        let ours = roles.iter().filter(|role| **role != self.administrator);
        Ok(ours.filter_map(|role| role.strip_prefix(PREFIX)).map(ToOwned::to_owned).collect())
    }

    fn client_access(&self, guest: &Guest) -> ClientAccess {
        let username = format!("{PREFIX}{}", guest.name);
        self.gateway.client_access(Some(&Credentials { username, password: guest.password.clone() }))
    }
}

impl Users {
    /// The guest's user, who must not be ourselves.
    fn user(&self, name: &str) -> Result<String, StoreError> {
        let user = format!("{PREFIX}{name}");
        if user == self.administrator {
            return Err(StoreError::Corrupt { reason: format!("{user} is the store's administrator") });
        }
        Ok(user)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("endpoints", &self.gateway.wire.endpoints()).finish_non_exhaustive()
    }
}
