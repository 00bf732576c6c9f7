//! What is announced of a container. Pure.

use std::collections::BTreeMap;

use storage::Key;

use crate::cells::{ContainerState, ContainerView};
use crate::state::keys;

/// Why a container's ports are not announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unannounceable {
    /// Its image is called like a top key of the store.
    ReservedImage(String),
    /// Image, host or name do not make a key.
    NoKey(String),
}

/// The entries of a container on a cell whose ports are reached at `host`: one for each published port while it runs,
/// none otherwise. Of several host ports for one container port the lowest counts.
///
/// # Errors
/// [`Unannounceable`] when it publishes ports that cannot be announced.
pub fn announcements(view: &ContainerView, host: &str) -> Result<BTreeMap<Key, String>, Unannounceable> {
    let mut entries = BTreeMap::new();
    if view.state != ContainerState::Running || view.ports.is_empty() {
        return Ok(entries);
    }
    let image = keys::image_name(&view.image);
    if keys::TOP_LEVEL.contains(&image) {
        return Err(Unannounceable::ReservedImage(image.to_owned()));
    }
    let prefix = keys::registry_prefix(&view.image, host, &view.name);
    let reached_at =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let mut ports = view.ports.clone();
    ports.sort_unstable_by_key(|port| (port.container, port.host));
    for port in ports {
        let raw = format!("{prefix}:{}", port.container);
        let key = Key::parse(&raw).map_err(|_| Unannounceable::NoKey(raw))?;
        entries.entry(key).or_insert_with(|| format!("{reached_at}:{}", port.host));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Unannounceable, announcements};
    use crate::cells::{ContainerState, ContainerView, PublishedPort};
    use crate::model::ContainerName;

    fn seen(
        image: &str,
        state: ContainerState,
        host: &str,
        ports: &[(u16, u16)],
    ) -> Result<String, Unannounceable> {
        let ports = ports.iter().map(|&(container, host)| PublishedPort { container, host });
        let view = ContainerView {
            name: ContainerName::found("/pb-n1"),
            image: image.to_owned(),
            state,
            labels: BTreeMap::new(),
            ports: ports.collect(),
        };
        let entries = announcements(&view, host)?;
        let text = entries.iter().map(|(key, value)| format!("{key}={value}"));
        Ok(text.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_seeds_format() {
        let check = |image: &str, host: &str, ports: &[(u16, u16)], expected: &str| {
            assert_eq!(
                seen(image, ContainerState::Running, host, ports).as_deref(),
                Ok(expected),
                "{image} {host}"
            );
        };
        let both = "/postgresql-patroni/10.0.0.1:pb-n1:5432=10.0.0.1:20000 \
                    /postgresql-patroni/10.0.0.1:pb-n1:8008=10.0.0.1:20001";
        check("patroni-broker/postgresql-patroni:17", "10.0.0.1", &[(8008, 20001), (5432, 20000)], both);
        check("r:5000/a/b:1@sha256:00", "h", &[(80, 9)], "/b/h:pb-n1:80=h:9");
        check("redis", "::1", &[(6379, 9)], "/redis/::1:pb-n1:6379=[::1]:9");
        check("redis", "h", &[(6379, 12), (6379, 11)], "/redis/h:pb-n1:6379=h:11");
        check("redis", "h", &[], "");
    }

    #[test]
    fn only_running_containers_are_reached() {
        for state in [
            ContainerState::Created,
            ContainerState::Restarting,
            ContainerState::Exited { code: Some(0) },
            ContainerState::Other("paused".to_owned()),
        ] {
            assert_eq!(seen("redis", state.clone(), "h", &[(1, 2)]).as_deref(), Ok(""), "{state:?}");
        }
    }

    #[test]
    fn top_keys_are_not_written_under() {
        let check = |image: &str, reserved: bool| {
            let found = seen(image, ContainerState::Running, "h", &[(1, 2)]);
            assert_eq!(matches!(found, Err(Unannounceable::ReservedImage(_))), reserved, "{image}");
        };
        check("me/service:1", true);
        check("serviceinstances", true);
        check("routing@sha256:00", true);
        check("registry:5000/broker", true);
        check("service2", false);
        assert!(matches!(
            seen("a\u{7}", ContainerState::Running, "h", &[(1, 2)]),
            Err(Unannounceable::NoKey(_))
        ));
    }
}
