//! Cells that do not answer: for good, and for a while.

use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::json;

use super::FIRST;
use crate::broker::{Broker, CLUSTER};
use crate::lab::Lab;
use crate::shell::{ensure, until};
use crate::sql::sql;
use crate::writer::Writer;

/// An instance goes by force, though one of its cells is gone for good. It was not for good: what is left there goes when
/// it answers.
pub fn gone_for_good(lab: &Lab) -> Result<(), Failed> {
    let broker: &Broker = lab;
    broker.order("l1", CLUSTER, &json!({"cells": FIRST}))?;
    lab.cell("cut", "c1")?;
    let path = "/admin/service_instances/l1?force=true&accepts_incomplete=true";
    let (status, answer) = broker.call("DELETE", path, "")?;
    ensure(status == 202, format!("delete by force: {status} {answer}"))?;
    let seen = broker.poll("l1", Duration::from_secs(120))?;
    ensure(seen.last().is_some_and(|(state, _)| state == "gone"), format!("it went by {seen:?}"))?;
    // Under the same id nothing is made while a member of the old instance may write where the new one's do.
    broker.begin("l1", CLUSTER, &json!({"cells": ["c2", "c3"]}))?;
    until(Duration::from_secs(30), || {
        let (_, told) = broker.call("GET", "/v2/service_instances/l1/last_operation", "")?;
        let waits = told["description"].as_str().unwrap_or_default().contains("earlier instance");
        ensure(waits, format!("it does not wait for the old node to go: {told}"))
    })?;

    lab.cell("heal", "c1")?;
    lab.becomes_empty("c1")?;
    broker.succeeds("l1")?;
    let uri = broker.bind("l1", CLUSTER)?;
    let rows = sql(&uri, "CREATE TABLE t (n int); INSERT INTO t VALUES (1); SELECT count(*) FROM t")?;
    ensure(rows == "1", format!("the new instance has {rows} rows of 1"))?;
    broker.delete("l1")
}

/// A cell's engine hangs, its containers run on: clients write on, orders go elsewhere, and a cluster moves away from it.
/// What it holds goes when it goes on.
pub fn hanging(lab: &Lab) -> Result<(), Failed> {
    let broker: &Broker = lab;
    let uri = broker.order("h1", CLUSTER, &json!({"cells": FIRST}))?;
    let writer = Writer::start(&uri)?;
    lab.cell("hang", "c1")?;
    broker.order("h2", CLUSTER, &json!({}))?;
    let cells = broker.cells("h2")?;
    ensure(!cells.contains(&"c1".to_owned()), format!("an order went to {cells:?}"))?;
    broker.update("h1", json!({"parameters": {"cells": ["c2", "c3"]}}))?;
    let cells = broker.cells("h1")?;
    ensure(cells == ["c2", "c3"], format!("the nodes are on {cells:?}"))?;
    lab.cell("resume", "c1")?;
    lab.becomes_empty("c1")?;
    writer.finish("a cell that hangs")?;
    broker.delete("h1")?;
    broker.delete("h2")
}
