//! Another plan: more connections, more memory, and back.

use libtest_mimic::Failed;
use serde_json::json;

use super::{all_have_all, directly};
use crate::broker::{Broker, LARGE, SMALL};
use crate::shell::ensure;
use crate::sql::sql;
use crate::writer::Writer;

/// What each node of a plan shows: its connections, what a sort may take, its memory, its shared memory.
const SMALL_IS: [&str; 4] = ["50", "4MB", "536870912", "67108864"];
const LARGE_IS: [&str; 4] = ["120", "8MB", "1073741824", "134217728"];

/// A change of plan reaches every node, and no row goes. Down again, too: a replica may have fewer connections only after
/// its leader has.
pub fn another(broker: &Broker) -> Result<(), Failed> {
    let uri = broker.order("p1", SMALL, &json!({}))?;
    is(broker, &uri, SMALL_IS)?;
    let writer = Writer::start(&uri)?;
    for (plan, shows) in [(LARGE, LARGE_IS), (SMALL, SMALL_IS)] {
        broker.update("p1", json!({"plan_id": plan}))?;
        is(broker, &uri, shows)?;
        let record = broker.record("p1")?;
        ensure(record["plan_id"] == plan, format!("the record's plan is {}", record["plan_id"]))?;
    }
    all_have_all(broker, "p1", &uri)?;
    writer.finish("another plan and back")?;
    broker.delete("p1")
}

fn is(broker: &Broker, uri: &str, shows: [&str; 4]) -> Result<(), Failed> {
    for node in broker.nodes("p1")? {
        let direct = directly(uri, &node)?;
        let seen = [
            sql(&direct, "SHOW max_connections")?,
            sql(&direct, "SHOW work_mem")?,
            broker.inspect(&node, "{{.HostConfig.Memory}}")?,
            broker.inspect(&node, "{{.HostConfig.ShmSize}}")?,
        ];
        ensure(seen == shows, format!("{} has {seen:?}, not {shows:?}", node.id))?;
    }
    Ok(())
}
