//! What the router knows of the store: ports, members and leaders, kept up to date key by key. Pure: reads nothing
//! by itself and has no clock.
//!
//! A member that vanishes from the store stays in its route for [`GONE_FOR`], as long as the instance has its port:
//! entries expire during an outage of the store while PostgreSQL runs on, and the health check decides anyway.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::slice;
use std::time::{Duration, Instant};

use storage::{Entry, Key, Revision};

use super::endpoint::{Endpoint, Host};
use crate::model::{InstanceId, NodeId};
use crate::patroni::{Member, read_members};
use crate::state::keys;

/// How long a member that vanished from the store stays in its route.
pub const GONE_FOR: Duration = Duration::from_secs(60);

/// One public port and the servers that it may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whose it is.
    pub instance: InstanceId,
    /// The public port.
    pub port: u16,
    /// In the order of their names; none yet while the cluster is made.
    pub servers: Vec<Server>,
}

/// A member of a cluster, as a server of HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub node: NodeId,
    /// Where its PostgreSQL is.
    pub sql: Endpoint,
    /// Where its REST API is.
    pub api: Endpoint,
    /// Whether the REST API speaks TLS.
    pub api_tls: bool,
}

/// Something in the store that no route can be made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub key: String,
    /// What is wrong, for people.
    pub reason: String,
}

/// The store names another leader of an instance than before, or its first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// Whose.
    pub instance: InstanceId,
    /// Who it was, if it had one.
    pub from: Option<NodeId>,
    /// Who it is.
    pub to: NodeId,
}

/// Where the router itself listens: no member's URL may lead there.
#[derive(Clone, Debug)]
pub struct OwnAddress {
    /// The address that the public ports are bound to.
    pub listen: IpAddr,
    /// The router's own name.
    pub host: String,
}

/// Everything known. An instance is kept while any key of it is.
#[derive(Debug, Default)]
pub struct RouteTable {
    instances: BTreeMap<InstanceId, Instance>,
    problems: BTreeMap<Key, String>,
    changed: bool,
}

#[derive(Debug, Default)]
struct Instance {
    allocation: Option<(u16, Revision)>,
    members: BTreeMap<NodeId, Server>,
    gone: BTreeMap<NodeId, (Server, Instant)>,
    /// The last one that was known: a key that is gone says nothing about who is next.
    leader: Option<NodeId>,
    leader_is_held: bool,
}

/// What a key of the store means to a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// `/routing/allocation/<instance>`
    Allocation(InstanceId),
    /// `/service/<instance>/members/<node>`
    Member(InstanceId, NodeId),
    /// `/service/<instance>/leader`
    Leader(InstanceId),
    /// A directory above such keys: a watch may name it when it was removed as a whole.
    Above,
    /// Looks like one of the first two and has a name that is no id.
    Misnamed,
    /// Nothing.
    Foreign,
}

impl Meaning {
    /// What `key` means.
    #[must_use]
    pub fn of(key: &Key) -> Self {
        let segments: Vec<&str> = key.segments().collect();
        let instance = |raw: &str| InstanceId::parse(raw).ok();
        match segments[..] {
            [] | ["routing" | "service"] | ["routing", "allocation"] | ["service", _] => Self::Above,
            ["service", _, "members"] => Self::Above,
            ["routing", "allocation", id] => instance(id).map_or(Self::Misnamed, Self::Allocation),
            ["service", id, "leader"] => instance(id).map_or(Self::Foreign, Self::Leader),
            ["service", id, "members", node] => match (instance(id), NodeId::parse(node)) {
                (Some(id), Ok(node)) => Self::Member(id, node),
                _ => Self::Misnamed,
            },
            _ => Self::Foreign,
        }
    }
}

impl RouteTable {
    /// Takes over what stands at `key` now.
    pub fn apply(&mut self, key: &Key, entry: Option<&Entry>, now: Instant) -> Option<LeaderChange> {
        self.changed |= self.problems.remove(key).is_some();
        let mut change = None;
        match Meaning::of(key) {
            Meaning::Allocation(id) => self.set_allocation(id, key, entry),
            Meaning::Member(id, node) => self.set_member(id, node, key, entry, now),
            Meaning::Leader(id) => change = self.set_leader(id, entry),
            Meaning::Misnamed if entry.is_some() => {
                self.object(key, "has a name that is no id");
            }
            Meaning::Misnamed | Meaning::Above | Meaning::Foreign => {}
        }
        change
    }

