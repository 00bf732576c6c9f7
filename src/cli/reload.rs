//! Taking on a configuration that has changed while the broker runs: SIGHUP reads the file and all that it names anew.
//!
//! What can change without a restart is a [`Part`] each, in a list that the wiring makes. Every part first prepares its
//! change, and only when all are prepared are they made: a configuration is taken on as a whole or not at all.

use std::path::{Path, PathBuf};

use log::{error, info};

use crate::config::{self, Config};

/// A prepared change. It cannot fail any more.
pub(super) type Change = Box<dyn FnOnce() + Send>;

/// Something that can change while the broker runs.
pub(super) trait Part {
    /// What it is called in the log.
    fn name(&self) -> &'static str;

    /// Makes ready for a configuration, and changes nothing yet; `None` where there is nothing to change.
    ///
    /// # Errors
    /// Says why the configuration cannot be taken on without a restart.
    fn prepare(&self, config: &Config) -> Result<Option<Change>, String>;
}

/// The configuration's file, and the parts that can follow it.
pub(super) struct Reload {
    file: PathBuf,
    parts: Vec<Box<dyn Part>>,
}

impl Reload {
    pub(super) fn new(file: &Path, parts: Vec<Box<dyn Part>>) -> Self {
        Self { file: file.to_owned(), parts }
    }

    /// Takes on what the file says now. Where that cannot be, everything stays as it is, and the log says why.
    pub(super) fn perform(&self) {
        info!("reading {} anew", self.file.display());
        match config::load(&self.file, &super::environment) {
            Ok(loaded) => {
                super::warn_of(&self.file, &loaded);
                self.take_on(&loaded.config);
            }
            Err(error) => error!("everything stays as it is: {error}"),
        }
    }

    fn take_on(&self, config: &Config) {
        let mut changes = Vec::new();
        for part in &self.parts {
            match part.prepare(config) {
                Ok(Some(change)) => changes.push((part.name(), change)),
                Ok(None) => {}
                Err(reason) => {
                    error!("everything stays as it is: {}: {reason}", part.name());
                    return;
                }
            }
        }
        let names: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
        for (_, change) in changes {
            change();
        }
        if names.is_empty() {
            info!("nothing has changed that can change without a restart");
        } else {
            info!("taken on: {}; whatever else has changed needs a restart", names.join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use super::{Change, Part, Reload};
    use crate::config::Config;

    const DREAM: &str = include_str!("../../config/dream.example.toml");

    /// Takes on the broker's name.
    struct Names {
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Part for Names {
        fn name(&self) -> &'static str {
            "name"
        }

        fn prepare(&self, config: &Config) -> Result<Option<Change>, String> {
            let (taken, name) = (Arc::clone(&self.taken), config.broker.name.clone());
            Ok(Some(Box::new(move || taken.lock().unwrap().push(name))))
        }
    }

    /// Cannot follow to one name.
    struct Refuses;

    impl Part for Refuses {
        fn name(&self) -> &'static str {
            "refuses"
        }

        fn prepare(&self, config: &Config) -> Result<Option<Change>, String> {
            if config.broker.name == "refused" { Err("not this one".to_owned()) } else { Ok(None) }
        }
    }

    /// All or nothing: the first part's change is not made where the second cannot follow.
    #[test]
    fn a_configuration_is_taken_on_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("broker.toml");
        let taken = Arc::<Mutex<Vec<String>>>::default();
        let reload =
            Reload::new(&file, vec![Box::new(Names { taken: Arc::clone(&taken) }), Box::new(Refuses)]);
        let check = |text: &str, expected: &[&str]| {
            fs::write(&file, text).unwrap();
            reload.perform();
            assert_eq!(*taken.lock().unwrap(), expected, "{text}");
        };
        let named = |name: &str| DREAM.replacen("[broker]", &format!("[broker]\nname = \"{name}\""), 1);
        check(&named("one"), &["one"]);
        check(&named("refused"), &["one"]);
        check("[broker", &["one"]);
        check(&named("not a name"), &["one"]);
        check(&named("two"), &["one", "two"]);
        fs::remove_file(&file).unwrap();
        reload.perform();
        assert_eq!(*taken.lock().unwrap(), ["one", "two"]);
    }
}
