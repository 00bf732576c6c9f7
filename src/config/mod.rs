//! One TOML file into checked domain types. Owns every rule that a configuration must keep; knows nothing of what is
//! done with it: nothing is connected to, bound or written here.
//!
//! - `reader`: the shape of the file: types, required fields, unknown fields; each mismatch is reported, none stops.
//! - `broker`, `storage`, `cells`, `ports`, `log`, `catalog`: the meaning of each part.
//! - `users`, `https`, `http`: who may ask the API, how he knows that it is the API, and how much of it he may use.
//! - `store_users`: who may use the embedded store's API beside the broker.
//! - `patroni`, `schemas`: a driver's part of a plan, and what parameters may be.
//! - `secret`, `servers`, `certificate`: what several parts have: passwords and tokens; endpoints and TLS; dates.
//!
//! Relative paths in the file are relative to the directory of the file, so that a broker may be started from
//! anywhere. The passwords and tokens of `[broker]` and `[storage]` come from the environment ([`PASSWORD_VARIABLE`],
//! [`STORAGE_PASSWORD_VARIABLE`] and those after it) where it has them, else from `password_file`, else from `password`.
//! [`PORT_VARIABLE`] goes before the port of `broker.listen`.
//!
//! Of `storage` no more is used here than what certificates, keys and tokens must be.

mod broker;
mod catalog;
mod cells;
mod certificate;
mod http;
mod https;
mod log;
mod patroni;
mod ports;
mod postgresql;
mod problem;
mod reader;
mod schemas;
mod secret;
mod servers;
mod storage;
mod store_users;
mod users;

pub use broker::{BrokerConfig, RegistrarConfig, RoutingConfig};
pub use http::HttpConfig;
pub use https::{ClientCertificates, ServerTls, read_server_tls};
pub use log::{LogConfig, LogFormat};
pub use problem::{ConfigError, Problem};
pub use secret::{PasswordFile, check_password, read_password_file};
pub use servers::Servers;
pub use storage::{Credentials, StorageConfig};

use std::path::{Path, PathBuf};

use toml::Table;

use crate::model::{Catalog, CellSite, StoreUser};
use problem::Findings;
use reader::Section;

/// Names the file where `--config` does not.
pub const CONFIG_VARIABLE: &str = "PATRONI_BROKER_CONFIG";
/// The password of `[broker]`; goes before what the file says.
pub const PASSWORD_VARIABLE: &str = "PATRONI_BROKER_PASSWORD";
/// The port of `broker.listen`; goes before what the file says.
pub const PORT_VARIABLE: &str = "PORT";
/// The password of `[storage]`; goes before what the file says.
pub const STORAGE_PASSWORD_VARIABLE: &str = "PATRONI_BROKER_STORAGE_PASSWORD";
/// The token of `[storage]` on Consul; goes before what the file says.
pub const STORAGE_TOKEN_VARIABLE: &str = "PATRONI_BROKER_STORAGE_TOKEN";
/// The password of `storage.administrator`; goes before what the file says.
pub const ADMINISTRATOR_PASSWORD_VARIABLE: &str = "PATRONI_BROKER_STORAGE_ADMINISTRATOR_PASSWORD";
/// The token of `storage.administrator` on Consul; goes before what the file says.
pub const ADMINISTRATOR_TOKEN_VARIABLE: &str = "PATRONI_BROKER_STORAGE_ADMINISTRATOR_TOKEN";
/// How a line of the log is written, `text` or `json`; goes before what the file says, and holds before it is read.
pub const LOG_FORMAT_VARIABLE: &str = "PATRONI_BROKER_LOG_FORMAT";

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// The HTTP API and the operations.
    pub broker: BrokerConfig,
    /// Where everything is kept.
    pub storage: StorageConfig,
    /// At least one where the catalog has a service that uses cells; guids are unique, ports do not overlap where they must not.
    pub cells: Vec<CellSite>,
    /// Public ports and HAProxy.
    pub routing: RoutingConfig,
    /// The registrar inside the broker's process.
    pub registrar: RegistrarConfig,
    /// What the log looks like.
    pub log: LogConfig,
    /// What is offered; ids and names are unique.
    pub catalog: Catalog,
}

/// A configuration that can be used, with what is questionable about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Checked.
    pub config: Config,
    /// To be logged at start, and printed by `check-config`.
    pub warnings: Vec<Problem>,
}

/// Where variables of the environment come from, so that tests may bring their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The file to read: `named` by the command line, else by [`CONFIG_VARIABLE`].
///
/// # Errors
/// [`ConfigError::NotNamed`].
pub fn file(named: Option<PathBuf>, environment: Environment<'_>) -> Result<PathBuf, ConfigError> {
    named
        .or_else(|| environment(CONFIG_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from))
        .ok_or(ConfigError::NotNamed)
}

