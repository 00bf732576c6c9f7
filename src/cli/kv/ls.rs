//! `kv ls`: the keys under a prefix.

use std::path::PathBuf;

use argh::FromArgs;
use serde_json::{Value, json};

use super::{connected, failed, prefix};
use crate::cli::Failure;
use crate::cli::output::{Output, print, print_json};

/// List every key under a prefix, one a line.
#[derive(FromArgs)]
#[argh(subcommand, name = "ls")]
pub(super) struct Arguments {
    /// what the keys stand under; defaults to /
    #[argh(positional, default = "String::from(\"/\")")]
    prefix: String,
    /// table or json; defaults to table, which is the keys alone
    #[argh(option, default = "Output::Table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let prefix = prefix(&arguments.prefix)?;
    let (store, _) = connected(config)?;
    let entries = store.list(&prefix).map_err(|error| failed(&error))?.entries;
    match arguments.output {
        Output::Table => print(&entries.iter().map(|entry| format!("{}\n", entry.key)).collect::<String>()),
        Output::Json => {
            let list: Vec<Value> = entries
                .iter()
                .map(|entry| {
                    json!({
                        "key": entry.key.as_str(),
                        "bytes": entry.value.len(),
                        "revision": entry.revision.0,
                    })
                })
                .collect();
            print_json(&list)
        }
    }
}
