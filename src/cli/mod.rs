//! The command line: arguments → configuration → wiring → exit code. One file per command. Results go to stdout, logs
//! and complaints to stderr; the exit code is 0 for success, 1 for failure, 2 for wrong usage.

mod broker;
mod broker_client;
mod broker_uri;
mod check_config;
mod cordon;
mod delete;
mod demote;
mod drain;
mod guests;
mod hash_password;
mod kv;
mod last_operation;
mod logging;
mod open_files;
mod output;
mod reload;
mod reload_cells;
mod service_status;
mod show_cells;
mod signals;
mod uncordon;
mod update;
mod wiring;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::FromArgs;

use crate::config::{self, Loaded};
use crate::model::InvalidId;

/// Highly available PostgreSQL as a service on a handful of Docker hosts.
#[derive(FromArgs)]
#[argh(name = "patroni-broker")]
struct Arguments {
    /// the configuration file; defaults to what PATRONI_BROKER_CONFIG names
    #[argh(option, arg_name = "file")]
    config: Option<PathBuf>,
    /// print the version
    #[argh(switch)]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Broker(broker::Arguments),
    CheckConfig(check_config::Arguments),
    HashPassword(hash_password::Arguments),
    ShowCells(show_cells::Arguments),
    ServiceStatus(service_status::Arguments),
    Cordon(cordon::Arguments),
    Uncordon(uncordon::Arguments),
    Drain(drain::Arguments),
    Demote(demote::Arguments),
    Update(update::Arguments),
    Delete(delete::Arguments),
    Kv(kv::Arguments),
}

/// Why a command did not do its work.
enum Failure {
    /// It could not be done; the text says why.
    Failed(String),
    /// It could not be done, and all about it has been printed as the command's result.
    Reported,
    /// It was asked for wrongly.
    Usage(String),
}

