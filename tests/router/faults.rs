//! What a router does about what is broken.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use patroni_broker::router::{Router, RouterError, RouterSettings};
use storage::embedded::Options;
use storage::{Embedded, Store};
use tempfile::TempDir;

use crate::Scenario;
use crate::site::{Session, Site, eventually, free_port};
use crate::stand_in::Member;

pub const SCENARIOS: &[Scenario] = &[
    ("a_port_that_somebody_has_harms_no_other", a_port_that_somebody_has_harms_no_other),
    ("a_refused_configuration_changes_nothing", a_refused_configuration_changes_nothing),
    ("the_routes_outlive_the_store", the_routes_outlive_the_store),
    ("garbage_in_the_store_harms_no_route", garbage_in_the_store_harms_no_route),
    ("what_an_operator_has_to_mend_is_said", what_an_operator_has_to_mend_is_said),
];

fn a_port_that_somebody_has_harms_no_other() {
    let site = Site::new();
    let leader = Member::new("b2", "n1", true);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    site.put("/routing/allocation/b1", &port.to_string());
    let other = site.order("b2", &[&leader]);
    assert!(Session::open(other).unwrap().echoes());
    let unrouted =
        || site.whole_report().unwrap().unrouted.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(unrouted(), ["b1"], "a report of success for a port that leads nowhere");
    drop(taken);
    let config = || fs::read_to_string(site.path().join("haproxy.cfg")).unwrap();
    eventually("the port, once it is free", || config().contains("listen pg-b1\n"));
    eventually("the report of it", || unrouted().is_empty());
}

/// A HAProxy that refuses a configuration, or starts and dies, must not take the good one away.
fn a_refused_configuration_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let program = directory.path().join("haproxy");
    let broken = directory.path().join("broken");
    // Refuses every check while `broken` is there.
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -c ] && [ -e {} ]; then echo '[ALERT] no good' >&2; exit 1; fi\nexec haproxy \"$@\"\n",
        broken.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut site = Site::new();
    site.router = None;
    let settings = RouterSettings { haproxy: program, ..site.settings() };
    site.router = Some(Router::start(site.store.clone(), &settings).unwrap());
    let leader = Member::new("b1", "n1", true);
    let port = site.order("b1", &[&leader]);
    let before = site.processes().unwrap();
    fs::write(&broken, "").unwrap();
    let revision = site.put("/routing/allocation/b2", &free_port().to_string());
    eventually("the check", || {
        fs::read_to_string(site.path().join("haproxy.log")).is_ok_and(|log| log.contains("no good"))
    });
    assert!(Session::open(port).unwrap().echoes());
    assert_eq!(site.processes().unwrap(), before);
    assert!(site.report().unwrap() < revision, "what is not applied is not reported");
    fs::remove_file(&broken).unwrap();
    site.await_report(revision);
}

fn the_routes_outlive_the_store() {
    let site = Site::new();
    let leader = Member::new("b1", "n1", true);
    let port = site.order("b1", &[&leader]);
    let mut session = Session::open(port).unwrap();
    let before = site.processes().unwrap();
    site.store.set_away(true);
    let missed = site.put("/routing/allocation/b2", &free_port().to_string());
    assert!(session.echoes());
    // Even a HAProxy that dies meanwhile comes back with them.
    let killed = Command::new("kill").args(["-KILL", &before.master.to_string()]).status().unwrap();
    assert!(killed.success());
    eventually("another HAProxy", || site.processes().is_some_and(|now| now.master != before.master));
    eventually("the route", || Session::open(port).is_some_and(|mut session| session.echoes()));
    assert!(site.report().unwrap() < missed);
    site.store.set_away(false);
    site.await_report(missed);
}

fn garbage_in_the_store_harms_no_route() {
    let site = Site::new();
    let leader = Member::new("b1", "n1", true);
    site.put("/routing/allocation/evil", "30000\n    bind :1");
    site.put("/routing/allocation/no id", "30000");
    site.put("/service/b1/members/n2", "{\"conn_url\":\"postgres://a b:1/\",\"api_url\":\"\\u0000\"}");
    site.put("/service/b1/members/n3", &leader.entry().replace("127.0.0.1", "no-such-host.invalid"));
    site.put("/service/b1/leader", "\u{1}");
    let port = site.order("b1", &[&leader]);
    assert!(Session::open(port).unwrap().echoes());
}

fn what_an_operator_has_to_mend_is_said() {
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    let directory = TempDir::new().unwrap();
    let check = |change: &dyn Fn(&mut RouterSettings), expected: &str| {
        let mut settings = RouterSettings {
            directory: directory.path().join("router"),
            listen: "127.0.0.1".to_owned(),
            host: "r1".to_owned(),
            haproxy: PathBuf::from("haproxy"),
        };
        change(&mut settings);
        let error =
            Router::start(Arc::clone(&store), &settings).err().map(|error: RouterError| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(expected)), "{expected}: {error:?}");
    };
    check(&|settings| settings.haproxy = "/nowhere/haproxy".into(), "install the package haproxy");
    check(&|settings| settings.haproxy = "/bin/echo".into(), "needs HAProxy 2.6");
    check(
        &|settings| settings.directory = Path::new("/proc/router").to_owned(),
        "cannot write in /proc/router",
    );
    check(&|settings| settings.directory = directory.path().join("x".repeat(80)), "too long a path");
    check(&|settings| settings.listen = "0.0.0.0:80".to_owned(), "no IPv4 or IPv6 address");
    check(&|settings| settings.host = "a/b".to_owned(), "cannot be a router's name");
}
