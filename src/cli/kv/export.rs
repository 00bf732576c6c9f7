//! `kv export`: everything that stays, as one document.

use std::io::Write;
use std::path::PathBuf;

use argh::FromArgs;

use super::document::Document;
use super::{connected, failed, prefix, private_file};
use crate::cli::Failure;
use crate::cli::output::print;

/// Write every entry under a prefix as one JSON document, the same for the same entries on every engine. What lives
/// only while somebody refreshes it is left out: leases, routers' reports, announced containers, Patroni's leader and
/// members.
#[derive(FromArgs)]
#[argh(subcommand, name = "export")]
pub(super) struct Arguments {
    /// what the entries stand under; defaults to /
    #[argh(positional, default = "String::from(\"/\")")]
    prefix: String,
    /// leave out what Patroni keeps beside each instance's record
    #[argh(switch)]
    without_patroni: bool,
    /// the file to write, which others cannot read since passwords are in it; defaults to stdout
    #[argh(option, arg_name = "file")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let prefix = prefix(&arguments.prefix)?;
    let (store, _) = connected(config)?;
    let listed = store.list(&prefix).map_err(|error| failed(&error))?.entries;
    let document = Document::of(&prefix, listed, arguments.without_patroni);
    let text = document.to_json().map_err(|error| Failure::Failed(error.to_string()))?;
    let Some(file) = &arguments.output else { return print(&text) };
    private_file::write(file, |out| {
        out.write_all(text.as_bytes())
            .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", file.display())))
    })
}
