//! Guests: each with a policy, a token and a node of its own.
//!
//! Sessions are made on a node of Consul's catalog, and who may make them there may end every other one there: so each
//! guest gets a node of its own, which is a name and nothing else, and has sessions on that alone. The policy is written
//! first and goes last: by it a guest is known, however far an admission or dismissal came.
//!
//! Servers of a datacenter know at once what a token may do, and they decide on keys, sessions and the catalog, whichever
//! agent was asked. What an agent decides by itself (its own services, its leaving) a client agent may judge by what it
//! knew up to `acl.token_ttl` ago, 30 s by default; no guest has rights there at any time. A datacenter that copies its
//! ACLs from another is as late as the copy.

use std::fmt;

use serde_json::{Value, json};

use super::answer::document;
use super::client::{Client, failed};
use super::token::Token;
use super::{check, guest, unavailable};
use crate::remote::percent_encoded;
use crate::remote::wire::{Method, Reply, Verdict};
use crate::remote::{InvalidReach, Reach, Unusable};
use crate::{AccessControl, ClientAccess, Guest, Key, StoreError};

/// Where Consul lets a guest's node stand: it has no machine.
const NOWHERE: &str = "127.0.0.1";

/// The administrator of a Consul's ACLs, version 1.4 and later.
pub struct Policies {
    client: Client,
}

impl Policies {
    /// An administrator, with a token that may write ACLs and register nodes. Nothing is sent yet: see
    /// [`Policies::check`].
    ///
    /// # Errors
    /// [`InvalidReach`].
    pub fn connect(reach: &Reach, administrator: Token) -> Result<Self, InvalidReach> {
        Ok(Self { client: Client::connect(reach, Some(administrator))? })
    }

    /// Makes sure that an agent answers, ACLs are on, and the token may write them and register nodes. Changes nothing.
    ///
    /// # Errors
    /// [`Unusable`] says which of these is not so.
    pub fn check(&self) -> Result<(), Unusable> {
        check::policies(&self.client)
    }

    /// The id of the guest's policy.
    fn policy(&self, name: &str) -> Result<Option<String>, StoreError> {
        let wanted = guest::called(name);
        let policies = self.policies()?;
        let found = policies.iter().find(|policy| policy["Name"].as_str() == Some(&wanted));
        Ok(found.and_then(|policy| policy["ID"].as_str()).map(ToOwned::to_owned))
    }

    fn policies(&self) -> Result<Vec<Value>, StoreError> {
        match self.read("/v1/acl/policies?consistent", |reply| self.judge(reply))? {
            Value::Array(policies) => Ok(policies),
            _ => Err(unavailable("no list of policies came: is that Consul, with ACLs?")),
        }
    }

    /// The guest's token, if it is there as it should be.
    fn has_token(&self, guest: &Guest, policy: &str) -> Result<bool, StoreError> {
        let target = format!("/v1/acl/token/{}?consistent", guest::accessor(&guest.name));
        let token = self.read(&target, |reply| match reply.status {
            // Consul 1.8 says so of a token that is not there. Whether it is forbidden, the next write tells.
            403 => Verdict::Said(Value::Null),
            _ => self.judge(reply),
        })?;
        let policies = token["Policies"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(token["SecretID"].as_str() == Some(&guest.password)
            && policies.len() == 1
            && policies[0]["ID"].as_str() == Some(policy))
    }

    fn remove_token(&self, name: &str) -> Result<(), StoreError> {
        let target = format!("/v1/acl/token/{}", guest::accessor(name));
        self.write(name, Method::Delete, &target, &Value::Null).map(drop)
    }

    fn read(&self, target: &str, judge: impl Fn(&Reply) -> Verdict<Value>) -> Result<Value, StoreError> {
        self.client.ask(Method::Get, target, &Value::Null, judge).map_err(unavailable)
    }

    fn write(&self, name: &str, method: Method, target: &str, body: &Value) -> Result<Value, StoreError> {
        let written = self.client.send(method, target, body, |reply| self.judge(reply));
        written.map_err(|failure| {
            // There is no key: what may be half done is the guest.
            failed(failure, &Key::root().child(&guest::called(name)).unwrap_or_else(|_| Key::root()))
        })
    }

    fn judge(&self, reply: &Reply) -> Verdict<Value> {
        document(reply, &self.client.words(reply))
    }
}

impl AccessControl for Policies {
    fn admit(&self, guest: &Guest) -> Result<(), StoreError> {
        if !guest::is_secret(&guest.password) {
            let reason =
                format!("the password of {} is no UUID in lower case, as Consul wants it", guest.name);
            return Err(StoreError::Corrupt { reason });
        }
        let (name, called) = (&guest.name, guest::called(&guest.name));
        let description = guest::description(name);
        let rules = guest::rules(name, &guest.rights);
        let mut wanted = json!({ "Name": called, "Description": description, "Rules": rules });
        let mut target = "/v1/acl/policy".to_owned();
        if let Some(id) = self.policy(name)? {
            target = format!("{target}/{}", percent_encoded(&id));
            wanted["ID"] = id.into();
        }
        let policy = self.write(name, Method::Put, &target, &wanted)?;
        let Some(policy) = policy["ID"].as_str() else {
            return Err(StoreError::OutcomeUnknown { key: Key::root() });
        };
        let node = json!({ "Node": called, "Address": NOWHERE });
        self.write(name, Method::Put, "/v1/catalog/register", &node)?;
        if !self.has_token(guest, policy)? {
            // A token's secret can't be changed.
            self.remove_token(name)?;
            let token = json!({
                "AccessorID": guest::accessor(name),
                "SecretID": guest.password,
                "Description": description,
                "Policies": [{ "ID": policy }],
            });
            self.write(name, Method::Put, "/v1/acl/token", &token)?;
        }
        Ok(())
    }

    fn dismiss(&self, name: &str) -> Result<(), StoreError> {
        self.remove_token(name)?;
        // Its sessions go with it, and with them what they held.
        let node = json!({ "Node": guest::called(name) });
        self.write(name, Method::Put, "/v1/catalog/deregister", &node)?;
        if let Some(id) = self.policy(name)? {
            let target = format!("/v1/acl/policy/{}", percent_encoded(&id));
            self.write(name, Method::Delete, &target, &Value::Null)?;
        }
        Ok(())
    }

    fn guests(&self) -> Result<Vec<String>, StoreError> {
        let policies = self.policies()?;
        let guests = policies.iter().filter_map(|policy| {
            guest::whose(policy["Name"].as_str()?, policy["Description"].as_str()?).map(ToOwned::to_owned)
        });
        Ok(guests.collect())
    }

    fn client_access(&self, guest: &Guest) -> ClientAccess {
        ClientAccess {
            password: Some(guest.password.clone()),
            ..self.client.access(Some(guest::called(&guest.name)))
        }
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").field("endpoints", &self.client.endpoints()).finish_non_exhaustive()
    }
}
