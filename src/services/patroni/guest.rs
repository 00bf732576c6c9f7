//! Who the containers of an instance are to the store, and what they may do there: write their own scope's keys of
//! Patroni's, read their scope and the registrar's entries, and nothing else.

use std::collections::BTreeSet;

use storage::{ClientAccess, Guest, Key, Rights};

use super::container;
use crate::model::{InstanceId, Plan, Secret};
use crate::scheduler::Step;
use crate::services::StoreAccess;
use crate::state::{Credentials, InstanceRecord, keys};

/// Shorter lines of a key tell nothing, and would take innocent words out of a log.
const TELLING_LINE: usize = 16;

/// The instance as the store's guest, by which name an [`storage::AccessControl`] knows it.
pub(super) fn name(instance: &InstanceId) -> &str {
    instance.as_str()
}

/// What an instance's members may do, given their placement as it is: `images` are how the registrar's entries begin.
///
/// The keys that are written are Patroni's own (`AbstractDCS` in `patroni/dcs/__init__.py`), each by name, so that the
/// broker's record in the same scope is out of reach.
pub(super) fn rights(images: &BTreeSet<String>, record: &InstanceRecord) -> Rights {
    let instance = &record.instance_id;
    let members = record.nodes.iter().map(|node| keys::member(instance, &node.node_id));
    let announced: BTreeSet<Key> = images.iter().filter_map(|image| keys::registry(image)).collect();
    let read_under = std::iter::once(keys::scope(instance)).chain(announced);
    Rights { read_under: read_under.collect(), write: keys::of_patroni(instance).chain(members).collect() }
}

/// Every image that the instance's nodes are made from, or are about to be.
pub(super) fn images(plan: &Plan, record: &InstanceRecord) -> BTreeSet<String> {
    let steps = record.under_way().map_or(&[][..], |operation| &operation.steps);
    let of_step = |step: &Step| match step {
        Step::RemakeNode { from, to, .. } => vec![from.image.clone(), to.image.clone()],
        Step::CheckImage { image, .. } => vec![image.clone()],
        _ => Vec::new(),
    };
    let nodes = record.nodes.iter().map(|node| container::build(plan, node).image);
    nodes.chain(steps.iter().flat_map(of_step)).collect()
}

/// The instance as a guest with these rights; `None` for one that shares the broker's access.
pub(super) fn guest(record: &InstanceRecord, rights: Rights) -> Option<Guest> {
    let Credentials { username, password } = record.store_credentials.as_ref()?;
    Some(Guest { name: username.clone(), password: password.expose().to_owned(), rights })
}

/// How the instance's containers reach the store: as themselves, or, where nobody gives them credentials of their own
/// (any more), as the broker does.
pub(super) fn reach(access: &StoreAccess, record: &InstanceRecord) -> ClientAccess {
    // What it may do has no part in how it gets there.
    let guest = guest(record, Rights::default());
    let own = access.guests.as_ref().zip(guest).map(|(guests, guest)| guests.client_access(&guest));
    own.unwrap_or_else(|| access.shared.clone())
}

