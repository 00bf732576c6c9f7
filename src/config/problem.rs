//! What is wrong with a configuration, for the people who write it.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong, or questionable, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where in the file, such as `cells[1].docker`.
    pub path: String,
    /// What is wrong and what would be right. Never a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// Neither `--config` nor the environment names a file.
    NotNamed,
    /// The ancestors' format.
    Yaml {
        /// The file that was named.
        file: PathBuf,
    },
    /// The file cannot be read.
    Unreadable {
        /// The file that was named.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file is not TOML.
    Syntax {
        /// The file that was named.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// The file is TOML, and says what cannot be: every problem at once.
    Invalid {
        /// The file that was named.
        file: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNamed => {
                write!(f, "no configuration: name a file with --config or {}", super::CONFIG_VARIABLE)
            }
            Self::Yaml { file } => write!(
                f,
                "{}: YAML is not read; write it anew in TOML, starting from config/local.example.toml or \
                 config/bosh-lite.example.toml",
                file.display()
            ),
            Self::Unreadable { file, reason } => write!(f, "{}: cannot be read: {reason}", file.display()),
            Self::Syntax { file, line, message } => {
                write!(f, "{}: line {line}: {message}", file.display())
            }
            Self::Invalid { file, problems } => {
                let s = if problems.len() == 1 { "" } else { "s" };
                write!(f, "{}: {} problem{s}", file.display(), problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Gathers while the file is read, so that the first problem does not hide the others.
#[derive(Debug, Default)]
pub(super) struct Findings {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Findings {
    /// The configuration cannot be used.
    pub(super) fn problem(&self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { path: path.into(), message: message.into() });
    }

    /// The configuration can be used, and probably should not be.
    pub(super) fn warning(&self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Problem { path: path.into(), message: message.into() });
    }

    /// Problems, then warnings.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }
}
