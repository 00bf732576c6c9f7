//! Asking the process that serves a store for a backup of it.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::Agent;
use ureq::http::header::AUTHORIZATION;

use super::snapshot::{self, BadBackup, Summary};
use crate::remote::{Credentials, Tls};

/// To reach the server.
const CONNECT: Duration = Duration::from_secs(5);
/// For it to begin.
const BEGIN: Duration = Duration::from_secs(30);
/// For all of it; the server gives up earlier.
const WHOLE: Duration = Duration::from_secs(660);
/// What is shown of an answer that is no backup.
const SHOWN: u64 = 200;
const COPIED: usize = 256 << 10;

/// Why there is no backup. What was written so far is none.
#[derive(Debug)]
pub enum FetchError {
    /// The server does not answer, or its answer broke off.
    Unreachable {
        /// What happened, for people.
        reason: String,
    },
    /// The server refuses.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        said: String,
    },
    /// What came is no whole backup.
    Bad(BadBackup),
    /// It cannot be written down.
    Write(io::Error),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { reason } => f.write_str(reason),
            Self::Refused { status: 401, .. } => f.write_str("it does not let us in, or not to everything"),
            Self::Refused { status: 404, .. } => f.write_str("it takes no backups: it is no embedded store"),
            Self::Refused { status, said } => write!(f, "it answers {status}: {}", said.trim()),
            Self::Bad(error) => write!(f, "what came cannot be used: {error}"),
            Self::Write(error) => write!(f, "the backup cannot be written: {error}"),
        }
    }
}

impl std::error::Error for FetchError {}

impl From<BadBackup> for FetchError {
    fn from(error: BadBackup) -> Self {
        Self::Bad(error)
    }
}

/// Where a store is served, and as whom it is asked.
#[derive(Debug)]
pub struct Source<'a> {
    /// Such as `http://172.17.0.1:4001`.
    pub url: &'a str,
    /// Nobody, where everybody is let in.
    pub who: Option<&'a Credentials>,
    /// For `https`.
    pub tls: &'a Tls,
}

/// Copies a backup of the store, and checks it on its way.
///
/// # Errors
/// [`FetchError`].
pub fn backup(source: &Source<'_>, out: &mut impl Write) -> Result<Summary, FetchError> {
    let tls = source.tls.config().map_err(|error| FetchError::Unreachable { reason: error.to_string() })?;
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(BEGIN))
        .timeout_global(Some(WHOLE))
        .build();
    let unreachable = |error: ureq::Error| FetchError::Unreachable { reason: error.to_string() };
    let target = format!("{}/backup", source.url.trim_end_matches('/'));
    let request = Agent::new_with_config(config).get(&target);
    let request = match source.who {
        Some(who) => request.header(AUTHORIZATION, basic(who)),
        None => request,
    };
    let mut answer = request.call().map_err(unreachable)?;
    let status = answer.status().as_u16();
    if status != 200 {
        let mut said = String::new();
        if let Err(error) = answer.body_mut().as_reader().take(SHOWN).read_to_string(&mut said) {
            log::debug!("what is said to a backup that is refused cannot be read: {error}");
        }
        return Err(FetchError::Refused { status, said });
    }
    let copy = Copy { from: answer.body_mut().as_reader(), to: out, failed: None };
    let mut copy = BufReader::with_capacity(COPIED, copy);
    let checked = snapshot::check(&mut copy);
    match (copy.into_inner().failed, checked) {
        (Some(error), _) => Err(FetchError::Write(error)),
        (None, checked) => checked.map_err(|error| match error {
            BadBackup::Io(error) => FetchError::Unreachable { reason: error.to_string() },
            other => FetchError::Bad(other),
        }),
    }
}

fn basic(who: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", who.username, who.password)))
}

/// Reads, and writes down what was read.
struct Copy<'a, R, W> {
    from: R,
    to: &'a mut W,
    failed: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Copy<'_, R, W> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(bytes)?;
        if let Err(error) = self.to.write_all(&bytes[..count]) {
            self.failed = Some(error);
            return Err(io::Error::other("it cannot be written down"));
        }
        Ok(count)
    }
}
