//! The whole system against the real things: a broker process, a Docker engine, Patroni, PostgreSQL, HAProxy, etcd, Consul.
//!
//! `scripts/test` brings what these need. A scenario whose live dependency is missing shows as ignored.

mod broker;
mod cluster;
mod crash;
mod engines;
#[path = "../log_secrets/hoard.rs"]
#[expect(dead_code, reason = "here the broker makes the passwords")]
mod hoard;
mod isolation;
mod lab;
mod life;
mod older;
mod outage;
mod refusals;
mod restored;
mod secrets;
mod seeds;
mod shell;
mod site;
mod sql;
mod writer;

use libtest_mimic::{Arguments, Failed, Trial};
use test_servers::{consul_is_installed, etcd_is_installed};

use engines::Engine;
use shell::succeeds;

fn main() {
    let arguments = Arguments::from_args();
    let ready = missing().is_none();
    if let Some(what) = missing() {
        eprintln!("ignored, since {what}");
    }
    let etcd = ready && etcd_is_installed();
    let consul = ready && consul_is_installed();
    let mut trials = vec![
        Trial::test("seeds_on_embedded", || seeds::session(&Engine::embedded()?)).with_ignored_flag(!ready),
        Trial::test("seeds_on_etcd_v2", || seeds::session(&Engine::etcd_v2()?)).with_ignored_flag(!etcd),
        Trial::test("seeds_on_etcd_v3", || seeds::session(&Engine::etcd_v3()?)).with_ignored_flag(!etcd),
        Trial::test("seeds_on_consul", || seeds::session(&Engine::consul()?)).with_ignored_flag(!consul),
        Trial::test("a_lost_etcd_is_not_noticed", cluster::a_loss_is_not_noticed).with_ignored_flag(!etcd),
        Trial::test("refusals_leave_nothing", refusals::leave_nothing).with_ignored_flag(!ready),
        Trial::test("patroni_three", older::patroni_three).with_ignored_flag(
            !ready || !succeeds("docker image inspect patroni-broker/postgresql-patroni:15"),
        ),
        Trial::test("a_stopped_broker_costs_no_leader", outage::broker_away).with_ignored_flag(!ready),
        Trial::test("a_backup_from_before_a_failover", restored::from_before_a_failover)
            .with_ignored_flag(!ready),
    ];
    trials.extend(kills(ready, etcd, consul));
    trials.extend(lives(ready, etcd));
    let conclusion = libtest_mimic::run(&arguments, trials);
    lab::down();
    conclusion.exit();
}

/// What happens to clusters that run: in the lab, and where one host serves, on that one with the embedded store.
fn lives(ready: bool, etcd: bool) -> Vec<Trial> {
    use lab::in_the_lab;
    use life::{cancels, counts, drains, lost_cells, moves, on_one_host, plans, upgrades};
    let on_one_host = [
        Trial::test("one_three_two", || on_one_host(counts::one_three_two)),
        Trial::test("a_move_of_both_nodes", || on_one_host(moves::both_nodes)),
        Trial::test("a_mistaken_plan", || on_one_host(plans::mistaken)),
        Trial::test("another_plan", || on_one_host(plans::another)),
    ];
    let in_the_lab = [
        Trial::test("one_three_two_in_the_lab", || in_the_lab(|lab| counts::one_three_two(lab))),
        Trial::test("a_move_of_both_nodes_in_the_lab", || in_the_lab(|lab| moves::both_nodes(lab))),
        Trial::test("another_plan_in_the_lab", || in_the_lab(|lab| plans::another(lab))),
        Trial::test("a_rolling_upgrade", || in_the_lab(upgrades::rolling)),
        Trial::test("a_drain_of_three_clusters", || in_the_lab(drains::of_three_clusters)),
        Trial::test("cancelled_at_each_step", || in_the_lab(cancels::at_each_step)),
        Trial::test("a_cell_gone_for_good", || in_the_lab(lost_cells::gone_for_good)),
        Trial::test("a_move_away_from_a_cut_cell", || in_the_lab(moves::away_from_a_cut_cell)),
        Trial::test("a_hanging_cell", || in_the_lab(lost_cells::hanging)),
    ];
    let in_the_lab = in_the_lab.map(|trial| trial.with_ignored_flag(!ready || !etcd || !may_make_a_lab()));
    on_one_host.map(|trial| trial.with_ignored_flag(!ready)).into_iter().chain(in_the_lab).collect()
}

/// A lab is made of namespaces, which takes root.
fn may_make_a_lab() -> bool {
    succeeds("test $(id -u) = 0 && unshare --net true")
}

/// How a store is set up.
type Setup = fn() -> Result<Engine, Failed>;

/// `kill -9` at every point, on every engine; CI takes every point on the embedded store, and another one on
/// each of the others.
fn kills(ready: bool, etcd: bool, consul: bool) -> Vec<Trial> {
    let all = std::env::var_os("PATRONI_BROKER_TEST_ALL").is_some();
    let engines: [(&str, Setup, bool); 4] = [
        ("", Engine::embedded, ready),
        ("_on_etcd_v2", Engine::etcd_v2, etcd),
        ("_on_etcd_v3", Engine::etcd_v3, etcd),
        ("_on_consul", Engine::consul, consul),
    ];
    let mut trials = Vec::new();
    for (nth, (engine, setup, there)) in engines.into_iter().enumerate() {
        let points = crash::points();
        // Halfway through making containers, when the most is at stake.
        let sampled = points.len() / 3 + nth;
        for (at, point) in points.into_iter().enumerate() {
            if nth == 0 || all || at == sampled {
                let name = format!("killed{engine}_at_{}", point.replace(':', "_"));
                let kill = move || crash::killed_at(&setup()?, &point);
                trials.push(Trial::test(name, kill).with_ignored_flag(!there));
            }
        }
    }
    trials
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