    /// Takes over everything that stands at and under `prefix` now.
    pub fn replace(&mut self, prefix: &Key, entries: &[Entry], now: Instant) -> Vec<LeaderChange> {
        let present: BTreeSet<&Key> = entries.iter().map(|entry| &entry.key).collect();
        let vanished = self.known_keys(prefix).into_iter().filter(|key| !present.contains(key));
        for key in vanished.collect::<Vec<_>>() {
            self.apply(&key, None, now);
        }
        entries.iter().filter_map(|entry| self.apply(&entry.key, Some(entry), now)).collect()
    }

    /// The routes in the order of their instances, and what no route can be made of.
    #[must_use]
    pub fn routes(&self, own: &OwnAddress, now: Instant) -> (Vec<Route>, BTreeSet<Problem>) {
        let mut problems: BTreeSet<Problem> = self
            .problems
            .iter()
            .map(|(key, reason)| Problem { key: key.to_string(), reason: reason.clone() })
            .collect();
        let mut owners: BTreeMap<u16, (Revision, &InstanceId)> = BTreeMap::new();
        for (id, instance) in &self.instances {
            let Some((port, revision)) = instance.allocation else { continue };
            // The one that was there first keeps the port.
            let first = owners.entry(port).or_insert((revision, id));
            *first = (*first).min((revision, id));
        }
        let mut routes = Vec::new();
        for (id, instance) in &self.instances {
            let Some((port, _)) = instance.allocation else { continue };
            let owner = owners[&port].1;
            if owner != id {
                let reason = format!("names port {port}, which instance {owner} has already");
                problems.insert(Problem { key: format!("/routing/allocation/{id}"), reason });
                continue;
            }
            let (servers, to_self): (Vec<Server>, Vec<Server>) = instance.servers(now).partition(|server| {
                ![&server.sql, &server.api].iter().any(|to| owners.contains_key(&to.port) && own.is(&to.host))
            });
            problems.extend(to_self.into_iter().map(|server| Problem {
                key: format!("/service/{id}/members/{}", server.node),
                reason: "leads back to this router".to_owned(),
            }));
            routes.push(Route { instance: id.clone(), port, servers });
        }
        (routes, problems)
    }

    /// The instances that have an allocation, right or wrong, and none of these routes.
    #[must_use]
    pub fn without_route(&self, routes: &[Route]) -> BTreeSet<InstanceId> {
        let allocated = self.instances.iter().filter(|(_, instance)| instance.allocation.is_some());
        let wrong = self.problems.keys().filter_map(|key| match Meaning::of(key) {
            Meaning::Allocation(id) => Some(id),
            _ => None,
        });
        let mut without: BTreeSet<InstanceId> = allocated.map(|(id, _)| id.clone()).chain(wrong).collect();
        for route in routes {
            without.remove(&route.instance);
        }
        without
    }

    /// Forgets members that have been gone for long enough.
    pub fn forget_gone(&mut self, now: Instant) {
        let mut forgot = false;
        self.instances.retain(|_, instance| {
            let before = instance.gone.len();
            instance.gone.retain(|_, (_, since)| now.saturating_duration_since(*since) < GONE_FOR);
            forgot |= instance.gone.len() < before;
            !instance.is_empty()
        });
        self.changed |= forgot;
    }

    fn set_allocation(&mut self, id: InstanceId, key: &Key, entry: Option<&Entry>) {
        let port = entry.map(|entry| {
            let text = std::str::from_utf8(&entry.value).unwrap_or_default();
            text.trim().parse::<u16>().ok().filter(|port| *port != 0).map(|port| (port, entry.revision))
        });
        if port == Some(None) {
            self.object(key, "is not a port");
        }
        let before = self.instances.get(&id).and_then(|instance| instance.allocation);
        self.changed |= before != port.flatten();
        self.change(id, |instance| {
            instance.allocation = port.flatten();
            if instance.allocation.is_none() {
                instance.gone.clear();
            }
        });
    }

