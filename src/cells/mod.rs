//! Docker hosts behind one blocking trait. Owns everything that is said to an engine; knows nothing of clusters,
//! stores or HTTP requests from outside.

mod docker;
pub mod fake;
mod fingerprint;
mod fleet;
mod runtime;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::model::{CellGuid, CellSite, ContainerName, Secret};

pub use docker::{Connector, Deadlines, DockerCell, connect_all};
pub use fleet::Cells;
pub use runtime::Runtime;

/// Labels by which containers are found again.
pub mod label {
    /// The service instance that the container serves.
    pub const INSTANCE: &str = "patroni-broker.instance";
    /// The node that it is.
    pub const NODE: &str = "patroni-broker.node";
    /// The plan that it was made for.
    pub const PLAN: &str = "patroni-broker.plan";
    /// The cell that it lives on: several cells may share an engine.
    pub const CELL: &str = "patroni-broker.cell";
    /// The broker that made it: several brokers may share an engine.
    pub const BROKER: &str = "patroni-broker.broker";
    /// [`super::ContainerSpec::fingerprint`] of what was asked for.
    pub const FINGERPRINT: &str = "patroni-broker.fingerprint";
    /// The image as it was asked for: an engine forgets that name once its tag moves on to a newer build.
    pub const IMAGE: &str = "patroni-broker.image";
}

/// One Docker host. Every call blocks, with a deadline of its own.
///
/// A cell sees only containers that carry its own label and its broker's, also where several share an engine.
pub trait Cell: Send + Sync {
    /// Where it is and what it offers.
    fn site(&self) -> &CellSite;

    /// Whether its engine answers, and what it is.
    ///
    /// # Errors
    /// [`CellError::NoAnswer`].
    fn ping(&self) -> Result<EngineInfo, CellError>;

    /// Makes sure that the image is on the cell, pulling it if it is missing; `progress` hears a line now and then.
    ///
    /// # Errors
    /// [`CellError::NoSuchImage`] when it is neither here nor to be had.
    fn ensure_image(&self, image: &str, progress: &mut dyn FnMut(&str)) -> Result<(), CellError>;

    /// Creates the container and places its files, and does not start it. A container of that name must not exist.
    /// The cell adds its own label, its broker's, the fingerprint's and the image's.
    ///
    /// # Errors
    /// [`CellError::Refused`] when the engine says no; [`CellError::NoAnswer`] when it may have happened.
    fn create(&self, spec: &ContainerSpec) -> Result<(), CellError>;

    /// Makes the container of that name anew as asked for, on the volumes of the one that is there, and starts it: that
    /// one is stopped and set aside until the new one is made, and then removed. Done twice, or cut off anywhere and
    /// done again, it comes to the same. Where there is none it is [`Cell::create`] and [`Cell::start`].
    ///
    /// # Errors
    /// As [`Cell::create`]. Refused, the old one runs again.
    fn remake(&self, spec: &ContainerSpec, grace: Duration) -> Result<(), CellError>;

    /// The environment that the image gives its containers; `None` when it is not on the cell, and empty where its engine
    /// tells of none.
    ///
    /// # Errors
    /// As [`Cell::inspect`].
    fn image_environment(&self, image: &str) -> Result<Option<BTreeMap<String, String>>, CellError>;

    /// Starts it; starting a running container is success.
    ///
    /// # Errors
    /// As [`Cell::create`].
    fn start(&self, name: &ContainerName) -> Result<(), CellError>;

    /// Asks it to end, and kills it after `grace`. Stopping a stopped or absent container is success.
    ///
    /// # Errors
    /// As [`Cell::create`].
    fn stop(&self, name: &ContainerName, grace: Duration) -> Result<(), CellError>;

    /// Removes it with its anonymous volumes, running or not. Removing what is not there is success.
    ///
    /// # Errors
    /// As [`Cell::create`].
    fn remove(&self, name: &ContainerName) -> Result<(), CellError>;

    /// What the engine says of it; `None` when the engine says that there is none on this cell.
    ///
    /// # Errors
    /// [`CellError::NoAnswer`] or [`CellError::Refused`].
    fn inspect(&self, name: &ContainerName) -> Result<Option<ContainerView>, CellError>;

    /// Every container of this cell, running or not, that carries all of `labels`, sorted by name.
    ///
    /// # Errors
    /// As [`Cell::inspect`].
    fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<ContainerView>, CellError>;

