//! A store is lost and brought back from a backup that is older than a failover: the backup names the wrong leader. The
//! members go on as they are, and nothing that was written goes.

use std::fs;
use std::time::Duration;

use libtest_mimic::Failed;

use crate::engines::Engine;
use crate::seeds::nothing_left;
use crate::shell::{bash, ensure, until};
use crate::site::Site;
use crate::sql::sql;

const ORDER: &str = r#"{"service_id": "0f5c1670-6dc3-11e5-bc08-6c4008a663f0", "plan_id": "1545e30e-6dc3-11e5-826a-6c4008a663f0"}"#;
/// As long as a failover may take.
const FAILOVER: Duration = Duration::from_secs(60);

pub fn from_before_a_failover() -> Result<(), Failed> {
    let engine = Engine::embedded()?;
    let mut site = Site::start(&engine)?;
    let walked = walk(&mut site, &engine);
    walked.map_err(|failed| site.explained(failed))
}

fn walk(site: &mut Site, engine: &Engine) -> Result<(), Failed> {
    let uri = order(site)?;
    sql(&uri, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")?;
    let backup = site.directory().join("store.backup");
    let backup = backup.to_str().ok_or("the directory's name is no text")?.to_owned();
    site.kv(&["backup", &backup])?;

    let first = leader(site)?;
    fail_over(site, &first)?;
    until(FAILOVER, || sql(&uri, "INSERT INTO t VALUES (2)").map(drop))?;
    let second = leader(site)?;
    ensure(first != second, format!("{first} leads still"))?;
    let timeline = sql(&uri, TIMELINE)?;

    site.kill()?;
    let data = site.directory().join("data");
    fs::remove_dir_all(&data)?;
    let data = data.to_str().ok_or("the directory's name is no text")?.to_owned();
    let told = site.kv(&["restore", &backup, "--path", &data])?;
    println!("{told}");
    site.run(&[])?;

    until(FAILOVER, || {
        let leads = leader(site)?;
        ensure(leads == second, format!("{second} led, and now {leads} does"))
    })?;
    until(FAILOVER, || sql(&uri, "INSERT INTO t VALUES (3)").map(drop))?;
    let rows = sql(&uri, "SELECT string_agg(DISTINCT n::text, ' ' ORDER BY n::text) FROM t")?;
    ensure(rows == "1 2 3", format!("of 1 2 3 there is {rows}"))?;
    let now = sql(&uri, TIMELINE)?;
    ensure(now == timeline, format!("the timeline went from {timeline} to {now}: there was a failover"))?;

    let (status, answer) = site.call("DELETE", "/v2/service_instances/r1", "")?;
    ensure(status == 200, format!("delete: {status} {answer}"))?;
    nothing_left(site, engine)
}

/// As the write-ahead log says: the control file lags behind until the next checkpoint.
const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

fn order(site: &Site) -> Result<String, Failed> {
    let (status, answer) = site.call("PUT", "/v2/service_instances/r1", ORDER)?;
    ensure(status == 201, format!("order: {status} {answer}"))?;
    let (_, bound) = site.call("PUT", "/v2/service_instances/r1/service_bindings/w", ORDER)?;
    Ok(bound["credentials"]["uri"].as_str().ok_or("the binding has no uri")?.to_owned())
}

fn leader(site: &Site) -> Result<String, Failed> {
    Ok(site.kv(&["get", "/service/r1/leader"])?.trim().to_owned())
}

/// The leader's container dies, the other member takes over, and the first comes back as its replica.
fn fail_over(site: &Site, leader: &str) -> Result<(), Failed> {
    let container = site.containers()?.into_iter().find(|name| name.ends_with(leader));
    let container = container.ok_or_else(|| format!("no container is named after {leader}"))?;
    bash(&format!("docker kill {container}"), &[])?;
    until(FAILOVER, || {
        let now = self::leader(site)?;
        ensure(now != leader, format!("{leader} leads still"))
    })?;
    bash(&format!("docker start {container}"), &[])?;
    let member = format!("/service/r1/members/{leader}");
    until(FAILOVER, || {
        let told = site.kv(&["get", &member])?;
        ensure(told.contains("\"streaming\""), format!("the member that was away says {told}"))
    })
}