/// Reads and checks a file. Reads the password files and the store's certificates, and looks whether the cells' TLS files
/// are there.
///
/// # Errors
/// Says everything that is wrong with it at once.
pub fn load(file: &Path, environment: Environment<'_>) -> Result<Loaded, ConfigError> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if matches!(extension, "yml" | "yaml") {
        return Err(ConfigError::Yaml { file: file.to_owned() });
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), reason: error.to_string() })?;
    parse(&text, file, environment)
}

/// As [`load`], of a text that was read from `file`.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, file: &Path, environment: Environment<'_>) -> Result<Loaded, ConfigError> {
    let table = text.parse::<Table>().map_err(|error| syntax(text, file, &error))?;
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let findings = Findings::default();
    let surroundings = Surroundings { directory, environment };
    let config = check(&Section::root(&table, &findings), surroundings);
    let (problems, warnings) = findings.into_parts();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(ConfigError::Invalid { file: file.to_owned(), problems }),
    }
}

/// Users of the embedded store, with what is questionable about them.
#[derive(Clone, Debug)]
pub struct StoreUsers {
    /// Checked.
    pub users: Vec<StoreUser>,
    /// To be logged.
    pub warnings: Vec<Problem>,
}

/// Reads a file with nothing but `[[users]]`, which are as those of `[storage]`; `owner` is the name that the store's own
/// user has. What the file names is relative to its own directory.
///
/// # Errors
/// Says everything that is wrong with it at once.
pub fn read_store_users(
    file: &Path,
    owner: Option<&str>,
    environment: Environment<'_>,
) -> Result<StoreUsers, ConfigError> {
    let (text, everybody_reads) = secret::read_with_mode(file)
        .map_err(|error| ConfigError::Unreadable { file: file.to_owned(), reason: error.to_string() })?;
    let table = text.parse::<Table>().map_err(|error| syntax(&text, file, &error))?;
    let findings = Findings::default();
    let section = Section::root(&table, &findings);
    if everybody_reads {
        section.warning("users", format!("{} can be read by everybody", file.display()));
    }
    let surroundings = Surroundings { directory: file.parent().unwrap_or(Path::new(".")), environment };
    let users = store_users::read(&section, surroundings, owner);
    section.end();
    let (problems, warnings) = findings.into_parts();
    match users {
        Some(users) if problems.is_empty() => Ok(StoreUsers { users, warnings }),
        _ => Err(ConfigError::Invalid { file: file.to_owned(), problems }),
    }
}

/// What the file's words are relative to.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    directory: &'a Path,
    environment: Environment<'a>,
}

impl Surroundings<'_> {
    fn path(&self, raw: &str) -> PathBuf {
        self.directory.join(raw)
    }
}

/// Every part is read, whatever the others are like; `None` only when a problem was reported.
fn check(root: &Section<'_>, surroundings: Surroundings<'_>) -> Option<Config> {
    let sections = root.sections("cells");
    let needs_cells = catalog::uses_cells(root);
    // Those that nothing needs any more may hold instances.
    let has_cells = needs_cells || !sections.is_empty();
    let broker = broker::read(&root.section("broker"), surroundings, has_cells);
    let storage = storage::read(&root.section("storage"), surroundings, has_cells);
    let name = broker.as_ref().map_or("", |broker| &broker.name);
    let cells: Vec<Option<CellSite>> =
        sections.iter().map(|section| cells::read(section, surroundings, name)).collect();
    if needs_cells && sections.is_empty() {
        root.problem("cells", "at least one [[cells]] is required");
    }
    let routing = broker::read_routing(&root.section("routing"), surroundings, has_cells);
    let registrar = broker::read_registrar(&root.section("registrar"), has_cells);
    let log = log::read(&root.section("log"));
    let catalog = catalog::read(root, surroundings, cells.len());
    root.end();

    let sites: Vec<(usize, &CellSite)> =
        cells.iter().enumerate().filter_map(|(index, site)| Some((index, site.as_ref()?))).collect();
    cells::check_guids(root, &sites);
    ports::check(root, broker.as_ref(), storage.as_ref(), routing.as_ref(), &sites);

    Some(Config {
        broker: broker?,
        storage: storage?,
        cells: cells.into_iter().collect::<Option<Vec<_>>>()?,
        routing: routing?,
        registrar,
        log: log?,
        catalog: catalog?,
    })
}

/// The parser's own report would quote the line, which may hold a password.
fn syntax(text: &str, file: &Path, error: &toml::de::Error) -> ConfigError {
    let line = line_of(text, error);
    ConfigError::Syntax { file: file.to_owned(), line, message: error.message().to_owned() }
}

/// The line that the parser stumbled over, from 1.
fn line_of(text: &str, error: &toml::de::Error) -> usize {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}
