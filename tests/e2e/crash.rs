//! `kill -9` between any two steps of a provision. The points come from the plan itself: a new step is covered the day
//! it is written.

use std::time::Duration;

use libtest_mimic::Failed;
use patroni_broker::model::{CellGuid, NodeId};
use patroni_broker::scheduler;

use crate::engines::Engine;
use crate::seeds::nothing_left;
use crate::shell::ensure;
use crate::site::Site;

const ORDER: &str = r#"{"accepts_incomplete": true, "service_id": "0f5c1670-6dc3-11e5-bc08-6c4008a663f0", "plan_id": "1545e30e-6dc3-11e5-826a-6c4008a663f0"}"#;

/// Before each step, after its effect, and after its record.
pub fn points() -> Vec<String> {
    let node = |number: &str| {
        let id = NodeId::parse(number).expect("a digit is an id");
        (id, CellGuid::parse(number).expect("a digit is an id"))
    };
    let steps = scheduler::provision(&[node("1"), node("2")]).len();
    let moments = ["before", "performed", "recorded"];
    (0..steps).flat_map(|step| moments.map(|moment| format!("provision:{step}:{moment}"))).collect()
}

/// On this engine the broker dies at this point, and the next one ends what it began. How long the dead one's lease stands
/// in the way is the engine's: on Consul up to twice its TTL.
pub fn killed_at(engine: &Engine, point: &str) -> Result<(), Failed> {
    let mut site = Site::prepare(engine)?;
    site.run(&[("PATRONI_BROKER_CRASH_POINT", point)])?;
    let (status, answer) = site.call("PUT", "/v2/service_instances/k1", ORDER)?;
    ensure(status == 202, format!("order: {status} {answer}"))?;
    site.wait_for_death(Duration::from_secs(90))?;
    site.run(&[])?;
    let seen = site.poll("k1", Duration::from_secs(120))?;
    let wanted = ("succeeded".to_owned(), "master running; replicas running".to_owned());
    ensure(seen.last() == Some(&wanted), format!("ended as {seen:?}"))
        .map_err(|failed| site.explained(failed))?;
    let containers = site.containers()?;
    ensure(containers.len() == 2, format!("containers: {containers:?}"))
        .map_err(|failed| site.explained(failed))?;
    let (status, answer) = site.call("DELETE", "/v2/service_instances/k1", "")?;
    ensure(status == 200, format!("delete: {status} {answer}"))?;
    nothing_left(&site, engine).map_err(|failed| site.explained(failed))
}
