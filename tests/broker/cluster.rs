//! What a platform asks of clusters, and what must be so when nothing is under way.

use std::collections::BTreeSet;

use patroni_broker::broker::{Accepted, Outcome, UpdateRequest};
use patroni_broker::cells::ContainerState;
use patroni_broker::model::{
    ContainerName, MaintenanceInfo, PatroniPlan, Plan, PlanId, PlanSettings, ServiceId,
};
use patroni_broker::state::keys;
use serde_json::Value;
use storage::Expect;

use crate::dream::{change, change_parameters};
use crate::lab::{IMAGE, Lab, order, until};

pub const CELLS: &str = "c1@z1 c2@z2 c3@z1 c4@z2";
/// Another image of the same PostgreSQL.
pub const NEWER: &str = "patroni-broker/postgresql-patroni:17-newer";
/// One of another PostgreSQL.
pub const OTHER: &str = "patroni-broker/postgresql-patroni:18";

/// An update of `b1` that changes nothing yet.
pub fn alter() -> UpdateRequest {
    UpdateRequest { service: ServiceId::parse("postgresql").unwrap(), ..change("b1") }
}

pub fn alter_parameters(parameters: &str) -> UpdateRequest {
    UpdateRequest { parameters: change_parameters("b1", parameters).parameters, ..alter() }
}

pub fn to_plan(plan: &str) -> UpdateRequest {
    UpdateRequest { plan: Some(PlanId::parse(plan).unwrap()), ..alter() }
}

pub fn upgrade() -> UpdateRequest {
    UpdateRequest { maintenance_version: Some("2.0.0".to_owned()), ..alter() }
}

/// How an update failed: its words, whether the instance is usable, and whether it may be tried again.
pub fn failed(told: Outcome) -> (String, Option<bool>, Option<bool>) {
    match told {
        Outcome::Failed { description, instance_usable, update_repeatable } => {
            (description, instance_usable, update_repeatable)
        }
        told => panic!("{told:?}"),
    }
}

impl Lab {
    /// A cluster `b1` of so many nodes that is led on `c1`, whose plan is of version 1.0.0 and may be left for `large`.
    pub fn clustered(cells: &str, nodes: usize) -> Self {
        let mut lab = Self::new(cells);
        lab.offer_updates();
        lab.cluster(nodes);
        lab
    }

