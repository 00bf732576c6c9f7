//! Waiting for the end of an operation, saying on stderr how far it is.

use std::time::Instant;

use super::Failure;
use super::broker_client::Client;
use crate::model::{InstanceId, OperationId};

/// How it ended.
pub(super) enum Ended {
    /// Well; in the broker's words.
    Succeeded(String),
    /// Badly; with what that means for the instance.
    Failed(String),
    /// With the instance's end.
    Gone,
}

pub(super) fn wait(
    client: &Client,
    instance: &InstanceId,
    operation: &str,
    until: Instant,
) -> Result<Ended, Failure> {
    let operation = OperationId::parse(operation)
        .map_err(|error| Failure::Failed(format!("the broker's answer is none: {error}")))?;
    let mut said = String::new();
    let path = format!("/v2/service_instances/{instance}/last_operation?operation={operation}");
    client.poll(&path, until, |reply| {
        let description = reply.body["description"].as_str().unwrap_or_default();
        match (reply.status, reply.body["state"].as_str()) {
            (200, Some("in progress")) => {
                if said != description {
                    eprintln!("{instance}: {description}");
                    description.clone_into(&mut said);
                }
                Ok(None)
            }
            (200, Some("succeeded")) => Ok(Some(Ended::Succeeded(description.to_owned()))),
            (200, Some("failed")) => {
                let fate = match reply.body["instance_usable"].as_bool() {
                    None => "",
                    Some(true) => "; the instance can be used as before",
                    Some(false) => "; the instance cannot be used",
                };
                Ok(Some(Ended::Failed(format!("{description}{fate}"))))
            }
            (404 | 410, _) => Ok(Some(Ended::Gone)),
            _ => Err(client.refusal(reply)),
        }
    })
}
