//! `uncordon`: lets a cell take new nodes again, by the broker.

use std::path::PathBuf;

use argh::FromArgs;

use super::Failure;
use super::broker_client::Client;
use super::cordon::wish;
use super::output::Output;
use super::parsed;
use crate::model::CellGuid;

/// Let a cell take new nodes again, and end its drain after what is under way.
#[derive(FromArgs)]
#[argh(subcommand, name = "uncordon")]
pub(super) struct Arguments {
    /// the cell's guid
    #[argh(positional)]
    cell: String,
    /// the broker, such as http://user:password@host:3000; defaults to what BROKER_URI says, then to what the
    /// configuration says
    #[argh(option, arg_name = "url")]
    broker: Option<String>,
    /// the PEM file of the authority of the broker's certificate; defaults to the publicly known ones
    #[argh(option, arg_name = "file")]
    cacert: Option<PathBuf>,
    /// table or json; defaults to table
    #[argh(option, default = "Output::Table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let Arguments { cell, broker, cacert, output } = arguments;
    let cell = parsed(CellGuid::parse(cell))?;
    let client = Client::new(broker.as_deref(), cacert.as_deref(), config)?;
    wish(&client, &cell, "uncordon", "takes new nodes again", *output)
}