    pub fn cluster(&self, nodes: usize) {
        self.provision(order("b1", &format!(r#"{{"node-count": {nodes}}}"#))).unwrap();
        self.patroni.fail_over("b1", &self.node_on("c1"));
        self.assert_as_recorded("at first");
        self.wait_until_indexed();
        self.patroni.count("b1");
    }

    /// Lets the time of claims that no record speaks for be over, and waits until they are gone.
    pub fn reap(&self) {
        let claims = self.store.list(&keys::all_cell_claims()).unwrap().entries;
        for claim in claims {
            let mut aged: Value = serde_json::from_slice(&claim.value).unwrap();
            aged["claimed_ms"] = Value::from(1);
            self.store.put(&claim.key, aged.to_string().as_bytes(), None, Expect::Anything).unwrap();
        }
        until("claims without a record to go", || {
            let nodes = self.record("b1")?.value.nodes;
            let ports: usize = nodes.iter().map(|node| node.ports.len()).sum();
            let claims = self.store.list(&keys::all_cell_claims()).ok()?.entries.len();
            (claims == ports).then_some(())
        });
    }

    /// What can be updated to, from the next start of a broker, which is now.
    pub fn offer_updates(&mut self) {
        self.engine.add_image_with(IMAGE, &[], &[("POSTGRESQL_MAJOR", "17")]);
        self.engine.add_image_with(NEWER, &[], &[("POSTGRESQL_MAJOR", "17")]);
        self.engine.add_image_with(OTHER, &[], &[("POSTGRESQL_MAJOR", "18")]);
        let service = &mut self.catalog.services[0];
        service.plan_updateable = true;
        let version = MaintenanceInfo { version: "1.0.0".to_owned(), description: "the first".to_owned() };
        service.plans[0].maintenance = Some(version);
        let mut large = Plan { id: PlanId::parse("large").unwrap(), ..service.plans[0].clone() };
        let settings = settings(&mut large);
        (settings.memory_bytes, settings.synchronous) = (Some(1 << 30), true);
        settings.postgresql_parameters.insert("max_connections".to_owned(), Value::from(200));
        service.plans.push(large);
        self.start();
    }

    /// Another version of the plan, with another image.
    pub fn offer_upgrade(&mut self, image: &str) {
        self.change_plan(|plan| {
            plan.maintenance.as_mut().unwrap().version = "2.0.0".to_owned();
            settings(plan).image = image.to_owned();
        });
    }

    pub fn change_plan(&mut self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.catalog.services[0].plans[0]);
        self.start();
    }

    /// The cells of its nodes, in the record's order.
    pub fn placed(&self) -> Vec<String> {
        self.record("b1").unwrap().value.nodes.iter().map(|node| node.backend_id.to_string()).collect()
    }

    /// The node on that cell.
    pub fn node_on(&self, cell: &str) -> String {
        let record = self.record("b1").unwrap().value;
        record.nodes.iter().find(|node| node.backend_id.as_str() == cell).unwrap().node_id.to_string()
    }

    /// The cell of its leader.
    pub fn led_on(&self) -> String {
        let leader = until("somebody to lead", || self.patroni.leader("b1"));
        let record = self.record("b1").unwrap().value;
        record.nodes.iter().find(|node| node.node_id.as_str() == leader).unwrap().backend_id.to_string()
    }

    /// Updates as who polls does, without waiting for the end.
    pub fn begin(&self, request: UpdateRequest) {
        let request = UpdateRequest { accepts_incomplete: true, ..request };
        assert!(matches!(self.broker().update(request), Ok(Accepted::Running { .. })));
    }

    /// What runs, what is claimed, what is indexed and who is a member is what the record says, and nothing else is.
    pub fn assert_as_recorded(&self, what: &str) {
        let record = self.record("b1").unwrap().value;
        assert!(record.owed.is_empty() && record.under_way().is_none(), "{what}: {record:?}");
        let events = self.patroni.events("b1");
        assert!(!events.contains(&"all data lost".to_owned()), "{what}: {events:?}");
        let containers: BTreeSet<(String, String, String, bool)> = self
            .engine
            .containers()
            .into_iter()
            .map(|view| {
                let (cell, running) =
                    (view.labels["patroni-broker.cell"].clone(), view.state == ContainerState::Running);
                (view.name.as_str().to_owned(), cell, view.image, running)
            })
            .collect();
        let recorded: BTreeSet<(String, String, String, bool)> = record
            .nodes
            .iter()
            .map(|node| {
                let image = node.build.as_ref().unwrap().image.clone();
                let name = ContainerName::of(&node.node_id).as_str().to_owned();
                (name, node.backend_id.to_string(), image, true)
            })
            .collect();
        assert_eq!(containers, recorded, "{what}");
        let keys = || self.keys();
        let under = |prefix: &str| {
            keys().into_iter().filter(|key| key.starts_with(prefix)).collect::<BTreeSet<String>>()
        };
        let ports = record.nodes.iter().flat_map(|node| {
            node.ports.iter().map(|port| format!("/broker/ports/cell/{}/{}", node.backend_id, port.host))
        });
        assert_eq!(under("/broker/ports/cell/"), ports.collect(), "{what}");
        let names = || record.nodes.iter().map(|node| node.node_id.as_str());
        let index = names().map(|node| format!("/serviceinstances/b1/nodes/{node}/backend"));
        assert_eq!(under("/serviceinstances/b1/nodes/"), index.collect(), "{what}");
        let members: BTreeSet<String> = names().map(|node| format!("/service/b1/members/{node}")).collect();
        until(&format!("the members to be the nodes: {what}"), || {
            (under("/service/b1/members/") == members).then_some(())
        });
    }

    /// It goes, and nothing of it is left.
    pub fn assert_goes(&self) {
        assert_eq!(self.deprovision("b1").unwrap(), Outcome::Succeeded);
        self.assert_nothing_left();
    }
}

pub fn settings(plan: &mut Plan) -> &mut PatroniPlan {
    match &mut plan.settings {
        PlanSettings::Patroni(settings) => settings,
        PlanSettings::Dream => panic!("it is a cluster's"),
    }
}
