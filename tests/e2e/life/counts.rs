//! More nodes, and fewer.

use libtest_mimic::Failed;
use serde_json::json;

use super::all_have_all;
use crate::broker::{Broker, CLUSTER};
use crate::shell::ensure;
use crate::writer::Writer;

/// From one node to three to two: the leader is the same all the time, and a client notices nothing.
pub fn one_three_two(broker: &Broker) -> Result<(), Failed> {
    let uri = broker.order("g1", CLUSTER, &json!({"node-count": 1}))?;
    let writer = Writer::patient(&uri)?;
    let leader = broker.leader("g1")?;
    for count in [3, 2] {
        broker.update("g1", json!({"parameters": {"node-count": count}}))?;
        let mut cells = broker.cells("g1")?;
        cells.dedup();
        ensure(cells.len() == count, format!("{count} nodes are on {cells:?}"))?;
        let now = broker.leader("g1")?;
        ensure(now == leader, format!("with {count} nodes, {leader} led and now {now} does"))?;
        all_have_all(broker, "g1", &uri)?;
    }
    let written = writer.finish("from one node to three to two")?;
    ensure(written.timelines() == 1, format!("the leader changed: {} timelines", written.timelines()))?;
    ensure(written.failures == 0, format!("the client lost {} sessions", written.failures))?;
    broker.delete("g1")
}
