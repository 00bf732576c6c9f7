//! `kv serve`: the embedded store with its etcd v2 API, in a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use argh::FromArgs;
use log::{info, warn};
use storage::embedded::http::{Access, Server, ServerOptions};
use storage::embedded::{Embedded, Options};

use crate::cli::Failure;
use crate::cli::signals::StopSignals;
use crate::config;

/// Serve the embedded store by etcd's v2 API until SIGTERM or SIGINT.
#[derive(FromArgs)]
#[argh(subcommand, name = "serve")]
pub(super) struct Arguments {
    /// where to listen, such as 127.0.0.1:4001
    #[argh(option, arg_name = "address")]
    listen: SocketAddr,
    /// the directory of the store's file; made if it is missing
    #[argh(option, arg_name = "directory")]
    path: PathBuf,
    /// the URL that clients are told to use; defaults to where it listens
    #[argh(option, arg_name = "url")]
    advertise: Option<String>,
    /// the user that clients name
    #[argh(option, arg_name = "name")]
    user: Option<String>,
    /// the file that holds the user's password
    #[argh(option, arg_name = "file")]
    password_file: Option<PathBuf>,
    /// let everybody in who reaches the address, and rule every cluster that uses the store
    #[argh(switch)]
    no_auth: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let access = access(arguments)?;
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let mut signals = StopSignals::register()?;
    let store = Embedded::open(&arguments.path, Options::default()).map_err(|error| failed(&error))?;
    let store = Arc::new(store);
    let listener = TcpListener::bind(arguments.listen)
        .map_err(|error| Failure::Failed(format!("cannot listen on {}: {error}", arguments.listen)))?;
    let advertise = arguments.advertise.iter().cloned().collect();
    let options = ServerOptions { access, advertise, ..ServerOptions::basic("", "") };
    let server = Server::start(Arc::clone(&store), listener, options)?;
    info!("serving {} on {}", arguments.path.display(), server.address());
    info!("stopping on {}", signals.wait());
    server.shutdown();
    Ok(())
}

fn access(arguments: &Arguments) -> Result<Access, Failure> {
    let usage = |text: &str| Failure::Usage(text.to_owned());
    match (&arguments.user, &arguments.password_file, arguments.no_auth) {
        (None, None, true) => {
            warn!("without authentication: whoever reaches {} rules every cluster", arguments.listen);
            Ok(Access::NoAuth)
        }
        (Some(user), Some(file), false) => {
            if user.is_empty() || user.contains(':') {
                return Err(usage("--user must not be empty and not hold a colon."));
            }
            let found = config::read_password_file(file).map_err(Failure::Failed)?;
            if found.everybody_reads {
                warn!("{} can be read by everybody", file.display());
            }
            Ok(Access::Basic { username: user.clone(), password: found.password.expose().to_owned() })
        }
        (_, _, true) => Err(usage("--no-auth stands alone, without --user and --password-file.")),
        _ => Err(usage("Either --user and --password-file are required, or --no-auth, said aloud.")),
    }
}
