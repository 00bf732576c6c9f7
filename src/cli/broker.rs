//! `broker`: the service itself. Starts every part in order, waits, and stops them in the opposite order.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argh::FromArgs;
use log::{info, warn};
use storage::embedded::http::Server as StoreServer;
use storage::{Store, SystemClock};

use super::Failure;
use super::logging;
use super::open_files;
use super::reload::{Change, Part, Reload};
use super::reload_cells::CellsPart;
use super::signals::{Signalled, Wanted};
use super::wiring::{OpenStore, api_users, limits, open_store};
use crate::api::{self, Api};
use crate::broker::{Broker, Pace, Parts, RandomMint, Settings};
use crate::cells::{Cells, Connector};
use crate::config::{self, Config, LogConfig, StorageConfig};
use crate::metrics::{Metered, Metrics};
use crate::model::{StoreUser, User};
use crate::patroni::HttpMembers;
use crate::registrar::Registrar;
use crate::router::{Router, RouterSettings};
use crate::services::Drivers;

/// How long those who wait for their operations may take to hear that the broker stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// Run the broker.
#[derive(FromArgs)]
#[argh(subcommand, name = "broker")]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let file = config::file(config, &super::environment)?;
    let config = super::load_file(&file)?.config;
    let mut signals = Signalled::register()?;
    open_files::raise_limit(connections(&config));
    // Before anything is begun: where somebody else listens, another broker perhaps, nothing must be left running.
    let listener = api::Server::bind(config.broker.listen).map_err(failed)?;
    // Each part uses those above it, and is dropped before them.
    let metrics = Arc::new(Metrics::new());
    let OpenStore { store, access, server: served } = open_store(&config.storage)?;
    let store: Arc<dyn Store> = Arc::new(Metered::new(store, config.storage.engine(), Arc::clone(&metrics)));
    let connector = Connector::start()?;
    let cells = connector.connect_all(&config.cells);
    let registrar = config.registrar.enabled.then(|| Registrar::start(&store, &cells)).transpose()?;
    let registrar = registrar.map(Arc::new);
    let _router = start_router(&config, &store)?;
    let broker = Arc::new(start_broker(&config, &store, &cells, access, &metrics)?);
    let settings = settings(&config);
    let api = Api::new(Arc::clone(&broker) as Arc<dyn api::Orders>, broker.catalog(), settings);
    let http = &config.broker.http;
    let options = api::ServerOptions {
        tls: config.broker.tls.as_ref().map(|tls| Arc::clone(&tls.config)),
        limits: limits(http),
        max_body_bytes: http.max_body_bytes,
        metrics: Arc::clone(&metrics),
    };
    let server = Arc::new(api::Server::start_on(listener, api, options).map_err(failed)?);
    info!("listening on {}, with {} cells", server.address(), cells.len());
    let mut parts = parts(&server, served.as_ref(), &config);
    parts.push(Box::new(CellsPart::new(&config, &broker, &cells, connector, registrar.as_ref())));
    let reload = Reload::new(&file, parts);
    let signal = loop {
        match signals.wait() {
            Wanted::Reload => reload.perform(),
            Wanted::Stop(signal) => break signal,
        }
    };
    info!("stopping on {signal}");
    // What is being asked is answered; then whoever is parked is, by the broker that stops.
    server.stop();
    broker.begin_stop();
    if !server.wait_for_parked(FAREWELL) {
        warn!("some synchronous requests are left without an answer");
    }
    Ok(())
}

fn failed(error: api::ServerError) -> Failure {
    Failure::Failed(error.to_string())
}

/// What can change while the broker runs.
fn parts(
    server: &Arc<api::Server>,
    served: Option<&Arc<StoreServer>>,
    config: &Config,
) -> Vec<Box<dyn Part>> {
    let has_tls = config.broker.tls.is_some();
    let mut parts: Vec<Box<dyn Part>> = vec![
        Box::new(Users {
            server: Arc::clone(server),
            known: Arc::new(Mutex::new(config.broker.users.clone())),
        }),
        Box::new(Certificate { server: Arc::clone(server), has_tls }),
        Box::new(Log { known: Arc::new(Mutex::new(config.log)) }),
    ];
    if let (Some(served), StorageConfig::Embedded { users, .. }) = (served, &config.storage) {
        let known = Arc::new(Mutex::new(users.clone()));
        parts.push(Box::new(StoreUsers { server: Arc::clone(served), known }));
    }
    parts
}

/// Who else may use the embedded store's API.
struct StoreUsers {
    server: Arc<StoreServer>,
    known: Arc<Mutex<Vec<StoreUser>>>,
}

