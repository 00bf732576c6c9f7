//! Reloads under clients.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::Scenario;
use crate::site::{Session, Site};
use crate::stand_in::Member;

pub const SCENARIOS: &[Scenario] = &[("fifty_reloads_lose_no_connection", fifty_reloads_lose_no_connection)];

fn fifty_reloads_lose_no_connection() {
    let site = Site::new();
    let leader = Member::new("b0", "n1", true);
    let replica = Member::new("b0", "n2", false);
    let port = site.order("b0", &[&leader, &replica]);
    let mut kept = Session::open(port).unwrap();
    let reloads_before = site.processes().unwrap().reloads;
    let (done, opened) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let session = Session::open(port);
                let number = opened.fetch_add(1, Ordering::SeqCst);
                let mut session = session.unwrap_or_else(|| panic!("connection {number} failed"));
                assert_eq!(session.member, "n1", "connection {number}");
                assert!(session.echoes(), "connection {number}");
            }
        });
        for number in 1..=50 {
            site.order(&format!("b{number}"), &[]);
            assert!(kept.echoes(), "after reload {number}");
            assert!(!client.is_finished(), "the client has failed");
        }
        done.store(true, Ordering::SeqCst);
    });
    let reloads = site.processes().unwrap().reloads - reloads_before;
    assert_eq!(reloads, 50);
    assert!(opened.load(Ordering::SeqCst) > 500, "{opened:?}");
}
