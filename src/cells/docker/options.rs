//! What we ask for, in Docker's words.

use std::collections::HashMap;

use dockworker::{
    ContainerCreateOptions, ContainerHostConfig, ExposedPorts, LogConfig, LogConfigType, PortBindings,
    RestartPolicy,
};

use crate::cells::{ContainerSpec, label};
use crate::model::CellSite;

/// The body of a request to create `spec` on `cell`, with the volumes of the container with that id, if any.
pub(super) fn create(
    spec: &ContainerSpec,
    site: &CellSite,
    volumes_from: Option<&str>,
) -> ContainerCreateOptions {
    let mut options = ContainerCreateOptions::new(&spec.image);
    for (name, value) in &spec.env {
        options.env(format!("{name}={value}"));
    }
    for (name, value) in &spec.labels {
        options.label(name.clone(), value.clone());
    }
    options
        .label(label::BROKER.to_owned(), site.broker.clone())
        .label(label::CELL.to_owned(), site.guid.to_string())
        .label(label::FINGERPRINT.to_owned(), spec.fingerprint())
        .label(label::IMAGE.to_owned(), spec.image.clone())
        // Left empty, the image's own word counts; dockworker would say SIGTERM over it.
        .stop_signal(String::new())
        .stop_timeout(spec.stop_timeout)
        // An engine publishes only what is exposed as well.
        .exposed_ports(ExposedPorts(
            spec.ports.iter().map(|port| (port.container, "tcp".to_owned())).collect(),
        ))
        .host_config(host_config(spec, volumes_from));
    options
}

fn host_config(spec: &ContainerSpec, volumes_from: Option<&str>) -> ContainerHostConfig {
    let mut log = LogConfig::new(LogConfigType::JsonFile);
    log.config =
        HashMap::from([("max-size".to_owned(), "10m".to_owned()), ("max-file".to_owned(), "3".to_owned())]);
    let ports = spec.ports.iter().map(|port| (port.container, "tcp".to_owned(), port.host)).collect();
    let mut host = ContainerHostConfig::new();
    host.port_bindings(PortBindings(ports))
        // A cell that reboots starts them without anyone's help.
        .restart_policy(RestartPolicy::unless_stopped())
        .security_opt(vec!["no-new-privileges".to_owned()])
        .log_config(log)
        .shm_size(spec.shm_bytes);
    if let Some(bytes) = spec.memory_bytes {
        host.memory(bytes);
    }
    if let Some(id) = volumes_from {
        host.volumes_from(vec![id.to_owned()]);
    }
    host
}