impl Part for StoreUsers {
    fn name(&self) -> &'static str {
        "store users"
    }

    fn prepare(&self, config: &Config) -> Result<Option<Change>, String> {
        let StorageConfig::Embedded { users, .. } = &config.storage else {
            // Another engine is taken by a restart.
            return Ok(None);
        };
        let (server, known, users) = (Arc::clone(&self.server), Arc::clone(&self.known), users.clone());
        if *known.lock().unwrap_or_else(PoisonError::into_inner) == users {
            return Ok(None);
        }
        Ok(Some(Box::new(move || {
            server.replace_users(api_users(&users));
            *known.lock().unwrap_or_else(PoisonError::into_inner) = users;
        })))
    }
}

/// Who may ask, and by which password.
struct Users {
    server: Arc<api::Server>,
    known: Arc<Mutex<Vec<User>>>,
}

impl Part for Users {
    fn name(&self) -> &'static str {
        "users"
    }

    fn prepare(&self, config: &Config) -> Result<Option<Change>, String> {
        let (server, users) = (Arc::clone(&self.server), config.broker.users.clone());
        let known = Arc::clone(&self.known);
        if *known.lock().unwrap_or_else(PoisonError::into_inner) == users {
            return Ok(None);
        }
        Ok(Some(Box::new(move || {
            users.clone_into(&mut known.lock().unwrap_or_else(PoisonError::into_inner));
            server.api().replace_users(users);
        })))
    }
}

/// How the log is written.
struct Log {
    known: Arc<Mutex<LogConfig>>,
}

impl Part for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn prepare(&self, config: &Config) -> Result<Option<Change>, String> {
        let (known, log) = (Arc::clone(&self.known), config.log);
        if *known.lock().unwrap_or_else(PoisonError::into_inner) == log {
            return Ok(None);
        }
        Ok(Some(Box::new(move || {
            logging::configure(&log, &super::environment);
            *known.lock().unwrap_or_else(PoisonError::into_inner) = log;
        })))
    }
}

/// What clients are shown, and whose certificates are asked for.
struct Certificate {
    server: Arc<api::Server>,
    has_tls: bool,
}

impl Part for Certificate {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn prepare(&self, config: &Config) -> Result<Option<Change>, String> {
        match &config.broker.tls {
            Some(tls) if self.has_tls => {
                let (server, tls) = (Arc::clone(&self.server), Arc::clone(&tls.config));
                Ok(Some(Box::new(move || server.set_tls(tls))))
            }
            None if !self.has_tls => Ok(None),
            _ => Err("HTTPS is turned on or off by a restart".to_owned()),
        }
    }
}

/// How many connections there may be at both doors.
fn connections(config: &Config) -> usize {
    let of_the_store = match &config.storage {
        StorageConfig::Embedded { http, .. } => http.max_connections,
        _ => 0,
    };
    config.broker.http.max_connections + of_the_store
}

fn settings(config: &Config) -> api::Settings {
    api::Settings {
        users: config.broker.users.clone(),
        sync_timeout: config.broker.sync_timeout,
        require_api_version: config.broker.require_api_version,
        open_metrics: config.broker.metrics_without_password,
        ..api::Settings::default()
    }
}

fn start_router(config: &Config, store: &Arc<dyn Store>) -> Result<Option<Router>, Failure> {
    if !config.routing.haproxy {
        if !config.cells.is_empty() {
            warn!("routing.haproxy is off: public ports lead somewhere only through a router elsewhere");
        }
        return Ok(None);
    }
    let settings = RouterSettings {
        directory: config.routing.directory.clone(),
        listen: config.routing.listen.to_string(),
        host: host_name()?,
        haproxy: "haproxy".into(),
    };
    let router = Router::start(Arc::clone(store), &settings);
    router.map(Some).map_err(|error| Failure::Failed(error.to_string()))
}

/// What this machine calls itself: a site has one router on each host.
fn host_name() -> Result<String, Failure> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

fn start_broker(
    config: &Config,
    store: &Arc<dyn Store>,
    cells: &Cells,
    access: crate::services::StoreAccess,
    metrics: &Arc<Metrics>,
) -> Result<Broker, Failure> {
    let parts = Parts {
        store: Arc::clone(store),
        cells: cells.clone(),
        catalog: config.catalog.clone(),
        drivers: Drivers::new(Arc::clone(store), access, Arc::new(HttpMembers)),
        clock: Arc::new(SystemClock),
        mint: Arc::new(RandomMint),
        metrics: Arc::clone(metrics),
        settings: Settings {
            holder: format!("{}:{}", config.broker.name, std::process::id()),
            // There is one wherever there are cells; what needs none tells applications of none.
            bind_host: config.broker.bind_host.clone().unwrap_or_default(),
            public_ports: config.routing.ports,
            workers: usize::try_from(config.broker.workers).unwrap_or(usize::MAX),
            sync_timeout: config.broker.sync_timeout,
            pace: Pace::default(),
        },
    };
    Broker::start(parts).map_err(|error| Failure::Failed(error.to_string()))
}
