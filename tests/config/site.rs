//! A directory in which a configuration stands beside the files that it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use patroni_broker::config::{self, ConfigError, Loaded};
use tempfile::TempDir;

pub struct Site {
    directory: TempDir,
}

impl Site {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn load(&self, text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        config::parse(text, &self.path("broker.toml"), &|name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    /// `problem: …` or `warning: …`, each a line, in any order; each expectation is how one of them begins. None of them
    /// says what is to be kept secret, which each text here calls `hush`.
    #[track_caller]
    pub fn check(&self, text: &str, expected: &[&str]) {
        self.check_in(text, &[], expected);
    }

    #[track_caller]
    pub fn check_in(&self, text: &str, environment: &[(&str, &str)], expected: &[&str]) {
        let (kind, found) = match self.load(text, environment) {
            Ok(loaded) => ("warning", loaded.warnings),
            Err(ConfigError::Invalid { problems, .. }) => ("problem", problems),
            Err(other) => panic!("{text}: {other}"),
        };
        let found: Vec<String> = found.iter().map(|one| format!("{kind}: {one}")).collect();
        let fits = found.len() == expected.len()
            && expected.iter().all(|begin| found.iter().any(|line| line.starts_with(begin)));
        assert!(fits, "{text}\n  expected {expected:#?}\n  found {found:#?}");
        assert!(!found.join("").contains("hush"), "{found:?}");
    }
}
