//! `kv get`: one value.

use std::path::PathBuf;

use argh::FromArgs;
use serde_json::{Map, Value};

use super::{connected, entry_key, failed, shown};
use crate::cli::Failure;
use crate::cli::output::{Output, print_bytes, print_json};

/// Print the value of a key, byte by byte as it is. Fails when there is none.
#[derive(FromArgs)]
#[argh(subcommand, name = "get")]
pub(super) struct Arguments {
    /// the key, such as /routing/nextport
    #[argh(positional)]
    key: String,
    /// json shows the revision too; table, the default, is the value alone
    #[argh(option, default = "Output::Table")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let key = entry_key(&arguments.key)?;
    let (store, _) = connected(config)?;
    let entry = store.get(&key).map_err(|error| failed(&error))?;
    let Some(entry) = entry else { return Err(Failure::Failed(format!("there is no {key}"))) };
    match arguments.output {
        Output::Table => print_bytes(&entry.value).map(drop),
        Output::Json => {
            let (field, value) = shown(&entry.value);
            let fields = [
                ("key", Value::from(key.as_str())),
                (field, value),
                ("revision", Value::from(entry.revision.0)),
            ];
            let object: Map<String, Value> =
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            print_json(&object)
        }
    }
}
