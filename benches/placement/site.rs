//! A site of 100 cells and as many clusters of two nodes as one likes, as it stands in the store when
//! nothing is under way: records, Patroni's keys, claims, routes, what the registrar announces, and guests.

use std::sync::Arc;
use std::thread;

use patroni_broker::model::{
    Build, Catalog, CellGuid, ContainerName, DriverKind, InstanceId, NodeId, PatroniPlan, Plan, PlanId,
    PlanSettings, Service, ServiceId,
};
use patroni_broker::patroni::HttpMembers;
use patroni_broker::routing::Claim;
use patroni_broker::services::{Drivers, StoreAccess};
use patroni_broker::state::{InstanceRecord, Instances, NodeRecord, keys};
use serde_json::{Map, json};
use storage::embedded::{Embedded, Guests};
use storage::{ClientAccess, Expect, Key, Store};

pub const CELLS: usize = 100;
const IMAGE: &str = "patroni-broker/postgresql-patroni:17";
const SERVICE: &str = "0f5c1670-6dc3-11e5-bc08-6c4008a663f0";
const PLAN: &str = "1545e30e-6dc3-11e5-826a-6c4008a663f0";
const FIRST_PUBLIC_PORT: usize = 20_000;
const FIRST_CELL_PORT: usize = 20_000;
/// So many writers share one commit.
const WRITERS: usize = 64;

pub fn cell(number: usize) -> CellGuid {
    CellGuid::parse(&format!("10.244.21.{}", number % CELLS)).expect("a cell's guid")
}

pub fn build() -> Build {
    Build { image: IMAGE.to_owned(), memory_bytes: None, shm_bytes: 64 << 20 }
}

pub fn service_id() -> ServiceId {
    ServiceId::parse(SERVICE).expect("a service's id")
}

pub fn instance(number: usize) -> InstanceId {
    InstanceId::parse(&format!("{number:08}-e1b2-11e5-a736-c7c0b526363d")).expect("an instance's id")
}

pub fn node(instance: usize, number: usize) -> NodeId {
    NodeId::parse(&format!("{instance:08}-aa5d-49cd-9b36-2027e60b{number:04}")).expect("a node's id")
}

/// A catalog of one plan, as `config/local.example.toml` has it.
pub fn catalog() -> Catalog {
    let plan = Plan::of(
        PlanId::parse(PLAN).expect("a plan's id"),
        "cluster",
        "Patroni cluster over several cells",
        PlanSettings::Patroni(PatroniPlan::of(IMAGE)),
    );
    let service = Service {
        id: service_id(),
        name: "postgresql".to_owned(),
        driver: DriverKind::Patroni,
        description: "Highly available PostgreSQL".to_owned(),
        bindable: true,
        plan_updateable: true,
        binding_rotatable: false,
        tags: Vec::new(),
        requires: Vec::new(),
        requires_app: false,
        metadata: Map::new(),
        plans: vec![plan],
    };
    Catalog { services: vec![service] }
}

/// The drivers of a broker on this store, with an account in it for each instance.
pub fn drivers(store: &Arc<Embedded>) -> Drivers {
    let shared = ClientAccess {
        engine: "etcd",
        endpoints: Vec::new(),
        username: None,
        password: None,
        tls: None,
        session_node: None,
    };
    let guests = Guests::new(Arc::clone(store), Vec::new());
    let access = StoreAccess { shared, guests: Some(Arc::new(guests)) };
    Drivers::new(Arc::clone(store) as Arc<dyn Store>, access, Arc::new(HttpMembers))
}

/// Lets the store hold so many instances.
pub fn fill(store: &Arc<Embedded>, instances: usize) {
    let next = FIRST_PUBLIC_PORT + instances;
    put(store, &keys::next_port(), &next.to_string());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let drivers = drivers(store);
                for number in (writer..instances).step_by(WRITERS) {
                    add(store, &drivers, number);
                }
            });
        }
    });
}

fn add(store: &Arc<Embedded>, drivers: &Drivers, number: usize) {
    let mut record = record(number);
    let steps = drivers.of(DriverKind::Patroni).provision(&record).steps;
    let operation = json!({
        "id": format!("provision-{number:08}-4b0c-4f5e-9d3a-0c1d2e3f4a5b"), "kind": "provision", "state": "succeeded",
        "done": steps.len(), "steps": steps, "description": "master running; replicas running",
        "started_ms": 1_760_000_000_000_u64, "deadline_ms": 1_760_000_900_000_u64,
    });
    record.operation = Some(serde_json::from_value(operation).expect("an operation"));
    for (key, value) in keys_of(&record) {
        put(store, &key, &value);
    }
    let containers = drivers.containers(DriverKind::Patroni).expect("clusters are containers");
    let plan = &catalog().services[0].plans[0];
    containers.admit(plan, &record).expect("a guest");
    Instances::new(Arc::clone(store) as Arc<dyn Store>).create(record).expect("a record");
}

