//! `broker`: the service itself. Starts every part in order, waits, and stops them in the opposite order.

use std::path::PathBuf;

use argh::FromArgs;

use super::Failure;
use super::signals::StopSignals;

/// Run the broker.
#[derive(FromArgs)]
#[argh(subcommand, name = "broker")]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let loaded = super::load(config)?;
    let mut signals = StopSignals::register()?;
    log::info!("configured: {} cells", loaded.config.cells.len());
    // Here: open the store, serve its API, connect the cells, start the broker, the registrar, the router, the API.
    log::info!("stopping on {}", signals.wait());
    // Here: stop the API, the broker, the router, the registrar, the cells, the store.
    Ok(())
}
