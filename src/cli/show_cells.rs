//! `show-cells`: every cell of the configuration, and whether its engine answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use argh::FromArgs;
use serde::Serialize;

use super::Failure;
use super::output::{Output, print, print_json, table};
use crate::cells::{self, Cell, ContainerState, label};

/// Show the cells and whether their engines answer.
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
}

/// Shows all cells, and fails when one of them does not answer.
pub(super) fn run(arguments: &Arguments, config: Option<PathBuf>) -> Result<(), Failure> {
    let loaded = super::load(config)?;
    let cells = cells::connect_all(&loaded.config.cells)?;
    // In the configuration's order; a silent cell must not keep the others waiting.
    let shown: Vec<Shown> = thread::scope(|scope| {
        let looks: Vec<_> = loaded
            .config
            .cells
            .iter()
            .filter_map(|site| cells.get(&site.guid))
            .map(|cell| scope.spawn(move || look(cell)))
            .collect();
        looks.into_iter().filter_map(|look| look.join().ok()).collect()
    });
    match arguments.output {
        Output::Table => print(&as_table(&shown))?,
        Output::Json => print_json(&shown)?,
    }
    if shown.iter().all(|cell| cell.error.is_none()) { Ok(()) } else { Err(Failure::Reported) }
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
            nodes,
            engine,
        ]
    };
    let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
    table(&["CELL", "ZONE", "HOST", "PORTS", "NODES", "ENGINE"], &rows)
}
