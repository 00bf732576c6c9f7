//! What the router makes of the store, without any HAProxy: tables of entries, and the configuration they come to.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is to do")]

use std::path::Path;
use std::time::{Duration, Instant};

use patroni_broker::router::master::{ServerName, ServerState, ServerStates};
use patroni_broker::router::render::{render, render_states};
use patroni_broker::router::table::{GONE_FOR, LeaderChange, OwnAddress, RouteTable};
use storage::{Entry, Key, Revision};

fn entry(key: &str, value: &str, revision: u64) -> Entry {
    Entry { key: Key::parse(key).unwrap(), value: value.as_bytes().to_vec(), revision: Revision(revision) }
}

fn member(sql: &str, api: &str) -> String {
    format!(
        r#"{{"role":"master","state":"running","conn_url":"postgres://{sql}/postgres","api_url":"http://{api}/patroni","xlog_location":83886336}}"#
    )
}

fn own() -> OwnAddress {
    OwnAddress { listen: "0.0.0.0".parse().unwrap(), host: "10.0.0.9".to_owned() }
}

fn apply(table: &mut RouteTable, key: &str, value: Option<&str>, now: Instant) {
    let entry = value.map(|value| entry(key, value, 1));
    table.apply(&Key::parse(key).unwrap(), entry.as_ref(), now);
}

fn seen(table: &RouteTable, now: Instant) -> (String, String) {
    let (routes, problems) = table.routes(&own(), now);
    let routes = routes.iter().map(|route| {
        let servers = route.servers.iter();
        let servers: Vec<String> =
            servers.map(|server| format!("{}={}+{}", server.node, server.sql, server.api.port)).collect();
        format!("{}:{}[{}]", route.instance, route.port, servers.join(" "))
    });
    let problems = problems.iter().map(|problem| format!("{} {}", problem.key, problem.reason));
    (routes.collect::<Vec<_>>().join(" "), problems.collect::<Vec<_>>().join("\n"))
}

/// Entries are given as a list of key and value; what comes of them is written `instance:port[node=sql+api …]`.
fn check(entries: &[(&str, &str)], routes: &str, problems: &str) {
    let mut table = RouteTable::default();
    let now = Instant::now();
    let entries: Vec<Entry> =
        entries.iter().zip(1..).map(|((key, value), revision)| entry(key, value, revision)).collect();
    table.replace(&Key::root(), &entries, now);
    assert_eq!(seen(&table, now), (routes.to_owned(), problems.to_owned()), "{entries:?}");
}

#[test]
fn an_allocation_and_members_are_a_route() {
    let (a, b) = (member("10.0.0.1:5432", "10.0.0.1:8008"), member("10.0.0.2:5432", "10.0.0.2:8008"));
    check(&[("/routing/allocation/b1", "30000")], "b1:30000[]", "");
    check(&[("/routing/allocation/b1", " 33006\n")], "b1:33006[]", "");
    check(&[("/routing/nextport", "30001")], "", "");
    check(&[("/service/b1/members/a", &a)], "", "");
    check(
        &[
            ("/service/b1/members/b", &b),
            ("/service/b1/leader", "a"),
            ("/service/b1/state", "{}"),
            ("/service/b10/members/x", &a),
            ("/routing/allocation/b1", "30000"),
            ("/service/b1/members/a", &a),
        ],
        "b1:30000[a=10.0.0.1:5432+8008 b=10.0.0.2:5432+8008]",
        "",
    );
}

