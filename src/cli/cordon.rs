//! `cordon`: keeps new nodes off a cell, by the broker.

use std::path::PathBuf;

use argh::FromArgs;
use serde_json::json;

use super::Failure;
use super::broker_client::{Client, SOON};
use super::output::{Output, print, print_json};
use super::parsed;
use crate::model::CellGuid;

/// Keep new nodes off a cell; what is on it stays.
#[derive(FromArgs)]
#[argh(subcommand, name = "cordon")]
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
    wish(&client, &cell, "cordon", "takes no new nodes", *output)
}

/// Says to the broker what is wished of a cell, and shows how the cell stands then; in a table, by these words.
pub(super) fn wish(
    client: &Client,
    cell: &CellGuid,
    what: &str,
    words: &str,
    output: Output,
) -> Result<(), Failure> {
    let path = format!("/admin/cells/{cell}/{what}");
    let reply = client.expect(&[200], "POST", &path, Some(&json!({})), SOON)?;
    match output {
        Output::Table => print(&format!("{cell}: {words}; nodes on it: {}\n", reply.body["nodes"])),
        Output::Json => print_json(&reply.body),
    }
}