    fn set_member(&mut self, id: InstanceId, node: NodeId, key: &Key, entry: Option<&Entry>, now: Instant) {
        let server = entry.map(|entry| match read_members(slice::from_ref(entry)).pop() {
            Some(member) => Server::of(&member),
            None => Err("is not what a member says of itself".to_owned()),
        });
        if let Some(Err(reason)) = &server {
            self.object(key, reason);
        }
        let server = server.and_then(Result::ok);
        let before = self.instances.get(&id).and_then(|instance| instance.members.get(&node));
        self.changed |= before != server.as_ref();
        self.change(id, |instance| {
            let before = match server {
                Some(server) => {
                    instance.gone.remove(&node);
                    instance.members.insert(node, server);
                    return;
                }
                None => instance.members.remove(&node),
            };
            if let (Some(before), true) = (before, instance.allocation.is_some()) {
                instance.gone.insert(node, (before, now));
            }
        });
    }

    fn set_leader(&mut self, id: InstanceId, entry: Option<&Entry>) -> Option<LeaderChange> {
        let name = entry.and_then(|entry| std::str::from_utf8(&entry.value).ok());
        let Some(name) = name.and_then(|name| NodeId::parse(name.trim()).ok()) else {
            self.change(id, |instance| instance.leader_is_held = false);
            return None;
        };
        let mut before = None;
        self.change(id.clone(), |instance| {
            instance.leader_is_held = true;
            before = instance.leader.replace(name.clone());
        });
        (before.as_ref() != Some(&name)).then_some(LeaderChange { instance: id, from: before, to: name })
    }

    fn object(&mut self, key: &Key, reason: &str) {
        self.problems.insert(key.clone(), reason.to_owned());
        self.changed = true;
    }

    /// Whether something changed that routes are made of, since this was asked last: members say something new every
    /// few seconds, and mostly nothing that matters here.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn change(&mut self, id: InstanceId, act: impl FnOnce(&mut Instance)) {
        match self.instances.entry(id) {
            Slot::Vacant(slot) => {
                let mut instance = Instance::default();
                act(&mut instance);
                if !instance.is_empty() {
                    slot.insert(instance);
                }
            }
            Slot::Occupied(mut slot) => {
                act(slot.get_mut());
                if slot.get().is_empty() {
                    slot.remove();
                }
            }
        }
    }

    fn known_keys(&self, prefix: &Key) -> Vec<Key> {
        let of_instance = |(id, instance): (&InstanceId, &Instance)| {
            let mut known: Vec<Key> = instance.members.keys().map(|node| keys::member(id, node)).collect();
            known.extend(instance.allocation.map(|_| keys::allocation(id)));
            known.extend(instance.leader_is_held.then(|| keys::leader(id)));
            known
        };
        let keys = self.instances.iter().flat_map(of_instance).chain(self.problems.keys().cloned());
        keys.filter(|key| key == prefix || key.is_under(prefix)).collect()
    }
}

impl Instance {
    /// A past leader alone is not worth remembering an instance for.
    fn is_empty(&self) -> bool {
        let members = self.members.is_empty() && self.gone.is_empty();
        self.allocation.is_none() && members && !self.leader_is_held
    }

    fn servers(&self, now: Instant) -> impl Iterator<Item = Server> {
        let fresh = |since: &Instant| now.saturating_duration_since(*since) < GONE_FOR;
        // Whoever took over a gone member's address is known by its own name.
        let taken = |server: &Server| self.members.values().any(|member| member.sql == server.sql);
        let gone = self.gone.iter().filter(move |(_, (server, since))| fresh(since) && !taken(server));
        let all: BTreeMap<&NodeId, &Server> =
            gone.map(|(node, (server, _))| (node, server)).chain(&self.members).collect();
        all.into_values().cloned().collect::<Vec<_>>().into_iter()
    }
}

impl Server {
    fn of(member: &Member) -> Result<Self, String> {
        let sql = Endpoint::parse(&member.conn_url, &["postgres", "postgresql"]);
        let (_, sql) = sql.map_err(|error| format!("its conn_url {error}"))?;
        let api = Endpoint::parse(&member.api_url, &["http", "https"]);
        let (scheme, api) = api.map_err(|error| format!("its api_url {error}"))?;
        Ok(Self { node: member.node.clone(), sql, api, api_tls: scheme == "https" })
    }
}

impl OwnAddress {
    fn is(&self, host: &Host) -> bool {
        let listens_everywhere = self.listen.is_unspecified();
        match host {
            Host::Address(address) if *address == self.listen => true,
            Host::Address(address) if address.to_string() == self.host => listens_everywhere,
            Host::Name(name) if *name == self.host => true,
            host => host.is_loopback() && (listens_everywhere || self.listen.is_loopback()),
        }
    }
}