/// The secret texts of an access, each no longer than a line: what a container logs comes line by line.
pub(super) fn secrets(access: &ClientAccess) -> Vec<Secret> {
    let key = access.tls.iter().filter_map(|tls| tls.client.as_ref()).flat_map(|client| client.key.lines());
    let telling = key.map(str::trim).filter(|line| line.len() >= TELLING_LINE && !line.starts_with("-----"));
    access.password.as_deref().into_iter().chain(telling).map(Secret::new).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use storage::remote::{ClientCertificate, Tls};
    use storage::{ClientAccess, Key};

    use super::{rights, secrets};
    use crate::model::Build;
    use crate::services::patroni::tests;
    use crate::state::InstanceRecord;

    fn record(instance: &str, nodes: &str) -> InstanceRecord {
        let user = serde_json::json!({"username": "u", "password": "p"});
        let node = |id: &str| serde_json::json!({"node_id": id, "backend_id": "c1", "plan_id": "p", "service_id": "s"});
        serde_json::from_value(serde_json::json!({
            "instance_id": instance, "service_id": "s", "plan_id": "p", "admin_credentials": user,
            "superuser_credentials": user, "app_credentials": user,
            "nodes": nodes.split_whitespace().map(node).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    fn images(list: &str) -> BTreeSet<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn an_instance_may_do_what_patroni_does_and_no_more() {
        let check = |image: &str, nodes: &str, read: &str, write: &str| {
            let told = |keys: &[Key]| keys.iter().map(Key::as_str).collect::<Vec<_>>().join(" ");
            let rights = rights(&images(image), &record("b1", nodes));
            assert_eq!(told(&rights.read_under), read, "{image}: read");
            let expected = format!("{OWN}{write}");
            assert_eq!(told(&rights.write), expected, "{image}: {nodes}");
        };
        const OWN: &str = "/service/b1/initialize /service/b1/leader /service/b1/config /service/b1/status \
                           /service/b1/sync /service/b1/failover /service/b1/history /service/b1/failsafe";
        let both = "/service/b1 /postgresql-patroni";
        check("registry:5000/x/postgresql-patroni:17", "", both, "");
        // While it is upgraded, two.
        check("postgresql-patroni:17 own:1 own:2", "", "/service/b1 /own /postgresql-patroni", "");
        check("postgresql-patroni", "n1", both, " /service/b1/members/n1");
        check("postgresql-patroni", "n1 n2", both, " /service/b1/members/n1 /service/b1/members/n2");
    }

    #[test]
    fn every_image_of_an_upgrade_is_announced() {
        let check = |built_as: &str, steps: serde_json::Value, expected: &str| {
            let mut record = record("b1", "n1 n2");
            let build = |image: &str| Build { image: image.to_owned(), memory_bytes: None, shm_bytes: 1 };
            record.nodes[1].build = Some(build(built_as));
            record.operation = serde_json::from_value(serde_json::json!({
                "id": "update-1", "kind": "update", "state": "in-progress", "steps": steps, "done": 0,
                "started_ms": 0, "deadline_ms": 0,
            }))
            .unwrap();
            let told = super::images(&tests::offer("planned:1"), &record);
            assert_eq!(told.into_iter().collect::<Vec<_>>().join(" "), expected, "{steps}");
        };
        check("planned:1", serde_json::json!([]), "planned:1");
        check("own:1", serde_json::json!([]), "own:1 planned:1");
        let (old, new) = (
            serde_json::json!({"image": "own:1", "shm_bytes": 1}),
            serde_json::json!({"image": "own:2", "shm_bytes": 1}),
        );
        let remake =
            serde_json::json!({"step": "remake-node", "node": "n2", "cell": "c1", "from": old, "to": new});
        check("own:1", serde_json::json!([remake]), "own:1 own:2 planned:1");
        let image = serde_json::json!({"step": "check-image", "image": "own:3", "cells": ["c1"]});
        check("own:1", serde_json::json!([image]), "own:1 own:3 planned:1");
    }

    /// `/service` holds every instance's record, and with it every password.
    #[test]
    fn an_images_name_opens_no_other_door() {
        for image in ["service", "x/serviceinstances:1", "routing", "x/broker:2", "x/", "x/:1", ".", "x/.."] {
            let rights = rights(&images(image), &record("b1", ""));
            assert_eq!(rights.read_under, [Key::parse("/service/b1").unwrap()], "{image}");
        }
    }

    #[test]
    fn a_key_is_cleaned_out_line_by_line() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nc2hvcnQ=\n-----END KEY-----\n".to_owned();
        let client = ClientCertificate { chain: "chain".to_owned(), key };
        let access = ClientAccess {
            engine: "etcd3",
            endpoints: Vec::new(),
            username: None,
            password: Some("hush".to_owned()),
            tls: Some(Tls { ca: None, client: Some(client) }),
            session_node: None,
        };
        let told: Vec<_> = secrets(&access).iter().map(|secret| secret.expose().to_owned()).collect();
        assert_eq!(told, ["hush", "MIIEvQIBADANBgkqhkiG"]);
    }
}
