//! The curl sessions of the ancestors' documents, as they stand there, with what their users expect of them.

use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::engines::Engine;
use crate::isolation;
use crate::secrets;
use crate::shell::ensure;
use crate::site::Site;
use crate::sql::sql;

const CREATE: &str = r#"
export id=b1
export nodes=2
curl -v -XPUT ${BROKER_URI}/v2/service_instances/$id -d "{\"service_id\": \"0f5c1670-6dc3-11e5-bc08-6c4008a663f0\", \"plan_id\": \"1545e30e-6dc3-11e5-826a-6c4008a663f0\", \"parameters\": {\"node-count\": $nodes}}"
"#;
const BIND: &str = r#"
export id=b1
curl -v "${BROKER_URI}/v2/service_instances/$id/service_bindings/test-binding" -XPUT -d '{"service_id": "0f5c1670-6dc3-11e5-bc08-6c4008a663f0", "plan_id": "1545e30e-6dc3-11e5-826a-6c4008a663f0"}'
"#;
const CREATE_ASYNC: &str = r#"
export id=b2
export nodes=2
curl -v -XPUT ${BROKER_URI}/v2/service_instances/${id} -d "{\"accepts_incomplete\": true, \"service_id\": \"0f5c1670-6dc3-11e5-bc08-6c4008a663f0\", \"plan_id\": \"1545e30e-6dc3-11e5-826a-6c4008a663f0\", \"parameters\": {\"node-count\": $nodes}}"
"#;
const CREATE_FOUR: &str = r#"
export id=b3
export nodes=4
curl -v -XPUT ${BROKER_URI}/v2/service_instances/${id} -d "{\"accepts_incomplete\": true, \"service_id\": \"0f5c1670-6dc3-11e5-bc08-6c4008a663f0\", \"plan_id\": \"1545e30e-6dc3-11e5-826a-6c4008a663f0\", \"parameters\": {\"node-count\": $nodes}}"
"#;
const RECREATE: &str = r#"
export id=b1
curl -v -XPUT ${BROKER_URI}/v2/service_instances/$id -d "{}"
"#;

/// Create, bind, use, create asynchronously, four nodes on four cells, delete: nothing stays.
pub fn session(engine: &Engine) -> Result<(), Failed> {
    let site = Site::start(engine)?;
    walk(&site, engine).map_err(|failed| site.explained(failed))
}

fn walk(site: &Site, engine: &Engine) -> Result<(), Failed> {
    site.type_in(CREATE)?;
    let bound: Value = serde_json::from_str(&site.type_in(BIND)?)?;
    let uri = bound["credentials"]["uri"].as_str().ok_or("the binding has no uri")?.to_owned();
    for field in ["host", "port", "name", "username", "password", "jdbcUrl"] {
        ensure(!bound["credentials"][field].is_null(), format!("the binding has no {field}"))?;
    }
    sql(&uri, "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)")?;
    ensure(sql(&uri, "SELECT sum(n) FROM t")? == "3", "the rows are not there")?;
    ensure(
        sql(&uri, "SELECT usesuper FROM pg_user WHERE usename = current_user")? == "f",
        "a binding is superuser",
    )?;
    ensure(site.type_in(RECREATE)?.contains("exists"), "{} on a live instance is no conflict")?;
    ensure_ancestors_keys(site)?;
    secrets::stay_inside(site, "b1", &bound)?;

    site.type_in(CREATE_ASYNC)?;
    let seen = site.poll("b2", Duration::from_secs(120))?;
    let (last, before) = seen.split_last().ok_or("nothing was seen")?;
    ensure(
        *last == ("succeeded".to_owned(), "master running; replicas running".to_owned()),
        format!("ended as {last:?}"),
    )?;
    ensure(
        before.first().is_some_and(|(_, text)| text == "members stopped, stopped"),
        format!("began as {seen:?}"),
    )?;
    ensure(
        before.iter().any(|(_, text)| text.starts_with("master running; replicas ")),
        format!("went by {seen:?}"),
    )?;

    site.type_in(CREATE_FOUR)?;
    let seen = site.poll("b3", Duration::from_secs(240))?;
    let wanted = "master running; replicas running, running, running";
    ensure(seen.last().is_some_and(|(_, text)| text == wanted), format!("ended as {:?}", seen.last()))?;
    let record = site.record("b3")?;
    let mut cells: Vec<&str> = record["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| node["backend_id"].as_str())
        .collect();
    cells.sort_unstable();
    ensure(cells == ["c1", "c2", "c3", "c4"], format!("four nodes on {cells:?}"))?;

    if engine.isolates {
        isolation::holds(site, "b1", "b2")?;
    }
    delete_everything(site, engine)
}

/// What the ancestors' tools read.
fn ensure_ancestors_keys(site: &Site) -> Result<(), Failed> {
    let get = |path: &str| site.kv(&["get", path]);
    let port = get("/routing/allocation/b1")?;
    let record = site.record("b1")?;
    ensure(
        record["allocated_port"].as_u64().map(|port| port.to_string()).as_deref() == Some(port.trim()),
        "the allocation is not the record's",
    )?;
    ensure(get("/routing/nextport")?.trim().parse::<u16>().is_ok(), "there is no next port")?;
    let node = record["nodes"][0]["node_id"].as_str().ok_or("the record has no node")?;
    let cell = get(&format!("/serviceinstances/b1/nodes/{node}/backend"))?;
    ensure(record["nodes"][0]["backend_id"] == cell.trim(), "the index does not name the node's cell")?;
    let listed = site.kv(&["ls", "/postgresql-patroni"])?;
    ensure(listed.contains(&format!(":pb-{node}:5432")), format!("the registrar announces {listed}"))
}

fn delete_everything(site: &Site, engine: &Engine) -> Result<(), Failed> {
    let unbound = site.call("DELETE", "/v2/service_instances/b1/service_bindings/test-binding", "")?;
    ensure(unbound.0 == 200, format!("unbind: {unbound:?}"))?;
    let again = site.call("DELETE", "/v2/service_instances/b1/service_bindings/test-binding", "")?;
    ensure(again.0 == 410, format!("unbind again: {again:?}"))?;
    let deleted = site.call("DELETE", "/v2/service_instances/b1", "")?;
    ensure(deleted.0 == 200, format!("delete: {deleted:?}"))?;
    let again = site.call("DELETE", "/v2/service_instances/b1", "")?;
    ensure(again.0 == 410, format!("delete again: {again:?}"))?;
    for instance in ["b2", "b3"] {
        let path = format!("/v2/service_instances/{instance}?accepts_incomplete=true");
        let deleted = site.call("DELETE", &path, "")?;
        ensure(deleted.0 == 202, format!("delete: {deleted:?}"))?;
        let seen = site.poll(instance, Duration::from_secs(60))?;
        ensure(seen.last().is_some_and(|(state, _)| state == "gone"), format!("went by {seen:?}"))?;
    }
    nothing_left(site, engine)
}

/// No container, no key of an instance, no port, no registrar's entry, nobody who may still use the store.
pub fn nothing_left(site: &Site, engine: &Engine) -> Result<(), Failed> {
    let containers = site.containers()?;
    ensure(containers.is_empty(), format!("left: {containers:?}"))?;
    site.no_key_left()?;
    isolation::no_guest_left(engine)
}