fn put(store: &Embedded, key: &Key, value: &str) {
    store.put(key, value.as_bytes(), None, Expect::Absent).expect("a store that takes it");
}

fn record(number: usize) -> InstanceRecord {
    let user = |name: &str| json!({"username": name, "password": "0c6d3e1a-6c0e-4f0e-8f0a-5d2b8a1c9e7f"});
    let node = |place: usize| {
        let on = number + place;
        let first = FIRST_CELL_PORT + (number / CELLS * 2 + place) * 2;
        json!({
            "node_id": node(number, place), "backend_id": cell(on), "plan_id": PLAN, "service_id": SERVICE,
            "host": cell(on), "build": build(),
            "ports": [{"container": 5432, "host": first}, {"container": 8008, "host": first + 1}],
        })
    };
    let record = json!({
        "format": 1, "instance_id": instance(number), "service_id": SERVICE, "plan_id": PLAN,
        "organization_guid": "06986bcb-aac7-4cbc-900c-4591f9a6ea11",
        "space_guid": "370de1f6-4c58-4bc4-9e5f-4ac452f5180e",
        "admin_credentials": user("pgadmin"), "superuser_credentials": user("postgres"),
        "app_credentials": user("appuser"), "replication_credentials": user("replicator"),
        "rest_credentials": user("patroni"), "store_credentials": user(instance(number).as_str()),
        "allocated_port": FIRST_PUBLIC_PORT + number, "nodes": [node(0), node(1)],
    });
    serde_json::from_value(record).expect("a record")
}

/// Everything beside the record. What has a TTL on a live site has none here, since nobody refreshes it.
fn keys_of(record: &InstanceRecord) -> Vec<(Key, String)> {
    let id = &record.instance_id;
    let claim = Claim {
        instance: id.clone(),
        claimed_ms: 1_760_000_000_000,
        write_id: "5f0c2e6a-1d3b-4c5d-8e7f-9a0b1c2d3e4f".to_owned(),
    };
    let claim = serde_json::to_string(&claim).expect("a claim");
    let port = record.allocated_port.expect("a public port");
    let below = |of: Key, name: String| of.child(&name).expect("a key");
    let mut entries = vec![
        (keys::allocation(id), port.to_string()),
        (below(keys::public_claims(), port.to_string()), claim.clone()),
        (keys::leader(id), record.nodes[0].node_id.to_string()),
        (keys::initialize(id), "7298374659283746592".to_owned()),
        (below(keys::scope(id), "status".to_owned()), r#"{"optime":67108864,"retain_slots":[]}"#.to_owned()),
        (below(keys::scope(id), "history".to_owned()), r#"[[1,67108864,"no recovery target specified"]]"#.to_owned()),
        (
            keys::config(id),
            r#"{"ttl":20,"loop_wait":3,"retry_timeout":8,"postgresql":{"use_pg_rewind":true,"use_slots":true}}"#
                .to_owned(),
        ),
    ];
    for (place, node) in record.nodes.iter().enumerate() {
        entries.push((keys::backend(id, &node.node_id), node.backend_id.to_string()));
        entries.push((keys::member(id, &node.node_id), member(node, place == 0)));
        for port in &node.ports {
            let claimed = below(keys::cell_claims(&node.backend_id), port.host.to_string());
            entries.push((claimed, claim.clone()));
            let container = ContainerName::of(&node.node_id);
            let prefix = keys::registry_prefix(IMAGE, &node.host, &container);
            let announced = Key::parse(&format!("{prefix}:{}", port.container)).expect("a key");
            entries.push((announced, format!("{}:{}", node.host, port.host)));
        }
    }
    entries
}

/// As Patroni 4 writes it.
fn member(node: &NodeRecord, leads: bool) -> String {
    let (host, role) = (&node.host, if leads { "primary" } else { "replica" });
    let [postgresql, rest] = [node.ports[0].host, node.ports[1].host];
    let mut member = json!({
        "conn_url": format!("postgres://{host}:{postgresql}/postgres"),
        "api_url": format!("http://{host}:{rest}/patroni"),
        "state": "running", "role": role, "version": "4.0.4", "xlog_location": 67_108_864, "timeline": 1,
    });
    if !leads {
        member["replication_state"] = "streaming".into();
    }
    member.to_string()
}
