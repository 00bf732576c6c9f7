//! Another plan: more connections, more memory, and back.

use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::json;

use super::{all_have_all, directly};
use crate::broker::{Broker, LARGE, MISTAKEN, SMALL};
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

/// Settings with which PostgreSQL does not start are taken back, although nobody leads a cluster of one then: it goes on,
/// and can be changed again.
pub fn mistaken(broker: &Broker) -> Result<(), Failed> {
    for count in [1, 2] {
        let uri = broker.order("m1", SMALL, &json!({"node-count": count}))?;
        sql(&uri, "CREATE TABLE kept AS SELECT 1 AS n")?;
        let (status, answer) = broker.ask_for("m1", json!({"plan_id": MISTAKEN}))?;
        ensure(status == 202, format!("update: {status} {answer}"))?;
        let seen = broker.poll("m1", Duration::from_secs(300))?;
        let (_, told) = broker.call("GET", "/v2/service_instances/m1/last_operation", "")?;
        ensure(told["state"] == "failed", format!("with {count} nodes: {seen:?}"))?;
        ensure(told["instance_usable"] == true, format!("it is not said to be usable: {told}"))?;
        let why = told["description"].as_str().unwrap_or_default();
        ensure(why.contains("restart failed"), format!("it does not say why: {told}"))?;
        ensure(sql(&uri, "SELECT n FROM kept")? == "1", "the row is not there any more")?;
        let settings = broker.kv(&["get", "/service/m1/config"])?;
        ensure(!settings.contains("not_in_the_image"), format!("the settings stay: {settings}"))?;
        broker.update("m1", json!({"plan_id": LARGE}))?;
        ensure(sql(&uri, "SHOW max_connections")? == LARGE_IS[0], "the next update does not reach it")?;
        broker.delete("m1")?;
    }
    Ok(())
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
