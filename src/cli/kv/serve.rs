//! `kv serve`: the embedded store with its etcd v2 API, in a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use argh::FromArgs;
use log::{error, info, warn};
use storage::embedded::http::{Access, Server, ServerOptions, User};
use storage::embedded::{Embedded, GUEST_PREFIX, Options};

use crate::cli::signals::{Signalled, Wanted};
use crate::cli::wiring::api_users;
use crate::cli::{self, Failure, open_files};
use crate::config::{self, ServerTls};

/// Serve the embedded store by etcd's v2 API until SIGTERM or SIGINT. SIGHUP reads password and certificate anew.
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
    /// a TOML file with [[users]] who may do less, as those of [[storage.users]]
    #[argh(option, arg_name = "file")]
    users: Option<PathBuf>,
    /// let everybody in who reaches the address, and rule every cluster that uses the store
    #[argh(switch)]
    no_auth: bool,
    /// the certificate to show, with those between it and its authority: the API then speaks https
    #[argh(option, arg_name = "file")]
    tls_cert: Option<String>,
    /// the certificate's key
    #[argh(option, arg_name = "file")]
    tls_key: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (access, users) = (access(arguments)?, users(arguments)?);
    let tls = tls(arguments)?;
    if arguments.no_auth {
        warn!("without authentication: whoever reaches {} rules every cluster", arguments.listen);
    }
    let mut signals = Signalled::register()?;
    let options = ServerOptions {
        access,
        users,
        tls: tls.as_ref().map(|tls| Arc::clone(&tls.config)),
        advertise: arguments.advertise.iter().cloned().collect(),
        ..ServerOptions::basic("", "")
    };
    open_files::raise_limit(options.limits.max_connections);
    // Before anything is made: where somebody else listens, another store perhaps, nothing must be left behind.
    let listener = TcpListener::bind(arguments.listen)
        .map_err(|error| Failure::Failed(format!("cannot listen on {}: {error}", arguments.listen)))?;
    let store = Embedded::open(&arguments.path, Options::default())
        .map_err(|error| Failure::Failed(format!("cannot serve {}: {error}", arguments.path.display())))?;
    let store = Arc::new(store);
    let server = Server::start(Arc::clone(&store), listener, options)?;
    let how = if tls.is_some() { " by https" } else { "" };
    info!("serving {}{how} on {}", arguments.path.display(), server.address());
    let signal = loop {
        match signals.wait() {
            Wanted::Reload => reload(arguments, &server),
            Wanted::Stop(signal) => break signal,
        }
    };
    info!("stopping on {signal}");
    server.shutdown();
    drop(store);
    info!("stopped");
    Ok(())
}

/// Takes on what the files say now. Where one of them is wrong, everything stays as it is, and the log says why.
fn reload(arguments: &Arguments, server: &Server) {
    info!("reading passwords, users and certificate anew");
    let read = || Ok((access(arguments)?, users(arguments)?, tls(arguments)?));
    match read() {
        Ok((access, users, tls)) => {
            server.replace_everybody(access, users);
            if let Some(tls) = tls {
                server.set_tls(tls.config);
            }
            info!("taken on");
        }
        Err(Failure::Failed(reason) | Failure::Usage(reason)) => {
            error!("everything stays as it is: {reason}");
        }
        Err(Failure::Reported) => error!("everything stays as it is"),
    }
}

fn users(arguments: &Arguments) -> Result<Vec<User>, Failure> {
    let Some(file) = &arguments.users else { return Ok(Vec::new()) };
    if arguments.no_auth {
        return Err(Failure::Usage(
            "--users is of no use with --no-auth: everybody may do everything.".to_owned(),
        ));
    }
    let read = config::read_store_users(file, arguments.user.as_deref(), &cli::environment);
    let found = read.map_err(|error| Failure::Failed(error.to_string()))?;
    found.warnings.iter().for_each(|warning| warn!("{}: {warning}", file.display()));
    Ok(api_users(&found.users))
}

fn access(arguments: &Arguments) -> Result<Access, Failure> {
    let usage = |text: &str| Failure::Usage(text.to_owned());
    match (&arguments.user, &arguments.password_file, arguments.no_auth) {
        (None, None, true) => Ok(Access::NoAuth),
        (Some(user), Some(file), false) => {
            if user.is_empty() || user.contains(':') {
                return Err(usage("--user must not be empty and not hold a colon."));
            }
            if user.starts_with(GUEST_PREFIX) {
                return Err(usage("--user must not begin as the names of instances do."));
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

fn tls(arguments: &Arguments) -> Result<Option<ServerTls>, Failure> {
    let (cert, key) = match (&arguments.tls_cert, &arguments.tls_key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        _ => return Err(Failure::Usage("--tls-cert and --tls-key belong together.".to_owned())),
    };
    let (tls, warnings) = config::read_server_tls(cert, key).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(|problem| format!("--tls-{problem}")).collect();
        Failure::Failed(problems.join("\n"))
    })?;
    warnings.iter().for_each(|warning| warn!("--tls-{warning}"));
    Ok(Some(tls))
}
