//! What operators and users do to clusters that run: they grow, shrink, move, change and go, while somebody writes.

pub mod cancels;
pub mod counts;
pub mod drains;
pub mod lost_cells;
pub mod moves;
pub mod plans;
pub mod upgrades;

use std::time::Duration;

use libtest_mimic::Failed;

use crate::broker::{Broker, Node};
use crate::engines::Engine;
use crate::seeds::nothing_left;
use crate::shell::{ensure, until};
use crate::site::Site;
use crate::sql::sql;

/// The lab's four cells, as pairs in different zones.
const FIRST: [&str; 2] = ["c1", "c3"];
const SECOND: [&str; 2] = ["c2", "c4"];

/// Runs a scenario with the embedded store, where one engine is all cells.
pub fn on_one_host(scenario: fn(&Broker) -> Result<(), Failed>) -> Result<(), Failed> {
    let engine = Engine::embedded()?;
    let site = Site::start(&engine)?;
    let walked = scenario(&site).and_then(|()| nothing_left(&site, &engine));
    walked.map_err(|failed| site.explained_by_members(failed))
}

/// The URI by which a node is reached without a router.
fn directly(uri: &str, node: &Node) -> Result<String, Failed> {
    let (before, after) = uri.split_once('@').ok_or("the URI has no user")?;
    let (_, database) = after.split_once('/').ok_or("the URI has no database")?;
    Ok(format!("{before}@{}/{database}", node.postgresql))
}

/// Waits until every node of an instance has all rows of the table that a writer writes, up to now.
fn all_have_all(broker: &Broker, instance: &str, uri: &str) -> Result<(), Failed> {
    let count = "SELECT count(*) FROM written";
    let wanted: u64 = sql(uri, count)?.parse()?;
    for node in broker.nodes(instance)? {
        let uri = directly(uri, &node)?;
        until(Duration::from_secs(20), || {
            let has: u64 = sql(&uri, count)?.parse()?;
            ensure(has >= wanted, format!("{} has {has} rows of {wanted}", node.id))
        })?;
    }
    Ok(())
}