impl From<config::ConfigError> for Failure {
    fn from(error: config::ConfigError) -> Self {
        match error {
            config::ConfigError::NotNamed => Self::Usage(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the program with these arguments, the first of which is its own name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match parse(arguments) {
        Ok(Parsed::Run(config, command)) => perform(config, command),
        Ok(Parsed::Print(text)) => output::print(&text),
        Err(usage) => Err(Failure::Usage(usage)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Reported) => ExitCode::from(1),
        Err(Failure::Failed(reason)) => {
            eprintln!("patroni-broker: {reason}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(reason)) => {
            eprintln!("{}\nRun patroni-broker --help for more information.", reason.trim_end());
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "there is one of them, and argh knows no boxes")]
enum Parsed {
    Run(Option<PathBuf>, Command),
    Print(String),
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let mut arguments: Vec<String> = arguments
        .into_iter()
        .skip(1)
        .map(|raw| raw.into_string().map_err(|raw| format!("not UTF-8: {}", raw.to_string_lossy())))
        .collect::<Result<_, _>>()?;
    kv::name_stdin(&mut arguments);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let parsed = match Arguments::from_args(&["patroni-broker"], &arguments) {
        Ok(parsed) => parsed,
        Err(exit) if exit.status.is_ok() => return Ok(Parsed::Print(exit.output)),
        Err(exit) => return Err(exit.output),
    };
    match parsed.command {
        _ if parsed.version => Ok(Parsed::Print(format!("patroni-broker {}\n", env!("CARGO_PKG_VERSION")))),
        Some(command) => Ok(Parsed::Run(parsed.config, command)),
        None => Err("A command is required.".to_owned()),
    }
}

fn perform(config: Option<PathBuf>, command: Command) -> Result<(), Failure> {
    logging::start(&environment).map_err(Failure::Usage)?;
    match command {
        Command::Broker(arguments) => broker::run(arguments, config),
        Command::CheckConfig(arguments) => check_config::run(&arguments, config),
        Command::HashPassword(arguments) => hash_password::run(&arguments),
        Command::ShowCells(arguments) => show_cells::run(&arguments, config),
        Command::ServiceStatus(arguments) => service_status::run(&arguments, config),
        Command::Cordon(arguments) => cordon::run(&arguments, config),
        Command::Uncordon(arguments) => uncordon::run(&arguments, config),
        Command::Drain(arguments) => drain::run(&arguments, config),
        Command::Demote(arguments) => demote::run(&arguments, config),
        Command::Update(arguments) => update::run(&arguments, config),
        Command::Delete(arguments) => delete::run(&arguments, config),
        Command::Kv(arguments) => kv::run(arguments, config),
    }
}

/// An id of the command line.
fn parsed<T>(id: Result<T, InvalidId>) -> Result<T, Failure> {
    id.map_err(|error| Failure::Usage(error.to_string()))
}

/// The configuration, its warnings logged.
fn load(file: Option<PathBuf>) -> Result<Loaded, Failure> {
    let file = config::file(file, &environment)?;
    load_file(&file)
}

/// As [`load`], of a file that is known. From here on the log is as it says.
fn load_file(file: &Path) -> Result<Loaded, Failure> {
    let loaded = config::load(file, &environment)?;
    logging::configure(&loaded.config.log, &environment);
    warn_of(file, &loaded);
    Ok(loaded)
}

fn warn_of(file: &Path, loaded: &Loaded) {
    for warning in &loaded.warnings {
        log::warn!("{}: {warning}", file.display());
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{Parsed, parse};

    #[test]
    fn usage_is_told_from_help() {
        let check = |line: &str, expected: &str| {
            let arguments = format!("patroni-broker {line}");
            let found = match parse(arguments.split_whitespace().map(OsString::from)) {
                Ok(Parsed::Run(config, _)) => format!("run {}", config.unwrap_or_default().display()),
                Ok(Parsed::Print(text)) => text.lines().next().unwrap_or_default().to_owned(),
                Err(_) => "usage".to_owned(),
            };
            assert_eq!(found.trim_end(), expected, "{line}");
        };
        check("check-config", "run");
        check("--config a.toml check-config --output json", "run a.toml");
        check("show-cells --output table", "run");
        check("broker", "run");
        check("hash-password", "run");
        check("hash-password hunter2", "usage");
        check("service-status", "run");
        check("kv serve --listen 127.0.0.1:0 --path data --no-auth", "run");
        check("kv serve --listen localhost --path data --no-auth", "usage");
        check("kv", "usage");
        check("kv get", "usage");
        check("kv get /a --output json", "run");
        check("kv put /a - --ttl 3 --if-absent", "run");
        check("kv put /a b --ttl -3", "usage");
        check("kv put /a -- -3", "run");
        check("kv get -", "usage");
        check("kv rm /a --if-revision 3", "run");
        check("kv ls", "run");
        check("kv watch / --for 3", "run");
        check("kv export / --without-patroni --output file", "run");
        check("kv import - --into-non-empty", "run");
        check("kv backup file --output json", "run");
        check("kv backup -", "run");
        check("kv backup", "usage");
        check("kv restore file --path data --replace", "run");
        check("kv restore file", "usage");
        check("cordon c1", "run");
        check("cordon", "usage");
        check("uncordon c1 --broker http://u:p@h:3000 --cacert ca.pem --output json", "run");
        check("drain c1 --at-once 3 --timeout 60", "run");
        check("drain c1 --at-once many", "usage");
        check("drain c1 --dry-run", "run");
        check("demote c1", "run");
        check("update b1 --plan p2 --node-count 3 --cells a,b --upgrade --dry-run", "run");
        check("update b1 --node-count -1", "usage");
        check("update", "usage");
        check("delete b1 --force", "run");
        check("delete", "usage");
        check("--help", "Usage: patroni-broker [--config <file>] [--version] [<command>] [<args>]");
        check("--version", concat!("patroni-broker ", env!("CARGO_PKG_VERSION")));
        check("", "usage");
        check("--config", "usage");
        check("dance", "usage");
        check("show-cells --output xml", "usage");
    }
}
