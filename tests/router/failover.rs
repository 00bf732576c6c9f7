//! Where connections lead, and what becomes of them when the leader changes.

use crate::Scenario;
use crate::site::{Session, Site, eventually, free_port};
use crate::stand_in::Member;

pub const SCENARIOS: &[Scenario] = &[
    ("connections_lead_to_the_leader_only", connections_lead_to_the_leader_only),
    ("an_order_comes_and_goes", an_order_comes_and_goes),
    ("a_report_is_no_news", a_report_is_no_news),
    ("sessions_end_when_their_leader_is_down", sessions_end_when_their_leader_is_down),
    ("the_stores_word_ends_sessions_at_once", the_stores_word_ends_sessions_at_once),
    ("sessions_of_older_workers_end_too", sessions_of_older_workers_end_too),
    ("another_clusters_leader_is_none", another_clusters_leader_is_none),
    ("a_leader_that_is_not_promoted_yet_is_none", a_leader_that_is_not_promoted_yet_is_none),
    (
        "the_report_waits_for_the_leader_that_the_store_names",
        the_report_waits_for_the_leader_that_the_store_names,
    ),
    ("the_report_follows_changes_that_change_nothing", the_report_follows_changes_that_change_nothing),
];

fn pair() -> (Member, Member) {
    (Member::new("b1", "n1", true), Member::new("b1", "n2", false))
}

/// HAProxy believes a server up until it has checked it, unless it is told better: not one connection to a new port
/// may lead to a replica, from the first moment on.
fn connections_lead_to_the_leader_only() {
    let site = Site::new();
    let members: Vec<Member> = (0..4).map(|n| Member::new("b1", &format!("n{n}"), n == 2)).collect();
    let port = free_port();
    for member in &members {
        site.put(&format!("/service/b1/members/{}", member.name), &member.entry());
    }
    let revision = site.put("/routing/allocation/b1", &port.to_string());
    let mut connected = 0;
    while site.report().is_none_or(|at| at < revision) || connected < 50 {
        if let Some(session) = Session::open(port) {
            assert_eq!(session.member, "n2", "connection {connected}");
            connected += 1;
        }
    }
}

/// Routers follow the whole store, their own reports included: each report once brought about the next one.
fn a_report_is_no_news() {
    let site = Site::new();
    let (leader, _replica) = pair();
    site.order("b1", &[&leader]);
    let revision = site.put("/service/b1/members/n1", &leader.entry().replace("running", "starting"));
    site.await_report(revision);
    let before = site.revision();
    // Longer than many reports are apart, and shorter than one lasts.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(
        site.revision() <= before + 1,
        "{} writes on a site where nothing happens",
        site.revision() - before
    );
}

fn an_order_comes_and_goes() {
    let site = Site::new();
    let (leader, replica) = pair();
    // HAProxy itself is up with the first route, and a later one is a reload.
    site.order("b0", &[]);
    for _ in 0..3 {
        let port = site.order("b1", &[&leader, &replica]);
        assert!(Session::open(port).is_some_and(|mut session| session.echoes()));
        site.delete("/routing/allocation/b1");
        eventually("the port to be free", || Session::open(port).is_none());
    }
}

fn sessions_end_when_their_leader_is_down() {
    let site = Site::new();
    let (old, new) = pair();
    let port = site.order("b1", &[&old, &new]);
    let mut session = Session::open(port).unwrap();
    assert!(session.echoes());
    old.lead(false);
    new.lead(true);
    session.await_end();
    eventually("a session to the new leader", || Session::open(port).is_some_and(|s| s.member == "n2"));
}

/// The old leader's own Patroni still claims to lead, so that no check ends the session.
fn the_stores_word_ends_sessions_at_once() {
    let site = Site::new();
    let (old, new) = pair();
    site.put("/service/b1/leader", "n1");
    let port = site.order("b1", &[&old, &new]);
    let mut session = Session::open(port).unwrap();
    site.order("b2", &[]);
    let mut younger = Session::open(port).unwrap();
    site.put("/service/b1/leader", "n2");
    session.await_end();
    younger.await_end();
}

/// A worker that was replaced by a reload checks nothing any more, and refuses `shutdown sessions server`.
fn sessions_of_older_workers_end_too() {
    let site = Site::new();
    let (old, new) = pair();
    let port = site.order("b1", &[&old, &new]);
    let mut session = Session::open(port).unwrap();
    site.order("b2", &[]);
    assert_eq!(site.processes().unwrap().old.len(), 1);
    assert!(session.echoes());
    old.lead(false);
    new.lead(true);
    session.await_end();
    eventually("a session to the new leader", || Session::open(port).is_some_and(|s| s.member == "n2"));
    eventually("the old worker's end", || site.processes().unwrap().old.is_empty());
}

/// A node's port may be given to another cluster while a router still has it from before.
fn another_clusters_leader_is_none() {
    let site = Site::new();
    let stranger = Member::new("b2", "n1", true);
    let port = site.order("b1", &[&stranger]);
    assert!(Session::open(port).is_none());
}

/// Patroni answers 200 to whoever holds the lock, also before its PostgreSQL can be written to: a client that came then
/// was told that it may only read.
fn a_leader_that_is_not_promoted_yet_is_none() {
    let site = Site::new();
    let leader = Member::new("b1", "n1", true);
    leader.promote(false);
    let port = site.order("b1", &[&leader]);
    assert!(Session::open(port).is_none());
    leader.promote(true);
    eventually("a session to the promoted leader", || Session::open(port).is_some());
}

/// A provision is said to have succeeded when the report includes it: its first client must not come too early.
fn the_report_waits_for_the_leader_that_the_store_names() {
    let site = Site::new();
    let leader = Member::new("b1", "n1", true);
    leader.promote(false);
    let port = site.order("b1", &[&leader]);
    let revision = site.put("/service/b1/leader", "n1");
    let promoted = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(700));
            leader.promote(true);
        });
        site.await_report(revision);
        Session::open(port).is_some()
    });
    assert!(promoted, "the route was reported and does not lead to the leader");
}

fn the_report_follows_changes_that_change_nothing() {
    let site = Site::new();
    let (leader, _replica) = pair();
    site.order("b1", &[&leader]);
    let before = site.processes().unwrap();
    let revision = site.put("/service/b1/members/n1", &leader.entry().replace("running", "starting"));
    site.await_report(revision);
    assert_eq!(site.processes().unwrap(), before, "no reload");
}
