//! `kv`: the store by hand. `kv serve` serves the embedded one without a broker, `kv backup` and `kv restore` keep it and
//! bring it back; the other commands read and write the store that the configuration names, whichever engine it is.

mod backup;
mod changes;
mod document;
mod export;
mod get;
mod import;
mod ls;
mod private_file;
mod put;
mod restore;
mod rm;
mod serve;
#[cfg(test)]
mod shaky;
mod target;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use argh::FromArgs;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use storage::{Key, Store, StoreError};

use super::Failure;
use super::wiring::connect_store;
use crate::config::StorageConfig;

/// How often what did not come about is tried again.
const TRIES: u32 = 5;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });

/// Read and write the store, or serve the embedded one without a broker.
#[derive(FromArgs)]
#[argh(subcommand, name = "kv")]
pub(super) struct Arguments {
    #[argh(subcommand)]
    action: Action,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Action {
    Serve(serve::Arguments),
    Get(get::Arguments),
    Put(put::Arguments),
    Rm(rm::Arguments),
    Ls(ls::Arguments),
    Watch(watch::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
}

/// What stands for `-`, stdin or stdout, which the parser takes for an option. No argument can be this text, for it begins with NUL.
const STDIN: &str = "\0-";

/// Lets `put`, `import` and `backup` be given `-`.
pub(super) fn name_stdin(arguments: &mut [String]) {
    let reads = |pair: &[String]| pair[0] == "kv" && matches!(pair[1].as_str(), "put" | "import" | "backup");
    if let Some(at) = arguments.windows(2).position(reads) {
        for argument in arguments[at..].iter_mut().filter(|argument| *argument == "-") {
            STDIN.clone_into(argument);
        }
    }
}

pub(super) fn run(arguments: Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    match arguments.action {
        Action::Serve(arguments) => serve::run(&arguments),
        Action::Get(arguments) => get::run(&arguments, config),
        Action::Put(arguments) => put::run(&arguments, config),
        Action::Rm(arguments) => rm::run(&arguments, config),
        Action::Ls(arguments) => ls::run(&arguments, config),
        Action::Watch(arguments) => watch::run(&arguments, config),
        Action::Export(arguments) => export::run(&arguments, config),
        Action::Import(arguments) => import::run(&arguments, config),
        Action::Backup(arguments) => backup::run(&arguments, config),
        Action::Restore(arguments) => restore::run(&arguments),
    }
}

/// The store that the configuration names, found usable.
fn connected(config: Option<PathBuf>) -> Result<(Arc<dyn Store>, StorageConfig), Failure> {
    let storage = super::load(config)?.config.storage;
    Ok((connect_store(&storage)?, storage))
}

/// Where an entry may stand.
fn entry_key(raw: &str) -> Result<Key, Failure> {
    let key = prefix(raw)?;
    if key == Key::root() {
        return Err(Failure::Usage("\"/\": the root holds keys and is none itself".to_owned()));
    }
    Ok(key)
}

/// What entries may stand under.
fn prefix(raw: &str) -> Result<Key, Failure> {
    Key::parse(raw).map_err(|error| Failure::Usage(format!("{}: {error}", quoted(raw))))
}

/// What was given, in quotes, short enough for one line.
fn quoted(raw: &str) -> String {
    const LONGEST: usize = 60;
    let cut: String = raw.chars().take(LONGEST).collect();
    if cut.len() < raw.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

/// A value as the fields of JSON show it: `value` where it is text, `value_base64` otherwise.
fn shown(value: &[u8]) -> (&'static str, Value) {
    match std::str::from_utf8(value) {
        Ok(text) => ("value", Value::from(text)),
        Err(_) => ("value_base64", Value::from(STANDARD.encode(value))),
    }
}

fn failed(error: &StoreError) -> Failure {
    Failure::Failed(error.to_string())
}
