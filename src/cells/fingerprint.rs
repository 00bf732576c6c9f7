//! Tells whether a container found on a cell is the one that is asked for.

use uuid::Uuid;

use super::ContainerSpec;

/// Sets these hashes apart from every other use of UUIDs; random, and never to be changed.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b0d_3f1e_8a52_4c7b_9d14_6e0c_27f1_a9b3);

impl ContainerSpec {
    /// A hash of all that is asked for, the same in every process and version; of the files only their paths and
    /// permissions, so that nothing about a secret shows in a label.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        // Taken apart in full, so that a new field cannot be forgotten here.
        let Self { name, image, env, labels, ports, files, memory_bytes, shm_bytes, stop_timeout } = self;
        let mut ports: Vec<_> = ports.iter().map(|port| (port.container, port.host)).collect();
        ports.sort_unstable();
        let mut files: Vec<_> = files.iter().map(|file| (&file.path, file.mode)).collect();
        files.sort_unstable();
        let text = serde_json::json!([
            name.as_str(),
            image,
            env,
            labels,
            ports,
            files,
            memory_bytes,
            shm_bytes,
            stop_timeout.as_secs(),
        ])
        .to_string();
        Uuid::new_v5(&NAMESPACE, text.as_bytes()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use crate::cells::{ContainerSpec, PlacedFile, PublishedPort};
    use crate::model::{ContainerName, NodeId, Secret};

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: ContainerName::of(&NodeId::parse("n1").unwrap()),
            image: "patroni:17".to_owned(),
            env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
            labels: BTreeMap::new(),
            ports: vec![
                PublishedPort { container: 5432, host: 20000 },
                PublishedPort { container: 8008, host: 20001 },
            ],
            files: vec![PlacedFile { path: "/s".to_owned(), mode: 0o600, content: Secret::new("hunter2") }],
            memory_bytes: None,
            shm_bytes: 1,
            stop_timeout: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_fingerprint_tells_what_differs_and_not_what_is_secret() {
        let check = |what: &str, same: bool, change: &dyn Fn(&mut ContainerSpec)| {
            let mut other = spec();
            change(&mut other);
            assert_eq!(other.fingerprint() == spec().fingerprint(), same, "{what}");
        };
        check("nothing", true, &|_| ());
        check("the ports' order", true, &|spec| spec.ports.reverse());
        check("a file's content", true, &|spec| spec.files[0].content = Secret::new("other"));
        check("a file's mode", false, &|spec| spec.files[0].mode = 0o644);
        check("a file's path", false, &|spec| spec.files[0].path = "/t".to_owned());
        check("the image", false, &|spec| spec.image = "patroni:18".to_owned());
        check("a port", false, &|spec| spec.ports[0].host = 1);
        check("the memory", false, &|spec| spec.memory_bytes = Some(1));
        check("the environment", false, &|spec| drop(spec.env.insert("A".to_owned(), "2".to_owned())));
        check("a label", false, &|spec| drop(spec.labels.insert("A".to_owned(), "2".to_owned())));
    }

    /// Containers outlive brokers: a change of this value remakes every container of every site.
    #[test]
    fn a_fingerprint_is_the_same_in_every_version() {
        assert_eq!(spec().fingerprint(), "114fc881-0a07-539a-950b-338fd67a1e0d");
    }
}
