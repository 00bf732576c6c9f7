//! `show-cells`: every cell of the configuration, whether its engine answers, and whether it takes new nodes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use argh::FromArgs;
use serde::Serialize;

use super::Failure;
use super::output::{Output, print, print_json, table};
use super::wiring::connect_store;
use crate::cells::{self, Cell, ContainerState, label};
use crate::config::StorageConfig;
use crate::model::CellGuid;
use crate::state::{CordonRecord, Cordons};

/// Show the cells, whether their engines answer, and whether they take new nodes.
#[derive(FromArgs)]
#[argh(subcommand, name = "show-cells")]
pub(super) struct Arguments {
    /// table or json; defaults to table
    #[argh(option, default = "Output::Table")]
    output: Output,
}

/// What is shown of a cell.
#[derive(Serialize)]
struct Shown {
    guid: String,
    availability_zone: String,
    host: String,
    ports: String,
    /// Empty where the engine does not answer.
    engine: String,
    /// Containers of ours on it, whichever broker made them.
    nodes: usize,
    /// Those of them that run.
    running: usize,
    error: Option<String>,
    /// `open`, `cordoned` or `draining`; none where the store does not answer.
    placement: Option<&'static str>,
    /// How many instances could not be moved off it.
    stuck: usize,
}

/// Shows all cells, and fails when one of them does not answer.
pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let loaded = super::load(config)?;
    let cells = cells::connect_all(&loaded.config.cells)?;
    // In the configuration's order; a silent cell must not keep the others waiting.
    let (mut shown, cordons) = thread::scope(|scope| {
        let cordons = scope.spawn(|| read_cordons(&loaded.config.storage));
        let looks: Vec<_> = loaded
            .config
            .cells
            .iter()
            .filter_map(|site| cells.get(&site.guid))
            .map(|cell| scope.spawn(move || look(&cell)))
            .collect();
        let shown: Vec<Shown> = looks.into_iter().filter_map(|look| look.join().ok()).collect();
        (shown, cordons.join().ok().flatten())
    });
    if let Some(cordons) = &cordons {
        shown.iter_mut().for_each(|cell| cell.place(cordons));
    }
    match arguments.output {
        Output::Table => print(&as_table(&shown))?,
        Output::Json => print_json(&shown)?,
    }
    if shown.iter().all(|cell| cell.error.is_none()) { Ok(()) } else { Err(Failure::Reported) }
}

/// `None` where the store does not answer: the cells are shown all the same.
fn read_cordons(storage: &StorageConfig) -> Option<BTreeMap<CellGuid, CordonRecord>> {
    let cordons = match connect_store(storage) {
        Ok(store) => Cordons::new(store).list().map_err(|error| error.to_string()),
        Err(Failure::Failed(reason)) => Err(reason),
        Err(_) => Err("the store cannot be used".to_owned()),
    };
    cordons.map_err(|reason| log::warn!("which cells take new nodes is not known: {reason}")).ok()
}

impl Shown {
    fn place(&mut self, cordons: &BTreeMap<CellGuid, CordonRecord>) {
        let cordon = cordons.iter().find(|(cell, _)| cell.as_str() == self.guid).map(|(_, cordon)| cordon);
        self.placement = Some(match cordon.map(|cordon| &cordon.drain) {
            None => "open",
            Some(None) => "cordoned",
            Some(Some(drain)) => {
                self.stuck = drain.stuck.len();
                "draining"
            }
        });
    }

    fn shown_placement(&self) -> String {
        match (self.placement, self.stuck) {
            (Some(placement), 0) => placement.to_owned(),
            (Some(placement), stuck) => format!("{placement}, {stuck} stuck"),
            (None, _) => "?".to_owned(),
        }
    }
}

fn look(cell: &Arc<dyn Cell>) -> Shown {
    let site = cell.site();
    let mut shown = Shown {
        guid: site.guid.to_string(),
        availability_zone: site.availability_zone.clone(),
        host: site.host.clone(),
        ports: site.ports.to_string(),
        engine: String::new(),
        nodes: 0,
        running: 0,
        error: None,
        placement: None,
        stuck: 0,
    };
    let answer = cell.ping().and_then(|engine| Ok((engine, cell.list(&[])?)));
    match answer {
        Ok((engine, containers)) => {
            let nodes = containers.iter().filter(|container| container.labels.contains_key(label::NODE));
            shown.nodes = nodes.clone().count();
            shown.running = nodes.filter(|container| container.state == ContainerState::Running).count();
            shown.engine = engine.version;
        }
        Err(error) => shown.error = Some(error.to_string()),
    }
    shown
}

fn as_table(shown: &[Shown]) -> String {
    let row = |cell: &Shown| {
        let (engine, nodes) = match &cell.error {
            None => (cell.engine.clone(), format!("{} ({} running)", cell.nodes, cell.running)),
            Some(error) => (error.clone(), String::new()),
        };
        vec![
            cell.guid.clone(),
            cell.availability_zone.clone(),
            cell.host.clone(),
            cell.ports.clone(),
            cell.shown_placement(),
            nodes,
            engine,
        ]
    };
    let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
    table(&["CELL", "ZONE", "HOST", "PORTS", "PLACEMENT", "NODES", "ENGINE"], &rows)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Shown, as_table};
    use crate::model::CellGuid;
    use crate::state::CordonRecord;

    #[test]
    fn cells_say_whether_they_take_nodes() {
        let cordon = |cell: &str, drain: &str| {
            let record = format!(r#"{{"since_ms": 1, "drain": {drain}}}"#);
            let record: CordonRecord = serde_json::from_str(&record).unwrap();
            (CellGuid::parse(cell).unwrap(), record)
        };
        let cordons = BTreeMap::from([
            cordon("c2", "null"),
            cordon("c3", r#"{"at_once": 2}"#),
            cordon("c4", r#"{"at_once": 2, "stuck": {"b1": "pinned"}}"#),
        ]);
        let cell = |guid: &str| Shown {
            guid: guid.to_owned(),
            availability_zone: "z".to_owned(),
            host: "h".to_owned(),
            ports: "1-2".to_owned(),
            engine: "v".to_owned(),
            nodes: 1,
            running: 1,
            error: None,
            placement: None,
            stuck: 0,
        };
        let mut cells = vec![cell("c1"), cell("c2"), cell("c3"), cell("c4")];
        cells.iter_mut().for_each(|cell| cell.place(&cordons));
        cells.push(cell("c5"));
        let text = as_table(&cells);
        let shown: Vec<String> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            shown,
            [
                "c1 z h 1-2 open 1 (1 running) v",
                "c2 z h 1-2 cordoned 1 (1 running) v",
                "c3 z h 1-2 draining 1 (1 running) v",
                "c4 z h 1-2 draining, 1 stuck 1 (1 running) v",
                "c5 z h 1-2 ? 1 (1 running) v",
            ]
        );
    }
}