#[test]
fn garbage_is_passed_over_and_said() {
    let fine = member("10.0.0.1:5432", "10.0.0.1:8008");
    let evil = member("10.0.0.1:5432 check\\n    server x 6.6.6.6:1", "10.0.0.1:8008");
    let secret = member("u:geheim@10.0.0.1:0", "10.0.0.1:8008");
    check(&[("/routing/allocation/b1", "0")], "", "/routing/allocation/b1 is not a port");
    check(&[("/routing/allocation/b1", "65536")], "", "/routing/allocation/b1 is not a port");
    check(&[("/routing/allocation/b1", "30000\n    bind :1")], "", "/routing/allocation/b1 is not a port");
    check(&[("/routing/allocation/b 1", "30000")], "", "/routing/allocation/b 1 has a name that is no id");
    let with = |value: &str, reason: &str| {
        check(
            &[("/routing/allocation/b1", "30000"), ("/service/b1/members/a", value)],
            "b1:30000[]",
            &format!("/service/b1/members/a {reason}"),
        );
    };
    with("not json", "is not what a member says of itself");
    with("{}", "its conn_url has no scheme");
    with(&evil, "its conn_url has a host that is neither an address nor a name");
    with(&secret, "its conn_url has a port that is none");
    with(&member("10.0.0.1:5432", "nowhere"), "its api_url names no port");
    with(&member("10.0.0.9:30000", "10.0.0.1:8008"), "leads back to this router");
    with(&member("127.0.0.1:30000", "10.0.0.1:8008"), "leads back to this router");
    check(
        &[("/routing/allocation/b1", "30000"), ("/service/b1/members/a b", &fine)],
        "b1:30000[]",
        "/service/b1/members/a b has a name that is no id",
    );
}

#[test]
fn a_port_is_the_firsts_who_had_it() {
    check(
        &[("/routing/allocation/z", "30000"), ("/routing/allocation/a", "30000")],
        "z:30000[]",
        "/routing/allocation/a names port 30000, which instance z has already",
    );
}

/// An etcd that comes back after an outage has let every member's entry expire, while PostgreSQL ran on: the route
/// must not be emptied, nor may the first member that is back be the only one.
#[test]
fn a_member_that_vanishes_stays_for_a_while() {
    let mut table = RouteTable::default();
    let start = Instant::now();
    let (a, b) = (member("10.0.0.1:5432", "10.0.0.1:8008"), member("10.0.0.2:5432", "10.0.0.2:8008"));
    apply(&mut table, "/routing/allocation/b1", Some("30000"), start);
    apply(&mut table, "/service/b1/members/a", Some(&a), start);
    apply(&mut table, "/service/b1/members/b", Some(&b), start);
    let both = "b1:30000[a=10.0.0.1:5432+8008 b=10.0.0.2:5432+8008]";
    assert_eq!(seen(&table, start).0, both);
    table.replace(&Key::parse("/service").unwrap(), &[], start);
    assert_eq!(seen(&table, start).0, both);
    apply(&mut table, "/service/b1/members/b", Some(&b), start);
    assert_eq!(seen(&table, start).0, both);
    assert!(table.take_changed());
    table.forget_gone(start + GONE_FOR - Duration::from_secs(1));
    assert!(!table.take_changed());
    table.forget_gone(start + GONE_FOR);
    assert!(table.take_changed());
    assert_eq!(seen(&table, start + GONE_FOR).0, "b1:30000[b=10.0.0.2:5432+8008]");
    // With its port the instance goes at once, and does not come back with old members.
    apply(&mut table, "/service/b1/members/b", None, start);
    apply(&mut table, "/routing/allocation/b1", None, start);
    apply(&mut table, "/routing/allocation/b1", Some("30000"), start);
    assert_eq!(seen(&table, start).0, "b1:30000[]");
}

#[test]
fn an_address_that_was_taken_over_is_its_new_owners() {
    let mut table = RouteTable::default();
    let now = Instant::now();
    let address = member("10.0.0.1:5432", "10.0.0.1:8008");
    apply(&mut table, "/routing/allocation/b1", Some("30000"), now);
    apply(&mut table, "/service/b1/members/a", Some(&address), now);
    apply(&mut table, "/service/b1/members/a", None, now);
    apply(&mut table, "/service/b1/members/c", Some(&address), now);
    assert_eq!(seen(&table, now).0, "b1:30000[c=10.0.0.1:5432+8008]");
}

