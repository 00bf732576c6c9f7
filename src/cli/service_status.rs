//! `service-status`: every instance, how its last operation stands, and how its members are.

use std::path::PathBuf;
use std::sync::Arc;

use argh::FromArgs;
use serde::Serialize;
use storage::Store;

use super::Failure;
use super::output::{Output, print, print_json, table};
use super::wiring::connect_store;
use crate::model::{Catalog, NodeId};
use crate::patroni::{Member, Role, progress, read_members};
use crate::state::{InstanceRecord, Instances, OperationKind, OperationState, keys};

/// Show the service instances and how their members are.
#[derive(FromArgs)]
#[argh(subcommand, name = "service-status")]
pub(super) struct Arguments {
    /// table or json; defaults to table
    #[argh(option, default = "Output::Table")]
    output: Output,
}

/// What is shown of an instance.
#[derive(Serialize)]
struct Shown {
    instance_id: String,
    /// Names of the catalog; ids, where the catalog has them no more.
    service: String,
    plan: String,
    operation: &'static str,
    state: &'static str,
    description: String,
    public_port: Option<u16>,
    nodes: Vec<ShownNode>,
}

#[derive(Serialize)]
struct ShownNode {
    node_id: String,
    cell: String,
    /// `master` or `replica`; empty where the member has not been seen.
    role: &'static str,
    /// Patroni's own word; `stopped` where the member has not been seen.
    state: String,
}

pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let config = super::load(config)?.config;
    let store = connect_store(&config.storage)?;
    let shown = look(&store, &config.catalog).map_err(|error| Failure::Failed(error.to_string()))?;
    match arguments.output {
        Output::Table => print(&as_table(&shown)),
        Output::Json => print_json(&shown),
    }
}

fn look(store: &Arc<dyn Store>, catalog: &Catalog) -> Result<Vec<Shown>, storage::StoreError> {
    let records = Instances::new(Arc::clone(store)).list()?;
    let mut shown = Vec::new();
    for record in &records {
        let members = read_members(&store.list(&keys::members(&record.instance_id))?.entries);
        shown.push(show(record, &members, catalog));
    }
    Ok(shown)
}

fn show(record: &InstanceRecord, members: &[Member], catalog: &Catalog) -> Shown {
    let service = catalog.service(&record.service_id);
    let plan = service.and_then(|service| service.plan(&record.plan_id));
    let nodes: Vec<NodeId> = record.nodes.iter().map(|node| node.node_id.clone()).collect();
    let live = progress(&nodes, members).description;
    let (operation, state, description) = match &record.operation {
        // The ancestors' records know of none: theirs have ended.
        None => ("-", "succeeded", live),
        Some(operation) => match (operation.state, operation.kind) {
            (OperationState::Failed, kind) => (kind.as_str(), "failed", operation.description.clone()),
            (OperationState::InProgress, OperationKind::Deprovision) => {
                ("deprovision", "in progress", operation.description.clone())
            }
            (OperationState::InProgress, kind) => (kind.as_str(), "in progress", live),
            (OperationState::Succeeded, kind) => (kind.as_str(), "succeeded", live),
        },
    };
    let show_node = |node: &crate::state::NodeRecord| {
        let member = members.iter().find(|member| member.node == node.node_id);
        ShownNode {
            node_id: node.node_id.to_string(),
            cell: node.backend_id.to_string(),
            role: match member.map(|member| member.role) {
                None => "",
                Some(Role::Leader) => "master",
                Some(Role::Replica) => "replica",
            },
            state: member.map_or_else(|| "stopped".to_owned(), |member| member.state.clone()),
        }
    };
    Shown {
        instance_id: record.instance_id.to_string(),
        service: service.map_or_else(|| record.service_id.to_string(), |service| service.name.clone()),
        plan: plan.map_or_else(|| record.plan_id.to_string(), |plan| plan.name.clone()),
        operation,
        state,
        description,
        public_port: record.allocated_port,
        nodes: record.nodes.iter().map(show_node).collect(),
    }
}

/// One line per node, the instance's own words on the first of them.
fn as_table(shown: &[Shown]) -> String {
    let header = [
        "INSTANCE",
        "SERVICE",
        "PLAN",
        "OPERATION",
        "STATE",
        "PORT",
        "CELL",
        "ROLE",
        "MEMBER",
        "DESCRIPTION",
    ];
    let mut rows = Vec::new();
    for instance in shown {
        let own = [
            instance.instance_id.clone(),
            instance.service.clone(),
            instance.plan.clone(),
            instance.operation.to_owned(),
            instance.state.to_owned(),
            instance.public_port.map_or_else(String::new, |port| port.to_string()),
        ];
        let none = ShownNode { node_id: String::new(), cell: String::new(), role: "", state: String::new() };
        let nodes: Vec<&ShownNode> =
            if instance.nodes.is_empty() { vec![&none] } else { instance.nodes.iter().collect() };
        for (index, node) in nodes.into_iter().enumerate() {
            let first = index == 0;
            let mut row: Vec<String> =
                own.iter().map(|cell| if first { cell.clone() } else { " ".to_owned() }).collect();
            row.extend([node.cell.clone(), node.role.to_owned(), node.state.clone()]);
            row.push(if first { instance.description.clone() } else { " ".to_owned() });
            rows.push(row);
        }
    }
    table(&header, &rows)
}

#[cfg(test)]
mod tests {
    use super::{as_table, show};
    use crate::model::{Catalog, NodeId};
    use crate::patroni::{Member, Role};
    use crate::state::InstanceRecord;

    #[test]
    fn an_ancestors_record_is_shown() {
        let record: InstanceRecord = serde_json::from_str(
            r#"{"instance_id": "b1", "service_id": "s1", "plan_id": "p1", "allocated_port": 30006,
                "admin_credentials": {"username": "a", "password": "hush"},
                "superuser_credentials": {"username": "a", "password": "hush"},
                "app_credentials": {"username": "a", "password": "hush"},
                "nodes": [{"node_id": "n1", "backend_id": "c1", "plan_id": "p1", "service_id": "s1"},
                          {"node_id": "n2", "backend_id": "c2", "plan_id": "p1", "service_id": "s1"}]}"#,
        )
        .unwrap();
        let leader = Member {
            node: NodeId::parse("n2").unwrap(),
            role: Role::Leader,
            state: "running".to_owned(),
            conn_url: String::new(),
            api_url: String::new(),
            timeline: None,
            position: None,
            replication_state: None,
        };
        let shown = show(&record, &[leader], &Catalog::default());
        let text = as_table(&[shown]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            [
                "b1",
                "s1",
                "p1",
                "-",
                "succeeded",
                "30006",
                "c1",
                "-",
                "stopped",
                "master",
                "running;",
                "replicas",
                "stopped"
            ]
        );
        assert_eq!(lines[2], ["c2", "master", "running"]);
        assert!(!text.contains("hush"));
    }
}
