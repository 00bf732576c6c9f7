//! A new image for the clusters that there are: the same PostgreSQL under another Patroni, and another PostgreSQL.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::json;

use super::all_have_all;
use crate::broker::{Broker, MAINTAINED, Node};
use crate::lab::Lab;
use crate::shell::ensure;
use crate::writer::Writer;

/// What the plan says before, between, and after.
const PATRONI_THREE: [&str; 2] = [
    "image = \"patroni-broker/postgresql-patroni:15\"\n",
    "maintenance_info = { version = \"1.0.0\", description = \"Patroni 3\" }",
];
const PATRONI_FOUR: [&str; 2] = [
    "image = \"patroni-broker/postgresql-patroni:15-patroni4\"\n",
    "maintenance_info = { version = \"2.0.0\", description = \"Patroni 4\" }",
];
const ANOTHER_POSTGRESQL: [&str; 2] = [
    "image = \"patroni-broker/postgresql-patroni:17\"\n",
    "maintenance_info = { version = \"3.0.0\", description = \"PostgreSQL 17\" }",
];

/// Three nodes go from Patroni 3 to Patroni 4 one by one, the old leader last; then PostgreSQL 17 is refused.
pub fn rolling(lab: &Lab) -> Result<(), Failed> {
    let broker: &Broker = lab;
    let uri = broker.order("u1", MAINTAINED, &json!({"node-count": 3}))?;
    let nodes = broker.nodes("u1")?;
    for node in &nodes {
        let version = version(broker, node).unwrap_or_default();
        ensure(version.starts_with("3."), format!("{} runs Patroni {version}", node.id))?;
    }
    let leader = broker.leader("u1")?;
    let writer = Writer::start(&uri)?;

    let before = fs::read_to_string(&broker.config)?;
    take_on(lab, &before, PATRONI_THREE, PATRONI_FOUR)?;
    let order = one_by_one(broker, &nodes)?;
    ensure(order.last() == Some(&leader), format!("{leader} led, and they were upgraded as {order:?}"))?;
    ensure(broker.nodes("u1")? == nodes, "the nodes are others")?;
    all_have_all(broker, "u1", &uri)?;
    writer.finish("a rolling upgrade of three nodes")?;

    take_on(lab, &before, PATRONI_THREE, ANOTHER_POSTGRESQL)?;
    another_postgresql_is_refused(broker)?;
    for node in &nodes {
        let version = version(broker, node).unwrap_or_default();
        ensure(version.starts_with("4."), format!("{} runs Patroni {version}", node.id))?;
    }
    all_have_all(broker, "u1", &uri)?;
    take_on(lab, &before, PATRONI_THREE, PATRONI_THREE)?;
    broker.delete("u1")
}

/// Starts the broker anew with another image and version of the plan.
fn take_on(lab: &Lab, before: &str, from: [&str; 2], to: [&str; 2]) -> Result<(), Failed> {
    // The plan is the last of the file, and its image is another plan's, too.
    let (others, plan) = before.rsplit_once("[[services.plans]]").ok_or("there are no plans")?;
    for words in from {
        ensure(plan.contains(words), format!("the plan does not say {words}"))?;
    }
    let plan = plan.replace(from[0], to[0]).replace(from[1], to[1]);
    fs::write(&lab.config, format!("{others}[[services.plans]]{plan}"))?;
    lab.restart_broker()
}

/// Upgrades, and gives the nodes in the order in which they came to run Patroni 4. At no time is more than one down.
fn one_by_one(broker: &Broker, nodes: &[Node]) -> Result<Vec<String>, Failed> {
    let asked =
        broker.ask_for("u1", json!({"plan_id": MAINTAINED, "maintenance_info": {"version": "2.0.0"}}))?;
    ensure(asked.0 == 202, format!("upgrade: {asked:?}"))?;
    let mut order: Vec<String> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let seen = versions(broker, nodes);
        // Asked at different moments, one may have come back just before another went: they are asked again.
        if seen.len() + 1 < nodes.len() {
            let again = versions(broker, nodes);
            let both =
                nodes.iter().filter(|node| !seen.contains_key(&node.id) && !again.contains_key(&node.id));
            let down: Vec<&str> = both.map(|node| node.id.as_str()).collect();
            ensure(down.len() <= 1, format!("down at the same time: {down:?}"))?;
        }
        let new = |node: &&Node| seen.get(&node.id).is_some_and(|version| version.starts_with("4."));
        for node in nodes.iter().filter(new) {
            if !order.contains(&node.id) {
                order.push(node.id.clone());
            }
        }
        let (_, told) = broker.call("GET", "/v2/service_instances/u1/last_operation", "")?;
        match told["state"].as_str() {
            Some("succeeded") if order.len() == nodes.len() => return Ok(order),
            Some("succeeded") => return Err(format!("it succeeded with {order:?} on Patroni 4").into()),
            Some("in progress") => {}
            _ => return Err(format!("the upgrade went so: {told}").into()),
        }
        ensure(Instant::now() < deadline, format!("it takes too long: {told}"))?;
    }
}

/// The version of each node that runs, all asked at the same time.
fn versions(broker: &Broker, nodes: &[Node]) -> BTreeMap<String, String> {
    thread::scope(|scope| {
        let asked: Vec<_> =
            nodes.iter().map(|node| (node, scope.spawn(move || version(broker, node)))).collect();
        asked
            .into_iter()
            .filter_map(|(node, asked)| Some((node.id.clone(), asked.join().ok().flatten()?)))
            .collect()
    })
}

/// The version of a node's Patroni, if its PostgreSQL runs.
fn version(broker: &Broker, node: &Node) -> Option<String> {
    let told = broker.patroni(node).ok()?;
    let runs = matches!(told["state"].as_str(), Some("running" | "streaming"));
    runs.then(|| told["patroni"]["version"].as_str().map(str::to_owned))?
}

fn another_postgresql_is_refused(broker: &Broker) -> Result<(), Failed> {
    let wish = json!({"plan_id": MAINTAINED, "maintenance_info": {"version": "3.0.0"}});
    let (status, told) = broker.ask_for("u1", wish)?;
    ensure(status == 422, format!("PostgreSQL 17 is to be made of 15: {status} {told}"))?;
    let why = told["description"].as_str().unwrap_or_default();
    ensure(why.contains("15") && why.contains("17"), format!("it does not say why: {told}"))?;
    ensure(told["update_repeatable"] == false, format!("it is to be tried again: {told}"))
}
