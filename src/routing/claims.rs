//! Claims on ports. A claim is a key made with `Absent`, so that of any number of brokers one gets the port; it names
//! its owner, so that a claim which no record speaks for can be told and reaped.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use log::{info, warn};
use serde::{Deserialize, Serialize};
use storage::{Clock, Entry, Expect, Key, Store, StoreError};
use uuid::Uuid;

use crate::model::{CellGuid, InstanceId, PortRange};
use crate::state::{Instances, Orphans, keys};

/// How old a claim must be before it can be reaped: longer than a request takes from its claims to its record.
const REAP_AFTER: Duration = Duration::from_secs(120);

/// What a claim says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose port it is.
    pub instance: InstanceId,
    /// Since when, in milliseconds since 1970.
    pub claimed_ms: u64,
    /// A random id of this claim: two requests for one instance may claim in the same millisecond.
    #[serde(default)]
    pub write_id: String,
}

/// Why no port was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortError {
    /// Every port of the range is taken.
    Exhausted {
        /// Which range, for an operator.
        range: String,
    },
    /// The store failed.
    Store(StoreError),
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted { range } => write!(f, "every port of {range} is taken"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PortError {}

impl From<StoreError> for PortError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Gives ports out and takes them back.
pub struct PortPool {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    public: PortRange,
}

impl PortPool {
    /// Ports kept in this store; public ones from this range.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, public: PortRange) -> Self {
        Self { store, clock, public }
    }

    /// Claims a public port: the next one that was never given out, or, once the range is exhausted, a freed one.
    ///
    /// # Errors
    /// [`PortError::Exhausted`], with nothing taken.
    pub fn claim_public(&self, instance: &InstanceId) -> Result<u16, PortError> {
        let next = self.next_port()?;
        let taken = self.taken(&keys::public_claims())?;
        let never_given = (next..=self.public.last()).filter(|port| self.public.contains(*port));
        let given_before = self.public.iter().filter(|port| *port < next);
        for port in never_given.chain(given_before).filter(|port| !taken.contains(port)) {
            if self.claim(&keys::public_claims(), port, instance)? {
                if let Err(error) = self.advance_next_port(port) {
                    self.release_from(&keys::public_claims(), instance, &[port]);
                    return Err(error.into());
                }
                return Ok(port);
            }
        }
        Err(PortError::Exhausted { range: format!("routing.ports {}", self.public) })
    }

    /// Whether a public port is claimed for this instance, by whomever.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn holds_public(&self, instance: &InstanceId) -> Result<bool, StoreError> {
        let entries = self.store.list(&keys::public_claims())?.entries;
        let mut claims =
            entries.iter().filter_map(|entry| serde_json::from_slice::<Claim>(&entry.value).ok());
        Ok(claims.any(|claim| claim.instance == *instance))
    }

    /// How many public ports nobody has claimed, and how many there are.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn count_public(&self) -> Result<(usize, usize), StoreError> {
        let taken = self.taken(&keys::public_claims())?;
        let all = self.public.iter().count();
        // What the ancestors gave out may lie outside of the range.
        let ours = taken.into_iter().filter(|port| self.public.contains(*port)).count();
        Ok((all - ours, all))
    }

    /// Claims `count` ports of a cell's range, the lowest free ones.
    ///
    /// # Errors
    /// [`PortError::Exhausted`], with nothing taken.
    pub fn claim_on_cell(
        &self,
        cell: &CellGuid,
        range: PortRange,
        instance: &InstanceId,
        count: usize,
    ) -> Result<Vec<u16>, PortError> {
        let prefix = keys::cell_claims(cell);
        let taken = self.taken(&prefix)?;
        let mut claimed = Vec::with_capacity(count);
        for port in range.iter().filter(|port| !taken.contains(port)) {
            if claimed.len() == count {
                break;
            }
            match self.claim(&prefix, port, instance) {
                Ok(true) => claimed.push(port),
                Ok(false) => {}
                Err(error) => {
                    self.release_from(&prefix, instance, &claimed);
                    return Err(error.into());
                }
            }
        }
        if claimed.len() < count {
            self.release_from(&prefix, instance, &claimed);
            return Err(PortError::Exhausted { range: format!("cell {cell}'s ports {range}") });
        }
        Ok(claimed)
    }

    /// The instances for which ports of a cell are claimed.
    ///
    /// # Errors
    /// As [`Store::list`]; [`StoreError::Corrupt`] when one of them is no claim.
    pub fn claimants_on(&self, cell: &CellGuid) -> Result<BTreeSet<InstanceId>, StoreError> {
        let claimant = |entry: &Entry| match serde_json::from_slice::<Claim>(&entry.value) {
            Ok(claim) => Ok(claim.instance),
            Err(_) => Err(StoreError::Corrupt { reason: format!("{} is not a claim", entry.key) }),
        };
        self.store.list(&keys::cell_claims(cell))?.entries.iter().map(claimant).collect()
    }

    /// Gives a public port back. Giving back what is not the instance's is success.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn release_public(&self, instance: &InstanceId, port: u16) -> Result<(), StoreError> {
        self.release(&keys::public_claims(), instance, port)
    }

    /// Gives a cell's port back. Giving back what is not the instance's is success.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn release_on_cell(
        &self,
        cell: &CellGuid,
        instance: &InstanceId,
        port: u16,
    ) -> Result<(), StoreError> {
        self.release(&keys::cell_claims(cell), instance, port)
    }

    /// Claims every port that `/routing/allocation` names and nobody has claimed: the ancestors' allocations are
    /// honoured.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn adopt_allocations(&self) -> Result<(), StoreError> {
        for entry in self.store.list(&keys::allocations())?.entries {
            let port =
                std::str::from_utf8(&entry.value).ok().and_then(|text| text.trim().parse::<u16>().ok());
            let (Some(port), Ok(instance)) = (port, InstanceId::parse(entry.key.name())) else {
                warn!("{} is not an allocation of a port; left alone", entry.key);
                continue;
            };
            if self.claim(&keys::public_claims(), port, &instance)? {
                info!("public port {port} of instance {instance} is claimed for it");
            }
        }
        Ok(())
    }

    /// Removes claims that no record and no orphan speaks for: a broker died between its claims and its record.
    ///
    /// # Errors
    /// As [`Store::list`]; what was removed until then stays removed.
    pub fn reap(&self, instances: &Instances) -> Result<(), StoreError> {
        for prefix in [keys::public_claims(), keys::all_cell_claims()] {
            for entry in self.store.list(&prefix)?.entries {
                if self.is_unspoken(instances, &entry)? && !self.is_an_orphans(&entry)? {
                    info!("removing {}, which nothing speaks for", entry.key);
                    forgive_conflict(self.store.delete(&entry.key, Expect::Unchanged(entry.revision)))?;
                }
            }
        }
        Ok(())
    }

    fn is_unspoken(&self, instances: &Instances, entry: &Entry) -> Result<bool, StoreError> {
        let Ok(claim) = serde_json::from_slice::<Claim>(&entry.value) else {
            warn!("{} is not a claim; left alone", entry.key);
            return Ok(false);
        };
        let age_ms = self.now_ms().saturating_sub(claim.claimed_ms);
        if u128::from(age_ms) < REAP_AFTER.as_millis() {
            return Ok(false);
        }
        // An allocation without a record is a promise to a user all the same.
        let allocation = self.store.get(&keys::allocation(&claim.instance))?;
        let allocated =
            allocation.and_then(|entry| std::str::from_utf8(&entry.value).ok()?.trim().parse().ok());
        let public = |port: u16| port_key(&keys::public_claims(), port);
        if allocated.is_some_and(|port| public(port) == entry.key) {
            return Ok(false);
        }
        let record = match instances.load(&claim.instance) {
            Ok(Some(record)) => record.value,
            Ok(None) => return Ok(true),
            // What nobody can read speaks for everything, and must not keep the others' claims from being looked at.
            Err(StoreError::Corrupt { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let owed = record.owed.iter().map(|owed| &owed.node);
        let cells = record.nodes.iter().chain(owed).flat_map(|node| {
            node.ports.iter().map(|port| port_key(&keys::cell_claims(&node.backend_id), port.host))
        });
        Ok(!record.allocated_port.map(public).into_iter().chain(cells).any(|key| key == entry.key))
    }

    /// Asked after no record was found that speaks for it: an orphan is written before its instance's record goes.
    fn is_an_orphans(&self, entry: &Entry) -> Result<bool, StoreError> {
        let ["broker", "ports", "cell", cell, port] = entry.key.segments().collect::<Vec<_>>()[..] else {
            return Ok(false);
        };
        let (Ok(cell), Ok(port)) = (CellGuid::parse(cell), port.parse()) else { return Ok(false) };
        let Ok(claim) = serde_json::from_slice::<Claim>(&entry.value) else { return Ok(false) };
        Orphans::new(Arc::clone(&self.store)).hold(&cell, &claim.instance, port)
    }

    fn next_port(&self) -> Result<u16, StoreError> {
        let Some(entry) = self.store.get(&keys::next_port())? else { return Ok(self.public.first()) };
        let port = std::str::from_utf8(&entry.value).ok().and_then(|text| text.trim().parse::<u16>().ok());
        let port =
            port.ok_or_else(|| StoreError::Corrupt { reason: "/routing/nextport is no port".to_owned() })?;
        Ok(port.max(self.public.first()))
    }

    /// `/routing/nextport` only grows, whoever writes it; who comes second to a higher port leaves it.
    fn advance_next_port(&self, given: u16) -> Result<(), StoreError> {
        let key = keys::next_port();
        for _ in 0..16 {
            let entry = self.store.get(&key)?;
            let next = given.saturating_add(1);
            let expect = match &entry {
                None => Expect::Absent,
                Some(_) if self.next_port()? >= next => return Ok(()),
                Some(entry) => Expect::Unchanged(entry.revision),
            };
            match self.store.put(&key, next.to_string().as_bytes(), None, expect) {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict | StoreError::OutcomeUnknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        // A hint, not a promise: the claims keep ports unique.
        Ok(())
    }

    fn taken(&self, prefix: &Key) -> Result<BTreeSet<u16>, StoreError> {
        let entries = self.store.list(prefix)?.entries;
        Ok(entries.iter().filter_map(|entry| entry.key.name().parse().ok()).collect())
    }

    /// Whether the claim was made by this call. A lost answer is cleared up by reading back: the random id tells whose
    /// claim it is.
    fn claim(&self, prefix: &Key, port: u16, instance: &InstanceId) -> Result<bool, StoreError> {
        let key = port_key(prefix, port);
        let write_id = Uuid::new_v4().to_string();
        let claim = Claim { instance: instance.clone(), claimed_ms: self.now_ms(), write_id };
        let value = serde_json::to_vec(&claim).expect("a claim of plain data has a JSON form");
        match self.store.put(&key, &value, None, Expect::Absent) {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(StoreError::OutcomeUnknown { .. }) => {
                Ok(self.store.get(&key)?.is_some_and(|entry| entry.value == value))
            }
            Err(error) => Err(error),
        }
    }

    fn release(&self, prefix: &Key, instance: &InstanceId, port: u16) -> Result<(), StoreError> {
        let key = port_key(prefix, port);
        let Some(entry) = self.store.get(&key)? else { return Ok(()) };
        match serde_json::from_slice::<Claim>(&entry.value) {
            Ok(claim) if claim.instance == *instance => {
                forgive_conflict(self.store.delete(&key, Expect::Unchanged(entry.revision)))
            }
            _ => Ok(()),
        }
    }

    /// Gives back what a refused request has taken; what cannot be given back now is reaped later.
    fn release_from(&self, prefix: &Key, instance: &InstanceId, ports: &[u16]) {
        for port in ports {
            if let Err(error) = self.release(prefix, instance, *port) {
                warn!("the claim on port {port} is left to be reaped: {error}");
            }
        }
    }

    fn now_ms(&self) -> u64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Somebody else removed or took it in between: it is not ours any more either way.
fn forgive_conflict(answer: Result<(), StoreError>) -> Result<(), StoreError> {
    match answer {
        Err(StoreError::Conflict) => Ok(()),
        answer => answer,
    }
}

fn port_key(prefix: &Key, port: u16) -> Key {
    prefix.child(&port.to_string()).expect("a number is a segment")
}
