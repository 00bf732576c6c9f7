//! A cluster goes to other cells.

use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::json;

use super::{FIRST, SECOND, all_have_all, directly};
use crate::broker::{Broker, CLUSTER};
use crate::lab::Lab;
use crate::shell::{ensure, until};
use crate::sql::sql;
use crate::writer::Writer;

/// As long as Patroni may take to replace a leader that is out of reach.
const FAILOVER: Duration = Duration::from_secs(90);

/// Both nodes go to other cells, while a client writes through the public port.
pub fn both_nodes(broker: &Broker) -> Result<(), Failed> {
    let uri = broker.order("m1", CLUSTER, &json!({"cells": FIRST}))?;
    let writer = Writer::start(&uri)?;
    let old = broker.nodes("m1")?;
    broker.update("m1", json!({"parameters": {"cells": SECOND}}))?;
    let cells = broker.cells("m1")?;
    ensure(cells == SECOND, format!("the nodes are on {cells:?}"))?;
    for node in &old {
        let gone = broker.inspect(node, "{{.State.Status}}").is_err();
        ensure(gone, format!("the container of {} is on {} still", node.id, node.cell))?;
    }
    all_have_all(broker, "m1", &uri)?;
    let written = writer.finish("a move of both nodes")?;
    ensure(written.timelines() == 2, format!("{} timelines: one switch was to be", written.timelines()))?;
    broker.delete("m1")
}

/// The cell of the leader is out of reach; the cluster has another leader, and is to be elsewhere. What the cell holds
/// goes when it answers again, and the cluster that lives on does not notice.
pub fn away_from_a_cut_cell(lab: &Lab) -> Result<(), Failed> {
    let broker: &Broker = lab;
    let uri = broker.order("m2", CLUSTER, &json!({"cells": FIRST}))?;
    sql(&uri, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")?;
    let leader = broker.leader("m2")?;
    let nodes = broker.nodes("m2")?;
    let (cut, other) = match &nodes[..] {
        [one, other] if one.id == leader => (one, other),
        [other, one] if one.id == leader => (one, other),
        _ => return Err(format!("{leader} leads, which is none of {nodes:?}").into()),
    };
    let replica = directly(&uri, other)?;
    until(Duration::from_secs(20), || {
        ensure(sql(&replica, "SELECT count(*) FROM t")? == "1", "the replica does not have the row")
    })?;
    lab.cell("cut", &cut.cell)?;
    until(FAILOVER, || sql(&uri, "INSERT INTO t VALUES (2)").map(drop))?;

    let wanted = if cut.cell == "c1" { ["c2", "c3"] } else { ["c1", "c4"] };
    broker.update("m2", json!({"parameters": {"cells": wanted}}))?;
    let cells = broker.cells("m2")?;
    ensure(cells == wanted, format!("the nodes are on {cells:?}"))?;
    sql(&uri, "INSERT INTO t VALUES (3)")?;

    lab.cell("heal", &cut.cell)?;
    lab.becomes_empty(&cut.cell)?;
    sql(&uri, "INSERT INTO t VALUES (4)")?;
    let rows = sql(&uri, "SELECT string_agg(DISTINCT n::text, ' ' ORDER BY n::text) FROM t")?;
    ensure(rows == "1 2 3 4", format!("of 1 2 3 4 there is {rows}"))?;
    broker.delete("m2")
}
