//! `check-config`: says everything that is wrong with a configuration, and what is questionable about it.

use std::path::PathBuf;

use argh::FromArgs;
use serde_json::{Value, json};

use super::Failure;
use super::output::{Output, print, print_json};
use crate::config::{self, ConfigError, Problem};

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
            let plans: usize = loaded.config.catalog.services.iter().map(|service| service.plans.len()).sum();
            let warnings: String =
                loaded.warnings.iter().map(|warning| format!("  warning: {warning}\n")).collect();
            format!("{file}: fine (cells: {}, plans: {plans})\n{warnings}", loaded.config.cells.len())
        }
        Err(error) => format!("{error}\n"),
    }
}

fn as_json(file: &str, checked: &Result<config::Loaded, ConfigError>) -> Value {
    let list = |problems: &[Problem]| -> Vec<Value> {
        problems.iter().map(|problem| json!({"path": problem.path, "message": problem.message})).collect()
    };
    let (problems, warnings) = match checked {
        Ok(loaded) => (Vec::new(), list(&loaded.warnings)),
        Err(ConfigError::Invalid { problems, .. }) => (list(problems), Vec::new()),
        Err(other) => (vec![json!({"path": "", "message": other.to_string()})], Vec::new()),
    };
    json!({"file": file, "fine": checked.is_ok(), "problems": problems, "warnings": warnings})
}
