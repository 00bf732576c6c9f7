//! A cell is emptied, rebooted, and taken into use again.

use libtest_mimic::Failed;
use serde_json::json;

use crate::broker::{Broker, CLUSTER};
use crate::lab::Lab;
use crate::shell::ensure;
use crate::sql::sql;

const CLUSTERS: [&str; 3] = ["d1", "d2", "d3"];

/// Three clusters on one cell: its drain ends "safe to reboot", and then it is rebooted.
pub fn of_three_clusters(lab: &Lab) -> Result<(), Failed> {
    let broker: &Broker = lab;
    // The only other one of its zone takes nothing, so that all three are on it without having been told to be.
    broker.type_in("$patroni_broker cordon c2")?;
    for id in CLUSTERS {
        broker.begin(id, CLUSTER, &json!({}))?;
    }
    let mut uris = Vec::new();
    for id in CLUSTERS {
        broker.succeeds(id)?;
        let uri = broker.bind(id, CLUSTER)?;
        sql(&uri, &format!("CREATE TABLE t (id text); INSERT INTO t VALUES ('{id}')"))?;
        let cells = broker.cells(id)?;
        ensure(cells.contains(&"c1".to_owned()), format!("{id} is on {cells:?}"))?;
        uris.push((id, uri));
    }
    broker.type_in("$patroni_broker uncordon c2")?;

    let planned = broker.type_in("$patroni_broker drain c1 --dry-run")?;
    ensure(CLUSTERS.iter().all(|id| planned.contains(id)), format!("it would move: {planned}"))?;
    ensure(lab.containers("c1")?.len() == 3, "a rehearsal has moved something")?;

    let told = broker.type_in("$patroni_broker drain c1")?;
    ensure(told.contains("safe to reboot"), format!("the drain says: {told}"))?;
    let left = lab.containers("c1")?;
    ensure(left.is_empty(), format!("safe to reboot, with {left:?}"))?;
    lab.cell("reboot", "c1")?;
    broker.type_in("$patroni_broker uncordon c1")?;
    for (id, uri) in &uris {
        let cells = broker.cells(id)?;
        ensure(cells.len() == 2 && !cells.contains(&"c1".to_owned()), format!("{id} is on {cells:?}"))?;
        sql(uri, "INSERT INTO t VALUES ('after')")?;
        let rows = sql(uri, "SELECT string_agg(id, ' ' ORDER BY id) FROM t")?;
        ensure(rows == format!("after {id}"), format!("{id} has {rows}"))?;
    }
    CLUSTERS.iter().try_for_each(|id| broker.delete(id))
}
