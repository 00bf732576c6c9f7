//! `broker`: the service itself. Starts every part in order, waits, and stops them in the opposite order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use argh::FromArgs;
use log::{info, warn};
use storage::{Store, SystemClock};

use super::Failure;
use super::signals::StopSignals;
use super::wiring::{OpenStore, open_store};
use crate::api::{self, Api};
use crate::broker::{Broker, Pace, Parts, RandomMint, Settings};
use crate::cells::{self, Cells};
use crate::config::Config;
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
    let config = super::load(config)?.config;
    let mut signals = StopSignals::register()?;
    // Before anything is begun: where somebody else listens, another broker perhaps, nothing must be left running.
    let listener = api::Server::bind(config.broker.listen).map_err(failed)?;
    // Each part uses those above it, and is dropped before them.
    let OpenStore { store, access, _server: _served } = open_store(&config.storage)?;
    let cells = cells::connect_all(&config.cells)?;
    let _registrar = config.registrar.enabled.then(|| Registrar::start(&store, &cells)).transpose()?;
    let _router = start_router(&config, &store)?;
    let broker = Arc::new(start_broker(&config, &store, &cells, access)?);
    let settings = api::Settings {
        username: config.broker.username.clone(),
        password: config.broker.password.clone(),
        sync_timeout: config.broker.sync_timeout,
    };
    let api = Api::new(Arc::clone(&broker) as Arc<dyn api::Orders>, broker.catalog(), settings);
    let mut server = api::Server::start_on(listener, api).map_err(failed)?;
    info!("listening on {}, with {} cells", server.address(), cells.len());
    info!("stopping on {}", signals.wait());
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

fn start_router(config: &Config, store: &Arc<dyn Store>) -> Result<Option<Router>, Failure> {
    if !config.routing.haproxy {
        warn!("routing.haproxy is off: public ports lead somewhere only through a router elsewhere");
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
) -> Result<Broker, Failure> {
    let parts = Parts {
        store: Arc::clone(store),
        cells: cells.clone(),
        catalog: config.catalog.clone(),
        drivers: Drivers::new(Arc::clone(store), access),
        clock: Arc::new(SystemClock),
        mint: Arc::new(RandomMint),
        settings: Settings {
            holder: format!("{}:{}", config.broker.name, std::process::id()),
            bind_host: config.broker.bind_host.clone(),
            public_ports: config.routing.ports,
            workers: usize::try_from(config.broker.workers).unwrap_or(usize::MAX),
            sync_timeout: config.broker.sync_timeout,
            pace: Pace::default(),
        },
    };
    Broker::start(parts).map_err(|error| Failure::Failed(error.to_string()))
}
