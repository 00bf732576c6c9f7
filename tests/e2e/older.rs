//! PostgreSQL 15 under Patroni 3, which calls a leader "master": the same words, the same route.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::engines::Engine;
use crate::seeds::nothing_left;
use crate::shell::ensure;
use crate::site::Site;
use crate::sql::sql;

const ORDER: &str = r#"{"service_id": "another-service", "plan_id": "another-plan"}"#;

pub fn patroni_three() -> Result<(), Failed> {
    let engine = Engine::embedded()?;
    let site = Site::start(&engine)?;
    let path = "/v2/service_instances/p3";
    // The query asks for it this time, not the body.
    let (status, answer) = site.call("PUT", &format!("{path}?accepts_incomplete=true"), ORDER)?;
    ensure(status == 202, format!("order: {status} {answer}"))?;
    let seen = site.poll("p3", Duration::from_secs(120))?;
    let wanted = ("succeeded".to_owned(), "master running; replicas running".to_owned());
    ensure(seen.last() == Some(&wanted), format!("ended as {seen:?}"))
        .map_err(|failed| site.explained(failed))?;
    let (_, bound) = site.call("PUT", &format!("{path}/service_bindings/x"), ORDER)?;
    let uri = bound["credentials"]["uri"].as_str().ok_or("the binding has no uri")?;
    let version =
        sql(uri, "CREATE TABLE t (n int); SELECT current_setting('server_version_num')::int / 10000")?;
    ensure(version == "15", format!("it is PostgreSQL {version}"))?;
    let (status, answer) = site.call("DELETE", path, "")?;
    ensure(status == 200, format!("delete: {status} {answer}"))?;
    nothing_left(&site, &engine).map_err(|failed| site.explained(failed))
}
