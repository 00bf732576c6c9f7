//! `demote`: lets every cluster that is led from a cell be led from another one, by the broker.

use std::path::PathBuf;

use argh::FromArgs;
use serde_json::{Value, json};

use super::Failure;
use super::broker_client::{Client, LATER};
use super::output::{Output, print, print_json, table};
use super::parsed;
use crate::model::CellGuid;

/// Let every cluster that is led from a cell be led from another one. Fails where one stays, and says why.
#[derive(FromArgs)]
#[argh(subcommand, name = "demote")]
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
    let cell = parsed(CellGuid::parse(&arguments.cell))?;
    let client = Client::new(arguments.broker.as_deref(), arguments.cacert.as_deref(), config)?;
    let path = format!("/admin/cells/{cell}/demote");
    let reply = client.expect(&[200], "POST", &path, Some(&json!({})), LATER)?;
    let demotions = reply.body["service_instances"].as_array().cloned().unwrap_or_default();
    match arguments.output {
        Output::Table => print(&as_table(&cell, &demotions))?,
        Output::Json => print_json(&reply.body)?,
    }
    let kept = demotions.iter().any(|demotion| demotion["kept"].is_string());
    if kept { Err(Failure::Reported) } else { Ok(()) }
}

fn as_table(cell: &CellGuid, demotions: &[Value]) -> String {
    if demotions.is_empty() {
        return format!("{cell}: nothing is led from there\n");
    }
    let row = |demotion: &Value| {
        let text = |name: &str| demotion[name].as_str().unwrap_or_default().to_owned();
        ["instance_id", "from", "to", "kept"].map(text).to_vec()
    };
    let rows: Vec<Vec<String>> = demotions.iter().map(row).collect();
    table(&["INSTANCE", "FROM", "TO", "KEPT"], &rows)
}
