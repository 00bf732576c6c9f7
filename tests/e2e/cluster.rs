//! A site on three etcds of which one goes away, and then their leader, while orders are carried out: whoever ordered
//! notices nothing.

use std::sync::PoisonError;
use std::time::Duration;

use libtest_mimic::Failed;

use crate::engines::Engine;
use crate::seeds::nothing_left;
use crate::shell::{ensure, until};
use crate::site::Site;
use crate::sql::sql;

const ORDER: &str = r#"{"accepts_incomplete": true, "service_id": "0f5c1670-6dc3-11e5-bc08-6c4008a663f0", "plan_id": "1545e30e-6dc3-11e5-826a-6c4008a663f0"}"#;

/// How a member of etcd goes away.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// A follower is killed.
    Follower,
    /// The leader is killed.
    Leader,
    /// The leader hangs, its connections open.
    HangingLeader,
}

pub fn a_loss_is_not_noticed() -> Result<(), Failed> {
    let engine = Engine::etcd_cluster()?;
    let site = Site::start(&engine)?;
    let walked = walk(&site, &engine);
    walked.map_err(|failed| site.explained(failed))
}

fn walk(site: &Site, engine: &Engine) -> Result<(), Failed> {
    let mut written = None;
    for (id, loss) in [("e1", Loss::Follower), ("e2", Loss::Leader), ("e3", Loss::HangingLeader)] {
        let (status, answer) = site.call("PUT", &format!("/v2/service_instances/{id}"), ORDER)?;
        ensure(status == 202, format!("{loss:?}: order: {status} {answer}"))?;
        let lost = lose(engine, loss)?;
        let seen = site.poll(id, Duration::from_secs(120))?;
        let wanted = ("succeeded".to_owned(), "master running; replicas running".to_owned());
        ensure(seen.last() == Some(&wanted), format!("{loss:?}: ended as {seen:?}"))?;
        let path = format!("/v2/service_instances/{id}/service_bindings/x");
        let (status, bound) = site.call("PUT", &path, ORDER)?;
        ensure(status == 201, format!("{loss:?}: bind: {status} {bound}"))?;
        let uri = bound["credentials"]["uri"].as_str().ok_or("the binding has no uri")?.to_owned();
        sql(&uri, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")?;
        written.get_or_insert(uri);
        bring_back(engine, loss, lost)?;
    }
    // What was there before the leader went has come through it.
    let uri = written.ok_or("no instance was made")?;
    until(Duration::from_secs(30), || sql(&uri, "INSERT INTO t VALUES (2)").map(drop))?;
    for id in ["e1", "e2", "e3"] {
        let (status, answer) = site.call("DELETE", &format!("/v2/service_instances/{id}"), "")?;
        ensure(status == 200, format!("delete: {status} {answer}"))?;
    }
    nothing_left(site, engine)
}

fn lose(engine: &Engine, loss: Loss) -> Result<usize, Failed> {
    let cluster = engine.cluster.as_ref().ok_or("this engine is no cluster")?;
    let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    let leader = cluster.leader()?;
    match loss {
        Loss::Follower => {
            let follower = (leader + 1) % 3;
            cluster.member(follower).stop();
            Ok(follower)
        }
        Loss::Leader => {
            cluster.member(leader).stop();
            Ok(leader)
        }
        Loss::HangingLeader => {
            cluster.member(leader).pause()?;
            Ok(leader)
        }
    }
}

fn bring_back(engine: &Engine, loss: Loss, lost: usize) -> Result<(), Failed> {
    let cluster = engine.cluster.as_ref().ok_or("this engine is no cluster")?;
    let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    let member = cluster.member(lost);
    match loss {
        Loss::Follower | Loss::Leader => member.restart()?,
        Loss::HangingLeader => member.resume()?,
    }
    Ok(cluster.wait_until_healthy()?)
}
