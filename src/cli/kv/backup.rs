//! `kv backup`: everything in the embedded store as it is at one moment, by the process that serves it.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;
use serde_json::json;
use storage::embedded::fetch::{self, FetchError, Source};
use storage::embedded::snapshot::Summary;
use storage::remote::{Credentials, Tls};

use super::{STDIN, private_file};
use crate::cli::output::{Output, print, print_json};
use crate::cli::{self, Failure};
use crate::config::{self, StorageConfig};

/// Write a backup of the embedded store, as it is at one moment, while it is served and written to. kv restore makes a
/// store of it again.
#[derive(FromArgs)]
#[argh(subcommand, name = "backup")]
pub(super) struct Arguments {
    /// the file to write, which others cannot read since passwords are in it; - is stdout
    #[argh(positional)]
    file: String,
    /// how the result is printed: table or json
    #[argh(option, default = "Output::default()", arg_name = "format")]
    output: Output,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let storage = cli::load(config)?.config.storage;
    let (urls, who, tls) = match &storage {
        StorageConfig::Embedded { advertise, credentials, .. } => {
            (std::slice::from_ref(advertise), Some(user(credentials)), Tls::default())
        }
        // It may be one that kv serve serves.
        StorageConfig::EtcdV2 { servers, credentials } => {
            let tls = servers.tls.clone().unwrap_or_default();
            (servers.endpoints.as_slice(), credentials.as_ref().map(user), tls)
        }
        _ => return Err(Failure::Failed(instead(&storage))),
    };
    let [url, ..] = urls else { return Err(Failure::Failed("storage.endpoints: there are none".to_owned())) };
    let source = Source { url, who: who.as_ref(), tls: &tls };
    let fetch = |out: &mut dyn Write| {
        let mut out = BufWriter::new(out);
        let summary = fetch::backup(&source, &mut out).map_err(|error| refused(&storage, url, &error))?;
        out.flush().map_err(|error| Failure::Failed(format!("the backup cannot be written: {error}")))?;
        Ok(summary)
    };
    if arguments.file == STDIN {
        return fetch(&mut std::io::stdout().lock()).map(drop);
    }
    let file = Path::new(&arguments.file);
    let summary = private_file::write(file, |out| fetch(out))?;
    told(arguments, &summary)
}

fn told(arguments: &Arguments, summary: &Summary) -> Result<(), Failure> {
    let Summary { cluster, index, time_s, nodes, guests } = summary;
    match arguments.output {
        Output::Table => print(&format!(
            "{}: the store at index {index}, with {nodes} files and directories, and {guests} guests\n",
            arguments.file
        )),
        Output::Json => print_json(&json!({
            "file": arguments.file, "cluster": format!("{cluster:x}"), "index": index, "time_s": time_s,
            "nodes": nodes, "guests": guests,
        })),
    }
}

fn user(given: &config::Credentials) -> Credentials {
    Credentials { username: given.username.clone(), password: given.password.expose().to_owned() }
}

fn refused(storage: &StorageConfig, url: &str, error: &FetchError) -> Failure {
    let hint = match error {
        FetchError::Refused { status: 404, .. } => return Failure::Failed(instead(storage)),
        FetchError::Unreachable { .. } => "; the broker, or kv serve, must run and serve the store there",
        _ => "",
    };
    Failure::Failed(format!("storage ({}): {url}: {error}{hint}", storage.engine()))
}

/// What serves other engines as a backup.
fn instead(storage: &StorageConfig) -> String {
    let own = match storage {
        StorageConfig::EtcdV2 { .. } => "ETCDCTL_API=2 etcdctl backup",
        StorageConfig::EtcdV3 { .. } => "etcdctl snapshot save",
        StorageConfig::Consul { .. } => "consul snapshot save",
        StorageConfig::Embedded { .. } => "kv backup",
    };
    format!(
        "storage ({}): kv backup is for the embedded store; here {own} does it, and kv export writes what the broker \
         keeps, for any engine",
        storage.engine()
    )
}