#[test]
fn a_new_leader_is_told_from_a_missing_one() {
    let mut table = RouteTable::default();
    let now = Instant::now();
    let key = Key::parse("/service/b1/leader").unwrap();
    apply(&mut table, "/routing/allocation/b1", Some("30000"), now);
    let mut check = |value: Option<&str>, expected: &str| {
        let entry = value.map(|value| entry("/service/b1/leader", value, 1));
        let change = table.apply(&key, entry.as_ref(), now);
        let from = |change: &LeaderChange| change.from.as_ref().map_or("-".to_owned(), ToString::to_string);
        let told =
            change.map_or("nothing".to_owned(), |change| format!("{} to {}", from(&change), change.to));
        assert_eq!(told, expected, "{value:?}");
    };
    check(Some("a"), "- to a");
    check(Some("a"), "nothing");
    check(None, "nothing");
    check(Some("b"), "a to b");
    check(Some("no id!"), "nothing");
    check(Some("a"), "b to a");
}

#[test]
fn what_members_say_every_few_seconds_changes_nothing() {
    let mut table = RouteTable::default();
    let now = Instant::now();
    apply(&mut table, "/routing/allocation/b1", Some("30000"), now);
    apply(&mut table, "/service/b1/members/a", Some(&member("10.0.0.1:5432", "10.0.0.1:8008")), now);
    assert!(table.take_changed());
    let later = member("10.0.0.1:5432", "10.0.0.1:8008").replace("83886336", "99999999");
    apply(&mut table, "/service/b1/members/a", Some(&later), now);
    assert!(!table.take_changed());
    apply(&mut table, "/service/b1/members/a", Some(&member("10.0.0.1:5433", "10.0.0.1:8008")), now);
    assert!(table.take_changed());
}

fn sample() -> RouteTable {
    let mut table = RouteTable::default();
    let now = Instant::now();
    apply(&mut table, "/routing/allocation/b1", Some("30000"), now);
    apply(&mut table, "/routing/allocation/a.b~c", Some("30001"), now);
    apply(&mut table, "/service/a.b~c/members/n~1", Some(&member("10.0.0.1:20000", "10.0.0.1:20001")), now);
    let tls = member("db.example.org:20000", "[fd00::1]:20001").replace("http:", "https:");
    apply(&mut table, "/service/a.b~c/members/n2", Some(&tls), now);
    table
}

#[test]
fn the_configuration_word_for_word() {
    let (routes, _) = sample().routes(&own(), Instant::now());
    let rendered = render(Path::new("/var/lib/router $1"), "0.0.0.0".parse().unwrap(), &routes);
    let again = render(Path::new("/var/lib/router $1"), "0.0.0.0".parse().unwrap(), &routes);
    assert_eq!(rendered, again);
    let description = format!("    description {}\n", rendered.fingerprint.replace(' ', "\\ "));
    let text = rendered.text.replace(&description, "");
    assert_ne!(text, rendered.text);
    assert_eq!(text, include_str!("router_rendering.cfg"));
}

#[test]
fn a_server_nobody_knows_is_down_at_first() {
    let (routes, _) = sample().routes(&own(), Instant::now());
    let name = |server: &str| ServerName { backend: "pg-a.b:c".to_owned(), server: server.to_owned() };
    let state = |port: u16, op_state: u8, check_status: u8| ServerState {
        address: "10.0.0.1".to_owned(),
        port,
        check_port: 20001,
        op_state,
        admin_state: 0,
        since_s: 7,
        check_status,
        check_result: 3,
        check_health: 2,
    };
    let check = |known: ServerStates, first: &str| {
        let text = render_states(&routes, &known);
        // `~` sorts after the digits.
        let line = text.lines().nth(3).unwrap();
        assert_eq!(line, first, "{known:?}");
        assert_eq!(text.lines().count(), 4, "a version, a heading and two servers");
    };
    let down = "0 pg-a.b:c 2 n:1 10.0.0.1 0 0 1 1 0 1 0 0 6 0 0 0 - 20000 - 0 20001 - - 0";
    check(ServerStates::new(), down);
    check(
        [(name("n:1"), state(20000, 2, 15))].into(),
        "0 pg-a.b:c 2 n:1 10.0.0.1 2 0 1 1 7 15 3 2 6 0 0 0 - 20000 - 0 20001 - - 0",
    );
    check([(name("n:1"), state(20000, 2, 1))].into(), down);
    check([(name("n:1"), state(20002, 2, 15))].into(), down);
    check([(name("other"), state(20000, 2, 15))].into(), down);
}
