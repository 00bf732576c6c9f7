//! Makes sure that an image is there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dockworker::errors::Error as DockworkerError;
use dockworker::response::Response;

use super::DockerCell;
use super::fault::Fault;
use crate::cells::CellError;
use crate::cells::runtime::{Next, Streaming};

/// How often progress is told at most.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl DockerCell {
    pub(super) fn image_or_pull(&self, image: &str, progress: &mut dyn FnMut(&str)) -> Result<(), CellError> {
        let none = |reason: String| CellError::NoSuchImage {
            cell: self.site.guid.clone(),
            image: image.to_owned(),
            reason,
        };
        let Some((name, tag)) = parts(image) else {
            return Err(none("this is not the name of an image".to_owned()));
        };
        if self.has_image(image).map_err(|fault| self.error(fault))? {
            return Ok(());
        }
        let pulled = self.pull(name, tag, progress);
        match pulled {
            Err(Fault::Silent(reason)) => Err(self.error(Fault::Silent(reason))),
            Err(Fault::Said(reason)) => Err(none(reason)),
            // A pull that ends without a word of error is only over; the image is there when the engine shows it.
            Ok(()) => match self.has_image(image).map_err(|fault| self.error(fault))? {
                true => Ok(()),
                false => Err(none("the pull ended without an error and without an image".to_owned())),
            },
        }
    }

    /// Whether the engine shows that image. It does the naming: tags, digests, ids and default registries.
    pub(super) fn has_image(&self, image: &str) -> Result<bool, Fault> {
        Ok(self.environment_of(image)?.is_some())
    }

    /// What the image puts into its containers' environment; `None` when it is not there.
    pub(super) fn environment_of(&self, image: &str) -> Result<Option<BTreeMap<String, String>>, Fault> {
        if parts(image).is_none() {
            return Ok(None);
        }
        let name = image.to_owned();
        let shown = self.call(self.deadlines.look, move |docker| async move {
            match docker.inspect_image(&name).await {
                // A field that dockworker does not know, or without which it does not go on, is no reason to pull: the
                // image's history has a simpler shape. What an engine leaves out where there is none is the environment.
                Err(DockworkerError::Json(_)) => docker.history_image(&name).await.map(|_| Vec::new()),
                shown => shown.map(|shown| shown.Config.Env),
            }
        });
        match shown {
            Ok(lines) => {
                let pair = |line: &str| {
                    line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
                };
                Ok(Some(lines.iter().filter_map(|line| pair(line)).collect()))
            }
            Err(Fault::Said(_)) => Ok(None),
            Err(silent) => Err(silent),
        }
    }

    fn pull(&self, name: &str, tag: &str, progress: &mut dyn FnMut(&str)) -> Result<(), Fault> {
        let until = Instant::now() + self.deadlines.pull;
        let (name, tag) = (name.to_owned(), tag.to_owned());
        let stream = self.call(self.deadlines.pull_silence, move |docker| async move {
            docker.create_image(&name, &tag).await
        })?;
        let mut stream = Streaming::new(self.runtime.clone(), stream);
        let mut told: Option<Instant> = None;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::Silent(format!(
                    "the pull did not end within {} s",
                    self.deadlines.pull.as_secs()
                )));
            }
            match stream.next(left.min(self.deadlines.pull_silence))? {
                Next::Ended => return Ok(()),
                Next::Idle => {
                    return Err(Fault::Silent("the engine fell silent while pulling the image".to_owned()));
                }
                // One line that dockworker cannot read says nothing about the pull.
                Next::Item(Err(DockworkerError::Json(_))) => {}
                Next::Item(Err(error)) => return Err(error.into()),
                Next::Item(Ok(line)) => {
                    if let Some(error) = error_in(&line) {
                        return Err(Fault::Said(error));
                    }
                    if told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY)
                        && let Some(text) = progress_in(&line)
                    {
                        told = Some(Instant::now());
                        progress(&text);
                    }
                }
            }
        }
    }
}

/// The name and the tag or digest; `latest` is the default, without which an engine would pull every tag there is.
/// `None` for what could not be a path of the engine's API.
fn parts(image: &str) -> Option<(&str, &str)> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@');
    let climbs = image.split('/').any(|part| matches!(part, "" | "." | ".."));
    if image.is_empty() || climbs || !image.chars().all(fine) {
        return None;
    }
    if let Some(parts) = image.split_once('@') {
        return Some(parts);
    }
    // A colon before a slash is a registry's port.
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => Some((name, tag)),
        _ => Some((image, "latest")),
    }
}

fn error_in(line: &Response) -> Option<String> {
    match line {
        Response::Error(error) => Some(error.error.clone()),
        Response::Unknown(value) => value.get("error").map(|error| match error.as_str() {
            Some(text) => text.to_owned(),
            None => error.to_string(),
        }),
        _ => None,
    }
}

fn progress_in(line: &Response) -> Option<String> {
    match line {
        Response::Progress(line) => Some(match &line.progress {
            Some(progress) => format!("{}: {} {progress}", line.id, line.status),
            None => format!("{}: {}", line.id, line.status),
        }),
        Response::Status(line) => Some(match &line.id {
            Some(id) => format!("{id}: {}", line.status),
            None => line.status.clone(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{error_in, parts};

    #[test]
    fn an_image_has_a_name_and_a_tag() {
        let check =
            |image: &str, expected: Option<(&str, &str)>| assert_eq!(parts(image), expected, "{image:?}");
        check("redis", Some(("redis", "latest")));
        check("redis:7", Some(("redis", "7")));
        check("registry.example.org:5000/redis", Some(("registry.example.org:5000/redis", "latest")));
        check("registry.example.org:5000/a/redis:7", Some(("registry.example.org:5000/a/redis", "7")));
        check("redis@sha256:abc", Some(("redis", "sha256:abc")));
        check("", None);
        check("../containers/x", None);
        check("redis?x", None);
        check("a b", None);
        check("a//b", None);
    }

    #[test]
    fn an_error_is_found_in_whatever_shape_it_comes() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(error_in(&serde_json::from_str(line).unwrap()).as_deref(), expected, "{line}");
        };
        check(r#"{"status":"Pulling from library/redis","id":"7"}"#, None);
        check(r#"{"errorDetail":{"message":"denied"},"error":"denied"}"#, Some("denied"));
        check(r#"{"errorDetail":{"code":1,"message":"denied"},"error":"denied"}"#, Some("denied"));
        check(r#"{"error":"denied"}"#, Some("denied"));
    }
}