    /// The last lines of its log, stdout and stderr in order.
    ///
    /// # Errors
    /// As [`Cell::inspect`].
    fn log_tail(&self, name: &ContainerName, lines: u32) -> Result<Vec<String>, CellError>;

    /// Runs a command inside and waits for its end.
    ///
    /// # Errors
    /// As [`Cell::create`].
    fn exec(&self, name: &ContainerName, command: &[&str]) -> Result<ExecOutput, CellError>;

    /// Calls `sink` for every change of one of this cell's containers, until `stop` is set or the stream breaks. It
    /// looks at `stop` at least once a second. The first call is [`CellEvent::Connected`], from which on nothing is
    /// missed: list then.
    ///
    /// # Errors
    /// [`CellError::NoAnswer`] when the stream broke: list and watch again.
    fn watch(&self, stop: &AtomicBool, sink: &mut dyn FnMut(CellEvent)) -> Result<(), CellError>;
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version.
    pub version: String,
}

/// A container as it is asked for.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its name.
    pub name: ContainerName,
    /// Its image.
    pub image: String,
    /// Its environment: nothing secret, since `docker inspect` shows it.
    pub env: BTreeMap<String, String>,
    /// Labels besides the cell's, the fingerprint's and the image's.
    pub labels: BTreeMap<String, String>,
    /// What it publishes.
    pub ports: Vec<PublishedPort>,
    /// Files placed before it starts.
    pub files: Vec<PlacedFile>,
    /// Memory limit; none without.
    pub memory_bytes: Option<u64>,
    /// The size of its `/dev/shm`.
    pub shm_bytes: u64,
    /// How long it may take to end when asked to, before it is killed.
    pub stop_timeout: Duration,
}

/// A container port on a host port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// Inside.
    pub container: u16,
    /// On the host.
    pub host: u16,
}

/// A file that is placed into a created container before it starts, owned by root.
#[derive(Clone, Debug)]
pub struct PlacedFile {
    /// Its absolute path.
    pub path: String,
    /// Its permissions, such as `0o600`.
    pub mode: u32,
    /// What it says.
    pub content: Secret,
}

/// A container as its engine describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerView {
    /// Its name.
    pub name: ContainerName,
    /// Its image, as it was asked for.
    pub image: String,
    /// How it is.
    pub state: ContainerState,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it publishes now; none while it is stopped.
    pub ports: Vec<PublishedPort>,
}

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made and never started.
    Created,
    /// Running.
    Running,
    /// Being restarted by its engine.
    Restarting,
    /// Ended.
    Exited {
        /// Its exit code; none where only a listing was read.
        code: Option<i64>,
    },
    /// Paused, dead, being removed: the engine's own word.
    Other(String),
}

/// What a command inside a container did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub exit_code: i64,
    /// What it wrote, both streams, as text.
    pub output: String,
}

/// Something happened on a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellEvent {
    /// The stream is open.
    Connected,
    /// This container was created, started, stopped, killed, died or was removed: look at it again.
    Changed(ContainerName),
}

/// Why a call to a cell failed, sorted by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellError {
    /// No answer came in time, or the connection broke: it may have happened all the same.
    NoAnswer {
        /// Which cell.
        cell: CellGuid,
        /// What happened, for people.
        reason: String,
    },
    /// The engine said no: nothing happened; another cell may say yes.
    Refused {
        /// Which cell.
        cell: CellGuid,
        /// The engine's words.
        reason: String,
    },
    /// The image is neither on the cell nor to be had.
    NoSuchImage {
        /// Which cell.
        cell: CellGuid,
        /// Which image.
        image: String,
        /// The registry's words.
        reason: String,
    },
}

impl fmt::Display for ContainerState {
    /// What may be said of a container: it …
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("was never started"),
            Self::Running => f.write_str("runs"),
            Self::Restarting => f.write_str("is being restarted"),
            Self::Exited { code: Some(code) } => write!(f, "has ended with {code}"),
            Self::Exited { code: None } => f.write_str("has ended"),
            Self::Other(word) => write!(f, "is {word}"),
        }
    }
}

impl fmt::Display for CellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { cell, reason } => write!(f, "cell {cell} does not answer: {reason}"),
            Self::Refused { cell, reason } => write!(f, "cell {cell} refuses: {reason}"),
            Self::NoSuchImage { cell, image, reason } => {
                write!(f, "cell {cell} has no image {image} and cannot get it: {reason}")
            }
        }
    }
}

impl std::error::Error for CellError {}
