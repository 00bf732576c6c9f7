//! The broker with the embedded store is away for a minute while a client writes: the members have nobody to ask, and
//! keep their leader all the same, since they reach each other (Patroni's failsafe mode).
//!
//! A leader without a store asks each member once in its loop, and steps down if one does not answer within 2 s, which is
//! Patroni's own bound. So a failure says how long the machine itself stood still meanwhile, and what the members logged.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::engines::Engine;
use crate::shell::{ensure, until};
use crate::site::Site;
use crate::sql::sql;

const ORDER: &str = r#"{"service_id": "0f5c1670-6dc3-11e5-bc08-6c4008a663f0", "plan_id": "1545e30e-6dc3-11e5-826a-6c4008a663f0"}"#;
const AWAY: Duration = Duration::from_secs(60);

pub fn broker_away() -> Result<(), Failed> {
    let stop = AtomicBool::new(false);
    let (told, still) = thread::scope(|scope| {
        let metronome = scope.spawn(|| longest_standstill(&stop));
        let told = keeps_its_leader();
        stop.store(true, Ordering::SeqCst);
        (told, metronome.join())
    });
    let still = still.map_err(|_| "the metronome panicked")??;
    told.map_err(|failed| {
        let why = failed.message().unwrap_or_default();
        format!("{why}\n--- the machine stood still for {still:?} at most").into()
    })
}

/// Ticks twenty times a second, each time with a write that reaches the disk, as what is tried does; gives the longest
/// time by which a tick was late.
fn longest_standstill(stop: &AtomicBool) -> Result<Duration, Failed> {
    const TICK: Duration = Duration::from_millis(50);
    let mut file: File = tempfile::tempfile()?;
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::SeqCst) {
        let begun = Instant::now();
        thread::sleep(TICK);
        file.write_all(b".")?;
        file.sync_data()?;
        longest = longest.max(begun.elapsed().saturating_sub(TICK));
    }
    Ok(longest)
}

fn keeps_its_leader() -> Result<(), Failed> {
    let engine = Engine::embedded()?;
    let mut site = Site::start(&engine)?;
    let uri = order(&site)?;
    sql(&uri, "CREATE TABLE t (n bigint PRIMARY KEY)")?;
    let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
    let before = sql(&uri, &format!("CHECKPOINT; {timeline}")).or_else(|_| sql(&uri, timeline))?;

    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (uri, stop) = (uri.clone(), Arc::clone(&stop));
        move || write_until(&uri, &stop)
    });
    // Patroni's members and HAProxy must be seen to go on without the store, so the wait is the test itself.
    let away = Instant::now();
    site.kill()?;
    while away.elapsed() < AWAY {
        thread::sleep(Duration::from_millis(200));
    }
    site.run(&[])?;
    // Long enough for a leader's lock that nobody refreshed to show.
    let back = Instant::now();
    while back.elapsed() < Duration::from_secs(25) {
        thread::sleep(Duration::from_millis(200));
    }
    stop.store(true, Ordering::SeqCst);
    let (written, failed) = writer.join().map_err(|_| "the writer panicked")?;
    let kept: u64 = sql(&uri, "SELECT count(*) FROM t")?.parse()?;
    println!("{written} writes acknowledged, {failed} failed, {kept} kept");
    ensure(failed == 0, format!("{failed} writes failed"))
        .map_err(|failed| site.explained_by_members(failed))?;
    ensure(kept >= written, format!("{written} acknowledged, {kept} kept"))?;
    let after = sql(&uri, timeline)?;
    ensure(before == after, format!("the timeline went from {before} to {after}: there was a failover"))?;
    let (status, answer) = site.call("DELETE", "/v2/service_instances/o1", "")?;
    ensure(status == 200, format!("delete: {status} {answer}")).map_err(|failed| site.explained(failed))
}

fn order(site: &Site) -> Result<String, Failed> {
    let (status, answer) = site.call("PUT", "/v2/service_instances/o1", ORDER)?;
    ensure(status == 201, format!("order: {status} {answer}")).map_err(|failed| site.explained(failed))?;
    let (_, bound) = site.call("PUT", "/v2/service_instances/o1/service_bindings/w", ORDER)?;
    let uri = bound["credentials"]["uri"].as_str().ok_or("the binding has no uri")?.to_owned();
    until(Duration::from_secs(5), || sql(&uri, "SELECT 1").map(|_| ()))?;
    Ok(uri)
}

/// Writes one row after the other; gives how many were acknowledged and how many failed.
fn write_until(uri: &str, stop: &AtomicBool) -> (u64, u64) {
    let (mut written, mut failed) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        match sql(uri, &format!("INSERT INTO t VALUES ({})", written + failed)) {
            Ok(_) => written += 1,
            Err(error) => {
                eprintln!("{}", error.message().unwrap_or_default());
                failed += 1;
            }
        }
    }
    (written, failed)
}
