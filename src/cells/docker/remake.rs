//! Makes a container anew on the volumes of the one that is there.
//!
//! ```text
//! stop the old one ── rename it: set aside ── create the new one, place its files ── start it ── remove the old one
//!                                             └─ refused: remove the new one, rename the old one back, start it
//! ```
//!
//! Wherever this was cut off, what is on the engine tells how to go on. One that was started ever is whole, since its files
//! come before that, and one that was not is made again while the old one is there to keep the volumes: an engine removes
//! a volume with its last container.

use std::time::Duration;

use super::DockerCell;
use super::fault::Fault;
use super::pattern;
use super::view::{Found, SET_ASIDE};
use crate::cells::{ContainerSpec, ContainerState, label};
use crate::model::ContainerName;

/// What an engine has of one container.
struct Pair {
    current: Option<Found>,
    aside: Option<Found>,
}

impl DockerCell {
    pub(super) fn make_anew(&self, spec: &ContainerSpec, grace: Duration) -> Result<(), Fault> {
        let pair = self.pair(&spec.name)?;
        let wanted = spec.fingerprint();
        let is_wanted = |found: &Found| found.view.labels.get(label::FINGERPRINT) == Some(&wanted);
        if pair.current.as_ref().is_some_and(|current| current.was_started() && is_wanted(current)) {
            self.try_start(&spec.name)?;
            return self.finish(&spec.name, pair.aside.as_ref());
        }
        match self.replace(pair, spec, grace) {
            Ok(old) => self.finish(&spec.name, old.as_ref()),
            Err(Fault::Said(refusal)) => self.put_back(&spec.name, refusal),
            Err(silent) => Err(silent),
        }
    }

    /// Lets the new one run, and gives what is set aside for it.
    fn replace(&self, pair: Pair, spec: &ContainerSpec, grace: Duration) -> Result<Option<Found>, Fault> {
        // Looked at first: until here the old one runs.
        if !self.has_image(&spec.image)? {
            return Err(Fault::Said("the image is not on the cell".to_owned()));
        }
        let old = match (pair.current, pair.aside) {
            (Some(current), Some(aside)) if current.was_started() => {
                // This one came in the other's place before, and has gone on since.
                self.remove_one(&aside.id, &spec.name)?;
                Some(current)
            }
            (Some(current), Some(aside)) => {
                self.remove_one(&current.id, &spec.name)?;
                Some(aside)
            }
            (current, aside) => current.or(aside),
        };
        if let Some(old) = &old {
            self.set_aside(old, grace)?;
        }
        self.try_create(spec, old.as_ref().map(|old| old.id.as_str()))?;
        self.try_start(&spec.name)?;
        Ok(old)
    }

    fn pair(&self, name: &ContainerName) -> Result<Pair, Fault> {
        let mut pair = Pair { current: None, aside: None };
        for found in self.everything(&pattern(name))?.into_iter().filter(|found| found.view.name == *name) {
            if found.is_set_aside {
                pair.aside = Some(found);
            } else {
                pair.current = Some(found);
            }
        }
        Ok(pair)
    }

    /// The new one runs, and the old one goes. That it does not is no refusal: done again, it may.
    fn finish(&self, name: &ContainerName, aside: Option<&Found>) -> Result<(), Fault> {
        aside.map_or(Ok(()), |aside| self.remove_one(&aside.id, name)).map_err(Fault::into_silence)
    }

    /// Stops it, if it is not down, and gives it the other name, if it does not have it.
    fn set_aside(&self, old: &Found, grace: Duration) -> Result<(), Fault> {
        self.try_stop(&old.view.name, grace)?;
        if old.is_set_aside {
            return Ok(());
        }
        self.rename(old, &format!("{}{SET_ASIDE}", old.view.name))
    }

    fn rename(&self, found: &Found, name: &str) -> Result<(), Fault> {
        let (id, name) = (found.id.clone(), name.to_owned());
        self.call(
            self.deadlines.change,
            move |docker| async move { docker.rename_container(&id, &name).await },
        )
    }

    /// After a refusal: the old one is what it was, and runs. It was stopped by us if it is set aside, and perhaps if not.
    fn put_back(&self, name: &ContainerName, refusal: String) -> Result<(), Fault> {
        let put_back = || {
            let Pair { current, aside } = self.pair(name)?;
            match (current, aside) {
                (Some(current), Some(aside)) if current.was_started() => self.remove_one(&aside.id, name)?,
                (current, Some(aside)) => {
                    if let Some(current) = current {
                        self.remove_one(&current.id, name)?;
                    }
                    self.rename(&aside, name.as_str())?;
                }
                (_, None) => {}
            }
            match self.find(name)? {
                Some(old) if old.view.state != ContainerState::Created => self.try_start(name),
                // Nothing can run that was never whole.
                _ => Ok(()),
            }
        };
        match put_back() {
            Ok(()) => Err(Fault::Said(refusal)),
            Err(Fault::Said(other)) => Err(Fault::Said(format!(
                "{refusal}; and the container that was there does not run again: {other}"
            ))),
            Err(silent) => Err(silent),
        }
    }
}
