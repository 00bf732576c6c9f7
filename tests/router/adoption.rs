//! Routers that come and go while HAProxy stays.

use std::fs;
use std::process::Command;

use patroni_broker::router::{Router, RouterError};

use crate::Scenario;
use crate::site::{Session, Site, eventually};
use crate::stand_in::Member;

pub const SCENARIOS: &[Scenario] = &[
    ("a_new_router_adopts_haproxy", a_new_router_adopts_haproxy),
    ("a_new_router_takes_over_what_changed_meanwhile", a_new_router_takes_over_what_changed_meanwhile),
    ("haproxy_is_started_again", haproxy_is_started_again),
    ("one_router_in_a_directory", one_router_in_a_directory),
];

fn a_new_router_adopts_haproxy() {
    let mut site = Site::new();
    let leader = Member::new("b1", "n1", true);
    let port = site.order("b1", &[&leader]);
    let mut session = Session::open(port).unwrap();
    let before = site.processes().unwrap();
    let pid_file = fs::read_to_string(site.path().join("haproxy.pid")).unwrap();
    assert_eq!(pid_file.trim(), before.master.to_string());
    site.router = None;
    assert!(session.echoes());
    site.start();
    let revision = site.put("/service/b1/members/n1", &leader.entry());
    eventually("a report", || site.report().is_some_and(|at| at >= revision));
    assert_eq!(site.processes().unwrap(), before, "the same processes, not one reload");
    assert!(session.echoes());
}

fn a_new_router_takes_over_what_changed_meanwhile() {
    let mut site = Site::new();
    let (first, second) = (Member::new("b1", "n1", true), Member::new("b2", "n1", true));
    let port = site.order("b1", &[&first]);
    let mut session = Session::open(port).unwrap();
    let before = site.processes().unwrap();
    site.router = None;
    site.delete("/routing/allocation/b1");
    site.start();
    let other = site.order("b2", &[&second]);
    assert_eq!(site.processes().unwrap().master, before.master);
    assert!(Session::open(other).unwrap().echoes());
    assert!(Session::open(port).is_none(), "the old port is closed");
    // Its instance has no route any more.
    session.await_end();
}

fn haproxy_is_started_again() {
    let site = Site::new();
    let leader = Member::new("b1", "n1", true);
    let port = site.order("b1", &[&leader]);
    let before = site.processes().unwrap();
    let killed = Command::new("kill").args(["-KILL", &before.master.to_string()]).status().unwrap();
    assert!(killed.success());
    eventually("another HAProxy", || site.processes().is_some_and(|now| now.master != before.master));
    eventually("the route", || Session::open(port).is_some_and(|mut session| session.echoes()));
}

fn one_router_in_a_directory() {
    let site = Site::new();
    let second = Router::start(site.store.clone(), &site.settings());
    assert!(matches!(second.err(), Some(RouterError::Busy { .. })));
}
