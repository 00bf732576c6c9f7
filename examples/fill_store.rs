//! Makes an embedded store for `scripts/bench --placement`: `fill_store DIRECTORY INSTANCES`.

#[path = "../benches/placement/site.rs"]
mod site;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use storage::embedded::{Embedded, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, instances] = &arguments[..] else { return Err("fill_store DIRECTORY INSTANCES".into()) };
    let store = Arc::new(Embedded::open(Path::new(directory), Options::default())?);
    site::fill(&store, instances.parse()?);
    Ok(())
}
