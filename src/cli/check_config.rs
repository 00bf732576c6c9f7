//! `check-config`: says everything that is wrong with a configuration, and what is questionable about it.

use std::path::PathBuf;

use argh::FromArgs;
use serde_json::{Value, json};

use super::Failure;
use super::output::{Output, print, print_json};
use crate::config::{self, ClientCertificates, Config, ConfigError, Problem};

/// Check the configuration and say everything that is wrong with it.
#[derive(FromArgs)]
#[argh(subcommand, name = "check-config")]
pub(super) struct Arguments {
    /// table or json; defaults to table
    #[argh(option, default = "Output::Table")]
    output: Output,
}

/// Fails when the configuration cannot be used; warnings alone are no failure.
pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let file = config::file(config, &super::environment)?;
    let checked = config::load(&file, &super::environment);
    match arguments.output {
        Output::Table => print(&as_text(&file.display().to_string(), &checked))?,
        Output::Json => print_json(&as_json(&file.display().to_string(), &checked))?,
    }
    if checked.is_ok() { Ok(()) } else { Err(Failure::Reported) }
}

fn as_text(file: &str, checked: &Result<config::Loaded, ConfigError>) -> String {
    match checked {
        Ok(loaded) => {
            let config = &loaded.config;
            let plans: usize = config.catalog.services.iter().map(|service| service.plans.len()).sum();
            let (cells, users) = (config.cells.len(), config.broker.users.len());
            let warnings: String =
                loaded.warnings.iter().map(|warning| format!("  warning: {warning}\n")).collect();
            format!(
                "{file}: fine (cells: {cells}, plans: {plans}, users: {users})\n  listens at {}\n{warnings}",
                listens_at(config)
            )
        }
        Err(error) => format!("{error}\n"),
    }
}

/// The API's URL, and what it asks of clients beside their password.
fn listens_at(config: &Config) -> String {
    let listen = config.broker.listen;
    match config.broker.tls.as_ref().map(|tls| tls.clients) {
        None => format!("http://{listen}"),
        Some(ClientCertificates::NotAsked) => format!("https://{listen}"),
        Some(ClientCertificates::Required) => format!("https://{listen}, for clients with a certificate"),
        Some(ClientCertificates::Optional) => {
            format!("https://{listen}, for clients with or without a certificate")
        }
    }
}

fn as_json(file: &str, checked: &Result<config::Loaded, ConfigError>) -> Value {
    let list = |problems: &[Problem]| -> Vec<Value> {
        problems.iter().map(|problem| json!({"path": problem.path, "message": problem.message})).collect()
    };
    let listens_at = checked.as_ref().ok().map(|loaded| listens_at(&loaded.config));
    let (problems, warnings) = match checked {
        Ok(loaded) => (Vec::new(), list(&loaded.warnings)),
        Err(ConfigError::Invalid { problems, .. }) => (list(problems), Vec::new()),
        Err(other) => (vec![json!({"path": "", "message": other.to_string()})], Vec::new()),
    };
    json!({
        "file": file, "fine": checked.is_ok(), "listens_at": listens_at, "problems": problems, "warnings": warnings,
    })
}
