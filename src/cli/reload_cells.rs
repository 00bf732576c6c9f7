//! Cells that come, go and change while the broker runs.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use log::{error, info};

use super::reload::{Change, Part};
use crate::broker::{Broker, Leaving};
use crate::cells::{Cells, Connector};
use crate::config::Config;
use crate::model::{CellGuid, CellSite, DockerAddress};
use crate::registrar::Registrar;

/// A cell's place in the configuration, and what its TLS files say.
#[derive(Clone, PartialEq, Eq)]
struct Known {
    site: CellSite,
    files: u64,
}

/// The Docker hosts.
pub(super) struct CellsPart {
    broker: Arc<Broker>,
    cells: Cells,
    connector: Arc<Connector>,
    registrar: Option<Arc<Registrar>>,
    /// What its containers are labelled with: it does not change while the broker runs.
    name: String,
    /// Whether there is what cells need besides: a router, and an address that applications are told.
    has_surroundings: bool,
    known: Arc<Mutex<BTreeMap<CellGuid, Known>>>,
}

impl CellsPart {
    /// Follows the configuration that the broker was started with.
    pub(super) fn new(
        config: &Config,
        broker: &Arc<Broker>,
        cells: &Cells,
        connector: Connector,
        registrar: Option<&Arc<Registrar>>,
    ) -> Self {
        let name = config.broker.name.clone();
        Self {
            broker: Arc::clone(broker),
            cells: cells.clone(),
            connector: Arc::new(connector),
            registrar: registrar.map(Arc::clone),
            known: Arc::new(Mutex::new(known(config, &name))),
            name,
            has_surroundings: !config.cells.is_empty(),
        }
    }
}

impl Part for CellsPart {
    fn name(&self) -> &'static str {
        "cells"
    }

    fn prepare(&self, config: &Config) -> Result<Option<Change>, String> {
        let wanted = known(config, &self.name);
        let before = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if before == wanted {
            return Ok(None);
        }
        if !wanted.is_empty() && !self.has_surroundings {
            return Err("the first cells are taken on by a restart".to_owned());
        }
        let leaving = self.let_go(&before, &wanted)?;
        let (cells, connector) = (self.cells.clone(), Arc::clone(&self.connector));
        let (registrar, known) = (self.registrar.clone(), Arc::clone(&self.known));
        Ok(Some(Box::new(move || {
            let stays = |guid: &CellGuid, known: &Known| before.get(guid) == Some(known);
            let cell = |(guid, known): (&CellGuid, &Known)| {
                let current = cells.get(guid).filter(|_| stays(guid, known));
                (guid.clone(), current.unwrap_or_else(|| connector.connect(&known.site)))
            };
            cells.replace(wanted.iter().map(cell).collect());
            drop(leaving);
            if let Some(registrar) = registrar
                && let Err(error) = registrar.follow(&cells)
            {
                error!("the registrar does not follow every cell: the system gives no thread: {error}");
            }
            tell(&before, &wanted);
            *known.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        })))
    }
}

impl CellsPart {
    /// Makes sure that nothing is on the cells that are gone from the configuration or reached elsewhere by it.
    fn let_go(
        &self,
        before: &BTreeMap<CellGuid, Known>,
        wanted: &BTreeMap<CellGuid, Known>,
    ) -> Result<Vec<Leaving>, String> {
        let mut leaving = Vec::new();
        let mut reasons = Vec::new();
        for (guid, known) in before {
            let what = match wanted.get(guid) {
                None => "cannot go",
                // Records say where their nodes are reached.
                Some(after) if after.site.host != known.site.host => "cannot get another host",
                Some(_) => continue,
            };
            match self.broker.let_go(guid) {
                Ok(one) => leaving.push(one),
                Err(reason) => reasons.push(format!("cell {guid} {what}: {reason}")),
            }
        }
        if reasons.is_empty() { Ok(leaving) } else { Err(reasons.join("; ")) }
    }
}

fn tell(before: &BTreeMap<CellGuid, Known>, wanted: &BTreeMap<CellGuid, Known>) {
    for (guid, known) in wanted {
        match before.get(guid) {
            None => info!("cell {guid} has come"),
            Some(was) if was != known => info!("cell {guid} has changed"),
            Some(_) => {}
        }
    }
    for guid in before.keys().filter(|guid| !wanted.contains_key(guid)) {
        info!("cell {guid} has gone");
    }
}

/// The cells of a configuration, of the broker with this name.
fn known(config: &Config, name: &str) -> BTreeMap<CellGuid, Known> {
    let known = |site: &CellSite| {
        let site = CellSite { broker: name.to_owned(), ..site.clone() };
        (site.guid.clone(), Known { files: files(&site.docker), site })
    };
    config.cells.iter().map(known).collect()
}

/// Tells what the TLS files say now from what they said before: a certificate that is renewed keeps its path.
fn files(docker: &DockerAddress) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let DockerAddress::Tcp { tls: Some(tls), .. } = docker {
        for file in [&tls.ca, &tls.cert, &tls.key] {
            fs::read(file).ok().hash(&mut hasher);
        }
    }
    hasher.finish()
}
