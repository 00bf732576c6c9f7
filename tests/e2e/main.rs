//! The whole system against the real things: a broker process, a Docker engine, Patroni, PostgreSQL, HAProxy, etcd.
//!
//! `scripts/test` brings what these need. A scenario whose live dependency is missing shows as ignored.

mod crash;
mod engines;
mod older;
mod outage;
mod refusals;
mod seeds;
mod shell;
mod site;
mod sql;

use libtest_mimic::{Arguments, Trial};

use engines::Engine;
use shell::succeeds;

fn main() {
    let arguments = Arguments::from_args();
    let ready = missing().is_none();
    if let Some(what) = missing() {
        eprintln!("ignored, since {what}");
    }
    let etcd = succeeds("command -v etcd");
    let mut trials = vec![
        Trial::test("seeds_on_embedded", || seeds::session(&Engine::embedded()?)).with_ignored_flag(!ready),
        Trial::test("seeds_on_etcd", || seeds::session(&Engine::etcd()?)).with_ignored_flag(!ready || !etcd),
        Trial::test("refusals_leave_nothing", refusals::leave_nothing).with_ignored_flag(!ready),
        Trial::test("patroni_three", older::patroni_three).with_ignored_flag(
            !ready || !succeeds("docker image inspect patroni-broker/postgresql-patroni:15"),
        ),
        Trial::test("a_stopped_broker_costs_no_leader", outage::broker_away).with_ignored_flag(!ready),
    ];
    for point in crash::points() {
        let name = format!("killed_at_{}", point.replace(':', "_"));
        trials.push(Trial::test(name, move || crash::killed_at(&point)).with_ignored_flag(!ready));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// What is missing for any of these.
fn missing() -> Option<&'static str> {
    let wanted = [
        ("docker version", "no Docker engine answers"),
        ("docker image inspect patroni-broker/postgresql-patroni:17", "the image has not been built"),
        ("haproxy -v", "there is no HAProxy"),
        ("psql --version", "there is no psql"),
    ];
    wanted.into_iter().find(|(command, _)| !succeeds(command)).map(|(_, what)| what)
}
