//! How the tables of this module's tests write cells, nodes and steps.

use serde_json::{Map, Value};

use super::{CellLoad, Standing, Step};
use crate::model::{Build, CellGuid, NodeId};

pub(super) fn cell(guid: &str) -> CellGuid {
    CellGuid::parse(guid).unwrap()
}

pub(super) fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

/// Cells are written `guid@zone:nodes`, with `!` where cordoned.
pub(super) fn loads(cells: &str) -> Vec<CellLoad> {
    let load = |raw: &str| {
        let (guid, rest) = raw.split_once('@').unwrap();
        let (zone, nodes) = rest.split_once(':').unwrap();
        CellLoad {
            guid: cell(guid),
            availability_zone: zone.to_owned(),
            nodes: nodes.trim_end_matches('!').parse().unwrap(),
            cordoned: nodes.ends_with('!'),
        }
    };
    cells.split_whitespace().map(load).collect()
}

/// An image is all that the tables tell builds apart by.
pub(super) fn build(image: &str) -> Build {
    Build { image: image.to_owned(), memory_bytes: None, shm_bytes: 1 }
}

/// Nodes are written `node@cell`, made as `old` or else with `:image` after that, and with ` leader` where they lead.
pub(super) fn standing(nodes: &str) -> Vec<Standing> {
    let one = |raw: &str| {
        let (place, leads) = raw.strip_suffix(" leader").map_or((raw, false), |place| (place, true));
        let (id, rest) = place.split_once('@').unwrap();
        let (guid, image) = rest.split_once(':').unwrap_or((rest, "old"));
        Standing { node: node(id), cell: cell(guid), build: build(image), leads }
    };
    nodes.split(", ").filter(|raw| !raw.is_empty()).map(one).collect()
}

/// Nodes with their cells, as they are written for [`standing`].
pub(super) fn placed(nodes: &str) -> Vec<(NodeId, CellGuid)> {
    standing(nodes).into_iter().map(|one| (one.node, one.cell)).collect()
}

/// Settings are told apart by one word.
pub(super) fn settings(word: &str) -> Map<String, Value> {
    if word.is_empty() { Map::new() } else { Map::from_iter([("word".to_owned(), Value::from(word))]) }
}

fn settings_word(settings: &Map<String, Value>) -> &str {
    settings.get("word").and_then(Value::as_str).unwrap_or("nothing")
}

/// A step in a few words.
pub(super) fn words(step: &Step) -> String {
    let list = |nodes: &[NodeId]| nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(" ");
    match step {
        Step::CheckImage { image, cells } => {
            let cells: Vec<&str> = cells.iter().map(CellGuid::as_str).collect();
            format!("check {image} on {}", cells.join(" "))
        }
        Step::AddNode { node, cell } => format!("add {node}@{cell}"),
        Step::AwaitNodes { nodes } => format!("await {}", list(nodes)),
        Step::HandOver { to } => format!("hand over to {}", list(to)),
        Step::RemakeNode { node, cell, from, to } => {
            format!("remake {node}@{cell} {}>{}", from.image, to.image)
        }
        Step::Configure { from, to } => format!("configure {}>{}", settings_word(from), settings_word(to)),
        Step::RestartNode { node } => format!("restart {node}"),
        Step::RetireNode { node, cell } => format!("retire {node}@{cell}"),
        other => other.to_string(),
    }
}

/// The other way round, for steps that are given.
pub(super) fn step(words: &str) -> Step {
    let place = |raw: &str| placed(raw).remove(0);
    let nodes = |raw: &str| raw.split(' ').map(node).collect::<Vec<_>>();
    let (verb, rest) = words.split_once(' ').unwrap();
    match verb {
        "check" => {
            let (image, cells) = rest.split_once(" on ").unwrap();
            Step::CheckImage { image: image.to_owned(), cells: cells.split(' ').map(cell).collect() }
        }
        "add" => {
            let (node, cell) = place(rest);
            Step::AddNode { node, cell }
        }
        "await" => Step::AwaitNodes { nodes: nodes(rest) },
        "hand" => Step::HandOver { to: nodes(rest.strip_prefix("over to ").unwrap()) },
        "remake" => {
            let (at, builds) = rest.split_once(' ').unwrap();
            let ((node, cell), (from, to)) = (place(at), builds.split_once('>').unwrap());
            Step::RemakeNode { node, cell, from: build(from), to: build(to) }
        }
        "configure" => {
            let (from, to) = rest.split_once('>').unwrap();
            let settings_of = |word: &str| settings(if word == "nothing" { "" } else { word });
            Step::Configure { from: settings_of(from), to: settings_of(to) }
        }
        "restart" => Step::RestartNode { node: node(rest) },
        "retire" => {
            let (node, cell) = place(rest);
            Step::RetireNode { node, cell }
        }
        _ => panic!("{words}"),
    }
}

/// Steps are written one after the other, with commas between them.
pub(super) fn steps(list: &str) -> Vec<Step> {
    list.split(", ").filter(|raw| !raw.is_empty()).map(step).collect()
}

/// As [`steps`] reads them.
pub(super) fn list(steps: &[Step]) -> String {
    steps.iter().map(words).collect::<Vec<_>>().join(", ")
}
